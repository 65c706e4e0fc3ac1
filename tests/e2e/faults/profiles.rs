//! What each kind of device offers. Where it has no counters for its pipes, its reports say so plainly, and bound compute from below by
//! nothing.

use weighbridge::accelerator::Catalogue;
use weighbridge::accounting::ComputeMethod;
use weighbridge::report::AcceleratorClaims;
use weighbridge::telemetry::{DeviceState, MigInstance, Reading};
use weighbridge_testbed::in_process::{BURSTS, Played};

/// The devices of a report over five minutes of training, and its length in nanoseconds.
fn trained(profile: &str) -> (Vec<AcceleratorClaims>, u64) {
    let scenario = format!("profile = \"{profile}\"\ngpus = 2\ntrace = \"training\"\n");
    let mut played = Played::new(profile, &scenario, BURSTS);
    played.until(302);
    let sealed = played.reports().swap_remove(0);
    let time = &sealed.report.claims().report.time;
    let devices: Vec<_> = sealed.report.accelerators().cloned().collect();
    assert_eq!(devices.len(), 2);
    for device in &devices {
        assert_eq!(device.state, DeviceState::Present);
        assert!(
            device.delivered.covered_ms >= 299_000 - 1,
            "{}",
            device.delivered.covered_ms
        );
    }
    (devices, time.end.since(time.start))
}

#[test]
fn devices_without_counters_for_their_pipes_say_so_and_are_bounded_by_busy_time() {
    for profile in ["A100", "L40S"] {
        for device in trained(profile).0 {
            assert!(!device.identity.pipe_activity, "{profile}");
            let measured = &device.delivered.measured;
            assert_eq!(
                measured.pipes,
                Reading::Unsupported,
                "{profile}: missing is never zero"
            );
            assert!(
                measured.energy_mj.value().is_some() && measured.busy_ms.value().is_some(),
                "{profile}"
            );
            let compute = device.delivered.compute.unwrap();
            assert_eq!((compute.lower.0, compute.counter.0), (0, 0), "{profile}");
            assert_eq!(compute.method, ComputeMethod::BusyTime, "{profile}");
            assert!(
                compute.upper.0 > 0 && compute.upper <= compute.upper_unconditional,
                "{profile}"
            );
            assert_eq!(device.delivered.training.unwrap().lower.0, 0, "{profile}");
        }
    }
}

#[test]
fn later_devices_are_weighed_by_their_pipes_against_their_own_peak() {
    let catalogue = Catalogue::embedded().unwrap();
    for profile in ["H100", "H200", "B200"] {
        let (devices, length_ns) = trained(profile);
        for device in devices {
            assert!(device.identity.pipe_activity, "{profile}");
            let compute = device.delivered.compute.unwrap();
            assert_eq!(compute.method, ComputeMethod::PipeActivity, "{profile}");
            // What busy pipes do at the least was measured on Hopper, and on nothing later.
            assert_eq!(compute.lower.0 > 0, profile != "B200", "{profile}");
            assert!(compute.lower < compute.counter, "{profile}");
            assert!(
                compute.counter < compute.upper && compute.upper < compute.upper_unconditional,
                "{profile}"
            );
            let found = catalogue.find(&device.identity.pci, &device.identity.name);
            let tpp = found.model().unwrap().tpp().unwrap().0;
            let peak = u128::from(tpp) * u128::from(length_ns) / 3_600_000;
            assert!(
                compute.upper_unconditional.0.abs_diff(peak) <= 1,
                "{profile}: {compute:?} against {peak}"
            );
        }
    }
}

#[test]
fn a_device_cut_into_instances_is_one_device_weighed_as_a_whole() {
    let counter = |device: &AcceleratorClaims| device.delivered.compute.as_ref().unwrap().counter.0;
    let whole = counter(&trained("H100").0[0]);
    for device in trained("MIG").0 {
        // The seven instances have 112 of the 132 multiprocessors, and do on them what the whole device does.
        let due = whole * 112 / 132;
        assert!(
            counter(&device).abs_diff(due) <= due / 100,
            "{} of {due}",
            counter(&device)
        );
        assert_eq!(
            device.identity.mig,
            Some(vec![MigInstance { slices: 1, count: 7 }])
        );
        assert_eq!(device.delivered.measured.busy_ms, Reading::Unsupported);
        let compute = device.delivered.compute.unwrap();
        assert_eq!(compute.method, ComputeMethod::PipeActivity);
        assert!(
            compute.lower.0 > 0 && compute.upper <= compute.upper_unconditional,
            "{compute:?}"
        );
    }
}
