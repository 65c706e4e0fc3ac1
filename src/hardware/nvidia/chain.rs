//! The certificate chain of a device: from the firmware's key to NVIDIA's root.
//!
//! Decides: which device a chain is of, and whether it leads to the pinned root. The device is named by its boot-ROM certificate: the
//! certificate below it is made anew whenever the first mutable firmware changes, and names a state, not a device. Validity dates are checked,
//! but device certificates never expire, so they say nothing. Does not establish that a certificate was not revoked.

use super::opaque::Pdi;
use crate::crypto::PublicKey;
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::x509::der::{Der, tag};
use crate::x509::{Certificate, CertificateError, Links, PathError};
use serde::Serialize;

/// Firmware, boot ROM, provisioner, product, root.
const LENGTH: usize = 5;
/// The most certificates that are read.
const MOST: usize = 10;
/// Digest of the firmware, as Hopper and LS10 write it: the value of tcg-dice-TcbInfo's own arc.
const FWID: &str = "2.23.133.5.4.1";
/// tcg-dice-TcbInfo (DICE Attestation Architecture §6.1.1), as Blackwell writes it.
const DICE_TCB_INFO: &str = "2.23.133.5.4.1.1";
/// SHA-384 as an object identifier.
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// SHA-256 of the key of `NVIDIA Device Identity CA`.
pub const DEVICE_ROOT: Digest = Digest([
    0xa9, 0x0c, 0x4e, 0xb5, 0xac, 0xfd, 0x3e, 0x3d, 0x03, 0xa2, 0x5d, 0xb6, 0xa2, 0x6b, 0x84, 0xf7, 0x20,
    0xad, 0x05, 0x03, 0x19, 0x6c, 0x62, 0x7c, 0x21, 0xdd, 0xd4, 0x8d, 0xd8, 0x5b, 0x06, 0xa4,
]);

/// Why a chain is not that of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The path.
    #[error("the chain does not lead to the pinned root")]
    Path(#[from] PathError),
    /// The certificates' names.
    #[error("`{firmware}` and `{rom}` are not the firmware and the boot ROM of one known chip")]
    Product {
        /// Common name of the first.
        firmware: String,
        /// Common name of the second.
        rom: String,
    },
    /// The leaf may not sign.
    #[error("the key usage of the firmware's certificate lacks digitalSignature")]
    Usage,
    /// The firmware's digest.
    #[error("the firmware's certificate carries no digest of the firmware in a known form")]
    Fwid,
    /// The boot ROM's serial number.
    #[error("the serial number of the boot ROM's certificate does not name a device of this kind")]
    Serial,
}

/// A family of chips, by the names in their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// H100, H200.
    Hopper,
    /// B200, B300 and their workstation relatives.
    Blackwell,
    /// The NVSwitch of Hopper hosts.
    Ls10,
}

impl Arch {
    /// Prefixes of common names.
    const NAMES: [(&'static str, Self); 4] = [
        ("GH100", Self::Hopper),
        ("GB100", Self::Blackwell),
        ("GB20X", Self::Blackwell),
        ("LS_10", Self::Ls10),
    ];

    /// How it is written in results.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Hopper => "hopper",
            Self::Blackwell => "blackwell",
            Self::Ls10 => "ls10",
        }
    }
}

/// The identity of a device that outlasts its firmware: that of its boot ROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DeviceIdentity {
    /// SHA-256 of the boot ROM's public key (SubjectPublicKeyInfo).
    pub key: Digest,
    /// The last eight bytes of its certificate's serial number: what switches and the driver name it by.
    pub pdi: Pdi,
}

/// A chain that was read. What it is worth, [`DeviceChain::verify`] tells.
#[derive(Clone, Debug)]
pub struct DeviceChain {
    certificates: Vec<Certificate>,
    chip: Option<(&'static str, Arch)>,
    identity: Option<DeviceIdentity>,
}

impl DeviceChain {
    /// Reads a chain in PEM, the firmware's certificate first.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(pem: &str) -> Result<Self, CertificateError> {
        let certificates = Certificate::parse_pem_chain(pem, MOST)?;
        let (chip, identity) = match certificates.as_slice() {
            [firmware, rom, ..] => {
                let chip = chip(firmware.common_name(), rom.common_name());
                (chip, chip.and_then(|(_, arch)| identity(rom, arch)))
            }
            _ => (None, None),
        };
        Ok(Self {
            certificates,
            chip,
            identity,
        })
    }

    /// Checks that the chain is that of a device, and every link up to the root whose key has the SHA-256 `root`, at a time.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn verify(
        &self,
        root: &Digest,
        at: UnixSeconds,
        links: &mut Links,
    ) -> Result<DeviceIdentity, ChainError> {
        let [firmware, rom, _, _, _] = self.certificates.as_slice() else {
            return Err(PathError::Length {
                expected: LENGTH,
                found: self.certificates.len(),
            }
            .into());
        };
        links.verify_path(&self.certificates, root)?;
        if self.chip.is_none() {
            return Err(ChainError::Product {
                firmware: firmware.common_name().to_owned(),
                rom: rom.common_name().to_owned(),
            });
        }
        if !firmware.signs_data() {
            return Err(ChainError::Usage);
        }
        for certificate in &self.certificates {
            certificate.holds_at(at)?;
        }
        self.identity.ok_or(ChainError::Serial)
    }

    /// The certificates, the firmware's first.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The family of chips, if the names are those of one.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        self.chip.map(|(_, arch)| arch)
    }

    /// The chip as the certificates name it: `GH100`, `GB100`, `GB20X`, `LS_10`.
    #[must_use]
    pub fn chip(&self) -> Option<&'static str> {
        self.chip.map(|(chip, _)| chip)
    }

    /// The firmware's key, which signs reports.
    #[must_use]
    pub fn key(&self) -> Option<&PublicKey> {
        self.certificates.first().map(Certificate::key)
    }

    /// The digest of the first mutable firmware, as the firmware's certificate carries it.
    ///
    /// # Errors
    /// [`ChainError::Fwid`].
    pub fn fwid(&self) -> Result<[u8; 48], ChainError> {
        let leaf = self.certificates.first().ok_or(ChainError::Fwid)?;
        let found = match (leaf.extension(DICE_TCB_INFO), leaf.extension(FWID)) {
            (Some(value), None) => dice_tcb_info(value),
            (None, Some(value)) => composite(value),
            _ => None,
        };
        found.ok_or(ChainError::Fwid)
    }
}

/// The chip that both names are of: `GH100 A01 GSP FMC LF` and `GH100 A01 GSP BROM`.
fn chip(firmware: &str, rom: &str) -> Option<(&'static str, Arch)> {
    Arch::NAMES.into_iter().find(|(chip, _)| {
        let of_chip = |name: &str, end: &str| {
            let rest = name.strip_prefix(chip).and_then(|n| n.strip_prefix(' '));
            rest.is_some_and(|n| n.ends_with(end))
        };
        of_chip(firmware, " FMC LF") && of_chip(rom, " BROM")
    })
}

/// The boot ROM's serial number is a byte for the kind of device (0x41 a GPU, 0x50 a switch) and eight that name it.
fn identity(rom: &Certificate, arch: Arch) -> Option<DeviceIdentity> {
    let (kind, pdi) = rom.serial().split_last_chunk()?;
    let expected = match arch {
        Arch::Hopper | Arch::Blackwell => 0x41,
        Arch::Ls10 => 0x50,
    };
    (kind == [expected]).then(|| DeviceIdentity {
        key: rom.key().id(),
        pdi: Pdi(*pdi),
    })
}

/// `SEQUENCE { OBJECT IDENTIFIER sha384, OCTET STRING }`.
fn fwid(mut der: Der<'_>) -> Option<[u8; 48]> {
    let mut inside = der.inside(tag::SEQUENCE).ok()?;
    let is_sha384 = inside.body(tag::OID).ok()? == SHA384;
    let digest = inside.body(tag::OCTET_STRING).ok()?;
    inside.finish().ok()?;
    digest.try_into().ok().filter(|_| is_sha384)
}

/// Hopper and LS10: a version, the boot ROM's key, and the digest, in one sequence.
fn composite(value: &[u8]) -> Option<[u8; 48]> {
    let mut outer = Der::new(value);
    let mut inside = outer.inside(tag::SEQUENCE).ok()?;
    outer.finish().ok()?;
    inside.body(tag::INTEGER).ok()?;
    inside.value(tag::SEQUENCE).ok()?;
    let digest = inside.value(tag::SEQUENCE).ok()?;
    inside.finish().ok()?;
    fwid(Der::new(digest.whole))
}

/// Blackwell: `fwids [6]`, of which the first is that of the firmware.
fn dice_tcb_info(value: &[u8]) -> Option<[u8; 48]> {
    let mut outer = Der::new(value);
    let mut inside = outer.inside(tag::SEQUENCE).ok()?;
    outer.finish().ok()?;
    while !inside.is_empty() {
        let field = inside.any().ok()?;
        if field.tag == tag::constructed(6) {
            return fwid(Der::new(field.body));
        }
    }
    None
}
