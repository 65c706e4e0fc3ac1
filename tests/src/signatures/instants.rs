//! The rows of a recorded device as the instants of an agent's bursts.
//!
//! Decides: that rows closer than an agent reads are joined to about 100 ms, so that a faster recording shows no less than a slower one, and that
//! rows further apart than 220 ms are no instants. Over joined rows counters add up, and shares and power are means of what was read. Shares that a
//! recorder renewed more seldom than it wrote rows are of no instant: a burst reads each anew.

use super::recording::{Row, mean};
use weighbridge::telemetry::Reading;
use weighbridge::workload::Instant;

/// Seconds between rows, from the least that are instants each for itself to the most that are instants at all.
const APART_S: std::ops::RangeInclusive<f64> = 0.08..=0.22;

/// What closer rows are joined to, in seconds: as an agent reads in bursts.
const JOINED_S: f64 = 0.1;

/// A share that stands for so many instants on the average was not read at each.
const HELD: usize = 5;

/// A tensor activity below this, in parts per million, may stand still.
const AT_REST_PPM: u32 = 5_000;

/// The instants of a device whose rows are so many seconds apart, each with its time since the recording began, in milliseconds, which the instant
/// has too; none where rows are too far apart.
pub(super) fn instants(rows: &[Row], begun: f64, row_s: f64) -> Vec<(u64, Instant)> {
    if row_s > *APART_S.end() {
        return Vec::new();
    }
    let joined = if row_s < *APART_S.start() {
        (JOINED_S / row_s).round().max((APART_S.start() / row_s).ceil())
    } else {
        1.0
    };
    // Half a row early, so that jitter takes no row into the next instant.
    let place = |row: &Row| ((row.at() - begun + row_s / 2.0) / (row_s * joined)) as u64;
    let mut before = [None; 2];
    let mut all: Vec<(u64, Instant)> = rows
        .chunk_by(|a, b| joined > 1.0 && place(a) == place(b))
        .filter_map(|joined| instant(joined, &mut before, begun, row_s))
        .collect();
    if are_held(&all) {
        for (_, instant) in &mut all {
            *instant = Instant {
                sm_ppm: Reading::Unsupported,
                tensor_ppm: Reading::Unsupported,
                dram_ppm: Reading::Unsupported,
                ..*instant
            };
        }
    }
    all
}

/// Whether activity was renewed more seldom than it was written down: it changes, but only now and then.
fn are_held(all: &[(u64, Instant)]) -> bool {
    let works: Vec<[Reading<u32>; 3]> = all
        .iter()
        .filter(|(_, i)| i.tensor_ppm.value().is_some_and(|ppm| *ppm >= AT_REST_PPM))
        .map(|(_, i)| [i.sm_ppm, i.tensor_ppm, i.dram_ppm])
        .collect();
    let changes = works.windows(2).filter(|w| w[0] != w[1]).count();
    changes > 0 && works.len() >= HELD * changes
}

/// The instant at the last of these rows; `before` are the last rows that told what was sent and what was received.
fn instant<'a>(
    rows: &'a [Row],
    before: &mut [Option<&'a Row>; 2],
    begun: f64,
    row_s: f64,
) -> Option<(u64, Instant)> {
    let at = ((rows.last()?.at() - begun) * 1e3) as u64;
    let mean_of = |name: &str| mean(rows.iter().filter_map(|r| r.cell(name)));
    let whole = |value: Option<f64>| value.map_or(Reading::Unsupported, |v| Reading::Value(v as u32));
    let share = |name: &str| whole(mean_of(name).map(|v| v.min(1.0) * 1e6));
    let gained = |name: &str, before: &mut Option<&'a Row>| {
        let told = rows.iter().filter_map(|row| Some((row, row.cell(name)?)));
        let bytes = told.map(|(row, rate)| rate * row.since(before.replace(row), row_s));
        whole(bytes.reduce(|a, b| a + b).map(|bytes| bytes / 1_024.0))
    };
    let [sent, received] = before;
    let instant = Instant {
        at_ms: u32::try_from(at).unwrap_or(u32::MAX),
        power_mw: whole(mean_of("power_w").map(|w| w * 1e3)),
        tx_kib: gained("nvlink_tx_bytes_s", sent),
        rx_kib: gained("nvlink_rx_bytes_s", received),
        sm_ppm: share("sm_active"),
        tensor_ppm: share("tensor_active"),
        dram_ppm: share("dram_active"),
    };
    Some((at, instant))
}

#[cfg(test)]
mod tests {
    use super::super::recording::parse;
    use super::*;

    /// The instants of ten seconds at a rate, of a device whose links swing every second and whose activity every second row tells.
    fn at(rate: u32) -> Vec<Instant> {
        let mut text = "timestamp,gpu,power_w,sm_active,nvlink_tx_bytes_s\n".to_owned();
        for row in 0..10 * rate {
            let at = f64::from(row) / f64::from(rate);
            let swing = if (at as u32).is_multiple_of(2) { 9 } else { 1 };
            let sm = if row % 2 == 1 { "0.5" } else { "" };
            text += &format!("{at:.4},0,{swing}00,{sm},{swing}024000\n");
        }
        let device = parse(&text).unwrap().devices.remove(0);
        device.instants.into_iter().map(|(_, instant)| instant).collect()
    }

    #[test]
    fn rows_closer_than_a_burst_reads_are_joined_to_its_readings() {
        let sent = |all: &[Instant]| all.iter().filter_map(|i| i.tx_kib.value()).sum::<u32>();
        for (rate, count) in [
            (5, 50),
            (10, 100),
            (12, 120),
            (13, 65),
            (20, 100),
            (50, 100),
            (100, 100),
        ] {
            let all = at(rate);
            assert!(all.len().abs_diff(count) <= 1, "{rate} Hz: {}", all.len());
            // 8,812 and 1,000 KiB in turns, and the first row counts from nothing.
            let moved = 49_060 - 8_812 / rate;
            assert!(sent(&all).abs_diff(moved) < 150, "{rate} Hz: {}", sent(&all));
            assert!(all.windows(2).all(|w| w[0].at_ms < w[1].at_ms));
            if rate > 12 {
                let power = all.iter().filter_map(|i| i.power_mw.value());
                assert!(power.clone().any(|mw| *mw > 850_000) && power.clone().any(|mw| *mw < 150_000));
                assert!(all.iter().skip(1).all(|i| i.sm_ppm == Reading::Value(500_000)));
            }
        }
        assert!(at(4).is_empty());
    }

    #[test]
    fn activity_that_was_renewed_once_a_second_is_of_no_instant() {
        let told = |renewed: u32| {
            let mut text = "timestamp,gpu,power_w,tensor_active\n".to_owned();
            for row in 0..200 {
                let share = 0.3 + f64::from(row / renewed * 7 % 5) / 50.0;
                text += &format!("{:.1},0,500,{share:.2}\n", f64::from(row) / 10.0);
            }
            let device = parse(&text).unwrap().devices.remove(0);
            assert_eq!(device.instants.len(), 200);
            let told = device.instants.iter().filter_map(|(_, i)| i.tensor_ppm.value());
            told.count()
        };
        assert_eq!([told(1), told(2), told(10)], [200, 200, 0]);
    }
}
