//! Findings that follow reports, without a look at everything.

use super::findings::writing;
use super::site::{LICENCE, load};
use super::*;
use crate::findings::{Findings, Reported};
use std::collections::BTreeMap;
use std::time::Duration;
use weighbridge::accounting::{Compute, ComputeMethod, UpperBound};
use weighbridge::conditions::Outcome;
use weighbridge::id::{DeviceUuid, PciId};
use weighbridge::telemetry::*;
use weighbridge::unit::MicroTppHours;
use weighbridge::workload::WorkloadScores;

/// An H100 that is half idle, with a serial number that follows from `n`.
fn gpu(n: u8) -> AcceleratorClaims {
    let hours = |n: u128| MicroTppHours(n * 1_000_000);
    let compute = |upper| Compute {
        lower: hours(upper / 2),
        counter: hours(upper / 2),
        upper: hours(upper),
        upper_unconditional: hours(1_320),
        method: ComputeMethod::PipeActivity,
        bound: UpperBound::Counter,
    };
    AcceleratorClaims {
        salt: [n; 16],
        identity: AcceleratorIdentity {
            index: u16::from(n),
            uuid: DeviceUuid([n; 16]),
            serial: Some(format!("S{n}")),
            pci: PciId {
                vendor: 0x10de,
                device: 0x2330,
                subsystem_vendor: 0x10de,
                subsystem_device: 0x16c1,
            },
            name: "NVIDIA H100 80GB HBM3".into(),
            board_part: None,
            vbios: None,
            gsp_firmware: None,
            memory_mib: Reading::Value(81_559),
            cores: Reading::Value(16_896),
            max_sm_clock_mhz: Reading::Value(1_980),
            power_limit_mw: Reading::Value(700_000),
            pdi: None,
            module_id: None,
            fabric: None,
            nvlink_links: None,
            mig: None,
            ecc: None,
            pipe_activity: true,
        },
        state: DeviceState::Present,
        delivered: Delivered {
            covered_ms: 300_000,
            samples: 300,
            gaps: Vec::new(),
            measured: Measured {
                energy_mj: Reading::Value(60_000_000),
                power_integral_mj: Reading::Value(60_000_000),
                busy_ms: Reading::Value(100_000),
                pipes: Reading::Unsupported,
                power_mw: Reading::Unsupported,
                sm_clock_mhz: Reading::Unsupported,
                memory_used_mib: Reading::Unsupported,
                temperature_max_c: Reading::Unsupported,
                clock_events: Reading::Unsupported,
                nvlink: Reading::Unsupported,
                pcie: Reading::Unsupported,
                counter_resets: 0,
                pcie_method: Method::Counter,
                activity_source: ActivitySource::Gpm,
                jobs: None,
            },
            compute: Some(compute(20)),
            training: Some(compute(0)),
            workload: WorkloadScores {
                centinats: vec![0; 7],
                windows: vec![0; 8],
                levels: None,
                run_windows: None,
            },
            windows_root: Digest([0; 32]),
            windows_leaves: 0,
            by_pipe: None,
            observations: Vec::new(),
            tenants: None,
        },
    }
}

/// The licence, for devices of these serial numbers.
fn licence(devices: std::ops::RangeInclusive<u8>) -> String {
    let device = |n| format!("[[device]]\nserial = \"S{n}\"\n");
    LICENCE.replace("report_seconds = 120\n", "") + &devices.map(device).collect::<String>()
}

/// A node that reports every 300 s, and what it has.
struct Reporting {
    node: Node,
    devices: Vec<u8>,
    sequence: u64,
    previous: Option<Digest>,
}

impl Reporting {
    async fn new(verifier: &Verifier, devices: &[u8]) -> Self {
        let token = verifier.token(1, true).await;
        Self {
            node: enrol(verifier, &token, new_key()).await.unwrap(),
            devices: devices.to_vec(),
            sequence: 0,
            previous: None,
        }
    }

    /// Makes the next report, which ends now, with these changes.
    fn make(&mut self, now: UnixSeconds, edit: impl FnOnce(&mut TokenClaims)) -> (Vec<u8>, Digest) {
        self.sequence += 1;
        let mut claims = self
            .node
            .claims(self.node.enrolled.verifier, self.sequence, self.previous);
        (claims.issued_at, claims.report.time.wall_end) = (now, now);
        edit(&mut claims);
        let devices = self.devices.iter().copied().map(gpu).collect();
        let made = sign(claims, devices, Vec::new(), &*self.node.key).unwrap();
        self.previous = Some(made.1);
        made
    }

    async fn report(&mut self, verifier: &Verifier, edit: impl FnOnce(&mut TokenClaims)) {
        let (bundle, digest) = self.make(verifier.clock.now(), edit);
        let receipt = self.node.receipted(verifier, bundle, &digest).await;
        self.node.enrolled.instructions = receipt.instructions;
    }
}

/// What each condition comes to, with its gist: as it is recorded, and as `status` finds it now.
async fn both(verifier: &Verifier) -> [BTreeMap<String, (Outcome, Digest)>; 2] {
    let session = verifier.session().await;
    let rows = session.store.findings().await.unwrap().into_iter();
    let recorded = rows.map(|r| (r.condition, (r.outcome, r.gist)));
    let status = session.evaluate(verifier.clock.now()).await.unwrap();
    let found = status.sites.into_iter().flat_map(|s| s.findings);
    let found = found.map(|f| (f.finding.condition.clone(), (f.finding.outcome, f.finding.gist())));
    [recorded.collect(), found.collect()]
}

/// Waits until what is recorded is what `status` finds, and gives it.
async fn recorded(verifier: &Verifier) -> BTreeMap<String, (Outcome, Digest)> {
    for _ in 0..1_200 {
        let [recorded, found] = both(verifier).await;
        if recorded == found {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [recorded, found] = both(verifier).await;
    let differ = found.iter().filter(|(id, f)| recorded.get(*id) != Some(f));
    panic!("recorded otherwise than found: {:?}", differ.collect::<Vec<_>>())
}

fn outcome(findings: &BTreeMap<String, (Outcome, Digest)>, condition: &str) -> Outcome {
    findings[condition].0
}

#[tokio::test]
async fn a_report_that_breaks_a_condition_is_a_recorded_finding_before_the_next_look_at_everything() {
    let mut verifier = Verifier::start().await;
    load(&verifier, &licence(1..=2)).await;
    let mut node = Reporting::new(&verifier, &[1, 2]).await;
    node.report(&verifier, |_| {}).await;
    let begun = recorded(&verifier).await;
    assert_eq!(outcome(&begun, "INV-01"), Outcome::Met);
    // More of them than looks are left that the acts before have caused.
    let mut last = begun["INV-01"].1;
    for (at, device) in (1i64..).zip([9, 8, 7, 6]) {
        verifier.clock.set(NOON.plus(300 * at));
        node.devices.push(device);
        node.report(&verifier, |_| {}).await;
        let broken = recorded(&verifier).await;
        assert_eq!(outcome(&broken, "INV-01"), Outcome::NotMet);
        let gist = broken["INV-01"].1;
        assert_ne!(std::mem::replace(&mut last, gist), gist);
    }
    verifier.stop().await;
}

/// What may be in the report of a node.
type Edit = fn(&mut TokenClaims);

fn unmanaged(claims: &mut TokenClaims) {
    claims.submods.host.host.bus.push(BusDevice {
        id: PciId {
            vendor: 0x10de,
            device: 0x2331,
            ..PciId::default()
        },
        driver: BusDriver::Vfio,
        count: 1,
        reporting: 0,
        state: DeviceState::Unmanaged,
    });
}

#[tokio::test]
async fn whatever_nodes_report_what_is_recorded_is_what_status_finds() {
    let mut verifier = Verifier::start().await;
    load(&verifier, &licence(1..=4)).await;
    let mut nodes = [
        Reporting::new(&verifier, &[1, 2]).await,
        Reporting::new(&verifier, &[3, 4]).await,
    ];
    let plain: Edit = |_| {};
    let steps: [(Edit, &[u8], &[u8]); 8] = [
        (plain, &[1, 2], &[3, 4]),
        (|c| c.report.agent_starts = 1, &[1, 2], &[3, 4]),
        (unmanaged, &[1, 2], &[3, 4]),
        (plain, &[1, 2, 7], &[3, 4]),
        (plain, &[1], &[2, 3, 4]),
        (|c| c.report.boot = BootId([8; 16]), &[1], &[2, 3, 4]),
        (|c| c.report.time.wall_end = NOON, &[1], &[2, 3, 4]),
        (plain, &[1], &[2, 3]),
    ];
    for (at, (edit, here, there)) in (0i64..).zip(steps) {
        verifier.clock.set(NOON.plus(300 * at));
        nodes[0].devices = here.to_vec();
        nodes[1].devices = there.to_vec();
        nodes[0].report(&verifier, edit).await;
        nodes[1].report(&verifier, |_| {}).await;
        recorded(&verifier).await;
    }
    // One that was lost comes late, and junk is refused.
    let (late, _) = nodes[0].make(verifier.clock.now(), plain);
    nodes[0].report(&verifier, plain).await;
    nodes[1].report(&verifier, plain).await;
    recorded(&verifier).await;
    nodes[0].node.deliver(&verifier, late).await.unwrap();
    let before = recorded(&verifier).await;
    let refused = nodes[1].node.deliver(&verifier, b"junk".to_vec()).await;
    assert_eq!(refused.unwrap_err(), RefusalCode::Form);
    let after = recorded(&verifier).await;
    assert_ne!(outcome(&before, "OPS-05"), outcome(&after, "OPS-05"));
    verifier.stop().await;
}

#[tokio::test]
async fn a_site_is_followed_from_report_to_report_and_looked_at_anew_when_other_days_count() {
    let mut verifier = Verifier::start().await;
    load(&verifier, &licence(1..=2)).await;
    let mut node = Reporting::new(&verifier, &[1, 2]).await;
    node.report(&verifier, |_| {}).await;
    verifier.stop().await;
    let (recorder, task, stop) = writing(&verifier).await;
    let (store, reported) = (verifier.session().await.store, Arc::new(Reported::default()));
    let mut findings = Findings::new(
        store,
        recorder,
        verifier.clock(),
        verifier.config(),
        Arc::clone(&reported),
    );
    findings.look().await.unwrap();
    assert!(findings.followed.is_some());
    stop.cancel();
    task.await.unwrap();

    verifier.serve().await;
    node.devices.push(9);
    node.report(&verifier, |_| {}).await;
    verifier.stop().await;
    let (recorder, task, stop) = writing(&verifier).await;
    findings.recorder = recorder;
    reported.push(node.node.enrolled.node);
    findings.follow().await.unwrap();
    assert!(findings.followed.is_some(), "nothing but records changed");
    let [recorded, found] = both(&verifier).await;
    assert_eq!(recorded, found);
    assert_eq!(outcome(&found, "INV-01"), Outcome::NotMet);

    verifier.clock.set(NOON.plus(86_400));
    reported.push(node.node.enrolled.node);
    findings.follow().await.unwrap();
    assert!(findings.followed.is_none());
    findings.follow().await.unwrap();
    assert!(findings.followed.is_some());
    let [recorded, found] = both(&verifier).await;
    assert_eq!(recorded, found);

    // A node that nobody knew.
    reported.push(NodeId([5; 17]));
    findings.follow().await.unwrap();
    assert!(findings.followed.is_none());
    stop.cancel();
    task.await.unwrap();
}
