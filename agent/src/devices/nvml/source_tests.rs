//! What is read of a device by what its driver offers: bursts, cycles, bytes, the driver's own rings, its accounting of processes.

use super::tests::{frames, play, ticks};
use super::*;
use crate::sampler::Bursts;
use std::fs;
use weighbridge::telemetry::{DeviceSample, Frame, Jobs, LossReason, Reading};
use weighbridge::time::SECOND;
use weighbridge::unit::Ppm;

#[test]
fn a_burst_reads_power_and_links_ten_times_a_second_and_leaves_regular_activity_as_it_was() {
    let Some(played) = play("profile = \"H100\"\ntrace = \"training\"\n") else {
        return;
    };
    let bursts = Bursts {
        period: 30 * SECOND,
        length: 10 * SECOND,
        interval: SECOND / 10,
        seed: 1,
    };
    let frames = frames(&mut played.sampler(bursts), 60);
    let ticks = ticks(&frames);
    let regular = ticks.iter().filter(|t| t.kind == TickKind::Regular);
    for tick in regular {
        let Reading::Value(activity) = &tick.devices[0].activity else {
            panic!("a burst took the activity of a regular tick");
        };
        assert_eq!(activity.interval_ns, SECOND);
    }
    let burst: Vec<_> = ticks.iter().filter(|t| t.kind == TickKind::Burst).collect();
    assert!(burst.len() >= 100);
    assert!(burst.iter().all(|t| t.devices[0].power_mw.value().is_some()
        && t.devices[0].nvlink_tx_bytes.value().is_some()
        && t.devices[0].energy_mj == Reading::Unsupported));
    // Pairs of 200 ms, every second tick; the first tick of a burst has nothing to compare with, whatever ended the last one.
    let pairs: Vec<_> = burst
        .iter()
        .filter(|t| t.devices[0].activity.value().is_some())
        .collect();
    assert!(
        pairs.len().abs_diff(burst.len() / 2) <= 4,
        "{} of {}",
        pairs.len(),
        burst.len()
    );
    for tick in pairs {
        let activity = tick.devices[0].activity.value().unwrap();
        assert_eq!(activity.interval_ns, SECOND / 5);
        assert!(activity.sm.value().is_some() && activity.dram.value().is_some());
        assert!(activity.tensor_any.value().is_some() && activity.hmma == Reading::Unsupported);
    }
    assert!(
        burst
            .iter()
            .all(|t| !matches!(t.devices[0].activity, Reading::Lost(_)))
    );
}

#[test]
fn a_device_that_has_no_pairs_has_none_in_a_burst() {
    let Some(played) = play("profile = \"A100\"\ntrace = \"training\"\n") else {
        return;
    };
    let bursts = Bursts {
        period: 30 * SECOND,
        length: 10 * SECOND,
        interval: SECOND / 10,
        seed: 1,
    };
    let frames = frames(&mut played.sampler(bursts), 40);
    let ticks = ticks(&frames);
    let mut burst = ticks.iter().filter(|t| t.kind == TickKind::Burst);
    assert!(burst.all(|t| t.devices[0].activity == Reading::Unsupported));
}

#[test]
fn cycle_counters_are_read_where_the_driver_has_them_and_pcie_bytes_with_them() {
    let scenario = "profile = \"H100\"\ntrace = \"burn\"\nsm_clock_mhz = 1500\ngpm_counters = true\n";
    let Some(played) = play(scenario) else { return };
    let frames = played.frames(10);
    let ticks = ticks(&frames);
    let read: Vec<_> = ticks.iter().map(|t| &t.devices[0]).collect();
    let cycles = |sample: &DeviceSample| sample.cycles.value().unwrap()[0].clone();
    let (first, last) = (cycles(read[0]), cycles(read[9]));
    assert_eq!((first.instance, first.part_ppb), (None, 1_000_000_000));
    let elapsed = last.elapsed - first.elapsed;
    assert!(elapsed.abs_diff(9 * 1_500_000_000 * 132) < 1_000, "{elapsed}");
    let of = |reading: Reading<u64>| *reading.value().unwrap();
    let hmma = of(last.hmma) - of(first.hmma);
    // Real loads stray, and so does the one that is played.
    assert!(
        hmma.abs_diff(elapsed / 100 * 92) < elapsed / 100,
        "{hmma} of {elapsed}"
    );
    let sent = of(read[9].pcie_tx_bytes) - of(read[0].pcie_tx_bytes);
    assert!(sent.abs_diff(9 * 2_000_000) <= 1, "{sent}");
    let rate = of(read[9].pcie_tx_rate);
    assert!(rate.abs_diff(2_000_000) <= 1, "{rate}");
}

#[test]
fn cycles_of_a_device_cut_by_mig_come_by_instance() {
    let scenario = "profile = \"MIG\"\ntrace = \"burn\"\ngpm_counters = true\n";
    let Some(played) = play(scenario) else { return };
    let frames = played.frames(3);
    let sample = &ticks(&frames)[2].devices[0];
    let cycles = sample.cycles.value().unwrap();
    assert_eq!(cycles.len(), 7);
    assert!(
        cycles
            .iter()
            .all(|c| c.instance.is_some() && c.part_ppb == 121_212_121)
    );
    assert_eq!(
        (&sample.pcie_tx_rate, &sample.pcie_tx_bytes),
        (&Reading::Unsupported, &Reading::Unsupported)
    );
    // GPM answers zero for links that nobody sees.
    assert_eq!(sample.nvlink_tx_bytes, Reading::Unsupported);
}

#[test]
fn pcie_bytes_that_do_not_wrap_are_counters() {
    let scenario = "profile = \"L40S\"\ntrace = \"training\"\n";
    let Some(played) = play(scenario) else { return };
    let narrow = played.frames(3);
    assert_eq!(ticks(&narrow)[2].devices[0].pcie_tx_bytes, Reading::Unsupported);
    let Some(played) = play(&format!("{scenario}wide_pcie_counters = true\n")) else {
        return;
    };
    let wide = played.frames(3);
    let sent: Vec<_> = ticks(&wide)
        .iter()
        .map(|t| *t.devices[0].pcie_tx_bytes.value().unwrap())
        .collect();
    assert!(sent[2] > sent[1], "{sent:?}");
}

#[test]
fn what_older_devices_keep_between_two_ticks_is_read() {
    // A second of work in five: whoever looks once a second sees all of it or nothing.
    let recording = "timestamp,gpu,power_w,temp_c,mem_used_mib,gpu_util_pct,mem_util_pct,sm_active,tensor_active,\
        dram_active,pcie_tx_bytes_s,pcie_rx_bytes_s,nvlink_tx_bytes_s,nvlink_rx_bytes_s,throttle_reasons,energy_mj\n\
        0,0,300,50,9000,100,0,0,0,0,0,0,0,0,0,0\n0.39,0,100,50,9000,0,0,0,0,0,0,0,0,0,1,120000\n\
        1,0,100,50,9000,0,0,0,0,0,0,0,0,0,1,180000\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), recording).unwrap();
    let scenario = format!("profile = \"A100\"\ntrace = '{}'\n", file.path().display());
    let Some(played) = play(&scenario) else { return };
    let frames = played.frames(20);
    for tick in ticks(&frames).iter().skip(1) {
        let sample = &tick.devices[0];
        let ring = sample.power_ring.value().expect("the ring of power");
        assert_eq!((ring.lowest_mw, ring.highest_mw), (100_000, 300_000));
        assert!(ring.mean_mw.abs_diff(180_000) <= 4_000, "{}", ring.mean_mw);
        assert_eq!(sample.busy_mean, Reading::Value(Ppm(400_000)));
        assert!(sample.utilisation.value().is_some());
    }
    let Some(played) = play("profile = \"H100\"\n") else {
        return;
    };
    let frames = played.frames(3);
    let sample = &ticks(&frames)[2].devices[0];
    assert_eq!(sample.power_ring, Reading::Unsupported, "pairs tell it better");
}

#[test]
fn the_clock_is_looked_at_between_two_ticks_and_a_refusal_there_is_told() {
    let series: String = (1..20)
        .map(|s| format!("[{s}.1, 1200], [{s}.9, 1800], "))
        .collect();
    let fault =
        "[[fault]]\nat_s = 5.3\nfor_s = 0.3\nkind = \"not_supported\"\nsymbol = \"nvmlDeviceGetClockInfo\"\n";
    let scenario =
        format!("profile = \"H100\"\ntrace = \"burn\"\nclock_series = [[0, 1800], {series}]\n{fault}");
    let Some(played) = play(&scenario) else { return };
    let frames = played.frames(10);
    for (second, tick) in (1..).zip(ticks(&frames)).skip(1) {
        let sample = &tick.devices[0];
        assert_eq!(sample.sm_clock_mhz, Reading::Value(1_800), "second {second}");
        match &sample.clock_looks {
            Reading::Value(looks) => {
                assert_eq!(looks.lowest_mhz, 1_200);
                assert!((1_200..1_500).contains(&looks.mean_mhz), "{looks:?}");
                assert_ne!(second, 6);
            }
            lost => assert_eq!((second, lost), (6, &Reading::Lost(LossReason::Failed))),
        }
    }
}

#[test]
fn processes_that_ended_are_counted_from_the_first_look_on() {
    let before: String = (0..600).map(|i| format!("[{i}.0, {}.0], ", i + 1)).collect();
    let jobs = format!("jobs = [{before}[590.0, 700.0], [610.0, 612.0], [650.0, 9000.0]]\n");
    let Some(played) = play(&format!("profile = \"A100\"\n{jobs}")) else {
        return;
    };
    played.clock.move_to(BootNanos(605 * SECOND));
    let frames = played.frames(900);
    let told = |frames: &[Frame]| {
        let found = ticks(frames)
            .into_iter()
            .map(|t| t.devices[0].jobs.clone().unwrap());
        found.fold(Jobs::NONE, |sum, jobs| sum.plus(&jobs))
    };
    let two = Jobs {
        ended: 2,
        longest_s: 110,
    };
    assert_eq!(
        told(&frames),
        two,
        "those of before are no news, and one still runs"
    );
    let Some(played) = play("profile = \"A100\"\n") else {
        return;
    };
    assert_eq!(ticks(&played.frames(3))[2].devices[0].jobs, None);
}
