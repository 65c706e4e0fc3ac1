use super::*;
use crate::keys::NodeKey;
use weighbridge::accelerator::Catalogue;
use weighbridge::id::{BootId, DeviceUuid, PciId};
use weighbridge::report::{OpenedReport, VerifiedReport};
use weighbridge::telemetry::{
    AcceleratorIdentity, DeviceSample, HostDriver, LibraryOrigin, Notice, Reading, Tick, TickKind,
};

/// A node with synthetic devices, in a directory.
pub(super) struct Node {
    dir: tempfile::TempDir,
    pub(super) key: NodeKey,
    wall_at_boot: i64,
}

impl Node {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = NodeKey::load_or_create(&dir.path().join("node.key"), &Entropy::system()).unwrap();
        Self {
            dir,
            key,
            wall_at_boot: 1_790_000_000,
        }
    }

    pub(super) fn spool(&self) -> Arc<Spool> {
        let path = self.dir.path().join("spool.redb");
        Arc::new(Spool::open(&path, 1 << 30, &Entropy::system()).unwrap().0)
    }

    pub(super) fn now(&self, seconds: f64) -> Now {
        Now {
            boot: BootNanos((seconds * 1e9) as u64),
            wall: UnixSeconds(self.wall_at_boot + seconds as i64),
            source: ClockSource::Synchronised,
        }
    }

    pub(super) fn reporter(&self, spool: &Arc<Spool>, seconds: f64) -> Reporter {
        let identity = Identity {
            verifier: VerifierId([3; 32]),
            node: NodeId([1; 17]),
        };
        let facts = HostFacts {
            kernel: "6.12".to_owned(),
            cpus: 4,
            memory_mib: 1024,
            boot_id: BootId([9; 16]),
            agent_digest: Digest([8; 32]),
        };
        let entropy = Entropy::system();
        Reporter::new(
            Arc::clone(spool),
            self.key.clone(),
            identity,
            facts,
            Catalogue::embedded().unwrap(),
            &entropy,
            self.now(seconds),
        )
        .unwrap()
    }

    pub(super) fn reports(&self, spool: &Spool) -> Vec<VerifiedReport> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(waiting) = spool.next_waiting(from).unwrap() {
            from = waiting.ordinal + 1;
            let opened = OpenedReport::open(&waiting.bundle).unwrap();
            found.push(opened.verify(self.key.signer.public_key()).unwrap());
        }
        found
    }
}

pub(super) fn inventory() -> Frame {
    Frame::from(Inventory {
        at: BootNanos(100 * SECOND),
        driver: Some(HostDriver {
            driver_version: "590.48.01".to_owned(),
            nvml_version: "13".to_owned(),
            cuda_version: None,
            library_digest: Digest([7; 32]),
            library_origin: LibraryOrigin::System,
            library_changed: false,
            confidential_compute: None,
        }),
        devices: vec![AcceleratorIdentity {
            index: 0,
            uuid: DeviceUuid([5; 16]),
            serial: None,
            pci: PciId {
                vendor: 0x10de,
                device: 0x2330,
                subsystem_vendor: 0x10de,
                subsystem_device: 0x16c1,
            },
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            board_part: None,
            vbios: None,
            gsp_firmware: None,
            memory_mib: Reading::Value(81_559),
            cores: Reading::Unsupported,
            max_sm_clock_mhz: Reading::Value(1980),
            power_limit_mw: Reading::Value(700_000),
            pdi: None,
            module_id: None,
            fabric: None,
            nvlink_links: None,
            mig: None,
            ecc: None,
            pipe_activity: false,
        }],
        bus: Vec::new(),
        bus_source: BusSource::System,
        switches: Vec::new(),
        mig_devices: None,
    })
}

/// A tick at which the device has used 400 W since boot.
pub(super) fn tick(seconds: f64) -> Frame {
    let at = BootNanos((seconds * 1e9) as u64);
    Frame::from(Tick {
        at,
        kind: TickKind::Regular,
        devices: vec![DeviceSample {
            device: 0,
            state: DeviceState::Present,
            at,
            energy_mj: Reading::Value((seconds * 400_000.0) as u64),
            power_mw: Reading::Value(400_000),
            sm_clock_mhz: Reading::Value(1755),
            memory_clock_mhz: Reading::Value(2619),
            utilisation: Reading::Value(weighbridge::unit::Ppm::ONE),
            memory_used_mib: Reading::Value(40_000),
            temperature_c: Reading::Value(50),
            clock_events: Reading::Value(0),
            nvlink_tx_bytes: Reading::Unsupported,
            nvlink_rx_bytes: Reading::Unsupported,
            pcie_tx_bytes: Reading::Unsupported,
            pcie_rx_bytes: Reading::Unsupported,
            activity: Reading::Unsupported,
            pcie_tx_rate: Reading::Unsupported,
            pcie_rx_rate: Reading::Unsupported,
            cycles: Reading::Unsupported,
            power_ring: Reading::Unsupported,
            busy_mean: Reading::Unsupported,
            jobs: None,
            by_host_engine: false,
            clock_looks: Reading::Unsupported,
        }],
    })
}

/// Runs ticks once a second in `range`, each two milliseconds after the second.
pub(super) fn run(node: &Node, reporter: &mut Reporter, range: std::ops::Range<u32>) {
    for second in range {
        let at = f64::from(second) + 0.002;
        reporter.frame(&tick(at), node.now(at + 0.01)).unwrap();
        reporter.advance(node.now(at + 0.01)).unwrap();
    }
}

#[test]
fn a_chain_of_reports_covers_the_time_without_a_hole() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 100.0);
    reporter.frame(&inventory(), node.now(100.1)).unwrap();
    run(&node, &mut reporter, 101..710);
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 2);
    let (first, second) = (&reports[0].claims().report, &reports[1].claims().report);
    assert_eq!(
        (first.time.start, first.time.end),
        (BootNanos(100 * SECOND), BootNanos(400 * SECOND))
    );
    assert_eq!(second.time.start, first.time.end);
    assert_eq!((first.sequence, second.sequence), (1, 2));
    assert_eq!(
        (first.previous, second.previous),
        (None, Some(reports[0].digest()))
    );
    assert_eq!((first.agent_starts, second.agent_starts), (1, 0));
    assert_eq!(first.time.wall_end, UnixSeconds(1_790_000_400));
    assert_eq!(
        (first.time.wall_steps, first.report_seconds, first.trial),
        (0, 300, false)
    );
    let device = reports[1].accelerators().next().unwrap();
    assert_eq!(device.delivered.measured.energy_mj, Reading::Value(120_000_000));
    assert_eq!(device.delivered.windows_leaves, 5);
    assert!(
        device.delivered.covered_ms >= 299_000,
        "{}",
        device.delivered.covered_ms
    );
}

/// A busy host delivers the tick at the edge of a report late, or two seconds after it was due, or not at all.
#[test]
fn the_energy_of_a_report_is_that_of_its_time_however_late_the_tick_at_its_edge() {
    for late in [0.04, 0.3, 0.7, 1.4, 1.9, 2.6, 5.0] {
        let node = Node::new();
        let spool = node.spool();
        let mut reporter = node.reporter(&spool, 0.3);
        reporter.frame(&inventory(), node.now(0.4)).unwrap();
        run(&node, &mut reporter, 1..1_210);
        let mut next = 1_210.0;
        while next < 2_500.0 {
            let edge = reporter.report_end().0 as f64 / 1e9;
            let at = if next + 0.6 > edge && next < edge + 0.6 {
                next + late
            } else {
                next
            };
            let mut now = next;
            while now < at {
                reporter.advance(node.now(now)).unwrap();
                now += 1.0;
            }
            reporter.frame(&tick(at), node.now(at + 0.01)).unwrap();
            next = at.ceil().max(next + 1.0);
        }
        let reports = node.reports(&spool);
        assert!(reports.len() >= 8, "{late}: {}", reports.len());
        for pair in reports.windows(2) {
            let (before, after) = (&pair[0].claims().report.time, &pair[1].claims().report.time);
            assert_eq!(before.end, after.start);
            let milliseconds = after.end.since(after.start) / 1_000_000;
            let device = pair[1].accelerators().next().unwrap();
            let energy = *device.delivered.measured.energy_mj.value().unwrap();
            assert!(
                energy.abs_diff(milliseconds * 400) <= 100 * 400,
                "{late} s late: {energy} mJ at 400 W in {milliseconds} ms"
            );
        }
    }
}

#[test]
fn kept_windows_lead_to_the_root_in_the_report() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..305);
    let (_, bundle, windows) = spool.report_at(None, 1).unwrap().unwrap();
    let report = OpenedReport::open(&bundle).unwrap();
    let shown = KeptLeaves::show(&windows, &report, None).unwrap();
    assert_eq!(shown.len(), 5);
    assert_eq!(shown[4].leaf.end, BootNanos(300 * SECOND));
    let other = Some(DeviceUuid([6; 16]));
    assert!(KeptLeaves::show(&windows, &report, other).unwrap().is_empty());
    let mut altered = windows;
    let last = altered.len() - 1;
    altered[last] ^= 1;
    assert!(KeptLeaves::show(&altered, &report, None).is_err());
}

#[test]
fn a_stop_seals_the_shorter_time_and_the_next_start_is_counted() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..43);
    reporter.finish(node.now(42.5)).unwrap();
    drop(reporter);
    let reports = node.reports(&spool);
    assert_eq!(reports[0].claims().report.time.end, BootNanos(42_500_000_000));
    drop(spool);
    // Two starts that come to nothing, and one that reports.
    let spool = node.spool();
    drop(node.reporter(&spool, 50.0));
    drop(node.reporter(&spool, 51.0));
    let mut reporter = node.reporter(&spool, 52.0);
    reporter.frame(&inventory(), node.now(52.1)).unwrap();
    run(&node, &mut reporter, 53..61);
    reporter.finish(node.now(60.5)).unwrap();
    let reports = node.reports(&spool);
    let second = &reports[1].claims().report;
    assert_eq!((second.sequence, second.agent_starts), (2, 3));
    assert_eq!(second.previous, Some(reports[0].digest()));
    assert_eq!(
        second.time.start,
        BootNanos(42_500_000_000),
        "a short stop is a gap with its reason"
    );
    let gaps = &reports[1].accelerators().next().unwrap().delivered.gaps;
    assert_eq!(gaps[0].reason, GapReason::AgentStopped);
    assert!(gaps[0].length_ms >= 9_000, "{gaps:?}");
    drop(reporter);
    // After a long stop the report begins with the start.
    let mut reporter = node.reporter(&spool, 2_000.0);
    reporter.finish(node.now(2_010.0)).unwrap();
    let third = node.reports(&spool)[2].claims().report.time.start;
    assert_eq!(third, BootNanos(2_000 * SECOND));
}

#[test]
fn the_report_of_a_stop_waits_until_the_devices_are_known() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..11);
    reporter.finish(node.now(10.5)).unwrap();
    // Stopped for longer than a report, and a driver that takes a while to open.
    let mut reporter = node.reporter(&spool, 400.0);
    for second in 400..430 {
        reporter.advance(node.now(f64::from(second) + 0.01)).unwrap();
    }
    assert_eq!(node.reports(&spool).len(), 1);
    reporter.frame(&inventory(), node.now(430.0)).unwrap();
    run(&node, &mut reporter, 431..640);
    let reports = node.reports(&spool);
    let times: Vec<_> = reports
        .iter()
        .map(|r| &r.claims().report.time)
        .map(|t| (t.start.0 as f64 / 1e9, t.end.0 as f64 / 1e9))
        .collect();
    assert_eq!(times, [(0.0, 10.5), (10.5, 310.5), (310.5, 610.002)]);
    let host = &reports[1].claims().submods.host.host;
    assert!(host.driver.is_some());
    assert_eq!(host.bus_source, BusSource::System);
    let device = &reports[1].accelerators().next().unwrap().delivered;
    assert_eq!(device.covered_ms, 0);
    assert_eq!(device.gaps.len(), 1, "{:?}", device.gaps);
    assert_eq!(device.gaps[0].reason, GapReason::AgentStopped);
    assert_eq!(device.gaps[0].length_ms, 300_000);
    let device = &reports[2].accelerators().next().unwrap().delivered;
    assert_eq!(
        device.gaps[0].reason,
        GapReason::AgentStopped,
        "{:?}",
        device.gaps
    );
}

#[test]
fn the_wall_clock_is_watched_while_running_and_across_a_restart() {
    let mut node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    run(&node, &mut reporter, 1..10);
    node.wall_at_boot += 3_600;
    run(&node, &mut reporter, 10..20);
    node.wall_at_boot -= 7_200;
    run(&node, &mut reporter, 20..30);
    reporter.finish(node.now(30.0)).unwrap();
    drop(reporter);
    node.wall_at_boot += 100;
    let mut reporter = node.reporter(&spool, 40.0);
    reporter.finish(node.now(50.0)).unwrap();
    let steps: Vec<_> = node
        .reports(&spool)
        .iter()
        .map(|r| {
            let time = &r.claims().report.time;
            (time.wall_steps, time.wall_step_seconds)
        })
        .collect();
    assert_eq!(steps, [(2, 10_800), (1, 100)]);
}

#[test]
fn what_befell_the_sampler_and_the_library_is_said() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    reporter.sampler_restarted(Some(0));
    let notice = |kind| {
        Frame::from(Notice {
            at: BootNanos(SECOND),
            kind,
            device: None,
            text: "for the log".to_owned(),
        })
    };
    reporter
        .frame(&notice(NoticeKind::LibraryChanged), node.now(2.0))
        .unwrap();
    reporter.set_released(true);
    reporter.finish(node.now(10.0)).unwrap();
    reporter.finish(node.now(20.0)).unwrap();
    reporter.set_released(false);
    // The library that took the place of the first is loaded: it is the one on disk.
    reporter.frame(&through(Some(8)), node.now(25.0)).unwrap();
    reporter.finish(node.now(30.0)).unwrap();
    reporter.finish(node.now(40.0)).unwrap();
    let said: Vec<_> = node
        .reports(&spool)
        .iter()
        .map(|r| {
            let host = &r.claims().submods.host.host;
            let drivers = host.former_drivers.iter().chain(&host.driver);
            let changed: Vec<_> = drivers
                .map(|d| (d.library_digest.0[0], d.library_changed))
                .collect();
            (host.released, host.sampler_restarts, changed)
        })
        .collect();
    assert_eq!(
        said,
        [
            (true, 1, vec![(7, true)]),
            (true, 0, vec![(7, true)]),
            (true, 0, vec![(7, true), (8, false)]),
            (false, 0, vec![(8, false)])
        ]
    );
}

/// A frame that says that the library with this digest is in use, or that none is.
fn through(library: Option<u8>) -> Frame {
    let mut frame = inventory();
    let found = frame.inventory.as_mut().unwrap();
    match (library, &mut found.driver) {
        (Some(digest), Some(driver)) => driver.library_digest = Digest([digest; 32]),
        (_, driver) => *driver = None,
    }
    frame
}

#[test]
fn a_report_names_each_library_that_was_in_use_in_its_time_and_none_of_another() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    // Another library for a while, and the first put back; then one that is taken away before the report ends.
    for (second, library) in [(1, Some(7)), (2, Some(8)), (3, Some(7)), (4, Some(7))] {
        let now = node.now(f64::from(second));
        reporter.frame(&through(library), now).unwrap();
    }
    reporter.finish(node.now(10.0)).unwrap();
    reporter.frame(&through(None), node.now(11.0)).unwrap();
    reporter.finish(node.now(20.0)).unwrap();
    for library in 20..40 {
        reporter.frame(&through(Some(library)), node.now(21.0)).unwrap();
    }
    reporter.finish(node.now(30.0)).unwrap();
    reporter.finish(node.now(40.0)).unwrap();
    let said: Vec<_> = node
        .reports(&spool)
        .iter()
        .map(|r| {
            let host = &r.claims().submods.host.host;
            let first_byte = |d: &HostDriver| d.library_digest.0[0];
            let former: Vec<_> = host.former_drivers.iter().map(first_byte).collect();
            (host.driver.as_ref().map(first_byte), former)
        })
        .collect();
    assert_eq!(
        said,
        [
            (Some(7), vec![8]),
            (None, vec![7]),
            (Some(39), (20..28).collect()),
            (Some(39), vec![]),
        ]
    );
}

#[test]
fn a_sleep_becomes_one_report_with_a_gap_and_a_shorter_length_holds_at_once() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..100);
    run(&node, &mut reporter, 100_000..100_010);
    let standing = Standing {
        report_seconds: 10,
        trial: true,
        ..spool.standing().unwrap()
    };
    spool.remember(&standing).unwrap();
    reporter.follow_standing().unwrap();
    run(&node, &mut reporter, 100_010..100_033);
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 4);
    let device = reports[0].accelerators().next().unwrap();
    assert!(!device.delivered.gaps.is_empty());
    assert!(reports[0].claims().report.time.end.0 > 99_990 * SECOND);
    assert!(reports[1].claims().report.trial);
    for pair in reports.windows(2) {
        let (a, b) = (&pair[0].claims().report.time, &pair[1].claims().report.time);
        assert_eq!(a.end, b.start);
        assert_eq!(b.end.since(b.start), 10 * SECOND);
    }
}

#[test]
fn without_devices_the_node_still_reports() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.advance(node.now(303.0)).unwrap();
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].accelerators().count(), 0);
}

#[test]
fn a_full_disk_delays_reports_and_loses_none() {
    let node = Node::new();
    let (spool, full) = crate::spool::tests::Disk::spool();
    let spool = Arc::new(spool);
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    full.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut failures = 0;
    for second in 1..905 {
        let at = f64::from(second) + 0.002;
        failures += i32::from(reporter.frame(&tick(at), node.now(at)).is_err());
        failures += i32::from(reporter.advance(node.now(at)).is_err());
    }
    assert!(failures > 3, "each report that falls due says so");
    assert_eq!(reporter.unstored(), 3);
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    run(&node, &mut reporter, 905..930);
    let reports = node.reports(&spool);
    assert_eq!((reporter.unstored(), reports.len()), (0, 3));
    for (report, sequence) in reports.iter().zip(1..) {
        let claims = &report.claims().report;
        assert_eq!(
            (claims.sequence, claims.time.end),
            (sequence, BootNanos(sequence * 300 * SECOND))
        );
    }
}
