//! The level of a window, and whether one quantity moved while all others kept.
//!
//! Quantities that physics ties together move together. Where a single one differs from the window before, or from the other devices of
//! the node in step with this one, and every other keeps, that one does not fit.

use super::bounds::Physics;
use super::moment::Moment;
use crate::accounting::ObservationKind;

/// Devices that are compared at most; a host has eight or sixteen.
pub(super) const MOST_PEERS: usize = 64;

/// Quantities of a level.
const QUANTITIES: usize = 10;

/// What each is, by the group that physics ties it to, and the least that is compared.
fn table(physics: &Physics) -> [(u64, Group); QUANTITIES] {
    [
        (physics.level_power, Group::Electrical),
        // Energy over time.
        (physics.level_power, Group::Electrical),
        (physics.level_pipe, Group::Activity),
        (physics.level_tensor, Group::Activity),
        // Memory.
        (physics.level_pipe, Group::Activity),
        (physics.level_pipe, Group::Vector),
        (physics.level_residency, Group::Utilisation),
        (physics.level_clock, Group::Clock),
        // Sent, and received.
        (physics.link_least, Group::Links),
        (physics.link_least, Group::Links),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Electrical,
    Activity,
    Vector,
    Utilisation,
    Clock,
    Links,
}

/// Means of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level([Option<u64>; QUANTITIES]);

/// What the open window gathers: value times microseconds, or an amount, and the microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gathering {
    sums: [Sum; QUANTITIES],
}

/// One of them.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: u64,
    micros: u64,
}

impl Sum {
    fn weigh(&mut self, value: Option<u32>, micros: u64) {
        if let Some(value) = value {
            self.sum = self.sum.saturating_add(u64::from(value).saturating_mul(micros));
            self.micros = self.micros.saturating_add(micros);
        }
    }

    fn gain(&mut self, amount: Option<u64>, micros: u64) {
        if let Some(amount) = amount {
            self.sum = self.sum.saturating_add(amount.saturating_mul(1_000_000));
            self.micros = self.micros.saturating_add(micros);
        }
    }
}

impl Gathering {
    pub(super) fn add(&mut self, m: &Moment) {
        let [
            power,
            energy,
            sm,
            tensor,
            dram,
            vector,
            busy,
            clock,
            sent,
            received,
        ] = &mut self.sums;
        power.weigh(m.middle_mw, m.micros);
        // Millijoules over microseconds are 10^6 milliwatts; bytes over microseconds are 10^6 bytes per second.
        energy.gain(m.energy_mj, m.micros);
        if let Some(shares) = &m.shares {
            sm.weigh(Some(shares.sm), shares.micros);
            tensor.weigh(shares.tensor, shares.micros);
            dram.weigh(shares.dram, shares.micros);
            vector.weigh(shares.vector, shares.micros);
        }
        busy.weigh(m.utilisation, m.micros);
        clock.weigh(m.clock_mhz, m.micros);
        if let Some([tx, rx]) = m.link {
            sent.gain(Some(tx), m.micros);
            received.gain(Some(rx), m.micros);
        }
    }

    pub(super) fn close(&mut self) -> Level {
        let closed = std::mem::take(self);
        let mut level = Level::default();
        for (mean, of) in level.0.iter_mut().zip(closed.sums) {
            *mean = of.sum.checked_div(of.micros);
        }
        level
    }

    /// Microseconds of the window that power or energy speak for.
    pub(super) fn micros(&self) -> u64 {
        self.sums.iter().map(|of| of.micros).max().unwrap_or(0)
    }
}

/// How a quantity stands to its reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Not known, or too small to be compared.
    Untold,
    Keeps,
    /// Neither kept nor moved for certain.
    Drifts,
    /// The ratio, in parts per million.
    Moved(u64),
}

impl Level {
    /// Mean power in milliwatts, from the counter, or else from readings.
    pub(super) fn power(&self) -> Option<u64> {
        let of = |place: usize| self.0.get(place).copied().flatten();
        of(1).or_else(|| of(0))
    }

    /// SMs busy, in parts per million.
    pub(super) fn sm(&self) -> Option<u64> {
        self.0.get(2).copied().flatten()
    }

    /// The tensor pipe, likewise.
    pub(super) fn tensor(&self) -> Option<u64> {
        self.0.get(3).copied().flatten()
    }

    /// Time in which a kernel was resident, likewise.
    pub(super) fn utilisation(&self) -> Option<u64> {
        self.0.get(6).copied().flatten()
    }

    /// Bytes per second, sent and received.
    pub(super) fn links(&self) -> Option<[u64; 2]> {
        Some([self.0.get(8).copied()??, self.0.get(9).copied()??])
    }

    /// What moved against `reference` though the rest kept, and by how much.
    pub(super) fn against(&self, reference: &Self, physics: &Physics) -> Option<(ObservationKind, u32)> {
        let table = table(physics);
        let mut stands = [Stand::Untold; QUANTITIES];
        for (((stand, now), then), (least, _)) in stands.iter_mut().zip(self.0).zip(reference.0).zip(table) {
            *stand = stands_to(now, then, least, physics);
        }
        let of = |group: Group| {
            stands
                .iter()
                .zip(table)
                .filter(move |(_, (_, g))| *g == group)
                .map(|(s, _)| *s)
        };
        let moved: Vec<(u64, Group)> = stands
            .iter()
            .zip(table)
            .filter_map(|(s, (_, group))| match s {
                Stand::Moved(ratio) => Some((*ratio, group)),
                _ => None,
            })
            .collect();
        let (first, group) = moved.first().copied()?;
        let low = moved.iter().map(|(r, _)| *r).min().unwrap_or(first);
        let high = moved.iter().map(|(r, _)| *r).max().unwrap_or(first);
        let in_proportion = high.saturating_sub(low) <= physics.proportion_spread;
        let size = |ratio: u64| u32::try_from(1_000_000u64.abs_diff(ratio)).unwrap_or(u32::MAX);
        if stands.contains(&Stand::Drifts) {
            return None;
        }
        let keeps = |group: Group| of(group).any(|s| s == Stand::Keeps);
        let told = |group: Group| of(group).any(|s| s != Stand::Untold);
        let groups = [
            Group::Electrical,
            Group::Activity,
            Group::Vector,
            Group::Utilisation,
            Group::Clock,
            Group::Links,
        ];
        let kept = groups.iter().filter(|g| keeps(**g)).count();
        let whole_group = moved.iter().all(|(_, g)| *g == group)
            && of(group).all(|s| matches!(s, Stand::Moved(_) | Stand::Untold));
        // Traffic as a whole may change while everything else keeps; one direction of it may not.
        let alone = if group == Group::Links {
            moved.len() == 1 && keeps(Group::Links)
        } else {
            moved.len() == 1 || (whole_group && in_proportion)
        };
        // The clock says nothing of how much is done: that it keeps is no echo.
        let echoes = kept.saturating_sub(usize::from(keeps(Group::Clock)));
        let at_least = |n: usize, least: u64| u64::try_from(n).unwrap_or(u64::MAX) >= least;
        if alone && at_least(echoes, physics.echoes_least) {
            return Some((ObservationKind::MovedAlone, size(low.min(high))));
        }
        // Idle power does not shrink with work, so not everything shrinks alike.
        let all = echoes == 0 && told(Group::Electrical) && told(Group::Activity);
        let all = all && at_least(moved.len(), physics.proportion_quantities);
        let shrunk = high <= 1_000_000u64.saturating_sub(physics.proportion_least);
        (all && in_proportion && shrunk).then(|| (ObservationKind::InProportion, size(low)))
    }

    /// The middle of several levels, for quantities in which most of them agree with it.
    pub(super) fn middle(levels: &[Self], physics: &Physics) -> Self {
        let mut middle = Self::default();
        let places = middle.0.iter_mut().enumerate().zip(table(physics));
        for ((i, place), (least, _)) in places {
            let mut values = [0u64; MOST_PEERS];
            let mut n = 0usize;
            for value in levels.iter().filter_map(|l| l.0.get(i).copied().flatten()) {
                if let Some(slot) = values.get_mut(n) {
                    *slot = value;
                    n = n.saturating_add(1);
                }
            }
            let Some(values) = values.get_mut(..n) else {
                continue;
            };
            values.sort_unstable();
            let Some(median) = values.get(n.checked_div(2).unwrap_or(0)).copied() else {
                continue;
            };
            let agree = values
                .iter()
                .filter(|v| {
                    let small = **v < least && median < least;
                    small || u64::from(super::ppm(v.abs_diff(median), (**v).max(median))) <= physics.agree
                })
                .count();
            let share = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            if u64::from(super::ppm(share(agree), share(n))) >= physics.peers_agree {
                *place = Some(median);
            }
        }
        middle
    }
}

fn stands_to(now: Option<u64>, then: Option<u64>, least: u64, physics: &Physics) -> Stand {
    let (Some(now), Some(then)) = (now, then) else {
        return Stand::Untold;
    };
    let larger = now.max(then);
    if larger < least {
        return Stand::Untold;
    }
    let apart = u64::from(super::ppm(now.abs_diff(then), larger));
    if apart <= physics.agree {
        Stand::Keeps
    } else if apart < physics.apart {
        Stand::Drifts
    } else {
        let ratio = now
            .saturating_mul(1_000_000)
            .checked_div(then)
            .unwrap_or(u64::MAX);
        Stand::Moved(ratio)
    }
}
