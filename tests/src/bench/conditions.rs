//! Appraisal and conditions: what a report adds to the facts of its node costs, and what a site of 1,024 devices costs, evaluated whole and
//! again after one report or statement.
//!
//! The site is an ordinary one: its licence holds, all devices are on the manifest and proved who they are, and of a month each day is there
//! by itself. What is evaluated of a site at which little can be told costs less, and says nothing.

use super::figure::{Figure, number};
use super::reference::{NOMINAL_US, each};
use super::{Bench, say};
use crate::fixture::{self, Place};
use crate::licence::Terms;
use data_encoding::BASE64;
use nvidia_ml::Identity;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use weighbridge::accelerator::Catalogue;
use weighbridge::appraisal::evidence::{
    AppraisedDevice, AppraisedRound, Check, CheckName, CheckOutcome, LastRound, RoundStanding,
};
use weighbridge::appraisal::{Estate, HeardStatement, NodeAtSite, NodeRecord, NodeStatus, SiteFacts};
use weighbridge::cbor;
use weighbridge::conditions::{self, Evaluation, Finding, Outcome, REGISTRY};
use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer};
use weighbridge::hardware::nvidia::{DEVICE_ROOT, RIM_ROOT};
use weighbridge::id::{ChainId, DeviceUuid, Digest, NodeId, VerifierId};
use weighbridge::licence::{Licence, OwnCondition, PolicyInput, RegoVersion};
use weighbridge::report::{self, AcceleratorClaims, Attester, Continuity, OpenedReport, VerifiedReport};
use weighbridge::rules::{RuleSet, Severity};
use weighbridge::statement::{Kind, Role, payload, template};
use weighbridge::telemetry::ConfidentialCompute;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use weighbridge::unit::MicroTppHours;

/// Nodes of the site, each with eight devices.
const NODES: u16 = 128;
/// Reports of each node: a day of them.
const REPORTS: u64 = 288;
const SECONDS: u32 = 300;
const BEGUN: UnixSeconds = UnixSeconds(1_796_000_000);
const SITE: &str = "harbour-1";
/// Days of each node before its first report here.
const DAYS: i64 = 29;
const DAY_MS: u64 = 86_400_000;
/// What an H100 could compute in a day, in millionths of a TPP-hour.
const PEAK_OF_DAY: u128 = 15_832 * 24 * 1_000_000;
/// So much training that a month of the site stays below it.
const ALLOWANCE: &str = "tpp_hours_max = 1_000_000_000\ntpp_hours_period = \"term\"\n";
/// Statements on file.
const STATEMENTS: usize = 200;
/// Reports evaluated in a round.
const FOLLOWING: usize = 32;

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

    /// Says that its devices proved who they are, in a round that its newest report carries.
    fn prove(&mut self) {
        let newest = self.record.facts.newest.clone().unwrap();
        let mark = self.record.facts.clock.mark.clone().unwrap();
        let devices: Vec<_> = self.devices().iter().map(|d| answer(self.number, d)).collect();
        self.record.facts.round = Some(LastRound {
            report: newest.digest,
            received: newest.received,
            standing: RoundStanding::Good,
            signed: devices.len() as u16,
            none: Vec::new(),
        });
        self.record.evidence.take(AppraisedRound {
            report: newest.digest,
            given: newest.received.plus(-i64::from(SECONDS)),
            received: newest.received,
            standing: RoundStanding::Good,
            boot: mark.boot,
            covers_to: newest.end.plus(-i64::from(SECONDS)),
            ended: newest.end,
            at: newest.received,
            root: DEVICE_ROOT,
            rim_root: RIM_ROOT,
            devices,
            host: Vec::new(),
        });
    }

    /// Puts so many whole days before its first report, in which all was as in that.
    fn stood_for(&mut self, days: i64) {
        let earlier = |t: UnixSeconds| t.plus(-days * DAY_SECONDS);
        let facts = &mut self.record.facts;
        facts.earliest = facts.earliest.map(earlier);
        facts.first_received = facts.first_received.map(earlier);
        for device in &mut facts.devices {
            device.first_seen = device.first_seen.map(earlier);
            device.first_received = device.first_received.map(earlier);
        }
        let stretches = facts.devices.iter_mut().map(|d| &mut d.presence);
        for span in stretches.chain([&mut facts.presence]).flatten() {
            span.from = earlier(span.from);
            span.first_received = earlier(span.first_received);
        }
        let whole = self.record.days.values().next().unwrap().clone();
        for n in 1..=days {
            let mut day = whole.clone();
            day.day -= n;
            day.received = day.received.map(|t| t.plus(-n * DAY_SECONDS));
            for device in &mut day.devices {
                device.since = UnixSeconds(day.day * DAY_SECONDS);
                device.until = device.since.plus(DAY_SECONDS);
                device.sums.reports = REPORTS;
                device.sums.expected_ms = DAY_MS;
                device.sums.covered_ms = DAY_MS;
                device.sums.unconditional = MicroTppHours(PEAK_OF_DAY);
            }
            self.record.days.insert(day.day, day);
        }
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
        let mut claims = fixture::token(&place, 8);
        let host = &mut claims.submods.host.host;
        if let Some(driver) = &mut host.driver {
            driver.confidential_compute = Some(ConfidentialCompute {
                enabled: true,
                developer_mode: false,
                multi_gpu_mode: 0,
            });
        }
        let (bytes, digest) = report::sign(claims, self.devices(), Vec::new(), key).unwrap();
        self.previous = Some(digest);
        OpenedReport::open(&bytes)
            .unwrap()
            .verify(key.public_key())
            .unwrap()
    }
}

/// The answer of a device in a round in which all holds.
fn answer(node: u16, claims: &AcceleratorClaims) -> AppraisedDevice {
    let mine = |kind: u8| {
        let mut digest = [kind; 32];
        digest[..2].copy_from_slice(&node.to_be_bytes());
        digest[2..4].copy_from_slice(&claims.identity.index.to_be_bytes());
        Some(Digest(digest))
    };
    let passed = [
        CheckName::Signature,
        CheckName::Chain,
        CheckName::Fwid,
        CheckName::Nonce,
        CheckName::Rim,
        CheckName::Measurements,
        CheckName::Revocation,
        CheckName::Pdi,
    ];
    let check = |name| Check {
        name,
        outcome: CheckOutcome::Pass,
        why: String::new(),
    };
    AppraisedDevice {
        attester: Attester::Gpu,
        device: Some(claims.identity.uuid),
        none: None,
        evidence: mine(1),
        identity: mine(2),
        pdi: Some(format!("{node:08x}{:08x}", claims.identity.index)),
        arch: Some("hopper".to_owned()),
        mode: Some("spt".to_owned()),
        driver: Some("590.48.01".to_owned()),
        vbios: Some("96.00.9F.00.01".to_owned()),
        checks: passed.map(check).into(),
        mismatches: Vec::new(),
        whole: true,
        collateral: Vec::new(),
        measured: Some(Digest([0x4d; 32])),
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
    say("conditions: facts and findings of 128 nodes with 1,024 devices");
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

    let mut site = Site::new(&key);
    let whole = site.whole(bench);
    let mut judged_sums = 0;
    let sums = rounds(bench, || site.follow(&key, &mut judged_sums));
    site.licence = Arc::clone(&site.without_allowance);
    let mut judged = 0;
    let following = rounds(bench, || site.follow(&key, &mut judged));
    let mut judged_odd = 0;
    let odd = rounds(bench, || site.follow_odd(&mut judged_odd));
    site.file(STATEMENTS);
    let with_statements = site.whole(bench);
    let mut judged_filed = 0;
    let filing = rounds(bench, || site.file_another(&mut judged_filed));
    let policies = Policies::of(bench, &site);
    let figure = |name, what, rounds| Figure::of(name, what, "verifications", rounds);
    vec![
        Figure::of(
            "conditions.rego",
            "ask one policy of a licence by the findings of a site of 1,024 devices, beside the first, for which the facts are made",
            "verifications",
            policies.next,
        )
        .at_most(millis(1.0))
        .beside("milliseconds", number(policies.next_ms)),
        Figure::of(
            "conditions.rego.devices",
            "make the facts that it names and ask one policy of a licence that looks at each of 1,024 devices",
            "verifications",
            policies.first,
        )
        .at_most(millis(1.0))
        .beside("milliseconds", number(policies.first_ms)),
        figure(
            "conditions.rego.read",
            "read that policy, once for a licence",
            policies.read,
        ),
        figure(
            "conditions.facts",
            "fold one report of 8 GPUs into the facts of its node and encode them, the mean over a day of 288",
            folding,
        )
        .beside("bytes of a node's facts and day", bytes),
        figure(
            "conditions.site",
            "evaluate every condition for a site of 128 nodes and 1,024 devices",
            whole,
        )
        .at_most(millis(20.0))
        .beside("conditions", REGISTRY.len())
        .beside("met", site.met()),
        figure(
            "conditions.statements",
            "the same with 200 statements on file",
            with_statements,
        )
        .at_most(millis(20.0)),
        figure(
            "conditions.incremental",
            "evaluate again what one more report of one node can have changed",
            following,
        )
        .at_most(millis(0.2))
        .beside("conditions judged again", judged),
        figure(
            "conditions.incremental.sums",
            "the same under a licence that allows so much training: what is computed is added up again",
            sums,
        )
        .beside("conditions judged again", judged_sums),
        figure(
            "conditions.incremental.odd",
            "the same, where the report shows something new",
            odd,
        )
        .beside("conditions judged again", judged_odd),
        figure(
            "conditions.incremental.statement",
            "evaluate again what one more statement can have changed, beside 200",
            filing,
        )
        .beside("conditions judged again", judged_filed),
    ]
}

/// What policies cost beside the published conditions.
struct Policies {
    first: Vec<f64>,
    next: Vec<f64>,
    read: Vec<f64>,
    first_ms: f64,
    next_ms: f64,
}

impl Policies {
    fn of(bench: &Bench, site: &Site) -> Self {
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
            ..Licence::clone(&site.licence)
        };
        // What is asked again with any policy: red flags, what rests on them, and the order.
        let none = with(vec![own(1, "package weighbridge\nverdict := true")]);
        let devices = with(vec![own(1, DEVICES)]);
        let findings = with(
            (1..=11)
                .map(|n| own(n, if n == 1 { DEVICES } else { FINDINGS }))
                .collect(),
        );
        // A report that says nothing new, so that as little as can be is judged beside the policies.
        let before = site.facts.nodes[0].record.clone();
        let ns = |licence: &Licence| {
            let mut evaluation = Evaluation::new(
                Arc::new(licence.clone()),
                Arc::clone(&site.rules),
                Arc::clone(&site.catalogue),
                &site.facts,
                site.now,
            );
            each(20, || evaluation.report(&site.facts, [&before], site.now))
        };
        let (mut first_ms, mut next_ms) = (0.0, 0.0);
        let (mut first, mut next) = (Vec::new(), Vec::new());
        for _ in 0..bench.rounds() {
            let round = bench.reference.hold(|| ns(&devices) - ns(&none));
            first.push(round.ratio());
            first_ms = round.work_ns / 1e6;
            let round = bench.reference.hold(|| (ns(&findings) - ns(&devices)) / 10.0);
            next.push(round.ratio());
            next_ms = round.work_ns / 1e6;
        }
        let read = rounds(bench, || each(20, || conditions::policy_mistakes(&devices)));
        Self {
            first,
            next,
            read,
            first_ms,
            next_ms,
        }
    }
}

/// So many milliseconds of a requirement, in verifications.
fn millis(ms: f64) -> f64 {
    ms * 1_000.0 / NOMINAL_US
}

/// Rounds of a measurement in nanoseconds, in verifications.
fn rounds(bench: &Bench, mut measure: impl FnMut() -> f64) -> Vec<f64> {
    (0..bench.rounds())
        .map(|_| bench.reference.hold(&mut measure).ratio())
        .collect()
}

/// A site with its licence, and how it goes on.
struct Site {
    nodes: Vec<Reporting>,
    facts: SiteFacts,
    licence: Arc<Licence>,
    without_allowance: Arc<Licence>,
    rules: Arc<RuleSet>,
    catalogue: Arc<Catalogue>,
    now: UnixSeconds,
    /// Reports of each node so far.
    sequence: u64,
    signer: Digest,
}

impl Site {
    /// Each node with a month, the last two hours of it report by report, and a licence with all its devices.
    fn new(key: &SecretKey) -> Self {
        let first = REPORTS - REPORTS / 12 + 1;
        let mut identities = Vec::new();
        let mut nodes: Vec<_> = (0..NODES).map(Reporting::new).collect();
        let mut at_site = Vec::new();
        for node in &mut nodes {
            identities.extend(node.devices().iter().map(identity));
            for n in first..=REPORTS {
                let report = node.report(n, key);
                node.record
                    .absorb(&report, received(n), Continuity::Follows, None, None);
            }
            node.prove();
            node.stood_for(DAYS);
            at_site.push(NodeAtSite {
                status: NodeStatus {
                    name: format!("n-{:03}", node.number),
                    approved: Some(BEGUN.plus(-DAYS * DAY_SECONDS)),
                    revoked_from: None,
                    revoked_at: None,
                    succeeded_from: None,
                    key_certified: false,
                },
                record: node.record.clone(),
            });
        }
        let signer = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let rows: Vec<_> = identities.iter().map(|i| (i, SITE)).collect();
        let terms = Terms {
            valid_from: received(first).plus(-DAYS * DAY_SECONDS),
            more: format!("{ALLOWANCE}reported_bounds_suffice = true\n"),
            ..Terms::at(SITE)
        };
        let mut text = terms.write(&rows);
        text = text.replace("licensed_tpp = 4_000_000", "licensed_tpp = 20_000_000");
        text = text.replace("count = 64", "count = 1024");
        let spki = BASE64.encode(signer.public_key().spki());
        for role in Role::ALL {
            text.push_str(&format!(
                "\n[[signers]]\nname = \"Harbour Compute Pte. Ltd.\"\nrole = \"{role}\"\nkey = \"{spki}\"\n"
            ));
            if *role == Role::Assessor {
                text.push_str("accreditation = \"A-1234\"\n");
            }
        }
        let licence = Arc::new(Licence::parse(&text).unwrap());
        let without_allowance = Arc::new(Licence::parse(&text.replace(ALLOWANCE, "")).unwrap());
        Self {
            nodes,
            facts: SiteFacts {
                site: SITE.to_owned(),
                nodes: at_site,
                elsewhere: Vec::new(),
                licences: vec![Arc::clone(&licence)],
                statements: Vec::new(),
                issuers: BTreeMap::new(),
                estate: Estate::default(),
                standing: Arc::default(),
                former: Vec::new(),
            },
            rules: Arc::new(RuleSet::carried(&licence.ruleset_id).unwrap()),
            catalogue: Arc::new(Catalogue::embedded().unwrap()),
            licence,
            without_allowance,
            now: received(REPORTS).plus(10),
            sequence: REPORTS,
            signer: signer.public_key().id(),
        }
    }

    fn evaluate(&self) -> Vec<Finding> {
        conditions::evaluate(&self.licence, &self.rules, &self.catalogue, &self.facts, self.now)
    }

    fn met(&self) -> usize {
        let findings = self.evaluate();
        findings.iter().filter(|f| f.outcome == Outcome::Met).count()
    }

    fn whole(&self, bench: &Bench) -> Vec<f64> {
        rounds(bench, || each(3, || self.evaluate()))
    }

    fn begin(&self) -> Evaluation {
        Evaluation::new(
            Arc::clone(&self.licence),
            Arc::clone(&self.rules),
            Arc::clone(&self.catalogue),
            &self.facts,
            self.now,
        )
    }

    /// Evaluates again after one more report of some nodes, one after the other; returns the mean in nanoseconds.
    fn follow(&mut self, key: &SecretKey, judged: &mut usize) -> f64 {
        self.sequence += 1;
        let now = received(self.sequence);
        let mut after = Vec::new();
        for node in self.nodes.iter_mut().take(FOLLOWING) {
            let report = node.report(self.sequence, key);
            node.record.absorb(&report, now, Continuity::Follows, None, None);
            after.push(node.record.clone());
        }
        let mut evaluation = self.begin();
        self.now = now.plus(FOLLOWING as i64);
        let mut at = 0;
        each(FOLLOWING as u32, || {
            std::mem::swap(&mut self.facts.nodes[at].record, &mut after[at]);
            *judged = evaluation.report(&self.facts, [&after[at]], now.plus(at as i64));
            at += 1;
        })
    }

    /// The same where the report says that its agent was started anew.
    fn follow_odd(&mut self, judged: &mut usize) -> f64 {
        let mut evaluation = self.begin();
        let mut at = 0;
        each(4, || {
            let before = self.facts.nodes[at].record.clone();
            self.facts.nodes[at].record.facts.agent_starts += 1;
            *judged = evaluation.report(&self.facts, [&before], self.now);
            at += 1;
        })
    }

    /// Puts statements on file, of every kind in turn.
    fn file(&mut self, number: usize) {
        for n in self.facts.statements.len()..number {
            let kind = &Kind::ALL[n % Kind::ALL.len()];
            let text = template(kind)
                .replace("role = \"operator\"", &format!("role = \"{}\"", kind.roles[0]))
                .replace("# sites = ", "sites = ")
                .replace("T08:00:00Z", &format!("T08:{:02}:{:02}Z", n / 60, n % 60));
            let (_, statement) = payload(&text).unwrap();
            self.facts.statements.push(Arc::new(HeardStatement {
                statement,
                signers: vec![self.signer],
                filed: BEGUN,
            }));
        }
    }

    /// Evaluates again after one more statement.
    fn file_another(&mut self, judged: &mut usize) -> f64 {
        let mut evaluation = self.begin();
        self.file(self.facts.statements.len() + 1);
        let cost = each(1, || *judged = evaluation.statement(&self.facts, self.now));
        drop(self.facts.statements.pop());
        cost
    }
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
