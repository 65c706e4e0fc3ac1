//! Work over several devices, told by how they exchange.

use super::verdicts;
use std::fmt::Write as _;
use weighbridge::workload::{Class, Level, Model, Verdict};
use weighbridge_testbed::chance::Chance;
use weighbridge_testbed::signatures::{parse, play, verdict};

/// What a device does in a tenth of a second: watts, shares of SMs, tensor pipes and memory, and bytes a second sent.
type Does = [f64; 5];

/// At rest, with what a model holds in memory.
const REST: Does = [120.0, 0.0, 0.0, 0.0, 0.0];

/// Three minutes of eight devices that hold 40 GB, by second and device; each reading is off by a few percent, and traffic is as much both ways.
fn eight(mut does: impl FnMut(f64, usize, &mut Chance) -> Does) -> String {
    let mut chance = Chance::of(5);
    let mut text = "timestamp,gpu,power_w,mem_used_mib,sm_active,tensor_active,dram_active,nvlink_tx_bytes_s,nvlink_rx_bytes_s\n".to_owned();
    for row in 0..1_800 {
        let at = f64::from(row) / 10.0;
        for gpu in 0..8 {
            let [power, sm, tensor, dram, sent] =
                does(at, gpu, &mut chance).map(|mean| mean * (1.0 + 0.03 * chance.noise()));
            let share = |value: f64| value.clamp(0.0, 1.0);
            writeln!(
                text,
                "{at:.1},{gpu},{power:.1},40000,{:.4},{:.4},{:.4},{sent:.0},{:.0}",
                share(sm),
                share(tensor),
                share(dram),
                sent * 0.98
            )
            .unwrap();
        }
    }
    text
}

/// Where a moment lies in what repeats after so many seconds, from nought to one.
fn phase(at: f64, period: f64) -> f64 {
    (at / period).fract()
}

fn each(of: &[Verdict], holds: impl Fn(usize, &Verdict) -> bool) {
    assert_eq!(of.len(), 8);
    for (gpu, verdict) in of.iter().enumerate() {
        assert!(holds(gpu, verdict), "GPU {gpu}: {verdict:?}");
    }
}

/// Eight devices with one model cut over them, of the mixture of training and serving alike: steps of 400 ms, or requests as they come. Each
/// tenth of a second has so many rows.
fn cut_over_eight(trains: bool, rows: usize) -> String {
    let mut chance = Chance::of(11);
    let mut text = "timestamp,gpu,power_w,gpu_util_pct,sm_active,tensor_active,dram_active,nvlink_tx_bytes_s,nvlink_rx_bytes_s\n".to_owned();
    let mut busy = 1.0;
    for row in 0..1_800 {
        busy = match (trains, row % 2) {
            (true, _) => [1.0, 1.2, 1.2, 0.6][row % 4],
            (false, 0) => [1.0, 1.3, 0.5][chance.within(0..3) as usize],
            (false, _) => busy,
        };
        for gpu in 0..8 {
            let noise = 1.0 + chance.noise() / 50.0;
            let [sm, tensor, dram, link] = [0.45, 0.11, 0.32, 4e10].map(|mean| mean * busy * noise);
            let power = 250.0 + 200.0 * busy * noise;
            for part in 0..rows {
                writeln!(
                    text,
                    "{:.3},{gpu},{power:.1},99,{sm:.4},{tensor:.4},{dram:.4},{link:.0},{:.0}",
                    row as f64 / 10.0 + part as f64 / 10.0 / rows as f64,
                    link * 0.99
                )
                .unwrap();
            }
        }
    }
    text
}

#[test]
fn one_model_over_eight_devices_is_told_by_the_beat_of_its_exchanges() {
    // At 10 Hz, and twice and ten times as fast.
    for rows in [1, 2, 10] {
        for verdict in verdicts(&cut_over_eight(true, rows)) {
            assert_eq!(
                (verdict.class, verdict.level),
                (Some(Class::Training), Level::Candidate),
                "what each device did speaks against it: {verdict:?}, {rows} rows"
            );
        }
        for verdict in verdicts(&cut_over_eight(false, rows)) {
            assert!(
                verdict.class != Some(Class::Training) && verdict.level < Level::Candidate,
                "{verdict:?}, {rows} rows"
            );
        }
    }
}

#[test]
fn without_bursts_steps_too_fast_to_be_seen_cannot_be_told() {
    let mut recording = parse(&cut_over_eight(true, 1)).unwrap();
    for device in &mut recording.devices {
        device.instants.clear();
    }
    let model = Model::embedded().unwrap();
    for windows in play(&recording) {
        let verdict = verdict(&model, &windows);
        assert!(
            verdict.class.is_none() && verdict.level > Level::RuledOut,
            "{verdict:?}"
        );
    }
}

/// The medians are those that are published of a recording of eight H100 that is not here: SM 0.03 and 0.86, tensor 0.00 and 0.48, memory 0.02 and 0.44, traffic of
/// 24 GB a second with a rhythm of 0.4 s.
#[test]
fn of_a_node_with_the_medians_of_a_published_one_the_half_that_trains_is_found() {
    let text = eight(|at, gpu, chance| match gpu {
        0..4 if chance.within(0..100) < 8 => [150.0, 0.35, 0.01, 0.22, 0.0],
        0..4 => REST,
        _ => {
            let swing = (std::f64::consts::TAU * phase(at, 0.42)).sin();
            [685.0, 0.86, 0.48, 0.44, 2.4e10 * (1.0 + 0.5 * swing)]
        }
    });
    each(&verdicts(&text), |gpu, v| {
        (v.class == Some(Class::Training)) == (gpu >= 4) && (gpu >= 4 || v.level <= Level::Weak)
    });
}

/// Likewise of a job that holds its weights on the host: SM 0.09, tensor 0.055, memory 0.04, at rest six sevenths of each 3.5 s.
#[test]
fn a_job_with_the_medians_of_a_published_one_that_offloads_is_found_on_every_device() {
    let text = eight(|at, _, _| match phase(at, 3.5) {
        p if p < 0.14 => [420.0, 0.64, 0.39, 0.28, 3.5e10],
        _ => [150.0, 0.001, 0.0, 0.001, 0.0],
    });
    each(&verdicts(&text), |_, v| {
        (v.class, v.level) == (Some(Class::Training), Level::Candidate)
    });
}

/// Replicas that exchange gradients at the end of each step of 4 s, and the same of which so few bytes go round that they can be none.
#[test]
fn replicas_that_exchange_apart_from_their_work_are_established_and_those_that_gather_results_are_not() {
    let replicas = |sent: f64| {
        eight(move |at, _, _| match phase(at, 4.0) {
            p if p < 0.85 => [650.0, 0.88, 0.48, 0.36, 0.0],
            _ => [350.0, 0.25, 0.0, 0.12, sent],
        })
    };
    each(&verdicts(&replicas(2e10)), |_, v| {
        (v.class, v.level) == (Some(Class::Training), Level::Established)
    });
    each(&verdicts(&replicas(2e7)), |_, v| v.level < Level::Established);
}

/// One model over eight devices, whose links are busy where its tensor pipes are: in rounds of prompts with a pause, it looks as training does over several devices; with
/// answers after the prompts it does not.
#[test]
fn a_service_in_rounds_over_eight_devices_is_never_established() {
    let prompts = eight(|at, _, _| match phase(at, 0.9) {
        p if p < 0.85 => [600.0, 0.8, 0.42, 0.36, 6e10],
        _ => [300.0, 0.05, 0.0, 0.01, 0.0],
    });
    each(&verdicts(&prompts), |_, v| v.level == Level::Candidate);
    for period in [0.8, 1.3, 4.0] {
        let answered = eight(|at, _, _| match phase(at, period) {
            p if p < 0.25 => [600.0, 0.5, 0.45, 0.35, 5e10],
            _ => [420.0, 0.45, 0.06, 0.52, 5e9],
        });
        each(&verdicts(&answered), |_, v| v.class != Some(Class::Training));
    }
}
