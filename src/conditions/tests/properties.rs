//! What no evidence that is missing, and no declaration, may do.

use super::*;
use crate::appraisal::evidence::{CheckName, CheckOutcome};
use crate::appraisal::fixture::{bus, came_to, compute, driver};
use crate::report::TokenClaims;
use crate::statement::{Kind, Role};
use crate::telemetry::{DeviceState, LibraryOrigin, Reading};
use proptest::strategy::Strategy as _;

/// Reports of each node.
const REPORTS: usize = 8;

/// What the devices of a report may be that they should not.
const DEVICES: &[fn(&mut Vec<AcceleratorClaims>)] = &[
    |devices| devices.push(gpu(99)),
    |devices| devices[1].identity.memory_mib = Reading::Value(24_576),
    |devices| devices.extend([gpu(1), gpu(3)]),
    |devices| devices[0].delivered.training = Some(compute(60_000, 60_001)),
    |devices| devices[0].state = DeviceState::Hung,
    |devices| devices.truncate(1),
];

/// What a report may say of its host that it should not.
const HOSTS: &[fn(&mut TokenClaims)] = &[
    |c| {
        let unmanaged = bus(0x2331, 1, 0, DeviceState::Unmanaged);
        c.submods.host.host.bus.push(unmanaged);
    },
    |c| {
        let mut ascend = bus(0xd802, 1, 0, DeviceState::Unmanaged);
        ascend.id.vendor = 0x19e5;
        c.submods.host.host.bus.push(ascend);
    },
    |c| {
        let mut other = driver();
        other.library_origin = LibraryOrigin::Writable;
        c.submods.host.host.driver = Some(other);
    },
    |c| c.issued_at = c.issued_at.plus(-4_000),
    |c| c.report.chain = crate::id::ChainId([77; 16]),
];

/// Node, report, and what it shows.
type Mishap = (usize, usize, usize);

/// What is taken out of the evidence.
#[derive(Clone, Debug)]
struct Missing {
    /// Reports that were not delivered, but the last.
    reports: [u8; 2],
    /// Nodes of which no report came at all.
    silent: [bool; 2],
    /// Nodes that sent no round.
    roundless: [bool; 2],
    /// Which statements are not on file.
    statements: u32,
}

const NOTHING: Missing = Missing {
    reports: [0; 2],
    silent: [false; 2],
    roundless: [false; 2],
    statements: 0,
};

/// A site with statements and rounds, of which some reports show a mishap, as far as the evidence came.
fn site(mishaps: &[Mishap], missing: &Missing) -> Scene {
    let mut scene = Scene::empty().attested();
    for at in 0..2 {
        let numbers = [[1, 2], [3, 4]][at];
        for number in 0..REPORTS {
            let here = mishaps.iter().filter(|m| (m.0, m.1) == (at, number));
            let mut here: Vec<usize> = here.map(|m| m.2).collect();
            // A device that is gone shows nothing else: what takes one away stands last.
            here.sort_unstable();
            let mut devices = numbers.map(gpu).to_vec();
            here.iter()
                .filter_map(|m| DEVICES.get(*m))
                .for_each(|edit| edit(&mut devices));
            devices.sort_by_key(|d| d.identity.uuid);
            devices.dedup_by_key(|d| d.identity.uuid);
            let lab = &mut scene.labs[at];
            let report = lab.make(&devices, |claims| {
                let hosts = here
                    .iter()
                    .filter_map(|m| HOSTS.get(m.checked_sub(DEVICES.len())?));
                hosts.for_each(|edit| edit(claims));
            });
            let kept = number + 1 == REPORTS || missing.reports[at] & (1 << number) == 0;
            if kept && !missing.silent[at] {
                let received = lab.wall().plus(5);
                lab.receive(&report, received);
            }
        }
        if !missing.silent[at] && !missing.roundless[at] {
            scene.labs[at].prove(numbers.map(answer).to_vec());
        }
    }
    scene.now = scene.labs[0].wall().plus(10);
    let mut bits = (0..u32::BITS).map(|n| missing.statements & (1 << n) == 0);
    scene.statements.retain(|_| bits.next().unwrap_or(true));
    scene
}

/// What comes out better with less evidence than with all of it.
fn better(less: &[Finding], whole: &[Finding]) -> Vec<String> {
    // What nobody declares contradicts nothing.
    let concerned = less.iter().filter(|f| f.condition != "EVI-02");
    let told = concerned.filter_map(|finding| {
        let all = whole.iter().find(|f| f.condition == finding.condition).unwrap();
        let better = match finding.outcome {
            Outcome::Met => all.outcome != Outcome::Met,
            Outcome::NotApplicable => all.outcome == Outcome::NotMet,
            _ => false,
        };
        better.then(|| {
            format!(
                "{}: {}, and with everything {}",
                finding.condition, finding.sentence, all.sentence
            )
        })
    });
    told.collect()
}

/// Whoever withholds one report withholds the one that shows what is wrong.
#[test]
fn no_report_that_is_withheld_makes_a_condition_met() {
    for mishap in 0..DEVICES.len() + HOSTS.len() {
        for number in [0, 3] {
            let mishaps = [(0, number, mishap)];
            let mut missing = NOTHING;
            missing.reports[0] = 1 << number;
            let (less, whole) = (site(&mishaps, &missing), site(&mishaps, &NOTHING));
            let better = better(&less.findings(), &whole.findings());
            assert!(
                better.is_empty(),
                "mishap {mishap} in report {number}: {better:#?}"
            );
        }
    }
}

/// Conditions that measurements break, and that no declaration mends.
const MEASURED: &[&str] = &[
    "INV-01", "INV-03", "INV-05", "INV-06", "INV-10", "INV-11", "CAP-01", "CAP-02", "TRN-04", "TRN-07",
    "SEC-01", "SEC-02", "SEC-04", "SEC-06", "SEC-09",
];

/// The site with mishaps, and a licence that is broken by what its devices are and did.
fn broken(mishaps: &[Mishap], fails: CheckName) -> Scene {
    let mut scene = site(mishaps, &NOTHING)
        .with("licensed_tpp = 63_328", "licensed_tpp = 20_000")
        .with("count = 4", "count = 1");
    let newest = scene.labs[0].record.evidence.newest.as_mut().unwrap();
    came_to(&mut newest.devices[0], fails, CheckOutcome::Fail, "it is so");
    scene
}

/// Files a statement of any kind, by anyone who may give it, that speaks for the site as well as it can.
fn plead(scene: &mut Scene, kind: &Kind, signers: &[(Role, Digest)], number: usize) {
    let condition = format!("condition = \"{}\"", MEASURED[number % MEASURED.len()]);
    let device = format!("\"{}\"", gpu(1 + (number % 4) as u8).identity.uuid.nvml());
    let draft = crate::statement::template(kind);
    let role = kind.roles[number % kind.roles.len()];
    let first = format!("role = \"{}\"", kind.roles[0]);
    let changes = [
        (first.as_str(), format!("role = \"{role}\"")),
        ("condition = \"PHY-04\"", condition.clone()),
        ("condition = \"INV-11\"", condition),
        ("licence = \"HX-2026-0042\"", "licence = \"L-1\"".to_owned()),
        ("\"GPU-1653b042-3c11-4d21-9a00-000000000117\"", device),
    ];
    let drafted = draft.replace("role = \"operator\"", &first);
    let fits = changes.iter().filter(|(old, _)| drafted.contains(old));
    let fits: Vec<(&str, &str)> = fits.map(|(old, new)| (*old, new.as_str())).collect();
    let by = signers.iter().find(|(r, _)| *r == role).unwrap().1;
    scene.file(kind.name, by, &fits);
}

fn mishaps() -> impl proptest::strategy::Strategy<Value = Vec<Mishap>> {
    let one = (0usize..2, 0usize..REPORTS, 0usize..DEVICES.len() + HOSTS.len());
    proptest::collection::vec(one, 0..4)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever does not come: reports but the newest, all of a node, rounds, statements.
    #[test]
    fn no_evidence_that_is_missing_makes_a_condition_met(
        mishaps in mishaps(),
        reports: [u8; 2],
        silent in (0usize..6).prop_map(|n| [n == 0, n == 1]),
        roundless: [bool; 2],
        statements: u32,
    ) {
        let whole = site(&mishaps, &NOTHING).findings();
        let less = site(&mishaps, &Missing { reports, silent, roundless, statements });
        let better = better(&less.findings(), &whole);
        proptest::prop_assert!(better.is_empty(), "{better:#?}");
    }

    /// Whatever anyone declares of it whom the licence hears.
    #[test]
    fn no_declaration_makes_met_what_measurements_break(
        mishaps in mishaps(),
        fails in 0usize..3,
        pleas in proptest::collection::vec((0usize..Kind::ALL.len(), 0usize..60), 1..6),
    ) {
        let fails = [CheckName::Measurements, CheckName::Nonce, CheckName::Signature][fails];
        let mut scene = broken(&mishaps, fails);
        let signers: Vec<_> = Role::ALL
            .iter()
            .map(|role| {
                let terms = if *role == Role::Assessor { "accreditation = \"A-1234\"" } else { "" };
                (*role, scene.hear(*role, terms))
            })
            .collect();
        let before: Vec<_> = scene.findings().into_iter().filter(|f| f.outcome == Outcome::NotMet).collect();
        proptest::prop_assert!(before.iter().any(|f| f.condition == "CAP-01"));
        for (kind, number) in pleas {
            plead(&mut scene, &Kind::ALL[kind], &signers, number);
        }
        let after = scene.findings();
        for was in before.iter().filter(|f| MEASURED.contains(&f.condition.as_str())) {
            let now = after.iter().find(|f| f.condition == was.condition).unwrap();
            // A waiver excuses it, and a record may leave it open.
            let mended = matches!(now.outcome, Outcome::Met | Outcome::NotApplicable);
            proptest::prop_assert!(!mended, "{}: {}", was.condition, now.sentence);
        }
    }
}
