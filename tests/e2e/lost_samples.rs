//! What the bounds say when samples are lost: whatever was lost, the truth lies between them.

use crate::recording::Recording;
use weighbridge_testbed::chance::Chance;
use weighbridge_testbed::in_process::{NO_BURSTS, Played, Sealed};

/// Total Processing Performance of an H100 SXM5 at 1,695 of the 1,830 MHz at which its tensor pipes reach it.
const H100_TPP: f64 = 15_832.0 * 1_695.0 / 1_830.0;
/// Shares of samples that are lost, in percent.
const LOST: [u64; 4] = [0, 1, 5, 20];

fn scenario(trace: &str, gpus: usize) -> String {
    format!("profile = \"H100\"\ngpus = {gpus}\ntrace = {trace:?}\nsm_clock_mhz = 1695\n")
}

#[test]
fn recordings_with_samples_lost_keep_the_truth_between_their_bounds() {
    for name in ["b1", "i4", "t2", "t3", "t13_node0", "t13_node1"] {
        let Some(recording) = Recording::open(name) else {
            return;
        };
        let scenario = scenario(recording.path.to_str().unwrap(), 8);
        for percent in LOST {
            let reports = play(name, &scenario, percent, recording.length_s() as u64);
            check(name, percent, &reports, &|gpu, from, to| {
                recording.truth(gpu, from, to).1
            });
        }
    }
}

#[test]
fn synthetic_loads_with_samples_lost_keep_the_truth_between_their_bounds() {
    for load in ["training", "inference", "burn", "idle"] {
        for percent in LOST {
            let scenario = scenario(load, 2);
            let reports = play(load, &scenario, percent, 602);
            let file = tempfile::tempdir().unwrap();
            let path = file.path().join(format!("{load}.toml"));
            std::fs::write(&path, scenario).unwrap();
            let play = nvidia_ml::Play::open(nvidia_ml::Scenario::load(&path).unwrap()).unwrap();
            check(load, percent, &reports, &|gpu, from, to| {
                let at = |second| play.at(u32::try_from(gpu).unwrap(), second).1;
                at(to).since(at(from)).tensor_s
            });
        }
    }
}

fn play(name: &str, scenario: &str, percent: u64, seconds: u64) -> Vec<Sealed> {
    let chance = Chance::new(&format!("{name}, {percent} % of samples lost"));
    let mut played = Played::new(name, scenario, NO_BURSTS).losing(percent, chance);
    played.until(seconds);
    played.finish();
    played.reports()
}

/// The bounds of every GPU over the whole play, against all that it did in that time.
fn check(name: &str, percent: u64, reports: &[Sealed], tensor_s: &dyn Fn(usize, f64, f64) -> f64) {
    let from = reports.first().unwrap().report.claims().report.time.start.0 as f64 / 1e9;
    let to = reports.last().unwrap().report.claims().report.time.end.0 as f64 / 1e9;
    for gpu in 0..reports[0].report.accelerators().count() {
        let told = format!("{name}, {percent} % lost, GPU {gpu}");
        let of = |pick: fn(&weighbridge::accounting::Compute) -> u128| -> f64 {
            let device = |r: &Sealed| {
                pick(
                    r.report
                        .accelerators()
                        .nth(gpu)
                        .unwrap()
                        .delivered
                        .compute
                        .as_ref()
                        .unwrap(),
                )
            };
            reports.iter().map(device).sum::<u128>() as f64 / 1e6
        };
        let truth = H100_TPP * tensor_s(gpu, from, to) / 3_600.0;
        let (lower, counter, upper) = (of(|c| c.lower.0), of(|c| c.counter.0), of(|c| c.upper.0));
        // Shares are read in whole parts per million.
        let slack = H100_TPP * (to - from) / 3_600.0 * 2e-6;
        assert!(lower <= truth + slack, "{told}: at least {lower}, truly {truth}");
        assert!(truth <= upper + slack, "{told}: at most {upper}, truly {truth}");
        assert!(
            counter <= truth * 1.01 + slack,
            "{told}: counted {counter}, truly {truth}"
        );
        if percent == 20 {
            let covered: u32 = reports
                .iter()
                .map(|r| r.report.accelerators().nth(gpu).unwrap().delivered.covered_ms)
                .sum();
            let share = f64::from(covered) / 1e3 / (to - from);
            assert!((0.4..0.8).contains(&share), "{told}: covers {share}");
        }
    }
}
