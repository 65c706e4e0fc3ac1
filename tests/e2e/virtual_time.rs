//! Recordings and synthetic loads through the whole agent, on a clock that is moved by hand.
//!
//! The truth is worked out here a second time, from what was played: the recording's own energy counter, and its tensor activity times
//! the clock of the scenario. The recordings belong to others and are not in the repository: without them those tests say so, and their
//! synthetic twins remain.

use crate::recording::Recording;
use std::collections::BTreeMap;
use weighbridge::accounting::{Compute, ComputeMethod, Observation};
use weighbridge::id::DeviceUuid;
use weighbridge::report::{AcceleratorClaims, LeafField};
use weighbridge::telemetry::DeviceState;
use weighbridge::time::SECOND;
use weighbridge::workload::{Class, LevelTimes};
use weighbridge_testbed::in_process::{BURSTS, Played, Sealed};

/// Total Processing Performance of an H100 SXM5, and the clock at which its tensor pipes reach it.
const H100_TPP: f64 = 15_832.0;
const H100_TENSOR_MHZ: f64 = 1_830.0;
/// The clock that every scenario here plays.
const CLOCK_MHZ: f64 = 1_695.0;
/// Most bytes of a report of eight GPUs over 300 s.
const MOST_BYTES: usize = 6 * 1024;

/// Energy in joules and seconds of tensor activity of one GPU between two moments of the play.
type Truth<'a> = &'a dyn Fn(usize, f64, f64) -> (f64, f64);

#[test]
fn training_recordings_are_weighed_truly_and_their_runs_never_called_idle_or_serving() {
    for name in ["t2", "t3", "t13_node0", "t13_node1"] {
        let Some(recording) = Recording::open(name) else {
            return;
        };
        let reports = play(&recording);
        for sealed in &reports {
            for device in sealed.report.accelerators() {
                let named = |class| windows_of(device, class);
                assert_eq!(named(Class::Idle), 0, "{name}, GPU {}", device.identity.index);
                let serving = named(Class::InferenceInteractive) + named(Class::InferenceBatch);
                // What t13 does on each device looks more like serving: before a burst shows its steps, its windows have no name.
                assert_eq!(
                    serving, 0,
                    "{name}, GPU {}: {:?}",
                    device.identity.index, device.delivered.workload
                );
                let delivered = &device.delivered;
                let (all, training) = (
                    delivered.compute.as_ref().unwrap(),
                    delivered.training.as_ref().unwrap(),
                );
                assert!(training.upper <= all.upper_unconditional, "{name}");
                if levels_of(device).established_ms == 0 {
                    assert_eq!(training.lower.0, 0, "{name}: no window accuses by itself");
                }
            }
        }
        // The steps of t2 are too short for a burst, and what each device of t13 did looks like serving: both stay at L2.
        let devices = reports.iter().flat_map(|r| r.report.accelerators());
        let established = devices.filter(|d| levels_of(d).established_ms > 0).count();
        assert_eq!(established > 0, name == "t3", "{name}: {established}");
        // Until a burst has shown the steps of t13, nobody can tell.
        let least = if name.starts_with("t13") { 1 } else { 4 };
        for device in reports[0].report.accelerators() {
            assert!(
                windows_of(device, Class::Training) >= least,
                "{name}: {:?}",
                device.delivered.workload
            );
        }
    }
}

#[test]
fn an_idle_recording_is_idle_once_it_is_steady() {
    let Some(recording) = Recording::open("b1") else {
        return;
    };
    let reports = play(&recording);
    let mut seen = 0;
    for leaf in reports
        .iter()
        .flat_map(|r| &r.leaves)
        .filter(|l| l.field == LeafField::Sums)
    {
        if leaf.start.0 as f64 / 1e9 > recording.steady_from_s {
            assert_eq!(
                leaf.sums.as_ref().unwrap().class,
                Some(Class::Idle),
                "from {} s",
                leaf.start.0 / SECOND
            );
            seen += 1;
        }
    }
    assert!(seen >= 24, "only {seen} steady windows");
}

#[test]
fn a_serving_recording_is_never_training() {
    let Some(recording) = Recording::open("i4") else {
        return;
    };
    for sealed in play(&recording) {
        for device in sealed.report.accelerators() {
            assert_eq!(windows_of(device, Class::Training), 0);
            assert_eq!(device.delivered.training.as_ref().unwrap().lower.0, 0);
            assert_eq!(
                levels_of(device).candidate_ms,
                0,
                "{:?}",
                device.delivered.workload
            );
        }
    }
}

#[test]
fn half_an_hour_of_synthetic_training_is_weighed_truly() {
    for (i, sealed) in synthetic("training", 8).iter().enumerate() {
        for device in sealed.report.accelerators() {
            let compute = device.delivered.compute.as_ref().unwrap();
            assert_eq!(compute.method, ComputeMethod::PipeActivity);
            assert!(compute.lower.0 > 0);
            let levels = levels_of(device);
            // The first burst lies somewhere in the first ten minutes; until then what the devices exchange is one source.
            if i < 2 {
                assert!(
                    levels.established_ms + levels.candidate_ms > 290_000,
                    "{levels:?}"
                );
            } else {
                assert!(levels.established_ms > 290_000, "{:?}", device.delivered.workload);
            }
            assert_eq!(
                windows_of(device, Class::Training),
                5,
                "{:?}",
                device.delivered.workload
            );
        }
    }
}

#[test]
fn half_an_hour_of_nothing_is_idle_and_computes_nothing() {
    for sealed in synthetic("idle", 2) {
        for device in sealed.report.accelerators() {
            assert_eq!(
                windows_of(device, Class::Idle),
                5,
                "{:?}",
                device.delivered.workload
            );
            assert_eq!(device.delivered.compute.as_ref().unwrap().counter.0, 0);
        }
    }
}

#[test]
fn half_an_hour_of_serving_is_never_training_or_idle() {
    for sealed in synthetic("inference", 4) {
        for device in sealed.report.accelerators() {
            for class in [Class::Training, Class::Idle] {
                assert_eq!(windows_of(device, class), 0, "{:?}", device.delivered.workload);
            }
        }
    }
}

#[test]
fn half_an_hour_at_full_load_is_near_the_peak_and_never_idle() {
    for sealed in synthetic("burn", 2) {
        for device in sealed.report.accelerators() {
            let Compute {
                lower,
                upper_unconditional,
                ..
            } = device.delivered.compute.as_ref().unwrap();
            assert!(
                lower.0 * 8 > upper_unconditional.0 * 3,
                "0.45 of 0.92 of 1,695 in 1,830 MHz"
            );
            for class in [Class::Idle, Class::InferenceInteractive] {
                assert_eq!(windows_of(device, class), 0, "{:?}", device.delivered.workload);
            }
        }
    }
}

#[test]
fn half_an_hour_of_simulation_uses_no_tensor_pipe_and_is_not_training() {
    for sealed in synthetic("hpc", 2) {
        for device in sealed.report.accelerators() {
            assert_eq!(device.delivered.compute.as_ref().unwrap().counter.0, 0);
            for class in [Class::Training, Class::Idle] {
                assert_eq!(windows_of(device, class), 0, "{:?}", device.delivered.workload);
            }
        }
    }
}

#[test]
fn half_an_hour_of_every_load_and_ten_minutes_on_every_part_state_nothing() {
    let mut stated = Vec::new();
    for (profile, gpus, reports_due) in [
        ("H100", 4, 6),
        ("H200", 4, 2),
        ("B200", 4, 2),
        ("A100", 4, 2),
        ("L40S", 4, 2),
        ("MIG", 1, 2),
    ] {
        for load in ["idle", "training", "inference", "burn", "hpc"] {
            let scenario = format!("profile = \"{profile}\"\ngpus = {gpus}\ntrace = \"{load}\"\nseed = 11\n");
            let name = format!("{load}-{profile}");
            let mut played = Played::new(&name, &scenario, BURSTS);
            played.until(reports_due * 300 + 2);
            let reports = played.reports();
            assert_eq!(reports.len() as u64, reports_due, "{name}");
            for sealed in &reports {
                stated.extend(observed(sealed).into_iter().map(|o| (name.clone(), o)));
            }
        }
    }
    assert_eq!(stated, []);
}

/// What a report states that does not fit, with the device that it is of, or the host.
fn observed(sealed: &Sealed) -> Vec<(Option<u16>, Observation)> {
    let host = sealed.report.claims().submods.host.host.observations.iter();
    let devices = sealed.report.accelerators().flat_map(|device| {
        let index = device.identity.index;
        let own = device.delivered.observations.iter();
        own.map(move |o| (Some(index), o.clone()))
    });
    host.map(|o| (None, o.clone())).chain(devices).collect()
}

fn levels_of(device: &AcceleratorClaims) -> LevelTimes {
    device.delivered.workload.levels.unwrap()
}

fn windows_of(device: &AcceleratorClaims, class: Class) -> u16 {
    let place = Class::ALL.iter().position(|c| *c == class).unwrap();
    device.delivered.workload.windows[place]
}

/// Half an hour of a synthetic load: six reports, checked against what the generator played.
fn synthetic(load: &str, gpus: u16) -> Vec<Sealed> {
    let scenario =
        format!("profile = \"H100\"\ngpus = {gpus}\ntrace = \"{load}\"\nsm_clock_mhz = {CLOCK_MHZ}\n");
    let mut played = Played::new(load, &scenario, BURSTS);
    played.until(1_802);
    let reports = played.reports();
    assert_eq!(reports.len(), 6);
    let play = nvidia_ml::Play::open(played.machine.scenario.clone()).unwrap();
    check(load, &reports, usize::from(gpus), &|gpu, from, to| {
        let at = |second| play.at(u32::try_from(gpu).unwrap(), second).1;
        let spent = at(to).since(at(from));
        (spent.energy_mj / 1e3, spent.tensor_s)
    });
    // Each ten minutes hold a minute at 10 Hz.
    let bursts = burst_values(&reports);
    assert_eq!(bursts.len(), 3 * usize::from(gpus));
    assert!(
        bursts.values().all(|count| (590..=600).contains(count)),
        "{bursts:?}"
    );
    reports
}

/// What holds of every report, whatever was played.
fn check(name: &str, reports: &[Sealed], gpus: usize, truth: Truth<'_>) {
    let mut before = None;
    for (i, sealed) in reports.iter().enumerate() {
        let claims = &sealed.report.claims().report;
        assert_eq!(
            (claims.sequence, claims.previous),
            (i as u64 + 1, before),
            "{name}"
        );
        if let Some(earlier) = i.checked_sub(1).and_then(|i| reports.get(i)) {
            assert_eq!(
                claims.time.start,
                earlier.report.claims().report.time.end,
                "{name}: no time is left out"
            );
        }
        before = Some(sealed.report.digest());
        assert!(
            sealed.bytes <= MOST_BYTES,
            "{name}: report of {} bytes",
            sealed.bytes
        );
        let (start_s, end_s) = (claims.time.start.0 as f64 / 1e9, claims.time.end.0 as f64 / 1e9);
        let devices: Vec<_> = sealed.report.accelerators().collect();
        assert_eq!(devices.len(), gpus, "{name}");
        for (gpu, device) in devices.into_iter().enumerate() {
            let told = format!("{name}, report {}, GPU {gpu}", claims.sequence);
            assert_eq!(usize::from(device.identity.index), gpu);
            assert_eq!(device.state, DeviceState::Present, "{told}");
            let delivered = &device.delivered;
            // A stretch counts in the report in which it ends, and nothing was read before the first second.
            let (from_s, to_s) = (start_s.floor().max(1.0), end_s.floor());
            let covered_s = f64::from(delivered.covered_ms) / 1e3;
            assert!(
                covered_s >= (to_s - from_s).min(end_s - start_s) - 1e-3,
                "{told}: covers {covered_s} s"
            );
            assert!(
                delivered.gaps.iter().map(|g| g.length_ms).sum::<u32>() <= 1_000,
                "{told}: {:?}",
                delivered.gaps
            );
            let (joules, tensor_s) = truth(gpu, from_s, to_s);
            let energy = *delivered.measured.energy_mj.value().unwrap() as f64 / 1e3;
            near(&format!("{told}, energy in J"), energy, joules, 0.005);
            let Compute {
                lower,
                counter,
                upper,
                upper_unconditional,
                ..
            } = delivered.compute.as_ref().unwrap();
            let tpp_hours = H100_TPP * (CLOCK_MHZ / H100_TENSOR_MHZ) * tensor_s / 3_600.0;
            near(
                &format!("{told}, TPP-hours"),
                counter.0 as f64 / 1e6,
                tpp_hours,
                0.01,
            );
            assert!(
                lower <= counter && counter <= upper && upper <= upper_unconditional,
                "{told}"
            );
            let peak = H100_TPP * (end_s - start_s).max(to_s - from_s) / 3_600.0;
            near(
                &format!("{told}, peak"),
                upper_unconditional.0 as f64 / 1e6,
                peak,
                1e-6,
            );
        }
    }
}

fn near(what: &str, found: f64, truth: f64, share: f64) {
    assert!(
        (found - truth).abs() <= truth * share + 1e-3,
        "{what}: {found} reported, {truth} played"
    );
}

/// How many instants of bursts stand in leaves under the roots, by device and ten minutes.
fn burst_values(reports: &[Sealed]) -> BTreeMap<(DeviceUuid, u64), u32> {
    let mut values = BTreeMap::new();
    for report in reports {
        for leaf in report.leaves.iter().filter(|l| l.field == LeafField::BurstPower) {
            assert_eq!(leaf.values.as_ref().unwrap().len(), leaf.count as usize);
            *values
                .entry((leaf.device, leaf.start.0 / BURSTS.period))
                .or_default() += leaf.count;
        }
    }
    values
}

/// Plays all of a recording, with a burst somewhere in its five minutes.
fn play(recording: &Recording) -> Vec<Sealed> {
    let scenario = format!(
        "profile = \"H100\"\ngpus = 8\ntrace = {:?}\nsm_clock_mhz = {CLOCK_MHZ}\n",
        recording.path
    );
    let mut played = Played::new(
        recording.name,
        &scenario,
        weighbridge_agent::sampler::Bursts {
            period: 300 * SECOND,
            ..BURSTS
        },
    );
    played.until(recording.length_s() as u64);
    played.finish();
    let reports = played.reports();
    assert_eq!(
        reports.len(),
        2,
        "{}: five minutes, and what is left",
        recording.name
    );
    check(recording.name, &reports, 8, &|gpu, from, to| {
        recording.truth(gpu, from, to)
    });
    let bursts = burst_values(&reports);
    assert!(
        bursts.len() == 8 && bursts.values().all(|count| *count >= 590),
        "{bursts:?}"
    );
    reports
}
