//! Readings that stand still though they always move.

use super::Part;
use super::bounds::Physics;
use super::moment::Moment;

/// How often a reading was the same on end.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    last: Option<u32>,
    length: u32,
}

impl Run {
    /// Takes a reading that is expected to move, or `None` where it is not.
    fn take(&mut self, value: Option<u32>) -> u32 {
        self.length = match value {
            Some(v) if self.last == Some(v) => self.length.saturating_add(1),
            Some(_) => 1,
            None => 0,
        };
        self.last = value;
        self.length
    }
}

/// The readings that are watched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Still {
    power: Run,
    rest: Run,
    residency: Run,
    energy: Run,
    sm: Run,
    tensor: Run,
    dram: Run,
}

impl Still {
    /// Takes a moment; the longest run of readings that should have moved and did not, where it is too long.
    pub(super) fn take(&mut self, m: &Moment, part: &Part, physics: &Physics) -> Option<u32> {
        let busy = |share: u32| u64::from(share) > physics.still_activity;
        let works = match (m.shares, m.utilisation) {
            (Some(s), _) => busy(s.sm),
            (None, Some(u)) => busy(u),
            (None, None) => false,
        };
        // Sensors of older parts average for longer: what was measured is of some architectures.
        let power = self.power.take(m.power_mw.filter(|_| works && part.measured));
        // Even at rest a sensor does not repeat itself for minutes.
        let rest = self.rest.take(m.power_mw.filter(|p| *p > 0));
        // All or nothing may last.
        let partly = |u: u32| part.measured && busy(u) && u64::from(u) < physics.still_all;
        let residency = self.residency.take(m.utilisation.filter(|u| partly(*u)));
        // A device that draws power gains energy, idle or not.
        let drawn = m.energy_mj.filter(|_| m.power_mw.is_some_and(|p| p > 0));
        let energy = self.energy.take(drawn.filter(|gained| *gained == 0).map(|_| 0));
        let pipe = |share: Option<u32>| share.filter(|s| busy(*s) && u64::from(*s) < physics.still_all);
        let sm = self.sm.take(m.shares.and_then(|s| pipe(Some(s.sm))));
        let tensor = self.tensor.take(m.shares.and_then(|s| pipe(s.tensor)));
        let dram = self.dram.take(m.shares.and_then(|s| pipe(s.dram)));
        let over = |run: u32, most: u64| (u64::from(run) >= most).then_some(run);
        [
            over(power, physics.still_power),
            over(rest, physics.still_rest),
            over(residency, physics.still_residency),
            over(energy, physics.still_energy),
            over(sm.max(tensor).max(dram), physics.still_pipe),
        ]
        .into_iter()
        .flatten()
        .max()
    }

    /// Nothing is known of what happened in a gap.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
