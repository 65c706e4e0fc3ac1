//! From the answers of a round to what they come to.

use super::{AppraisedDevice, AppraisedRound, Check, CheckName, RoundStanding};
use crate::hardware::Step;
use crate::hardware::binding::Binding;
use crate::hardware::nvidia::consensus::common;
use crate::hardware::nvidia::topology::{self, Member};
use crate::hardware::nvidia::{
    Appraisal, Collateral, DeviceChain, Presented, Report, Rim, RimError, Standing, Terms, appraise,
    known_to_responder,
};
use crate::id::{DeviceUuid, Digest, VerifierId};
use crate::report::{Answer, Attester, EvidenceClaims, NvidiaEvidence, VerifiedReport};
use crate::time::{BootNanos, SECOND, UnixSeconds};
use crate::x509::ocsp::{OcspError, Reply, Status};
use crate::x509::{Certificate, CertificateError, Links};
use std::collections::{BTreeMap, BTreeSet};

/// Under which terms a round is appraised.
#[derive(Clone, Copy, Debug)]
pub struct RoundTerms {
    /// The verifier.
    pub verifier: VerifierId,
    /// SHA-256 of the node's key (SubjectPublicKeyInfo).
    pub key: Digest,
    /// How the round stands, as intake found it.
    pub standing: RoundStanding,
    /// When the node was given the challenge that it answers.
    pub given: UnixSeconds,
    /// When the report that carries it was received.
    pub received: UnixSeconds,
    /// The time at which everything must hold.
    pub at: UnixSeconds,
    /// SHA-256 of the key of the root of device chains.
    pub root: Digest,
    /// SHA-256 of the key of the root of manifests, under which `rims` were verified.
    pub rim_root: Digest,
}

impl RoundTerms {
    /// For the answer to a nonce.
    fn of_device(&self, nonce: Option<[u8; 32]>) -> Terms {
        Terms {
            at: self.at,
            nonce,
            root: self.root,
        }
    }
}

/// What is held of collateral. More than a round needs does no harm: each device takes what fits it.
#[derive(Clone, Debug, Default)]
pub struct HeldCollateral<'a> {
    /// Reference manifests.
    pub rims: Vec<&'a Presented<Rim, RimError>>,
    /// OCSP replies. Those that say nothing of the time in question are passed over.
    pub replies: Vec<&'a Presented<Reply, OcspError>>,
}

/// What a round would be appraised with, if it were held.
#[derive(Clone, Debug, Default)]
pub struct WantedCollateral {
    /// Names of manifests, as NVIDIA publishes them, each with the chip that it is for.
    pub rims: BTreeMap<String, String>,
    /// Certificates that a responder knows, by their encoding, each with its issuer.
    pub certificates: BTreeMap<Vec<u8>, (Certificate, Certificate)>,
}

/// A device's evidence, read.
struct Read {
    report: Vec<u8>,
    chain: Presented<DeviceChain, CertificateError>,
}

impl Read {
    /// Reads an answer; in words why it is none that can be read.
    fn of(answer: &Answer) -> Result<Self, Step> {
        let record = match answer {
            Answer::Evidence(record) => record,
            Answer::None(why) => return Err(Step::NotChecked(why.text().to_owned())),
        };
        match NvidiaEvidence::open(record) {
            Some(Ok(evidence)) => Ok(Self {
                chain: Presented::read("chain", &evidence.chain.0, |b| {
                    DeviceChain::parse(&String::from_utf8_lossy(b))
                }),
                report: evidence.report.0,
            }),
            Some(Err(error)) => Err(Step::Fail(format!("the evidence cannot be read: {error}"))),
            None => Err(Step::NotChecked(
                "it is evidence of a type that is not read here".to_owned(),
            )),
        }
    }

    fn appraise(&self, collateral: &Collateral<'_>, terms: &Terms, links: &mut Links) -> Appraisal {
        appraise(&self.report, &self.chain, collateral, terms, links)
    }
}

/// The collateral that a report's round asks for: manifests by name, and certificates of the devices that signed. Those of the signers of manifests
/// come with the manifests.
#[must_use]
pub fn wanted_collateral(report: &VerifiedReport, terms: &RoundTerms, links: &mut Links) -> WantedCollateral {
    let mut wanted = WantedCollateral::default();
    for read in report.evidence().filter_map(|e| Read::of(&e.answer).ok()) {
        let appraisal = read.appraise(&Collateral::default(), &terms.of_device(None), links);
        // Whoever has no key of a device cannot make the verifier ask for anything.
        if !(appraisal.signature.passed() && appraisal.chain.passed()) {
            continue;
        }
        if let Some(product) = appraisal.product {
            let names = appraisal.rim_ids.into_iter();
            wanted.rims.extend(names.map(|name| (name, product.clone())));
        }
        if let Ok(device) = &read.chain.content {
            let pairs = known_to_responder(device);
            let owned = pairs.map(|(c, issuer)| (c.der().to_vec(), (c.clone(), issuer.clone())));
            wanted.certificates.extend(owned);
        }
    }
    wanted
}

/// Appraises the round that a report carries; `None` where it carries none. `links` remembers what was verified before.
#[must_use]
pub fn appraise_round(
    report: &VerifiedReport,
    terms: &RoundTerms,
    held: &HeldCollateral<'_>,
    links: &mut Links,
) -> Option<AppraisedRound> {
    let claims = report.claims();
    let round = claims.report.round.as_ref()?;
    let nonce = Binding {
        verifier: terms.verifier,
        challenge: round.challenge,
        key: terms.key,
        chain: round.chain,
        sequence: round.sequence,
        report: round.digest,
    }
    .nonce();
    let time = &claims.report.time;
    let standing = if terms.standing == RoundStanding::Good && !round.is_in_order(time) {
        RoundStanding::TimesWrong
    } else {
        terms.standing
    };
    let wall = |boot: BootNanos| {
        let before = time.end.since(boot).div_euclid(SECOND);
        let end = time.wall_end.min(terms.received);
        end.plus(i64::try_from(before).unwrap_or(i64::MAX).saturating_neg())
    };
    let mut result = AppraisedRound {
        report: report.digest(),
        given: terms.given,
        received: terms.received,
        standing,
        boot: claims.report.boot,
        covers_to: wall(round.covers_to).min(terms.given),
        ended: wall(round.ended),
        at: terms.at,
        root: terms.root,
        rim_root: terms.rim_root,
        devices: Vec::new(),
        host: Vec::new(),
    };
    if standing != RoundStanding::Good {
        return Some(result);
    }
    let replies: Vec<_> = held
        .replies
        .iter()
        .copied()
        .filter(|r| r.content.as_ref().is_ok_and(|r| r.counts_at(terms.at)))
        .collect();
    let named = pdis(report);
    let mut members = Vec::new();
    for (i, claims) in report.evidence().enumerate() {
        let (device, member) = one(
            i,
            claims,
            &named,
            &terms.of_device(Some(nonce)),
            held,
            &replies,
            links,
        );
        members.extend(member);
        result.devices.push(device);
    }
    let mut host = topology::host(&members);
    // An answer to another question does not show that its device is there now.
    let fresh = members.iter().filter(|m| m.report.nonce == nonce).cloned();
    host.topology = topology::host(&fresh.collect::<Vec<_>>()).topology;
    if !report.evidence().any(|e| e.attester == Attester::Switch) {
        let why = "no switch was asked, so that what GPUs say of their switches stands alone";
        host.topology = Step::NotChecked(why.to_owned());
    }
    result.host = [
        (CheckName::Distinct, &host.distinct),
        (CheckName::Alike, &host.alike),
        (CheckName::Topology, &host.topology),
    ]
    .map(|(name, step)| Check::of(name, step))
    .into();
    for device in &mut result.devices {
        let twice = members
            .iter()
            .filter(|m| Some(m.identity.key) == device.identity)
            .count()
            > 1;
        if twice {
            let why = "the same device answered more than once in this round".to_owned();
            device
                .checks
                .push(Check::of(CheckName::Distinct, &Step::Fail(why)));
        }
    }
    Some(result)
}

/// How the driver names each accelerator of a report.
fn pdis(report: &VerifiedReport) -> BTreeMap<DeviceUuid, Option<u64>> {
    let accelerators = report.accelerators();
    accelerators.map(|a| (a.identity.uuid, a.identity.pdi)).collect()
}

fn one(
    index: usize,
    claims: &EvidenceClaims,
    named: &BTreeMap<DeviceUuid, Option<u64>>,
    terms: &Terms,
    held: &HeldCollateral<'_>,
    replies: &[&Presented<Reply, OcspError>],
    links: &mut Links,
) -> (AppraisedDevice, Option<Member>) {
    let mut result = AppraisedDevice {
        attester: claims.attester,
        // An answer for a device that the report does not list speaks of none.
        device: claims.device.filter(|d| named.contains_key(d)),
        none: None,
        evidence: None,
        identity: None,
        pdi: None,
        arch: None,
        mode: None,
        driver: None,
        vbios: None,
        checks: Vec::new(),
        mismatches: Vec::new(),
        whole: false,
        collateral: Vec::new(),
        measured: None,
    };
    if let Answer::None(why) = &claims.answer {
        result.none = Some(*why);
    }
    let read = match Read::of(&claims.answer) {
        Ok(read) => read,
        Err(step) => {
            result.checks.push(Check::of(CheckName::Signature, &step));
            return (result, None);
        }
    };
    let bare = read.appraise(&Collateral::default(), terms, links);
    let fitting = fitting(&bare, &read, held, replies, terms, links);
    let appraisal = read.appraise(&fitting, terms, links);
    let chain = chain_check(claims.attester, &appraisal);
    let authentic = appraisal.signature.passed() && chain.passed();
    let revocation = revocation_check(&appraisal);
    let name = claims
        .device
        .map_or_else(|| format!("switch {index}"), |d| d.nvml());
    let steps = [
        (CheckName::Signature, &appraisal.signature),
        (CheckName::Chain, &chain),
        (CheckName::Fwid, &appraisal.fwid),
        (CheckName::Nonce, &appraisal.nonce),
        (CheckName::Rim, &appraisal.rim),
        (CheckName::Measurements, &appraisal.measurements),
        (CheckName::Revocation, &revocation),
    ];
    result.checks = steps.map(|(name, step)| Check::of(name, step)).into();
    result.evidence = Some(appraisal.report);
    result.collateral = appraisal.collateral.iter().map(|f| f.sha256).collect();
    if !authentic {
        return (result, None);
    }
    let said = claims.device.and_then(|d| named.get(&d).copied().flatten());
    let pdi = pdi_check(said, &appraisal);
    result.checks.push(Check::of(CheckName::Pdi, &pdi));
    let certificate = certificate_check(appraisal.standing);
    result
        .checks
        .extend(certificate.map(|step| Check::of(CheckName::Certificate, &step)));
    result.identity = appraisal.device_id;
    result.pdi = appraisal.pdi.map(|p| p.to_string());
    result.arch = appraisal.arch.map(|a| a.text().to_owned());
    result.mode = appraisal.mode.map(str::to_owned);
    result.driver.clone_from(&appraisal.driver);
    result.vbios.clone_from(&appraisal.vbios);
    result.mismatches = appraisal.mismatches.iter().map(|m| m.index).collect();
    result.whole = appraisal.compared_whole();
    let chain = read.chain.content.as_ref().ok();
    let device = chain.and_then(|c| Some((c.verify(&terms.root, terms.at, links).ok()?, c.arch()?)));
    let member = Report::parse(&read.report).ok().zip(device);
    result.measured = member.as_ref().map(|(report, (_, arch))| common(*arch, report));
    let member = member.map(|(report, (identity, arch))| Member {
        name,
        identity,
        arch,
        report,
    });
    (result, member)
}

/// The manifests that are for a device, and the replies that speak of its certificates or of those manifests' signers. A manifest whose signer was revoked
/// is left out where its maker has issued it anew.
fn fitting<'a>(
    device: &Appraisal,
    read: &Read,
    held: &HeldCollateral<'a>,
    replies: &[&'a Presented<Reply, OcspError>],
    terms: &Terms,
    links: &mut Links,
) -> Collateral<'a> {
    let rims = held.rims.iter().copied();
    let part = |r: &Presented<Rim, RimError>| device.part_of(r.content.as_ref().ok()?);
    let mut rims: Vec<_> = rims.filter(|r| part(r).is_some()).collect();
    let (revoked, hold): (Vec<_>, Vec<_>) = rims
        .iter()
        .copied()
        .partition(|r| is_revoked(r, replies, terms, links));
    if !revoked.is_empty() {
        let issued_anew: BTreeSet<_> = hold.iter().filter_map(|r| part(r)).collect();
        let stays = |r: &&_| part(r).is_some_and(|kind| !issued_anew.contains(&kind));
        rims = hold;
        rims.extend(revoked.into_iter().filter(stays));
    }
    let mut pairs: Vec<(&Certificate, &Certificate)> = Vec::new();
    pairs.extend(read.chain.content.iter().flat_map(known_to_responder));
    for rim in rims.iter().filter_map(|r| r.content.as_ref().ok()) {
        pairs.extend(rim.signers().windows(2).filter_map(|pair| match pair {
            [child, issuer] => Some((child, issuer)),
            _ => None,
        }));
    }
    let speaks = |reply: &Reply| pairs.iter().any(|(c, issuer)| reply.speaks_of(c, issuer));
    let replies = replies.iter().copied();
    let replies = replies.filter(|r| r.content.as_ref().is_ok_and(speaks)).collect();
    Collateral { rims, replies }
}

/// Whether the maker stands by a device's own certificates; `None` where replies do not tell. Those of manifests' signers are another matter.
fn certificate_check(standing: Standing) -> Option<Step> {
    match standing {
        Standing::Open => None,
        Standing::Good => Some(Step::Pass),
        Standing::Unknown => Some(Step::Fail(
            "its maker's responder does not know a certificate of the device".to_owned(),
        )),
        Standing::Revoked => Some(Step::Fail(
            "its maker revoked a certificate of the device, or put it on hold".to_owned(),
        )),
    }
}

/// Whether the chain holds, and is that of a device of the kind that was asked: the key of a switch proves no GPU, nor the reverse.
fn chain_check(asked: Attester, appraisal: &Appraisal) -> Step {
    match (asked, appraisal.is_switch()) {
        (Attester::Gpu, true) if appraisal.chain.passed() => {
            Step::Fail("a switch signed it, and it was presented as a GPU's".to_owned())
        }
        (Attester::Switch, false) if appraisal.chain.passed() => {
            Step::Fail("a GPU signed it, and it was presented as a switch's".to_owned())
        }
        _ => appraisal.chain.clone(),
    }
}

/// Whether a reply says that a signer of a manifest is revoked or on hold.
fn is_revoked(
    rim: &Presented<Rim, RimError>,
    replies: &[&Presented<Reply, OcspError>],
    terms: &Terms,
    links: &mut Links,
) -> bool {
    let replies = || replies.iter().filter_map(|r| r.content.as_ref().ok());
    let mut signers = rim.content.iter().flat_map(Rim::revocable);
    signers.any(|(signer, issuer)| {
        replies().any(|reply| {
            let said = reply.status(signer, issuer, terms.at, None, links);
            matches!(said, Ok(Some(Status::Revoked { .. })))
        })
    })
}

/// Whether certificates hold. What a responder says of the device's own counts against it; that the signer of a manifest was revoked, or that a reply cannot be
/// used, leaves open what the device is worth.
fn revocation_check(appraisal: &Appraisal) -> Step {
    match (&appraisal.revocation, appraisal.standing) {
        (Step::Fail(why), Standing::Good | Standing::Open) => Step::NotChecked(why.clone()),
        (step, _) => step.clone(),
    }
}

/// Whether the driver names a device as its certificate does. In which order it writes the eight bytes no published source says, so both count.
fn pdi_check(said: Option<u64>, appraisal: &Appraisal) -> Step {
    match (said, appraisal.pdi) {
        (Some(said), Some(pdi)) if [said.to_be_bytes(), said.to_le_bytes()].contains(&pdi.0) => Step::Pass,
        (Some(said), Some(pdi)) => Step::Fail(format!(
            "the driver names the device {said:016x}, and its certificate {pdi}"
        )),
        _ => Step::NotChecked("the driver does not name the device by its certificate".to_owned()),
    }
}
