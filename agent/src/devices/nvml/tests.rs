//! The source against the replay library, where it was built (`make replay`), on a virtual clock.
#![expect(
    unsafe_code,
    reason = "the replay library is set to a time through a function it exports"
)]

use super::*;
use crate::clock::VirtualClock;
use crate::sampler::{Bursts, InProcess, Looks};
use std::fs;
use std::path::Path;
use weighbridge::telemetry::{Activity, Frame, LibraryOrigin, LossReason, MigInstance, Reading};
use weighbridge::time::{SECOND, UnixSeconds};
use weighbridge::unit::Ppm;

/// A copy of the replay library that plays one scenario, for one test.
pub(super) struct Played {
    dir: tempfile::TempDir,
    library: PathBuf,
    loaded: libloading::Library,
    pub(super) clock: Arc<VirtualClock>,
}

fn built() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let profile = exe.parent()?.parent()?;
    [
        profile.join("libnvidia_ml.so"),
        profile.parent()?.join("replay/libnvidia-ml.so.1"),
    ]
    .into_iter()
    .find(|path| path.is_file())
}

pub(super) fn play(scenario: &str) -> Option<Played> {
    let Some(built) = built() else {
        println!("skipped: the replay library is not built; run `make replay`");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("libnvidia-ml.so.1");
    fs::copy(built, &library).unwrap();
    fs::create_dir_all(dir.path().join("sys/bus")).unwrap();
    let file = dir.path().join("scenario.toml");
    fs::write(&file, scenario).unwrap();
    // SAFETY: the replay library runs no code when it is loaded, and its function takes a path that ends in a zero.
    let loaded = unsafe {
        let loaded = libloading::Library::new(&library).unwrap();
        let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
        let name: libloading::Symbol<'_, unsafe extern "C" fn(*const std::ffi::c_char) -> u32> =
            loaded.get(b"weighbridge_replay_scenario\0").unwrap();
        assert_eq!(name(path.as_ptr()), 0);
        loaded
    };
    let played = Played {
        dir,
        library,
        loaded,
        clock: Arc::new(VirtualClock::new(UnixSeconds(1_763_000_000))),
    };
    played.hands()(BootNanos(0));
    Some(played)
}

impl Played {
    /// Sets the library's time.
    fn hands(&self) -> impl Fn(BootNanos) + 'static {
        // SAFETY: the function takes one number, and the library stays loaded as long as this value, which the test
        // holds to its end.
        let set = unsafe {
            *self
                .loaded
                .get::<unsafe extern "C" fn(u64)>(b"weighbridge_replay_set_time_ns\0")
                .unwrap()
        };
        // SAFETY: as above.
        move |at| unsafe { set(at.0) }
    }

    fn source(&self) -> NvmlSource {
        let options = NvmlOptions {
            library: Some(self.library.clone()),
            sysfs: self.dir.path().join("sys"),
            host_engine: None,
        };
        NvmlSource::new(options, self.clock.clone())
    }

    pub(super) fn sampler(&self, bursts: Bursts) -> InProcess<NvmlSource> {
        InProcess::new(self.source(), self.clock.clone(), bursts, LOOKS, self.hands())
    }

    /// All frames up to the second `end`.
    pub(super) fn frames(&self, end: u64) -> Vec<Frame> {
        frames(&mut self.sampler(NO_BURSTS), end)
    }
}

pub(super) fn frames(sampler: &mut InProcess<NvmlSource>, end: u64) -> Vec<Frame> {
    let mut all = Vec::new();
    loop {
        let frame = sampler.next_frame();
        if frame.tick.as_ref().is_some_and(|t| t.at.0 > end * SECOND) {
            return all;
        }
        all.push(frame);
    }
}

const LOOKS: Looks = Looks { parts: 8, seed: 1 };

const NO_BURSTS: Bursts = Bursts {
    period: 0,
    length: 0,
    interval: 0,
    seed: 0,
};

pub(super) fn ticks(frames: &[Frame]) -> Vec<&Tick> {
    frames.iter().filter_map(|f| f.tick.as_ref()).collect()
}

fn notices(frames: &[Frame]) -> Vec<&Notice> {
    frames.iter().filter_map(|f| f.notice.as_ref()).collect()
}

fn inventory(frames: &[Frame]) -> &Inventory {
    frames.iter().rev().find_map(|f| f.inventory.as_ref()).unwrap()
}

#[test]
fn eight_devices_are_identified_and_read_every_second() {
    let Some(played) = play("profile = \"H100\"\ngpus = 8\ntrace = \"training\"\n") else {
        return;
    };
    let frames = played.frames(20);
    let found = inventory(&frames);
    let driver = found.driver.as_ref().unwrap();
    assert_eq!(driver.library_origin, LibraryOrigin::Writable);
    assert!(!driver.driver_version.is_empty() && !driver.library_changed);
    assert_eq!(found.devices.len(), 8);
    let device = &found.devices[0];
    assert_eq!((device.pci.vendor, device.pci.device), (NVIDIA, 0x2330));
    assert!(device.name.contains("H100") && device.pipe_activity);
    assert!(device.serial.is_some() && device.board_part.is_some() && device.vbios.is_some());
    assert!(device.pdi.is_some() && device.module_id.is_some() && device.fabric.is_some());
    let links = device.nvlink_links.as_ref().unwrap();
    assert_eq!((links.to_gpus, links.to_switches, links.to_others), (0, 18, 0));
    assert_eq!(links.ends, Reading::Value(4));
    assert_eq!(device.mig, Some(vec![]));
    assert!(matches!(device.memory_mib, Reading::Value(80_000..=82_000)));

    let ticks = ticks(&frames);
    assert_eq!(ticks.len(), 20);
    for pair in ticks.windows(2) {
        for (a, b) in pair[0].devices.iter().zip(&pair[1].devices) {
            assert_eq!(b.state, DeviceState::Present);
            assert!(b.energy_mj.value() > a.energy_mj.value());
            assert!(b.nvlink_tx_bytes.value() >= a.nvlink_tx_bytes.value());
            assert!(matches!(b.power_mw, Reading::Value(100_000..=760_000)));
            assert!(matches!(b.sm_clock_mhz, Reading::Value(300..=2_000)));
            for told in [b.temperature_c.map(i64::from), b.memory_used_mib.map(i64::from)] {
                assert!(told.value().is_some());
            }
            assert!(b.utilisation.value().is_some() && b.pcie_rx_rate.value().is_some());
            assert_eq!(b.pcie_rx_bytes, Reading::Unsupported, "its 32 bits wrap");
            assert_eq!(b.cycles, Reading::Unsupported, "the driver refuses them");
            let Reading::Value(Activity {
                interval_ns: SECOND,
                tensor_any,
                hmma,
                imma,
                ..
            }) = b.activity
            else {
                panic!("no activity over one second: {:?}", b.activity);
            };
            assert_eq!(tensor_any, hmma);
            assert_eq!(imma, Reading::Value(Ppm(0)));
        }
    }
}

#[test]
fn a_device_with_confidential_computing_off_is_not_asked_to_sign() {
    let refusal = "[[fault]]\nat_s = 0.0\nkind = \"evidence_refused\"\n";
    let Some(played) = play(&format!("profile = \"H100\"\n{refusal}")) else {
        return;
    };
    let survey = played.source().survey(&mut |_| {});
    let digest = survey.inventory.driver.unwrap().library_digest;
    let device = &survey.inventory.devices[0];
    let source = EvidenceSource::open(Some(&played.library), &digest).unwrap();
    let answer = source.attest(device.index, &device.uuid, &[7; 32]);
    assert_eq!(answer.err(), Some(weighbridge::report::NoEvidence::NotOffered));
    source.close();
}

#[test]
fn a_lost_device_stays_in_the_inventory_and_the_others_are_read_on() {
    let fault = "[[fault]]\nat_s = 5.0\ngpu = 1\nkind = \"lost\"\nfor_s = 100.0\n";
    let Some(played) = play(&format!("profile = \"H100\"\ngpus = 3\n{fault}")) else {
        return;
    };
    let frames = played.frames(200);
    let lost: Vec<_> = notices(&frames)
        .into_iter()
        .filter(|n| n.kind == NoticeKind::DeviceLost)
        .collect();
    assert_eq!(lost.len(), 1, "told once");
    assert_eq!(lost[0].device, Some(1));
    assert!(
        frames
            .iter()
            .filter_map(|f| f.inventory.as_ref())
            .all(|i| i.devices.len() == 3)
    );
    let at = |second: u64| {
        ticks(&frames)
            .into_iter()
            .find(|t| t.at.0 == second * SECOND)
            .unwrap()
            .clone()
    };
    assert_eq!(at(4).devices[1].state, DeviceState::Present);
    let gone = at(100);
    assert_eq!(gone.devices[1].state, DeviceState::Lost);
    assert_eq!(gone.devices[1].energy_mj, Reading::Lost(LossReason::DeviceLost));
    assert!(gone.devices[0].energy_mj.value().is_some() && gone.devices[2].energy_mj.value().is_some());
    assert_eq!(at(199).devices[1].state, DeviceState::Present, "it came back");
    assert!(at(199).devices[1].activity.value().is_some());
}

#[test]
fn a_driver_that_is_upgraded_under_the_library_is_tried_again_until_it_answers() {
    let fault = "[[fault]]\nat_s = 5.0\nkind = \"version_mismatch\"\nfor_s = 20.0\n";
    let Some(played) = play(&format!("profile = \"H100\"\ngpus = 2\n{fault}")) else {
        return;
    };
    let frames = played.frames(90);
    let kinds: Vec<_> = notices(&frames).iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::DriverUnavailable, NoticeKind::Resumed]);
    let ticks = ticks(&frames);
    assert_eq!(ticks.len(), 90, "every second has its tick");
    let state = |second: usize| ticks[second - 1].devices[0].state;
    assert_eq!(state(4), DeviceState::Present);
    assert_eq!(state(10), DeviceState::DriverUnavailable);
    assert_eq!(state(70), DeviceState::Present);
    assert!(ticks[69].devices[0].activity.value().is_some());
}

#[test]
fn a_driver_that_never_answers_is_a_state_with_a_reason() {
    let fault = "[[fault]]\nat_s = 0.0\nkind = \"version_mismatch\"\n";
    let Some(played) = play(&format!("profile = \"H100\"\n{fault}")) else {
        return;
    };
    let frames = played.frames(100);
    assert_eq!(notices(&frames).len(), 1);
    assert!(notices(&frames)[0].text.contains("could not be used"));
    assert!(inventory(&frames).driver.is_none());
    assert!(ticks(&frames).iter().all(|t| t.devices.is_empty()));
}

#[test]
fn what_is_not_offered_is_unsupported_and_never_zero() {
    let Some(played) = play("profile = \"A100\"\n") else {
        return;
    };
    let frames = played.frames(3);
    assert!(!inventory(&frames).devices[0].pipe_activity);
    let sample = &ticks(&frames)[2].devices[0];
    assert_eq!(sample.activity, Reading::Unsupported);
    assert!(sample.power_mw.value().is_some() && sample.energy_mj.value().is_some());

    let silent = "profile = \"H100\"\n[[fault]]\nat_s = 2.5\ngpu = 0\nkind = \"not_supported\"\n";
    let Some(played) = play(silent) else { return };
    let frames = played.frames(8);
    let sample = &ticks(&frames)[7].devices[0];
    assert_eq!(sample.state, DeviceState::Present);
    assert_eq!(sample.energy_mj, Reading::Unsupported);
    assert_eq!(sample.sm_clock_mhz, Reading::Unsupported);
}

#[test]
fn a_device_cut_by_mig_is_one_device_with_its_instances() {
    let Some(played) = play("profile = \"MIG\"\ntrace = \"training\"\n") else {
        return;
    };
    let frames = played.frames(5);
    let devices = &inventory(&frames).devices;
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].mig, Some(vec![MigInstance { slices: 1, count: 7 }]));
    let named = inventory(&frames).mig_devices.as_ref().unwrap();
    assert_eq!(named.len(), 7);
    assert!(
        named.iter().all(|d| (d.index, d.part) == (0, Ppm(142_858))),
        "{named:?}"
    );
    let sample = &ticks(&frames)[4].devices[0];
    assert_eq!(sample.utilisation, Reading::Unsupported);
    let activity = sample.activity.value().expect("GPM by instance");
    // Each of seven instances has 16 of the device's 132 multiprocessors, and does what the whole device would.
    let Some(whole) = play("profile = \"H100\"\ntrace = \"training\"\n") else {
        return;
    };
    let whole = whole.frames(5);
    let whole = ticks(&whole)[4].devices[0].activity.value().unwrap();
    for (cut, all) in [
        (&activity.sm, &whole.sm),
        (&activity.tensor_any, &whole.tensor_any),
        (&activity.hmma, &whole.hmma),
    ] {
        let (cut, all) = (cut.value().unwrap().0, all.value().unwrap().0);
        assert!(cut > 0 && cut.abs_diff(all * 112 / 132) <= 1, "{cut} of {all}");
    }
}

#[test]
fn answers_beyond_their_bounds_harm_nobody() {
    let fault = "[[fault]]\nat_s = 3.0\nkind = \"oversize_answer\"\nfor_s = 3000.0\n";
    if let Some(played) = play(&format!("profile = \"A100\"\n{fault}")) {
        assert_eq!(ticks(&played.frames(60)).len(), 60, "rings that claim too much");
    }
    let Some(played) = play(&format!("profile = \"H100\"\ngpus = 2\n{fault}")) else {
        return;
    };
    let mut sampler = played.sampler(NO_BURSTS);
    let mut all = frames(&mut sampler, 4_000);
    assert_eq!(ticks(&all).len(), 4_000);
    // The hourly survey is after the fault; one during it comes from a new source.
    let mut source = played.source();
    let calm = played.hands();
    calm(BootNanos(10 * SECOND));
    let survey = source.survey(&mut |_| {});
    assert!(survey.trouble.unwrap().contains("claims 100000 GPUs"));
    assert!(survey.inventory.devices.is_empty());
    all.clear();
}

#[test]
fn a_reset_counter_is_passed_on_as_it_is() {
    let fault = "[[fault]]\nat_s = 5.0\ngpu = 0\nkind = \"reset\"\n";
    let Some(played) = play(&format!("profile = \"H100\"\ntrace = \"burn\"\n{fault}")) else {
        return;
    };
    let frames = played.frames(8);
    let energy: Vec<_> = ticks(&frames)
        .iter()
        .map(|t| *t.devices[0].energy_mj.value().unwrap())
        .collect();
    assert!(energy.windows(2).any(|w| w[1] < w[0]), "{energy:?}");
}

#[test]
fn links_between_gpus_and_links_to_an_unnamed_end_are_told_apart() {
    let Some(played) = play("profile = \"H100\"\ngpus = 3\n") else {
        return;
    };
    let survey = played.source().survey(&mut |_| {});
    let links = survey.inventory.devices[0].nvlink_links.clone().unwrap();
    assert_eq!((links.to_gpus, links.to_switches, links.to_others), (18, 0, 0));
    assert_eq!(links.ends, Reading::Value(2));

    let silent =
        |symbol| format!("[[fault]]\nat_s = 0.0\nkind = \"missing_symbol\"\nsymbol = \"{symbol}\"\n");
    let faults =
        silent("nvmlDeviceGetNvLinkRemoteDeviceType") + &silent("nvmlDeviceGetNvLinkRemotePciInfo_v2");
    let Some(played) = play(&format!("profile = \"H100\"\ngpus = 8\n{faults}")) else {
        return;
    };
    let survey = played.source().survey(&mut |_| {});
    let links = survey.inventory.devices[0].nvlink_links.clone().unwrap();
    assert_eq!((links.to_gpus, links.to_switches, links.to_others), (0, 0, 18));
    assert_eq!(links.ends, Reading::Unsupported);
}

#[test]
fn links_that_were_refused_at_one_survey_are_counted_from_the_next() {
    let refusal = "[[fault]]\nat_s = 0.0\nfor_s = 5.0\nkind = \"not_supported\"\nsymbol = \"nvmlDeviceGetFieldValues\"\n";
    let Some(played) = play(&format!("profile = \"H100\"\ntrace = \"training\"\n{refusal}")) else {
        return;
    };
    let mut source = played.source();
    source.survey(&mut |_| {});
    played.hands()(BootNanos(10 * SECOND));
    let tick = source.sample(TickKind::Regular, &mut |_| {});
    assert_eq!(tick.devices[0].nvlink_tx_bytes, Reading::Unsupported);
    source.survey(&mut |_| {});
    let tick = source.sample(TickKind::Regular, &mut |_| {});
    assert!(tick.devices[0].nvlink_tx_bytes.value().is_some());
}

#[test]
fn a_blackwell_part_tells_of_its_links_one_by_one() {
    let Some(played) = play("profile = \"B200\"\ngpus = 2\ntrace = \"training\"\n") else {
        return;
    };
    let frames = played.frames(30);
    let sent: Vec<_> = ticks(&frames)
        .iter()
        .map(|t| *t.devices[0].nvlink_tx_bytes.value().unwrap())
        .collect();
    assert!(sent.last() > sent.first());
}

#[test]
fn a_library_swapped_under_a_running_source_is_told_and_stays_in_the_inventory() {
    let Some(played) = play("profile = \"H100\"\n") else {
        return;
    };
    let mut sampler = played.sampler(NO_BURSTS);
    frames(&mut sampler, 10);
    let other = played.dir.path().join("other");
    fs::write(&other, b"not the library that was loaded").unwrap();
    fs::rename(&other, &played.library).unwrap();
    let after = frames(&mut sampler, 130);
    let told: Vec<_> = notices(&after)
        .into_iter()
        .filter(|n| n.kind == NoticeKind::LibraryChanged)
        .collect();
    assert_eq!(told.len(), 1);
    assert!(inventory(&after).driver.as_ref().unwrap().library_changed);
}

#[test]
fn a_device_of_an_earlier_process_that_hangs_is_listed_as_hung() {
    let Some(played) = play("profile = \"H100\"\ngpus = 3\n") else {
        return;
    };
    let known = played.source().survey(&mut |_| {}).inventory;
    let mut source = played.source();
    source.remember(&known);
    source.avoid(2);
    let mut called = Vec::new();
    let survey = source.survey(&mut |call| called.push(call));
    assert_eq!(survey.inventory.devices, known.devices);
    assert!(!called.contains(&Call::Identify(2)));
    let tick = source.sample(TickKind::Regular, &mut |call| called.push(call));
    assert_eq!(tick.devices[2].state, DeviceState::Hung);
    assert_eq!(tick.devices[2].energy_mj, Reading::Lost(LossReason::Hung));
    assert!(!called.contains(&Call::Sample(2)));
    assert!(tick.devices[0].energy_mj.value().is_some());
    source.readmit(2);
    source.survey(&mut |_| {});
    let tick = source.sample(TickKind::Regular, &mut |_| {});
    assert_eq!(tick.devices[2].state, DeviceState::Present);
}

#[test]
fn nvidia_devices_without_a_driver_are_a_failure_and_their_absence_is_none() {
    if Path::new("/proc/driver/nvidia").exists() {
        println!("skipped: this host has an NVIDIA driver of its own");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("bus")).unwrap();
    let source = || {
        let options = NvmlOptions {
            library: None,
            sysfs: root.path().to_owned(),
            host_engine: None,
        };
        NvmlSource::new(options, Arc::new(VirtualClock::new(UnixSeconds(0))))
    };
    assert_eq!(source().survey(&mut |_| {}).trouble, None);
    pci::tests::place(
        root.path(),
        "0000:1b:00.0",
        [NVIDIA, 0x2330, NVIDIA, 0x16c1],
        0x030200,
        Some("nvidia"),
    );
    let survey = source().survey(&mut |_| {});
    assert!(survey.trouble.is_some());
    let row = &survey.inventory.bus[0];
    assert_eq!(
        (row.count, row.reporting, row.state),
        (1, 0, DeviceState::DriverUnavailable)
    );
}

#[test]
fn the_bus_and_the_driver_are_held_against_each_other() {
    let fault = "[[fault]]\nat_s = 5.0\ngpu = 1\nkind = \"lost\"\n";
    let Some(played) = play(&format!("profile = \"H100\"\ngpus = 2\n{fault}")) else {
        return;
    };
    let mut source = played.source();
    let first = source.survey(&mut |_| {}).inventory;
    let sysfs = played.dir.path().join("sys");
    let names: Vec<_> = source
        .devices
        .iter()
        .map(|d| d.address.unwrap())
        .map(|a| format!("{:04x}:{:02x}:{:02x}.{}", a.domain, a.bus, a.device, a.function))
        .collect();
    let id = first.devices[0].pci;
    let ids = [id.vendor, id.device, id.subsystem_vendor, id.subsystem_device];
    for name in &names {
        pci::tests::place(&sysfs, name, ids, 0x030200, Some("nvidia"));
    }
    let rows = |source: &mut NvmlSource| -> Vec<_> {
        let inventory = source.survey(&mut |_| {}).inventory;
        let rows = inventory.bus.iter();
        let rows = rows.map(|r| (r.driver, r.count, r.reporting, r.state));
        rows.collect()
    };
    assert!(source.check(&mut |_| {}), "the bus has changed");
    assert_eq!(
        rows(&mut source),
        [(BusDriver::Vendor, 2, 2, DeviceState::Present)]
    );
    assert!(!source.check(&mut |_| {}));

    played.hands()(BootNanos(10 * SECOND));
    assert_eq!(rows(&mut source), [(BusDriver::Vendor, 2, 1, DeviceState::Lost)]);
    assert_eq!(source.devices.len(), 2);

    let driver = sysfs.join("bus/pci/devices").join(&names[1]).join("driver");
    fs::remove_file(&driver).unwrap();
    std::os::unix::fs::symlink("../../drivers/vfio-pci", &driver).unwrap();
    assert_eq!(
        rows(&mut source),
        [
            (BusDriver::Vendor, 1, 1, DeviceState::Present),
            (BusDriver::Vfio, 1, 0, DeviceState::PassedThrough),
        ]
    );
    assert_eq!(source.devices.len(), 1, "the guest has it now");
}
