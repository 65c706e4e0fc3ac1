//! Evidence of devices: one report appraised, against the bare cost of the P-384 verifications in it.
//!
//! The devices are synthetic and of the genuine layout: 64 measurements, five certificates, two manifests of 64 entries.

use super::figure::{Figure, number};
use super::reference::{Reference, Round, each, median_ratio};
use super::{Bench, nvidia_verifier, say};
use crate::device_pki::{Chip, DevicePki, Said};
use weighbridge::hardware::nvidia::{
    Appraisal, Collateral, DeviceChain, Presented, Rim, RimError, Terms, appraise,
};
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;
use weighbridge::x509::{CertificateError, Links};

/// A report whose chain and manifests were verified before, in verifications.
const MAX_KNOWN: f64 = 1.15;
/// A report at first sight, as a multiple of the verifications that it contains.
const MAX_FIRST: f64 = 1.2;
/// Reports of each device of the fleet.
const REPORTS: usize = 10;

/// What a report is appraised under.
pub(super) struct Desk {
    /// The manifests for driver and VBIOS.
    pub(super) manifests: [String; 2],
    /// SHA-256 of the key at the root of the manifests.
    pub(super) rim_root: Digest,
    pub(super) terms: Terms,
}

impl Desk {
    /// For synthetic devices.
    pub(super) fn of(pki: &DevicePki) -> Self {
        let Said {
            nonce, driver, vbios, ..
        } = Said::default();
        Self {
            manifests: [
                pki.rim("GH100", &driver.unwrap(), 0..21),
                pki.rim("GH100", &vbios, 21..33),
            ],
            rim_root: pki.rim_root_id(),
            terms: Terms {
                at: UnixSeconds::parse("2026-11-01T12:00:00Z").unwrap(),
                nonce: Some(nonce),
                root: pki.root_id(),
            },
        }
    }

    pub(super) fn manifests(&self, links: &mut Links) -> [Presented<Rim, RimError>; 2] {
        self.manifests.each_ref().map(|text| {
            Presented::read("manifest", text.as_bytes(), |b| {
                Rim::verify(b, &self.rim_root, links)
            })
        })
    }

    /// Appraises a report of which everything must pass.
    pub(super) fn appraise(
        &self,
        report: &[u8],
        chain: &Presented<DeviceChain, CertificateError>,
        manifests: &[Presented<Rim, RimError>; 2],
        links: &mut Links,
    ) -> Appraisal {
        let collateral = Collateral {
            rims: manifests.iter().collect(),
            replies: Vec::new(),
        };
        let appraisal = appraise(report, chain, &collateral, &self.terms, links);
        assert!(
            appraisal.signature.passed()
                && appraisal.chain.passed()
                && appraisal.nonce.passed()
                && appraisal.measurements.passed()
                && appraisal.compared_whole(),
            "{:?}",
            appraisal.why
        );
        appraisal
    }
}

/// Reads a chain in PEM.
pub(super) fn chain(pem: &str) -> Presented<DeviceChain, CertificateError> {
    Presented::read("chain", pem.as_bytes(), |b| {
        DeviceChain::parse(&String::from_utf8_lossy(b))
    })
}

/// Measures one report that is known, one that is not, those of a fleet, and NVIDIA's verifier beside.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    let (reference, pki) = (Reference::p384(), DevicePki::new());
    let desk = Desk::of(&pki);
    let mut figures = vec![
        bare(bench, &reference),
        known(bench, &reference, &pki, &desk),
        first(bench, &reference, &pki, &desk),
        fleet(bench, &reference, &pki, &desk),
    ];
    figures.extend(nvidia_verifier::measure(bench, &reference));
    figures
}

fn bare(bench: &Bench, reference: &Reference) -> Figure {
    let rounds = (0..bench.rounds())
        .map(|_| reference.measure() / 1000.0)
        .collect();
    Figure::of(
        "evidence.reference",
        "one bare P-384 verification of 2,048 bytes by ring, the unit of the figures of evidence",
        "µs CPU",
        rounds,
    )
}

fn known(bench: &Bench, reference: &Reference, pki: &DevicePki, desk: &Desk) -> Figure {
    say("evidence: a report whose chain and manifests are known");
    let device = pki.device(Chip::Gh100, 0);
    let (report, chain) = (device.report(&Said::default()), chain(&device.chain));
    let mut links = Links::default();
    let manifests = desk.manifests(&mut links);
    let rounds: Vec<_> = (0..bench.rounds())
        .map(|_| {
            reference
                .hold(|| each(100, || desk.appraise(&report, &chain, &manifests, &mut links)))
                .ratio()
        })
        .collect();
    Figure::of(
        "evidence.known",
        "appraise a report: signature, nonce and measurements; chain and manifests were verified before",
        "P-384 verifications",
        rounds,
    )
    .at_most(MAX_KNOWN)
}

fn first(bench: &Bench, reference: &Reference, pki: &DevicePki, desk: &Desk) -> Figure {
    say("evidence: a report at first sight");
    let device = pki.device(Chip::Gh100, 0);
    let report = device.report(&Said::default());
    let once = || {
        let mut links = Links::default();
        let manifests = desk.manifests(&mut links);
        desk.appraise(&report, &chain(&device.chain), &manifests, &mut links);
        links.count()
    };
    // Beside the links of all chains: the report's own signature, and those of the manifests.
    let contained = (once() + 1 + desk.manifests.len()) as f64;
    let rounds: Vec<_> = (0..bench.rounds())
        .map(|_| reference.hold(|| each(20, once)).ratio() / contained)
        .collect();
    Figure::of(
        "evidence.first",
        "read and appraise a report, its chain and two manifests at first sight, against the verifications in it",
        "times",
        rounds,
    )
    .at_most(MAX_FIRST)
    .beside("P-384 verifications in it, counted", contained)
}

fn fleet(bench: &Bench, reference: &Reference, pki: &DevicePki, desk: &Desk) -> Figure {
    let devices: u16 = if bench.quick { 50 } else { 1_000 };
    say(&format!(
        "evidence: {REPORTS} reports of each of {devices} devices"
    ));
    let fleet: Vec<_> = (0..devices)
        .map(|number| {
            let device = pki.device(Chip::Gh100, number);
            let reports = [(); REPORTS].map(|()| device.report(&Said::default()));
            (device, reports)
        })
        .collect();
    let mut links = Links::default();
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds() {
        links = Links::default();
        let all = || {
            let manifests = desk.manifests(&mut links);
            for turn in 0..REPORTS {
                for (device, reports) in &fleet {
                    desk.appraise(&reports[turn], &chain(&device.chain), &manifests, &mut links);
                }
            }
        };
        let reports = f64::from(devices) * REPORTS as f64;
        rounds.push(reference.hold(|| each(1, all) / reports));
    }
    let own = (links.count() + desk.manifests.len()) as f64 / (f64::from(devices) * REPORTS as f64) + 1.0;
    Figure::of(
        "evidence.fleet",
        "appraise a report of a fleet, each with its chain read anew, what is shared verified once",
        "P-384 verifications",
        rounds.iter().map(Round::ratio).collect(),
    )
    .beside("reports", usize::from(devices) * REPORTS)
    .beside("P-384 verifications for each, counted", number(own))
    .beside("above them", number(median_ratio(&rounds) - own))
}
