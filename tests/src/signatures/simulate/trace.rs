//! A trace: what a recording of simulated devices would hold, ten times a second; or what was recorded, so that it can be changed.
//!
//! Decides: how stretches of work become readings, with noise, power that lags and clocks that a limit holds back. A recording is written in
//! the project's own format and says in its head that no device was recorded.

use super::machine::{
    BUSY, CHANNELS, CLOCK, DMMA, DRAM, FP32, FP64, IMMA, INTEGER, Load, MEMORY, Machine, PCIE_RX, PCIE_TX,
    POWER, RX, SM, Stretch, TENSOR, TX, USEFUL,
};
use crate::chance::Chance;
use crate::signatures::recording::{Recording, Row, of_rows};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use weighbridge::crypto::sha256;

/// Rows a second.
pub(super) const RATE: f64 = 10.0;

/// Seconds between rows of a recording, their mean, that is as many a second.
const AS_MANY: std::ops::RangeInclusive<f64> = 0.09..=0.11;

/// Rows further apart than so many times their mean leave a hole.
const HOLE: f64 = 2.5;

/// Where each channel stands in a recording, and by how much it is multiplied there.
const COLUMNS: [(&str, usize, f64); 17] = [
    ("power_w", POWER, 1.0),
    ("mem_used_mib", MEMORY, 1.0),
    ("gpu_util_pct", BUSY, 100.0),
    ("sm_active", SM, 1.0),
    ("tensor_active", TENSOR, 1.0),
    ("dram_active", DRAM, 1.0),
    ("pcie_tx_bytes_s", PCIE_TX, 1.0),
    ("pcie_rx_bytes_s", PCIE_RX, 1.0),
    ("nvlink_tx_bytes_s", TX, 1.0),
    ("nvlink_rx_bytes_s", RX, 1.0),
    ("imma_active", IMMA, 1.0),
    ("dfma_active", DMMA, 1.0),
    ("fp64_active", FP64, 1.0),
    ("fp32_active", FP32, 1.0),
    ("integer_active", INTEGER, 1.0),
    ("sm_clock_mhz", CLOCK, 1.0),
    // Beside these, the share of tensor pipes that is left for floats.
    ("hmma_active", TENSOR, 1.0),
];

/// Rows of each device, all of one length and at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    pub(super) devices: Vec<Vec<Load>>,
}

/// Samples what devices did: every stretch counts in the rows that it lies in.
pub(super) fn sampled(
    done: &[Vec<Stretch>],
    machine: &Machine,
    held_mib: f64,
    seconds: f64,
    chance: &mut Chance,
) -> Trace {
    let rows = (seconds * RATE) as usize;
    let devices = done
        .iter()
        .map(|stretches| read(&binned(stretches, rows), machine, held_mib, chance));
    Trace {
        devices: devices.collect(),
    }
}

/// The mean of each row.
fn binned(stretches: &[Stretch], rows: usize) -> Vec<Load> {
    let mut bins = vec![Load::REST; rows];
    let mut at = 0.0;
    for stretch in stretches {
        let end = at + stretch.seconds * RATE;
        while at < end {
            let row = at as usize;
            let Some(bin) = bins.get_mut(row) else {
                return bins;
            };
            let until = end.min((row + 1) as f64);
            bin.add(&stretch.load, until - at);
            // Where rounding leaves nothing to go on by, the next row begins.
            at = if until > at { until } else { (row + 1) as f64 };
        }
    }
    bins
}

/// What a reader sees of it.
fn read(bins: &[Load], machine: &Machine, held_mib: f64, chance: &mut Chance) -> Vec<Load> {
    let mut drift = 0.0;
    let mut power = bins.first().map_or(0.0, |b| machine.power_and_clock(b)[0]);
    let follow = 1.0 - (-1.0 / (RATE * machine.lag)).exp();
    let mut rows = Vec::with_capacity(bins.len());
    for bin in bins {
        let mut row = *bin;
        let [wanted, clock] = machine.power_and_clock(bin);
        drift = 0.98 * drift + 0.2 * machine.noise * chance.noise();
        power += (wanted - power) * follow;
        for share in &mut row.0[BUSY..TX] {
            *share = (*share * (1.0 + machine.noise * 0.5 * chance.noise())).clamp(0.0, 1.0);
        }
        row.0[POWER] = power * (1.0 + drift + machine.noise * 0.5 * chance.noise());
        row.0[CLOCK] = (clock * (1.0 + 0.003 * chance.noise())).round();
        row.0[MEMORY] = held_mib.min(machine.mib);
        rows.push(row);
    }
    rows
}

impl Trace {
    /// How long it is.
    pub(super) fn rows(&self) -> usize {
        self.devices.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Useful work per second, of all devices together.
    pub(super) fn useful(&self) -> f64 {
        let sum: f64 = self.devices.iter().flatten().map(|row| row.0[USEFUL]).sum();
        sum / (self.rows().max(1) as f64)
    }

    /// The trace of the rows of a recording of training, of which each is useful as far as the device worked. A cell that nobody read holds what was
    /// read before it, and none where nothing was.
    ///
    /// # Errors
    /// Why they are not those of a trace.
    pub(super) fn recorded(rows: BTreeMap<usize, Vec<Row>>) -> Result<Self, String> {
        let mut devices = Vec::new();
        for (gpu, read) in rows {
            evenly(&read).map_err(|what| format!("of GPU {gpu} {what}"))?;
            let mut before = Load([f64::NAN; CHANNELS]);
            let held = read.iter().map(|cells| {
                let mut row = before;
                for (name, channel, scale) in COLUMNS.iter().take(16) {
                    if let Some(value) = cells.cell(name) {
                        row.0[*channel] = value / scale;
                    }
                }
                before = row;
                row.with(USEFUL, if row.0[SM].is_nan() { 0.0 } else { row.0[SM] })
            });
            let told: Vec<Load> = held.filter(|row| !row.0[SM].is_nan()).collect();
            if told.is_empty() {
                return Err(format!(
                    "GPU {gpu} has no `sm_active`, which says when it worked; devices from Hopper on tell it"
                ));
            }
            devices.push(told);
        }
        Ok(Self { devices })
    }

    /// As a recording, without its text.
    pub(super) fn recording(&self) -> Result<Recording, String> {
        let mut rows: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        for (gpu, device) in self.devices.iter().enumerate() {
            let mut energy = 0.0;
            let of = device.iter().enumerate().map(|(i, row)| {
                energy += row.0[POWER] * 1e3 / RATE;
                Row::of(i as f64 / RATE, &cells(row, energy))
            });
            rows.insert(gpu, of.collect());
        }
        let values = self.devices.iter().flatten().flat_map(|row| row.0);
        let bytes: Vec<u8> = values.flat_map(f64::to_le_bytes).collect();
        of_rows(&rows, sha256(&bytes))
    }

    /// As the text of a recording.
    ///
    /// # Panics
    /// Never: text takes all that is written to it.
    pub(super) fn text(&self, labels: &[(&str, String)]) -> String {
        let mut text = "# weighbridge recording 1\n# simulated=1\n# rate_hz=10\n".to_owned();
        for (key, value) in labels {
            writeln!(text, "# label.{key}={value}").unwrap();
        }
        text += "timestamp,gpu";
        for (name, ..) in COLUMNS {
            write!(text, ",{name}").unwrap();
        }
        text += ",energy_mj\n";
        let mut energy = vec![0.0; self.devices.len()];
        for i in 0..self.rows() {
            for (gpu, (device, energy)) in self.devices.iter().zip(&mut energy).enumerate() {
                let row = &device[i];
                *energy += row.0[POWER] * 1e3 / RATE;
                write!(text, "{:.1},{gpu}", i as f64 / RATE).unwrap();
                for (name, value) in cells(row, *energy) {
                    let digits = if name.ends_with("_active") { 5 } else { 0 };
                    text.push(',');
                    if value.is_finite() {
                        write!(text, "{value:.digits$}").unwrap();
                    }
                }
                text.push('\n');
            }
        }
        text
    }
}

/// Whether the rows of a device come ten a second without a hole, as those of a trace do, which has no times.
///
/// # Errors
/// What is otherwise.
fn evenly(rows: &[Row]) -> Result<(), String> {
    let steps = || rows.windows(2).map(|two| [two[0].at(), two[1].at()]);
    let length = |[from, to]: [f64; 2]| to - from;
    let mean = steps().map(length).sum::<f64>() / steps().count().max(1) as f64;
    let longest = steps().max_by(|a, b| length(*a).total_cmp(&length(*b)));
    match longest.filter(|step| length(*step) > HOLE * mean) {
        Some([from, to]) => Err(format!(
            "nothing was read between {from:.1} s and {to:.1} s; cut the recording there"
        )),
        None if !AS_MANY.contains(&mean) => Err(format!(
            "rows are {mean:.3} s apart, and ten a second are needed; record it with `--rate 10`"
        )),
        None => Ok(()),
    }
}

/// The cells of a row by column, energy last.
fn cells(row: &Load, energy_mj: f64) -> Vec<(&'static str, f64)> {
    let mut cells: Vec<(&str, f64)> = COLUMNS
        .iter()
        .map(|(name, channel, scale)| match *name {
            "hmma_active" => (*name, (row.0[TENSOR] - row.0[IMMA] - row.0[DMMA]).max(0.0)),
            _ => (*name, row.0[*channel] * scale),
        })
        .collect();
    cells.push(("energy_mj", energy_mj));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signatures::recording::rows as rows_of;

    /// Rows at these times, in seconds, of a device that works.
    fn recorded(column: &str, times: impl Iterator<Item = f64>) -> Result<Trace, String> {
        let rows: String = times.map(|at| format!("{at:.3},0,0.5\n")).collect();
        Trace::recorded(rows_of(&format!("timestamp,gpu,{column}\n{rows}")).unwrap())
    }

    fn every(seconds: f64) -> impl Iterator<Item = f64> {
        (0..100).map(move |row| f64::from(row) * seconds)
    }

    #[test]
    fn what_has_not_ten_rows_a_second_or_a_hole_is_not_changed() {
        let jitter = every(0.1).zip([0.0, 0.02, -0.02].into_iter().cycle());
        let made = recorded("sm_active", jitter.map(|(at, off)| 5.0 + at + off)).unwrap();
        assert_eq!(made.rows(), 100);
        for (seconds, said) in [(1.0, "1.000 s apart"), (0.2, "0.200 s"), (0.05, "0.050 s")] {
            let what = recorded("sm_active", every(seconds)).unwrap_err();
            assert!(what.contains(said) && what.contains("`--rate 10`"), "{what}");
        }
        let missed = every(0.1).enumerate().filter(|(row, _)| row % 3 != 2);
        let what = recorded("sm_active", missed.map(|(_, at)| at)).unwrap_err();
        assert!(what.contains("0.150 s apart"), "{what}");
        for second in [0.3, 60.0] {
            let held = every(0.1).map(|at| if at > 4.95 { at + second } else { at });
            let what = recorded("sm_active", held).unwrap_err();
            assert!(
                what.contains(&format!("between 4.9 s and {:.1} s", 5.0 + second)),
                "{what}"
            );
        }
    }

    #[test]
    fn what_does_not_say_when_it_worked_is_not_changed() {
        let what = recorded("power_w", every(0.1)).unwrap_err();
        assert!(what.contains("no `sm_active`"), "{what}");
    }
}
