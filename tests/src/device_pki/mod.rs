//! A device PKI of our own: chains, reports, manifests and OCSP replies of the genuine layout, under roots that nobody trusts unless told to.
//!
//! It stands where no GPU is at hand, and where no real sample covers a case: revoked, on hold, a mismatch, a switch that was swapped. Names of chips are
//! the real ones, since they are part of the layout; the organisation says `Weighbridge Testbed`, and the roots are not NVIDIA's.

mod host;
mod reply;
mod report;
mod service;

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use weighbridge::crypto::{PublicKey, pem_encode, sha384};
use weighbridge::hardware::nvidia::Pdi;
use weighbridge::id::Digest;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};

pub use host::{Flaw, Host, HostSpec, Slot};
use reply::reply;
pub use service::Service;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A family of chips, as certificates and reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chip {
    /// Hopper.
    Gh100,
    /// Blackwell.
    Gb100,
    /// The switch.
    Ls10,
}

impl Chip {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Gh100 => ("GH100 A01 GSP FMC LF", "GH100 A01 GSP BROM"),
            Self::Gb100 => ("GB100 A01 GSP FMC LF", "GB100 A01 GSP BROM"),
            Self::Ls10 => ("LS_10 A01 FSP FMC LF", "LS_10 A01 FSP BROM"),
        }
    }

    /// The first byte of the serial number of its boot ROM's certificate.
    fn kind(self) -> u8 {
        match self {
            Self::Gh100 | Self::Gb100 => 0x41,
            Self::Ls10 => 0x50,
        }
    }
}

/// Roots and authorities.
#[expect(missing_debug_implementations, reason = "it holds private keys")]
pub struct DevicePki {
    root: Authority,
    product: Authority,
    provisioner: Authority,
    rims: [Authority; 3],
    made: Mutex<BTreeMap<(Chip, u16), Made>>,
}

/// A device as it left the factory, and each state of its firmware that was ever asked for.
struct Made {
    rom: Authority,
    states: BTreeMap<u8, Device>,
}

/// One synthetic device.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds private keys")]
pub struct Device {
    /// Its family.
    pub chip: Chip,
    /// How switches name it.
    pub pdi: Pdi,
    /// Its chain, the firmware's certificate first.
    pub chain: String,
    /// The digest of its firmware.
    pub fwid: [u8; 48],
    key: Vec<u8>,
    rom: Vec<u8>,
}

/// What a report says beside its measurements.
#[derive(Clone, Debug)]
pub struct Said {
    /// The verifier's nonce.
    pub nonce: [u8; 32],
    /// 0 alone, 1 with others, 2 protected PCIe.
    pub feature: u16,
    /// Driver version; none of a switch.
    pub driver: Option<String>,
    /// VBIOS version of a GPU, five bytes in hexadecimal: `96.00.9F.00.01`.
    pub vbios: String,
    /// Of a GPU: the switch at the end of each link. Of a switch: the GPUs.
    pub peers: Vec<Pdi>,
    /// Measurement that is altered, by index from 0.
    pub altered: Option<u8>,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            nonce: [7; 32],
            feature: 0,
            driver: Some("580.65.06".to_owned()),
            vbios: "96.00.9F.00.01".to_owned(),
            peers: Vec::new(),
            altered: None,
        }
    }
}

/// What a responder says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Good.
    Good,
    /// Revoked, with a reason of RFC 5280.
    Revoked(u8),
    /// Not known.
    Unknown,
}

/// From when to when an OCSP reply holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `thisUpdate`.
    pub from: UnixSeconds,
    /// `nextUpdate`.
    pub to: UnixSeconds,
}

impl Validity {
    /// A day of November 2026.
    #[must_use]
    pub fn november(day: u8) -> Self {
        let from = UnixSeconds(1_793_491_200).plus(i64::from(day - 1) * DAY_SECONDS);
        Self {
            from,
            to: from.plus(DAY_SECONDS),
        }
    }

    /// Twelve hours before a time and twelve after it.
    #[must_use]
    pub fn around(at: UnixSeconds) -> Self {
        Self {
            from: at.plus(-DAY_SECONDS / 2),
            to: at.plus(DAY_SECONDS / 2),
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn parameters(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Weighbridge Testbed");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = parameters(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// A root with room for so many authorities below it.
fn root(name: &str, below: u8) -> Authority {
    let mut params = authority(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    Authority::self_signed(params, key()).unwrap()
}

/// A responder that an issuer certified.
fn responder(issuer: &Authority) -> Authority {
    let mut params = parameters("A responder");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    Authority::signed_by(params, key(), issuer).unwrap()
}

impl DevicePki {
    /// New roots, and what stands below them. The signer of manifests holds in 2026 and 2027.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn new() -> Self {
        Self::at(UnixSeconds(1_798_761_600))
    }

    /// New roots, and what stands below them, with a signer of manifests that holds for a year before a time and for one after it, as
    /// signers do. Each root allows exactly as many authorities below it as there are.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn at(time: UnixSeconds) -> Self {
        let root = root("NVIDIA Device Identity CA", 3);
        let product = Authority::signed_by(authority("NVIDIA GH100 Identity"), key(), &root).unwrap();
        let provisioner =
            Authority::signed_by(authority("NVIDIA GH100 Provisioner ICA 1"), key(), &product).unwrap();
        let top = self::root("NVIDIA CoRIM signing Root CA", 1);
        let middle = Authority::signed_by(authority("NVIDIA Reference Value L3"), key(), &top).unwrap();
        let mut signer = parameters("HCC RIM L4 Signer");
        signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let away =
            |days: i64| time::OffsetDateTime::from_unix_timestamp(time.plus(days * DAY_SECONDS).0).unwrap();
        (signer.not_before, signer.not_after) = (away(-365), away(365));
        let signer = Authority::signed_by(signer, key(), &middle).unwrap();
        Self {
            root,
            product,
            provisioner,
            rims: [signer, middle, top],
            made: Mutex::default(),
        }
    }

    /// The root of devices in PEM.
    #[must_use]
    pub fn root(&self) -> String {
        pem_encode("CERTIFICATE", self.root.der())
    }

    /// SHA-256 of its key.
    #[must_use]
    pub fn root_id(&self) -> Digest {
        spki(&self.root).id()
    }

    /// The root of manifests in PEM.
    #[must_use]
    pub fn rim_root(&self) -> String {
        pem_encode("CERTIFICATE", self.rims[2].der())
    }

    /// SHA-256 of its key.
    #[must_use]
    pub fn rim_root_id(&self) -> Digest {
        spki(&self.rims[2]).id()
    }

    /// The device with this number, with its first firmware.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn device(&self, chip: Chip, number: u16) -> Device {
        self.device_running(chip, number, 0)
    }

    /// The device with this number under other firmware. The boot ROM's certificate is that of the device whatever runs on it; the
    /// firmware's follows from the firmware, and is the same whenever the same firmware is asked for.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn device_running(&self, chip: Chip, number: u16, firmware: u8) -> Device {
        let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = all.entry((chip, number)).or_insert_with(|| Made {
            rom: self.boot_rom(chip, number, chip.kind()),
            states: BTreeMap::new(),
        });
        let Made { rom, states } = made;
        states
            .entry(firmware)
            .or_insert_with(|| self.certify(chip, number, firmware, rom))
            .clone()
    }

    /// A device whose boot ROM is numbered as one of another kind.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn device_numbered_as(&self, chip: Chip, other: Chip) -> Device {
        self.certify(chip, 1, 1, &self.boot_rom(chip, 1, other.kind()))
    }

    fn boot_rom(&self, chip: Chip, number: u16, kind: u8) -> Authority {
        let mut rom = authority(chip.names().1);
        rom.serial_number = Some(SerialNumber::from_slice(
            &[&[kind][..], &pdi(chip, number).0].concat(),
        ));
        Authority::signed_by(rom, key(), &self.provisioner).unwrap()
    }

    fn certify(&self, chip: Chip, number: u16, firmware: u8, rom: &Authority) -> Device {
        let fwid = sha384(&[chip as u8, firmware]);
        let mut leaf = parameters(chip.names().0);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.custom_extensions = vec![digest_of_firmware(chip, &fwid, spki(rom).spki())];
        let leaf = Authority::signed_by(leaf, key(), rom).unwrap();
        let chain = [&leaf, rom, &self.provisioner, &self.product, &self.root]
            .map(|c| pem_encode("CERTIFICATE", c.der()))
            .concat();
        Device {
            chip,
            pdi: pdi(chip, number),
            chain,
            fwid,
            key: leaf.key().serialize_der(),
            rom: rom.der().to_vec(),
        }
    }

    /// A manifest that demands `indices` as [`Device::report`] measures them, for a product and a version.
    #[must_use]
    pub fn rim(&self, product: &str, version: &str, indices: std::ops::Range<u8>) -> String {
        self.rim_signed(product, version, indices, &self.rims[0])
    }

    /// The same, signed by a key that the manifests' authority certified for OCSP replies only.
    #[must_use]
    pub fn rim_of_responder(&self, product: &str, version: &str, indices: std::ops::Range<u8>) -> String {
        self.rim_signed(product, version, indices, &responder(&self.rims[1]))
    }

    /// The same as [`DevicePki::rim`], by a signer whose certificate held in one year alone.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn rim_of_year(
        &self,
        year: i32,
        product: &str,
        version: &str,
        indices: std::ops::Range<u8>,
    ) -> String {
        let mut signer = parameters("HCC RIM L4 Signer");
        signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        signer.not_before = rcgen::date_time_ymd(year, 1, 1);
        signer.not_after = rcgen::date_time_ymd(year + 1, 1, 1);
        let signer = Authority::signed_by(signer, key(), &self.rims[1]).unwrap();
        self.rim_signed(product, version, indices, &signer)
    }

    fn rim_signed(
        &self,
        product: &str,
        version: &str,
        indices: std::ops::Range<u8>,
        signer: &Authority,
    ) -> String {
        let mut resources = String::new();
        for index in 0..64u8 {
            let active = if indices.contains(&index) { "True" } else { "False" };
            let hash = hex(&measurement(index));
            write!(
                resources,
                "<n:Resource active=\"{active}\" alternatives=\"1\" index=\"{index}\" name=\"Measurement_{index}\" size=\"48\" \
                 type=\"Measurement\" h:Hash0=\"{hash}\"></n:Resource>"
            )
            .unwrap();
        }
        // Written in canonical form, so that its own bytes are what is digested.
        let head = format!(
            "<SoftwareIdentity xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" \
             xmlns:h=\"http://www.w3.org/2001/04/xmlenc#sha384\" xmlns:n=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" \
             name=\"{product}\" tagId=\"synthetic\" version=\"1.0\">\n<n:Meta \
             xmlns:r=\"https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/\" \
             colloquialVersion=\"{version}\" edition=\"GPU\" product=\"{product}\" r:FirmwareManufacturerId=\"5703\"></n:Meta>\
             <n:Payload>{resources}</n:Payload>"
        );
        let tail = "</SoftwareIdentity>";
        let digest = BASE64.encode(&sha384(format!("{head}{tail}").as_bytes()));
        let algorithm = |name: &str, uri: &str| format!("<ds:{name} Algorithm=\"{uri}\"></ds:{name}>");
        let c14n = "http://www.w3.org/2006/12/xml-c14n11";
        let inside = format!(
            "{}{}<ds:Reference URI=\"\"><ds:Transforms>{}{}</ds:Transforms>{}<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>",
            algorithm("CanonicalizationMethod", c14n),
            algorithm(
                "SignatureMethod",
                "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
            ),
            algorithm(
                "Transform",
                "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
            ),
            algorithm("Transform", c14n),
            algorithm("DigestMethod", "http://www.w3.org/2001/04/xmldsig-more#sha384"),
        );
        let signed = format!(
            "<ds:SignedInfo xmlns=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" \
             xmlns:h=\"http://www.w3.org/2001/04/xmlenc#sha384\" xmlns:n=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\">{inside}\
             </ds:SignedInfo>"
        );
        let value = BASE64.encode(&sign_fixed(&signer.key().serialize_der(), signed.as_bytes()));
        let certificates: String = [signer, &self.rims[1], &self.rims[2]]
            .iter()
            .map(|c| {
                // In lines, as the genuine ones: NVIDIA's own verifier puts PEM's first and last line around the text.
                let pem = pem_encode("CERTIFICATE", c.der());
                let lines: Vec<_> = pem.lines().filter(|l| !l.starts_with('-')).collect();
                format!("<ds:X509Certificate>{}\n</ds:X509Certificate>", lines.join("\n"))
            })
            .collect();
        format!(
            "{head}<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo>{inside}</ds:SignedInfo>\
             <ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>{tail}"
        )
    }

    /// OCSP replies for a device's chain: for its boot ROM as `answer` says, for the others good, each valid on 1 November 2026.
    #[must_use]
    pub fn replies(&self, device: &Device, answer: Answer) -> Vec<Vec<u8>> {
        let day = Validity::november(1);
        let mut replies = vec![self.rom_reply(device, &[(answer, day)])];
        replies.extend(self.authority_replies(day));
        replies
    }

    /// One reply for a device's boot ROM that gives several answers, each for a time of its own.
    #[must_use]
    pub fn rom_reply(&self, device: &Device, answers: &[(Answer, Validity)]) -> Vec<u8> {
        reply(&device.rom, &self.provisioner, answers)
    }

    /// Good replies for the authorities between a device's boot ROM and the root.
    #[must_use]
    pub fn authority_replies(&self, valid: Validity) -> [Vec<u8>; 2] {
        let good = [(Answer::Good, valid)];
        [
            reply(self.provisioner.der(), &self.product, &good),
            reply(self.product.der(), &self.root, &good),
        ]
    }

    /// A reply for the signer of manifests.
    #[must_use]
    pub fn rim_signer_reply(&self, answers: &[(Answer, Validity)]) -> Vec<u8> {
        let [signer, middle, _] = &self.rims;
        reply(signer.der(), middle, answers)
    }

    /// Good replies for the signer of manifests and for its authority.
    #[must_use]
    pub fn rim_replies(&self, valid: Validity) -> [Vec<u8>; 2] {
        let good = [(Answer::Good, valid)];
        let [signer, middle, top] = &self.rims;
        [
            reply(signer.der(), middle, &good),
            reply(middle.der(), top, &good),
        ]
    }
}

impl Default for DevicePki {
    fn default() -> Self {
        Self::new()
    }
}

/// How switches and the driver name a device.
fn pdi(chip: Chip, number: u16) -> Pdi {
    let [high, low] = number.to_be_bytes();
    Pdi([0x43, 0x1d, 0x48, 0x0f, 0xe5, chip as u8, high, low])
}

/// What every synthetic device measures at an index.
fn measurement(index: u8) -> [u8; 48] {
    sha384(&[index])
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn spki(authority: &Authority) -> PublicKey {
    use rcgen::PublicKeyData;
    PublicKey::from_spki(&authority.key().subject_public_key_info()).unwrap()
}

fn sign_fixed(pkcs8: &[u8], message: &[u8]) -> Vec<u8> {
    let rng = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8, &rng).unwrap();
    key.sign(&rng, message).unwrap().as_ref().to_vec()
}

/// A value in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        n @ 0..=0x7f => out.push(n as u8),
        n @ 0x80..=0xff => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(content);
    out
}

const SHA384_OID: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];

/// The firmware's digest in the form that the chip uses.
fn digest_of_firmware(chip: Chip, fwid: &[u8; 48], rom: &[u8]) -> CustomExtension {
    let digest = der(0x30, &[SHA384_OID, &der(0x04, fwid)].concat());
    if chip == Chip::Gb100 {
        let value = der(0x30, &[der(0x80, b"NVIDIA"), der(0xa6, &digest)].concat());
        return CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1, 1], value);
    }
    let value = der(0x30, &[der(0x02, &[1]), rom.to_vec(), digest].concat());
    CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], value)
}
