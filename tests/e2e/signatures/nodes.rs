//! Nodes of which some devices train and others do not.

use super::{shared, verdicts};
use std::fmt::Write as _;
use std::path::Path;
use weighbridge::workload::{Class, Level, Verdict};
use weighbridge_testbed::chance::Chance;

/// The lines of a packed recording.
fn lines(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let mut file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Rows in order of time since their recording began, of devices for which `keep` holds.
fn since_beginning(lines: &[String], keep: fn(usize) -> bool) -> Vec<(u64, String)> {
    let cells = |l: &str| -> (f64, usize, String) {
        let parts: Vec<&str> = l.splitn(4, ',').collect();
        let gpu = parts[2].parse().unwrap();
        (parts[0].parse().unwrap(), gpu, format!("{gpu},{}", parts[3]))
    };
    let begun = cells(&lines[1]).0;
    let rows = lines[1..]
        .iter()
        .map(|l| cells(l))
        .filter(|(_, gpu, _)| keep(*gpu));
    rows.map(|(at, _, rest)| (((at - begun) * 1e3) as u64, rest))
        .collect()
}

fn half_and_half(of: &[Verdict]) {
    for (gpu, verdict) in of.iter().enumerate() {
        if gpu < 4 {
            assert_eq!(verdict.class, Some(Class::Training), "GPU {gpu}: {verdict:?}");
        } else {
            assert_ne!(verdict.class, Some(Class::Training), "GPU {gpu}: {verdict:?}");
            assert!(verdict.level <= Level::Weak, "GPU {gpu}: {verdict:?}");
        }
    }
}

#[test]
fn a_node_of_which_half_serves_and_half_trains_is_told_apart_by_device() {
    let Some(dir) = shared() else { return };
    let dir = dir.join("h100-dcgm-10hz");
    for name in ["t2", "t3", "t13_node1"] {
        let train = lines(&dir.join(format!("{name}_telemetry.csv.gz")));
        let serve = lines(&dir.join("i4_telemetry.csv.gz"));
        let mut rows = since_beginning(&train, |gpu| gpu < 4);
        rows.extend(since_beginning(&serve, |gpu| gpu >= 4));
        rows.sort();
        let head: Vec<&str> = train[0].splitn(3, ',').collect();
        let mut text = format!("timestamp,{}\n", head[2]);
        for (at, rest) in rows {
            writeln!(text, "{}.{:03},{rest}", at / 1_000, at % 1_000).unwrap();
        }
        half_and_half(&verdicts(&text));
    }
}

/// How rows of a made-up node are written.
pub(super) struct Made {
    pub(super) rate: f64,
    pub(super) seconds: f64,
    /// Whether links are written down.
    pub(super) links: bool,
}

impl Made {
    /// Eight devices: the first so many train together, the next ones serve each for itself, the others rest.
    pub(super) fn node(&self, train: usize, serve: usize) -> String {
        let mut chance = Chance::of(7);
        let mut text =
            "timestamp,gpu,power_w,gpu_util_pct,sm_active,tensor_active,dram_active,energy_mj".to_owned();
        text += if self.links {
            ",nvlink_tx_bytes_s,nvlink_rx_bytes_s\n"
        } else {
            "\n"
        };
        let mut energy = [4e9; 8];
        let mut beat = 0.0;
        for row in 0..(self.seconds * self.rate) as usize {
            let at = row as f64 / self.rate;
            // A step is a little longer or shorter than the one before, for all devices alike.
            if row % 6 == 0 {
                beat = chance.within(0..1_000) as f64 / 1e3;
            }
            for (gpu, energy) in energy.iter_mut().enumerate() {
                let noise = chance.within(0..1_000) as f64 / 1e5;
                let prompt = chance.within(0..10) < 3;
                let (power, util, sm, tensor, dram, link) = if gpu < train {
                    let link = if row % 6 == 5 { 9e9 } else { 1e9 };
                    (
                        560.0 + 80.0 * beat,
                        100,
                        0.85 + noise,
                        0.46 + noise,
                        0.34 + noise,
                        link,
                    )
                } else if gpu < train + serve {
                    match prompt {
                        true => (420.0 + noise, 90, 0.80, 0.55, 0.20, 0.0),
                        false => (250.0 + 5e3 * noise, 70, 0.35, 0.04, 0.29, 0.0),
                    }
                } else {
                    (70.0 + 10.0 * noise, 0, 0.0, 0.0, 0.0, 0.0)
                };
                *energy += power * 1e3 / self.rate;
                write!(
                    text,
                    "{at:.3},{gpu},{power:.2},{util},{sm:.4},{tensor:.4},{dram:.4},{energy:.0}"
                )
                .unwrap();
                if self.links {
                    write!(text, ",{link:.0},{:.0}", link * 0.97).unwrap();
                }
                text.push('\n');
            }
        }
        text
    }
}

#[test]
fn a_made_up_node_is_told_apart_by_device_at_every_rate_and_length() {
    for (rate, seconds) in [(10.0, 130.0), (10.0, 30.0), (5.0, 70.0), (3.0, 70.0), (1.0, 70.0)] {
        let made = Made {
            rate,
            seconds,
            links: true,
        };
        half_and_half(&verdicts(&made.node(4, 4)));
        for verdict in verdicts(&made.node(0, 0)) {
            assert_eq!(verdict.class, Some(Class::Idle), "{rate} Hz, {seconds} s");
        }
    }
}

#[test]
fn without_links_or_with_seven_seconds_serving_is_not_accused() {
    for (rate, seconds, links) in [(10.0, 60.0, false), (10.0, 7.0, true), (1.0, 7.0, false)] {
        let made = Made { rate, seconds, links };
        for (gpu, verdict) in verdicts(&made.node(4, 4)).iter().enumerate() {
            let accused = verdict.class == Some(Class::Training);
            assert!(gpu < 4 || !accused, "GPU {gpu} at {rate} Hz: {verdict:?}");
        }
    }
}

#[test]
fn activity_that_nobody_read_tells_nothing() {
    let text: String = "timestamp,gpu,power_w\n".to_owned()
        + &(0..60)
            .map(|i| format!("{i},0,{}\n", 500 + i % 7))
            .collect::<String>();
    assert_eq!(verdicts(&text)[0].class, None);
}
