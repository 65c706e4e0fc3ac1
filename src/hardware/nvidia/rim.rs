//! Reference integrity manifests: what NVIDIA signed that a driver, a VBIOS or a switch's BIOS measures (TCG RIM over ISO 19770-2 SWID, signed
//! with an enveloped XML signature).
//!
//! Decides: whether a manifest is authentic, and what it says. Digest, signature and chain are checked on the one tree from which the measurements
//! are read, so nothing can be shown to one and said by the other. Trusts the pinned root. Whether its signers were valid at a time is a question of its own:
//! an old manifest stays authentic when its signer's certificate expires.

use super::xml::{self, Element, XmlError};
use crate::crypto::{sha256, sha384};
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::x509::{Certificate, CertificateError, Links, PathError};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use std::collections::BTreeMap;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const TCG: &str =
    "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/";
const HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const C14N: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// NVIDIA's private enterprise number (IANA).
const NVIDIA: &str = "5703";
/// The most alternatives for one measurement; real manifests have up to four.
const MAX_ALTERNATIVES: usize = 16;
/// The most certificates of signers; real manifests have four.
const MAX_SIGNERS: usize = 8;
/// SHA-256 of the key of `NVIDIA CoRIM signing Root CA`.
pub const RIM_ROOT: Digest = Digest([
    0xde, 0xc1, 0xdc, 0x31, 0x64, 0x77, 0xaa, 0x85, 0x1e, 0xeb, 0xdf, 0x51, 0x32, 0x7a, 0xe9, 0xf8, 0x64,
    0xbc, 0x8d, 0x89, 0x25, 0x46, 0x57, 0xed, 0x1e, 0x7e, 0xb9, 0x16, 0x8a, 0xf1, 0xe1, 0xa3,
]);

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RimError {
    /// The text.
    #[error("the manifest is not XML of the narrow kind that is read here")]
    Xml(#[from] XmlError),
    /// The structure.
    #[error("the manifest is not one of NVIDIA's form: {0}")]
    Form(&'static str),
    /// The digest of the content.
    #[error("the digest in the manifest's signature is not that of its content")]
    Digest,
    /// The signature.
    #[error("the manifest's signature is not that of its signer")]
    Signature,
    /// A signer's certificate.
    #[error("a certificate of the manifest's signers cannot be read")]
    Certificate(#[from] CertificateError),
    /// The path.
    #[error("the manifest's signers do not lead to the pinned root")]
    Path(#[from] PathError),
}

/// The SHA-384 values of which one must be measured.
pub type Alternatives = Vec<[u8; 48]>;

/// A manifest whose digest, signature and chain hold.
#[derive(Clone, Debug)]
pub struct Rim {
    digest: Digest,
    product: String,
    version: String,
    measurements: BTreeMap<u8, Alternatives>,
    signers: Vec<Certificate>,
}

impl Rim {
    /// Reads a manifest and checks digest, signature and chain up to the root whose key has the SHA-256 `root`.
    ///
    /// # Errors
    /// [`RimError`].
    pub fn verify(bytes: &[u8], root: &Digest, links: &mut Links) -> Result<Self, RimError> {
        let document = xml::parse(bytes)?;
        if !document.is(SWID, "SoftwareIdentity") {
            return Err(RimError::Form("its element is not SoftwareIdentity"));
        }
        let children = document
            .elements()
            .ok_or(RimError::Form("text stands between its elements"))?;
        let one = |uri, name| {
            let mut all = children.iter().filter(|e| e.is(uri, name));
            match (all.next(), all.next()) {
                (Some(found), None) => Some(*found),
                _ => None,
            }
        };
        let known = |e: &&Element| {
            ["Entity", "Meta", "Payload"].into_iter().any(|n| e.is(SWID, n)) || e.is(DSIG, "Signature")
        };
        if !children.iter().all(known) {
            return Err(RimError::Form("it holds an element that is not known"));
        }
        let (Some(meta), Some(payload), Some(signature)) =
            (one(SWID, "Meta"), one(SWID, "Payload"), one(DSIG, "Signature"))
        else {
            return Err(RimError::Form(
                "it has not exactly one Meta, one Payload and one Signature",
            ));
        };
        let signers = check(&document, signature)?;
        links.verify_path(&signers, root)?;
        let attribute = |name| meta.attribute("", name).map(str::to_owned);
        let (Some(product), Some(version)) = (attribute("product"), attribute("colloquialVersion")) else {
            return Err(RimError::Form("its Meta lacks product or colloquialVersion"));
        };
        if document.attribute("", "name") != Some(&product) {
            return Err(RimError::Form("its name and its product differ"));
        }
        if meta.attribute(TCG, "FirmwareManufacturerId") != Some(NVIDIA) {
            return Err(RimError::Form("its firmware is not NVIDIA's"));
        }
        Ok(Self {
            digest: sha256(bytes),
            product,
            version,
            measurements: measurements(payload)?,
            signers,
        })
    }

    /// SHA-256 of the file: the name under which it can be found again, since NVIDIA issues manifests anew under one id.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The chip: `GH100`, `GB100`, `GB202`, `LS10`.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The version of the driver, VBIOS or BIOS that it speaks of.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The measurements that it demands, by index from 0.
    #[must_use]
    pub fn measurements(&self) -> &BTreeMap<u8, Alternatives> {
        &self.measurements
    }

    /// Certificates of its signers, the one that signed first.
    #[must_use]
    pub fn signers(&self) -> &[Certificate] {
        &self.signers
    }

    /// The certificates of which a responder can be asked, each with its issuer's.
    pub fn revocable(&self) -> impl Iterator<Item = (&Certificate, &Certificate)> {
        self.signers.windows(2).filter_map(|pair| match pair {
            [child, issuer] => Some((child, issuer)),
            _ => None,
        })
    }

    /// First and last second in which all signers are valid. The first may come after the last.
    #[must_use]
    pub fn valid(&self) -> (UnixSeconds, UnixSeconds) {
        let each = || self.signers.iter().map(Certificate::valid);
        let from = each().map(|(from, _)| from).max();
        let to = each().map(|(_, to)| to).min();
        (from.unwrap_or_default(), to.unwrap_or_default())
    }

    /// Whether all signers were valid at a time.
    ///
    /// # Errors
    /// [`PathError::Time`].
    pub fn holds_at(&self, at: UnixSeconds) -> Result<(), PathError> {
        self.signers.iter().try_for_each(|c| c.holds_at(at))
    }
}

/// The one element of `all` with this name, as the next in order.
fn next<'a>(all: &mut std::vec::IntoIter<&'a Element>, name: &str) -> Result<&'a Element, RimError> {
    all.next()
        .filter(|e| e.is(DSIG, name))
        .ok_or(RimError::Form("its signature is built otherwise"))
}

fn inside(element: &Element) -> Result<std::vec::IntoIter<&Element>, RimError> {
    let all = element
        .elements()
        .ok_or(RimError::Form("text stands in its signature"))?;
    Ok(all.into_iter())
}

fn end(mut all: std::vec::IntoIter<&Element>) -> Result<(), RimError> {
    match all.next() {
        None => Ok(()),
        Some(_) => Err(RimError::Form("its signature holds more than it should")),
    }
}

fn demand(element: &Element, algorithm: &str) -> Result<(), RimError> {
    if element.attribute("", "Algorithm") == Some(algorithm) {
        Ok(())
    } else {
        Err(RimError::Form("its signature uses another algorithm"))
    }
}

fn base64(element: &Element) -> Result<Vec<u8>, RimError> {
    let text = element.text().unwrap_or_default();
    let compact: String = text.split_ascii_whitespace().collect();
    BASE64
        .decode(compact.as_bytes())
        .map_err(|_| RimError::Form("a value in its signature is not base64"))
}

/// Checks the enveloped signature (XML Signature §3.2), which must be built as NVIDIA builds it.
fn check(document: &Element, signature: &Element) -> Result<Vec<Certificate>, RimError> {
    let mut parts = inside(signature)?;
    let signed = next(&mut parts, "SignedInfo")?;
    let value = base64(next(&mut parts, "SignatureValue")?)?;
    let info = next(&mut parts, "KeyInfo")?;
    end(parts)?;

    let mut parts = inside(signed)?;
    demand(next(&mut parts, "CanonicalizationMethod")?, C14N)?;
    demand(next(&mut parts, "SignatureMethod")?, ECDSA_SHA384)?;
    let reference = next(&mut parts, "Reference")?;
    end(parts)?;
    if reference.attribute("", "URI") != Some("") {
        return Err(RimError::Form("its signature is not over the whole document"));
    }
    let mut parts = inside(reference)?;
    let mut transforms = inside(next(&mut parts, "Transforms")?)?;
    demand(next(&mut transforms, "Transform")?, ENVELOPED)?;
    demand(next(&mut transforms, "Transform")?, C14N)?;
    end(transforms)?;
    demand(next(&mut parts, "DigestMethod")?, SHA384)?;
    let digest = base64(next(&mut parts, "DigestValue")?)?;
    end(parts)?;

    let mut parts = inside(info)?;
    let data = next(&mut parts, "X509Data")?;
    end(parts)?;
    let mut signers = Vec::new();
    for element in inside(data)? {
        if !element.is(DSIG, "X509Certificate") || signers.len() >= MAX_SIGNERS {
            return Err(RimError::Form("its signers are not a list of a few certificates"));
        }
        signers.push(Certificate::parse(&base64(element)?)?);
    }
    let none = BTreeMap::new();
    if sha384(&document.canonical(&none, Some(signature))).as_slice() != digest {
        return Err(RimError::Digest);
    }
    let around = signature.scope(&document.scope(&none));
    let signer = signers.first().ok_or(RimError::Form("it names no signer"))?;
    if !signer.signs_data() {
        return Err(RimError::Signature);
    }
    signer
        .key()
        .verify(&signed.canonical(&around, None), &value)
        .map_err(|_| RimError::Signature)?;
    Ok(signers)
}

/// The measurements that are active, by index.
fn measurements(payload: &Element) -> Result<BTreeMap<u8, Alternatives>, RimError> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let wrong = || RimError::Form("a measurement is written otherwise");
    for resource in payload.elements().ok_or_else(wrong)? {
        let measurement = resource.attribute("", "type") == Some("Measurement");
        if !resource.is(SWID, "Resource")
            || !measurement
            || resource.attribute("", "size") != Some("48")
            || !resource.elements().ok_or_else(wrong)?.is_empty()
        {
            return Err(wrong());
        }
        let number = |name| resource.attribute("", name).and_then(|v| v.parse::<u8>().ok());
        let (Some(index), Some(count)) = (number("index"), number("alternatives").map(usize::from)) else {
            return Err(wrong());
        };
        let active = match resource.attribute("", "active") {
            Some("True") => true,
            Some("False") => false,
            _ => return Err(wrong()),
        };
        let hashes = resource.attributes_in(HASH).count();
        if !(1..=MAX_ALTERNATIVES).contains(&count) || hashes != count || seen.insert(index, ()).is_some() {
            return Err(wrong());
        }
        let mut alternatives = Alternatives::new();
        for i in 0..count {
            let text = resource.attribute(HASH, &format!("Hash{i}")).ok_or_else(wrong)?;
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| wrong())?;
            alternatives.push(bytes.try_into().map_err(|_| wrong())?);
        }
        if active {
            found.insert(index, alternatives);
        }
    }
    if found.is_empty() {
        // Every device would be as it demands.
        return Err(RimError::Form("it demands no measurement"));
    }
    Ok(found)
}
