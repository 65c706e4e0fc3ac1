//! What can be done to a trace of training, simulated or recorded, so that it is what would have been read had it been done to the training.
//!
//! Decides: which changes keep to the trace: work put off, taken in turns with other work, slowed, or joined by filler. Each moves the trace's own
//! rows about, so that the useful work left in it says what the change costs. What would alter the kernels themselves (other sizes of batch,
//! other numbers, another optimiser) is not done here: such training is simulated anew. Power follows at once, and does not lag.

use super::machine::{
    BUSY, CLOCK, DRAM, FP32, IMMA, Load, MEMORY, PCIE_RX, POWER, RX, SM, TENSOR, TX, USEFUL,
};
use super::trace::{RATE, Trace};
use crate::chance::Chance;

/// No longer than this, in rows.
const MOST_ROWS: usize = 1_800;

/// Where a device's time goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    /// Its training, which goes on where it stopped.
    Own,
    /// Something else.
    Cover,
    /// Nothing.
    Rest,
}

/// So many seconds of it.
pub(super) type Slice = (Source, f64);

/// What a device does besides, and what it draws at rest.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub(super) cover: Vec<Load>,
    pub(super) rest_w: f64,
}

/// Pulls seconds out of a trace, row by row.
struct Cursor<'a> {
    rows: &'a [Load],
    at: f64,
}

impl Cursor<'_> {
    /// Adds `share` of a row to `sum`; whether there was that much left.
    fn pull(&mut self, share: f64, sum: &mut Load, endless: bool) -> bool {
        let mut left = share;
        while left > 1e-9 {
            let row = self.at as usize;
            let row = if endless {
                row % self.rows.len().max(1)
            } else {
                row
            };
            let Some(load) = self.rows.get(row) else {
                return false;
            };
            let piece = left.min((self.at + 1e-9).floor() + 1.0 - self.at).max(1e-9);
            sum.add(load, piece);
            self.at += piece;
            left -= piece;
        }
        true
    }
}

/// Rows of a device whose time goes by slices, until its own are used up or slices are.
fn cut(own: &[Load], beside: &Beside, slices: impl Iterator<Item = Slice>) -> Vec<Load> {
    let Some(first) = own.first() else {
        return Vec::new();
    };
    let mut rest = Load::REST.with(POWER, beside.rest_w).with(CLOCK, first.0[CLOCK]);
    rest.0[BUSY..TX].iter_mut().for_each(|share| *share = 0.0);
    let mut own_at = Cursor { rows: own, at: 0.0 };
    let mut cover_at = Cursor {
        rows: &beside.cover,
        at: 0.0,
    };
    let mut covered = 0.0_f64;
    let (mut rows, mut open, mut filled) = (Vec::new(), Load::REST, 0.0);
    let mut used_up = false;
    'slices: for (source, seconds) in slices {
        // A trace that ends with its own last row would have less beside it than the strategy takes.
        if used_up && source == Source::Own {
            break;
        }
        let mut left = seconds * RATE;
        while left > 1e-9 {
            let piece = left.min(1.0 - filled);
            let had = match source {
                Source::Own => own_at.pull(piece, &mut open, false),
                Source::Cover => {
                    covered = beside.cover.first().map_or(0.0, |c| c.0[MEMORY]);
                    cover_at.pull(piece, &mut open, true)
                }
                Source::Rest => {
                    open.add(&rest, piece);
                    true
                }
            };
            left -= piece;
            filled += piece;
            if filled > 1.0 - 1e-9 {
                rows.push(open);
                (open, filled) = (Load::REST, 0.0);
            }
            if rows.len() >= MOST_ROWS {
                break 'slices;
            }
            if !had {
                used_up = true;
                break;
            }
        }
    }
    for row in &mut rows {
        // What was not read of the training is read of nothing, and memory is held throughout.
        row.unread_as(first);
        row.0[MEMORY] = first.0[MEMORY] + covered;
    }
    rows
}

impl Trace {
    /// Every device's time goes by these slices, each device's begun `stagger` seconds after the one's before.
    pub(super) fn sliced(&self, beside: &Beside, slices: &[Slice], stagger: f64) -> Self {
        let devices = self.devices.iter().enumerate().map(|(i, own)| {
            let lead = (Source::Rest, stagger * i as f64);
            let endless = slices.iter().copied().cycle();
            cut(own, beside, std::iter::once(lead).chain(endless))
        });
        let mut devices: Vec<Vec<Load>> = devices.collect();
        let least = devices.iter().map(Vec::len).min().unwrap_or(0);
        devices.iter_mut().for_each(|d| d.truncate(least));
        Self { devices }
    }

    /// Rows remade one by one: what each becomes, and at what speed its work goes on. What was not read of a row is read of nothing it becomes.
    pub(super) fn remade(&self, remake: impl Fn(&Load) -> (Load, f64)) -> Self {
        let devices = self.devices.iter().map(|own| {
            let (mut rows, mut at) = (Vec::new(), 0.0);
            while let Some(row) = own.get(at as usize) {
                let (mut load, speed) = remake(row);
                load.unread_as(row);
                load.0[USEFUL] = row.0[USEFUL] * speed;
                rows.push(load);
                at += speed.clamp(0.02, 1.0);
                if rows.len() >= MOST_ROWS {
                    break;
                }
            }
            rows
        });
        Self {
            devices: devices.collect(),
        }
    }

    /// Clocks held at a share of the highest. What waits for SMs takes longer by that, what waits for memory does not, and where nobody read
    /// memory all waits for SMs; dynamic power falls with the clock and the square of the voltage, which falls with it.
    pub(super) fn clocked(&self, share: f64, beside: &Beside) -> Self {
        self.remade(|row| {
            let dram = if row.0[DRAM].is_nan() { 0.0 } else { row.0[DRAM] };
            let waits_for_sm = (1.0 - dram / 0.9).clamp(0.2, 1.0) * f64::from(u8::from(row.0[SM] > 0.05));
            let slower = 1.0 + (1.0 / share - 1.0) * waits_for_sm;
            let mut load = *row;
            // A pipe does as much in each cycle, and there are fewer cycles.
            for pipe in &mut load.0[SM..TX] {
                *pipe = (*pipe / (slower * share)).min(1.0);
            }
            for channel in [DRAM, TX, RX, PCIE_RX - 1, PCIE_RX] {
                load.0[channel] = row.0[channel] / slower;
            }
            load.0[CLOCK] = row.0[CLOCK] * share;
            let above = (row.0[POWER] - beside.rest_w).max(0.0);
            load.0[POWER] = beside.rest_w + above * share.powf(2.2);
            (load, 1.0 / slower)
        })
    }

    /// Filler on other SMs wherever power is low, so that it stays flat; it takes `cost` of the training's speed.
    pub(super) fn filled(&self, cost: f64) -> Self {
        let most = self.devices.iter().flatten().map(|row| row.0[POWER]);
        let most = most.fold(1.0, f64::max) * 0.95;
        self.remade(|row| {
            let mut load = *row;
            for share in &mut load.0[SM..PCIE_RX + 1] {
                *share *= 1.0 - cost;
            }
            let lacking = (1.0 - load.0[POWER] / most).max(0.0);
            load.0[BUSY] = 1.0;
            load.0[SM] = (load.0[SM] + lacking).min(1.0);
            load.0[FP32] = (load.0[FP32] + 0.9 * lacking).min(1.0);
            load.0[POWER] = load.0[POWER].max(most);
            (load, 1.0 - cost)
        })
    }

    /// Products of integers instead of floats.
    pub(super) fn in_integers(&self) -> Self {
        self.remade(|row| (row.with(IMMA, row.0[TENSOR]), 1.0))
    }

    /// What is lost of a trace's useful work by changing it to this: 0 nothing, 1 all.
    pub(super) fn tax(&self, plain: &Self) -> f64 {
        1.0 - self.useful() / plain.useful().max(1e-30)
    }
}

/// Slices of training among pauses, drawn anew for so many seconds.
pub(super) fn drawn(
    seconds: f64,
    chance: &mut Chance,
    draw: impl Fn(f64, &mut Chance) -> [Slice; 2],
) -> Vec<Slice> {
    let (mut slices, mut at) = (Vec::new(), 0.0);
    while at < seconds {
        let two = draw(at, chance);
        at += two.iter().map(|(_, s)| s).sum::<f64>().max(1e-3);
        slices.extend(two);
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Trace {
        let row = Load::REST
            .with(SM, 0.9)
            .with(TENSOR, 0.5)
            .with(DRAM, 0.36)
            .with(POWER, 600.0)
            .with(CLOCK, 1_800.0)
            .with(USEFUL, 1.0);
        Trace {
            devices: vec![vec![row; 1_000]; 2],
        }
    }

    fn beside() -> Beside {
        Beside {
            cover: vec![Load::REST.with(SM, 0.2).with(POWER, 200.0); 100],
            rest_w: 100.0,
        }
    }

    fn mean(trace: &Trace, channel: usize) -> f64 {
        let all = trace.devices.iter().flatten();
        all.map(|row| row.0[channel]).sum::<f64>() / (trace.rows() * trace.devices.len()) as f64
    }

    #[test]
    fn rest_costs_what_it_takes_and_lowers_all_alike() {
        let half = plain().sliced(&beside(), &[(Source::Own, 0.7), (Source::Rest, 0.7)], 0.0);
        assert!((half.tax(&plain()) - 0.5).abs() < 0.01, "{}", half.tax(&plain()));
        assert!((mean(&half, SM) - 0.45).abs() < 0.01);
        assert!((mean(&half, POWER) - 350.0).abs() < 5.0);
    }

    #[test]
    fn other_work_takes_turns_with_training() {
        let turns = plain().sliced(&beside(), &[(Source::Own, 0.03), (Source::Cover, 0.07)], 0.0);
        assert!((turns.tax(&plain()) - 0.7).abs() < 0.01);
        assert!((mean(&turns, SM) - (0.3 * 0.9 + 0.7 * 0.2)).abs() < 0.01);
    }

    #[test]
    fn lower_clocks_slow_what_waits_for_them_and_draw_less() {
        let slow = plain().clocked(0.5, &beside());
        let tax = slow.tax(&plain());
        assert!((0.2..0.5).contains(&tax), "{tax}");
        assert!(mean(&slow, DRAM) < 0.3 && mean(&slow, POWER) < 300.0);
        assert!(mean(&slow, CLOCK) < 901.0);
    }

    #[test]
    fn what_was_not_read_stays_unread() {
        let mut blind = plain();
        blind.devices[0].iter_mut().for_each(|row| row.0[FP32] = f64::NAN);
        let half = blind.sliced(&beside(), &[(Source::Own, 0.5), (Source::Rest, 0.5)], 0.0);
        assert!(half.devices[0].iter().all(|row| row.0[FP32].is_nan()));
        assert!(half.devices[1].iter().all(|row| row.0[FP32] == 0.0));
        let unread = [TENSOR, DRAM, FP32, POWER];
        for channel in unread {
            blind.devices[0]
                .iter_mut()
                .for_each(|row| row.0[channel] = f64::NAN);
        }
        for changed in [
            blind.clocked(0.5, &beside()),
            blind.filled(0.05),
            blind.in_integers(),
        ] {
            for row in &changed.devices[0] {
                assert!(unread.iter().all(|channel| row.0[*channel].is_nan()), "{row:?}");
                assert!(row.0[SM] <= 1.0 && row.0[USEFUL] > 0.0, "{row:?}");
            }
            assert!(
                changed.devices[1]
                    .iter()
                    .flat_map(|row| row.0)
                    .all(f64::is_finite)
            );
        }
        // Where nobody read memory, all waits for SMs: half the clock takes twice as long.
        let slow = blind.clocked(0.5, &beside());
        assert_eq!(
            slow.devices[0].len(),
            2 * plain().devices[0].len().min(MOST_ROWS / 2)
        );
    }
}
