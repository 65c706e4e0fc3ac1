//! Appraisal and conditions: what a report adds to the facts of its node costs, and what a site of 1,000 devices costs.

use super::figure::{Figure, number};
use super::reference::each;
use super::{Bench, say};
use crate::fixture::{self, Place};
use crate::licence::Terms;
use nvidia_ml::Identity;
use std::collections::BTreeMap;
use std::hint::black_box;
use weighbridge::accelerator::Catalogue;
use weighbridge::appraisal::{Estate, NodeAtSite, NodeRecord, NodeStatus, SiteFacts};
use weighbridge::cbor;
use weighbridge::conditions::{self, REGISTRY};
use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer};
use weighbridge::id::{ChainId, DeviceUuid, Digest, NodeId, VerifierId};
use weighbridge::licence::{Licence, OwnCondition, PolicyInput, RegoVersion};
use weighbridge::report::{self, AcceleratorClaims, Continuity, OpenedReport, VerifiedReport};
use weighbridge::rules::{RuleSet, Severity};
use weighbridge::time::UnixSeconds;

/// Nodes of the site, each with eight devices.
const NODES: u16 = 125;
/// Reports of each node: a day of them.
const REPORTS: u64 = 288;
const SECONDS: u32 = 300;
const BEGUN: UnixSeconds = UnixSeconds(1_795_000_000);
const SITE: &str = "harbour-1";

/// One node, reporting.
struct Reporting {
    number: u16,
    chain: ChainId,
    previous: Option<Digest>,
    record: NodeRecord,
}

impl Reporting {
    fn new(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        let mut id = [1; 17];
        id[15..].copy_from_slice(&[high, low]);
        Self {
            number,
            chain: ChainId([low; 16]),
            previous: None,
            record: NodeRecord::new(NodeId(id)),
        }
    }

    fn devices(&self) -> Vec<AcceleratorClaims> {
        let mut all = fixture::accelerators(8, SECONDS);
        for device in &mut all {
            device.identity.uuid.0[..2].copy_from_slice(&self.number.to_be_bytes());
            device.identity.serial = Some(format!("1653{:05}{:04}", self.number, device.identity.index));
        }
        all
    }

    /// Its report with this number, checked.
    fn report(&mut self, sequence: u64, key: &SecretKey) -> VerifiedReport {
        let place = Place {
            verifier: VerifierId([0xfe; 32]),
            node: self.record.facts.node,
            chain: self.chain,
            sequence,
            previous: self.previous,
            wall_end: BEGUN.plus(sequence as i64 * i64::from(SECONDS)),
            challenge: None,
            seconds: SECONDS,
        };
        let (bytes, digest) =
            report::sign(fixture::token(&place, 8), self.devices(), Vec::new(), key).unwrap();
        self.previous = Some(digest);
        OpenedReport::open(&bytes)
            .unwrap()
            .verify(key.public_key())
            .unwrap()
    }
}

/// When a report with this number was received.
fn received(sequence: u64) -> UnixSeconds {
    BEGUN.plus(sequence as i64 * i64::from(SECONDS) + 2)
}

fn how(sequence: u64) -> Continuity {
    if sequence == 1 {
        Continuity::First
    } else {
        Continuity::Follows
    }
}

/// Measures folding reports into facts, and evaluating a site.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    say("conditions: facts and findings of 125 nodes with 1,000 devices");
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();

    // A day of one node's reports, folded from the beginning in every round; facts and day are encoded after each, as they are stored.
    let mut node = Reporting::new(0);
    let day: Vec<_> = (1..=REPORTS).map(|n| node.report(n, &key)).collect();
    let mut bytes = 0;
    let folding = (0..bench.rounds())
        .map(|_| {
            let round = bench.reference.hold(|| {
                let day_ns = each(1, || {
                    let mut record = NodeRecord::new(node.record.facts.node);
                    for (n, report) in (1..).zip(&day) {
                        let changed = record.absorb(report, received(n), how(n), None, None).unwrap();
                        let facts = cbor::encode(&record.facts);
                        let sums = cbor::encode(&record.days[&changed]);
                        bytes = black_box(facts.len() + sums.len());
                    }
                });
                day_ns / day.len() as f64
            });
            round.ratio()
        })
        .collect();

    let (facts, licence) = site(&key);
    let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
    let catalogue = Catalogue::embedded().unwrap();
    let now = received(REPORTS).plus(10);
    let mut findings = 0;
    let evaluating = (0..bench.rounds())
        .map(|_| {
            let round = bench.reference.hold(|| {
                each(5, || {
                    let found = conditions::evaluate(&licence, &rules, &catalogue, &facts, now);
                    findings = found.len();
                    found
                })
            });
            round.ratio()
        })
        .collect();
    let policies = Policies::of(bench, (&licence, &rules, &catalogue, &facts, now));
    vec![
        Figure::of(
            "conditions.rego",
            "read and ask one policy of a licence by the findings of a site of 1,000 devices, beside the first, for which the facts are made",
            "verifications",
            policies.next,
        )
        .beside("milliseconds", number(policies.next_ms)),
        Figure::of(
            "conditions.rego.devices",
            "read and ask one policy of a licence that looks at each of 1,000 devices, and make the facts that policies see",
            "verifications",
            policies.first,
        )
        .beside("milliseconds", number(policies.first_ms)),
        Figure::of(
            "conditions.facts",
            "fold one report of 8 GPUs into the facts of its node and encode them, the mean over a day of 288",
            "verifications",
            folding,
        )
        .beside("bytes of a node's facts and day", bytes),
        Figure::of(
            "conditions.site",
            "evaluate every condition for a site of 125 nodes and 1,000 devices",
            "verifications",
            evaluating,
        )
        .beside("conditions", REGISTRY.len())
        .beside("findings", findings)
        .beside("reports folded into its facts", number(REPORTS as f64 / 12.0 * f64::from(NODES))),
    ]
}

/// What policies cost beside the published conditions.
struct Policies {
    first: Vec<f64>,
    next: Vec<f64>,
    first_ms: f64,
    next_ms: f64,
}

/// What an evaluation takes.
type Asked<'a> = (
    &'a Licence,
    &'a RuleSet,
    &'a Catalogue,
    &'a SiteFacts,
    UnixSeconds,
);

impl Policies {
    fn of(bench: &Bench, (licence, rules, catalogue, facts, now): Asked<'_>) -> Self {
        const FINDINGS: &str = "package weighbridge
open := {f | some f in [\"INV-01\", \"INV-02\", \"CAP-01\"]; input.findings[f].outcome == \"not met\"}
verdict := {\"outcome\": \"met\", \"sentence\": \"none of them is broken\"} if count(open) == 0
verdict := {\"outcome\": \"not met\", \"sentence\": concat(\", \", sort(open)), \"subjects\": open} if count(open) > 0";
        const DEVICES: &str = "package weighbridge
hit contains d.uuid if { some d in input.devices; d.vbios in {\"96.00.30.00.01\", \"96.00.3F.00.01\"} }
verdict := {\"outcome\": \"met\", \"sentence\": \"none was called back\"} if count(hit) == 0
verdict := {\"outcome\": \"not met\", \"sentence\": \"some were\", \"subjects\": hit} if count(hit) > 0";
        let own = |number: usize, policy: &str| OwnCondition {
            id: format!("OWN-{number:02}"),
            title: "a condition of its own".to_owned(),
            severity: Severity::Minor,
            policy: policy.to_owned(),
            rule: "data.weighbridge.verdict".to_owned(),
            input: PolicyInput::Facts,
            rego: RegoVersion::V1,
            line: 1,
        };
        let with = |conditions: Vec<OwnCondition>| Licence {
            conditions,
            ..licence.clone()
        };
        let devices = with(vec![own(1, DEVICES)]);
        let findings = with(
            (1..=11)
                .map(|n| own(n, if n == 1 { DEVICES } else { FINDINGS }))
                .collect(),
        );
        let ns = |licence: &Licence| each(3, || conditions::evaluate(licence, rules, catalogue, facts, now));
        let (mut first_ms, mut next_ms) = (0.0, 0.0);
        let mut first = Vec::new();
        let mut next = Vec::new();
        for _ in 0..bench.rounds() {
            let (bare, mut one) = (ns(licence), 0.0);
            let round = bench.reference.hold(|| {
                one = ns(&devices);
                one - bare
            });
            first.push(round.ratio());
            first_ms = (one - bare) / 1e6;
            let round = bench.reference.hold(|| (ns(&findings) - one) / 10.0);
            next.push(round.ratio());
            next_ms = round.work_ns / 1e6;
        }
        Self {
            first,
            next,
            first_ms,
            next_ms,
        }
    }
}

/// The facts of a site, each node with two hours of reports, and a licence with all its devices.
fn site(key: &SecretKey) -> (SiteFacts, Licence) {
    let mut identities = Vec::new();
    let nodes = (0..NODES)
        .map(|number| {
            let mut node = Reporting::new(number);
            identities.extend(node.devices().iter().map(identity));
            for n in REPORTS - REPORTS / 12 + 1..=REPORTS {
                let report = node.report(n, key);
                node.record
                    .absorb(&report, received(n), Continuity::Follows, None, None);
            }
            NodeAtSite {
                status: NodeStatus {
                    name: format!("n-{number:03}"),
                    approved: Some(BEGUN),
                    revoked_from: None,
                    revoked_at: None,
                    succeeded_from: None,
                    key_certified: false,
                },
                record: node.record,
            }
        })
        .collect();
    let rows: Vec<_> = identities.iter().map(|i| (i, SITE)).collect();
    let licence = Licence::parse(&Terms::at(SITE).write(&rows)).unwrap();
    let facts = SiteFacts {
        site: SITE.to_owned(),
        nodes,
        elsewhere: Vec::new(),
        licences: Vec::new(),
        former: Vec::new(),
        statements: Vec::new(),
        issuers: BTreeMap::new(),
        estate: Estate::default(),
        standing: Default::default(),
    };
    (facts, licence)
}

/// A device as a manifest names it.
fn identity(claims: &AcceleratorClaims) -> Identity {
    let uuid: DeviceUuid = claims.identity.uuid;
    Identity {
        uuid: uuid.nvml(),
        mig_uuids: Vec::new(),
        serial: claims.identity.serial.clone().unwrap_or_default(),
        pdi: 0,
        bus: 0,
        bus_id: String::new(),
        name: "NVIDIA H100 80GB HBM3",
    }
}
