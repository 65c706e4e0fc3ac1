//! One device's evidence, step by step.
//!
//! Decides: for each step whether it passed, failed or was not checked, and why, at a given time. The result names every file it rests on by its
//! SHA-256, so that it can be redone when signers have long expired. A mismatch says that the device measures something other than the
//! manifest demands; what that is, it does not say.

use super::chain::{Arch, DeviceChain, DeviceIdentity};
use super::compare::{compare, manifests, product, rim_ids};
use super::opaque::{Pdi, SWITCH};
use super::revocation::{Standing, revocation};
use super::rim::Rim;
use super::spdm::Report;
use super::{RimError, SpdmError};
use crate::crypto::sha256;
use crate::hardware::{Step, told};
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::x509::ocsp::{OcspError, Reply};
use crate::x509::{Certificate, CertificateError, Links};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Certificates of a device's chain of which the issuer's responder knows: not the firmware's, which the device made itself.
const KNOWN_TO_RESPONDER: std::ops::Range<usize> = 1..4;

/// A file as it was presented: its name for a person, its digest, and what it is if it can be used.
#[derive(Debug)]
pub struct Presented<T, E> {
    /// How a person calls it.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// What it is.
    pub content: Result<T, E>,
}

impl<T, E> Presented<T, E> {
    /// Reads a file.
    pub fn read(name: &str, bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, E>) -> Self {
        Self {
            name: name.to_owned(),
            digest: sha256(bytes),
            content: read(bytes),
        }
    }
}

/// What a report is held against.
#[derive(Clone, Debug, Default)]
pub struct Collateral<'a> {
    /// Reference manifests. Several issues of one may stand side by side.
    pub rims: Vec<&'a Presented<Rim, RimError>>,
    /// OCSP replies.
    pub replies: Vec<&'a Presented<Reply, OcspError>>,
}

/// Under which terms.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time at which everything must hold.
    pub at: UnixSeconds,
    /// The nonce that the verifier gave.
    pub nonce: Option<[u8; 32]>,
    /// SHA-256 of the key of the root of device chains.
    pub root: Digest,
}

/// What a manifest speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A GPU's driver.
    Driver,
    /// A GPU's VBIOS.
    Vbios,
    /// A switch's BIOS.
    Bios,
}

impl Kind {
    /// How a person reads it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Vbios => "VBIOS",
            Self::Bios => "BIOS",
        }
    }
}

/// A measurement that is not as a manifest demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its index, from 0.
    pub index: u8,
    /// What the manifest allows, in hexadecimal.
    pub expected: Vec<String>,
    /// What the device measured, in hexadecimal; `None` where it did not measure it.
    pub found: Option<String>,
    /// Which manifest demands it.
    pub source: Kind,
}

/// A manifest that a report was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// What it speaks of.
    pub kind: Kind,
    /// The file, as it was presented.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// How many measurements it demands of this device.
    pub measurements: usize,
}

/// A file that was looked at. Two may have one name, for NVIDIA issues manifests anew under the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// How a person calls it.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appraisal {
    /// The report is signed by the key of the chain's first certificate.
    pub signature: Step,
    /// The chain is that of a device, and leads to the root.
    pub chain: Step,
    /// The firmware named in the chain is the one that the report names.
    pub fwid: Step,
    /// The report answers the verifier's nonce.
    pub nonce: Step,
    /// The manifests presented are authentic, in time, and for this device.
    pub rim: Step,
    /// Every measurement that they demand is as they demand it.
    pub measurements: Step,
    /// No certificate was revoked.
    pub revocation: Step,
    /// The device: SHA-256 of its boot ROM's key, in hexadecimal.
    pub device_id: Option<Digest>,
    /// How switches and the driver name it.
    pub pdi: Option<Pdi>,
    /// The nonce that the report answers.
    #[serde(skip)]
    pub answers: Option<[u8; 32]>,
    /// What OCSP replies say of the device's own certificates, from the boot ROM's up.
    #[serde(skip)]
    pub standing: Standing,
    /// Family of chips.
    pub arch: Option<Arch>,
    /// The chip, as manifests call it.
    pub product: Option<String>,
    /// How it is used.
    pub mode: Option<&'static str>,
    /// Driver version.
    pub driver: Option<String>,
    /// VBIOS or BIOS version.
    pub vbios: Option<String>,
    /// Names under which NVIDIA publishes the manifests for it.
    pub rim_ids: Vec<String>,
    /// Measurements that differ.
    pub mismatches: Vec<Mismatch>,
    /// Manifests that it was compared with.
    pub compared: Vec<Compared>,
    /// What was not passed, and why, by step.
    pub why: BTreeMap<&'static str, String>,
    /// SHA-256 of the report.
    pub report: Digest,
    /// Every other file that was looked at.
    pub collateral: Vec<File>,
    /// SHA-256 of the root's key.
    pub root: Digest,
    /// The time at which all this holds.
    pub at: UnixSeconds,
}

impl Appraisal {
    /// The steps by name, in the order in which they are taken.
    #[must_use]
    pub fn steps(&self) -> [(&'static str, &Step); 7] {
        [
            ("signature", &self.signature),
            ("chain", &self.chain),
            ("fwid", &self.fwid),
            ("nonce", &self.nonce),
            ("rim", &self.rim),
            ("measurements", &self.measurements),
            ("revocation", &self.revocation),
        ]
    }

    /// Whether it is a switch: by its report, or by its chain where that cannot be read.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.mode == Some(SWITCH) || (self.mode.is_none() && self.arch == Some(Arch::Ls10))
    }

    /// Which part of the device a manifest speaks of. `None` where it is for another chip, or for a version that the device does not run.
    #[must_use]
    pub fn part_of(&self, rim: &Rim) -> Option<Kind> {
        let vbios = self.vbios.as_deref();
        let is_vbios = vbios.is_some_and(|v| v.eq_ignore_ascii_case(rim.version()));
        match () {
            () if self.product.as_deref() != Some(rim.product()) => None,
            () if self.mode == Some(SWITCH) => is_vbios.then_some(Kind::Bios),
            () if self.driver.as_deref() == Some(rim.version()) => Some(Kind::Driver),
            () => is_vbios.then_some(Kind::Vbios),
        }
    }

    /// Whether manifests for all parts of the device were compared: of a GPU its driver and its VBIOS, of a switch its BIOS.
    #[must_use]
    pub fn compared_whole(&self) -> bool {
        let has = |kind| self.compared.iter().any(|c| c.kind == kind);
        has(Kind::Bios) || (has(Kind::Driver) && has(Kind::Vbios))
    }
}

/// The certificates of a device's chain of which a responder can be asked, each with its issuer.
pub fn known_to_responder(device: &DeviceChain) -> impl Iterator<Item = (&Certificate, &Certificate)> {
    let pairs = device.certificates().windows(2).enumerate();
    pairs.filter_map(|(i, pair)| match pair {
        [child, issuer] if KNOWN_TO_RESPONDER.contains(&i) => Some((child, issuer)),
        _ => None,
    })
}

/// Appraises one report. `links` remembers what was verified before.
pub fn appraise(
    report: &[u8],
    chain: &Presented<DeviceChain, CertificateError>,
    collateral: &Collateral<'_>,
    terms: &Terms,
    links: &mut Links,
) -> Appraisal {
    let not = |why: &str| Step::NotChecked(why.to_owned());
    let unread = || not("the report cannot be read");
    let rims = collateral.rims.iter().map(|r| (&r.name, r.digest));
    let replies = collateral.replies.iter().map(|r| (&r.name, r.digest));
    let files = std::iter::once((&chain.name, chain.digest))
        .chain(rims)
        .chain(replies)
        .map(|(name, sha256)| File {
            file: name.clone(),
            sha256,
        });
    let mut result = Appraisal {
        signature: unread(),
        chain: unread(),
        fwid: unread(),
        nonce: unread(),
        rim: unread(),
        measurements: unread(),
        revocation: unread(),
        device_id: None,
        pdi: None,
        answers: None,
        standing: Standing::default(),
        arch: None,
        product: None,
        mode: None,
        driver: None,
        vbios: None,
        rim_ids: Vec::new(),
        mismatches: Vec::new(),
        compared: Vec::new(),
        why: BTreeMap::new(),
        report: sha256(report),
        collateral: files.collect(),
        root: terms.root,
        at: terms.at,
    };
    let parsed = Report::parse(report);
    let device = chain.content.as_ref().ok();
    result.chain = match &chain.content {
        Err(error) => Step::Fail(told(error)),
        Ok(device) => {
            let verified = device.verify(&terms.root, terms.at, links);
            if let Ok(DeviceIdentity { key, pdi }) = &verified {
                result.device_id = Some(*key);
                result.pdi = Some(*pdi);
            }
            Step::of(&verified)
        }
    };
    result.arch = device.and_then(DeviceChain::arch);
    match &parsed {
        Err(error) => result.signature = malformed(error),
        Ok(parsed) => measured(report, parsed, device, collateral, terms, links, &mut result),
    }
    result.why = result
        .steps()
        .into_iter()
        .filter_map(|(name, step)| Some((name, step.why()?.to_owned())))
        .collect();
    result
}

/// Bytes that are no report carry no signature that could hold.
fn malformed(error: &SpdmError) -> Step {
    Step::Fail(format!("not a report: {}", told(error)))
}

fn measured(
    bytes: &[u8],
    report: &Report,
    device: Option<&DeviceChain>,
    collateral: &Collateral<'_>,
    terms: &Terms,
    links: &mut Links,
    result: &mut Appraisal,
) {
    let said = &report.opaque;
    result.answers = Some(report.nonce);
    result.mode = Some(said.mode());
    result.driver = said.driver().map(str::to_owned);
    result.vbios = said.vbios();
    result.signature = match device.and_then(DeviceChain::key) {
        None => Step::NotChecked("no certificate with the key that should have signed".to_owned()),
        Some(key) => match key.verify(Report::signed(bytes), &report.signature) {
            Ok(()) => Step::Pass,
            Err(_) => {
                Step::Fail("the report is not signed by the key of the chain's first certificate".to_owned())
            }
        },
    };
    if result.chain.passed() && result.arch.is_some_and(|a| (a == Arch::Ls10) != said.is_switch()) {
        result.chain = Step::Fail("a GPU's report came with a switch's chain, or the reverse".to_owned());
    }
    result.fwid = match (said.fwid(), device.map(DeviceChain::fwid)) {
        (None, _) => Step::NotChecked("the report names no firmware".to_owned()),
        (_, None) => Step::NotChecked("no chain that could name the firmware".to_owned()),
        (Some(_), Some(Err(error))) => Step::Fail(told(&error)),
        (Some(said), Some(Ok(named))) if said == named => Step::Pass,
        _ => Step::Fail("the report names other firmware than its chain".to_owned()),
    };
    result.nonce = match terms.nonce {
        None => Step::NotChecked("no nonce was given to compare with".to_owned()),
        Some(nonce) if nonce == report.nonce => Step::Pass,
        Some(_) => Step::Fail(format!(
            "the report answers the nonce {}",
            data_encoding::HEXLOWER.encode(&report.nonce)
        )),
    };
    result.product = product(report, device);
    result.rim_ids = rim_ids(report, result.product.as_deref());
    let usable = manifests(collateral, terms, result);
    compare(report, &usable, result);
    if !result.chain.passed() {
        let why = "the chain does not hold, so nobody can speak for its certificates";
        result.revocation = Step::NotChecked(why.to_owned());
        return;
    }
    let mut certificates: Vec<(&Certificate, &Certificate)> = Vec::new();
    if let Some(device) = device {
        certificates.extend(known_to_responder(device));
    }
    let own = certificates.len();
    for (_, _, rim) in &usable {
        certificates.extend(rim.revocable());
    }
    // Manifests share the upper part of their chains.
    let mut seen = BTreeSet::new();
    certificates.retain(|(certificate, _)| seen.insert(certificate.der()));
    let (step, standings) = revocation(&certificates, collateral, terms, links);
    result.revocation = step;
    result.standing = standings.into_iter().take(own).max().unwrap_or_default();
}
