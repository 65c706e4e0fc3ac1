//! Sums of one device over any time: a report, a day, or all days of a node up to one of them.
//!
//! Decides: what is added and how. Every amount is a whole number in a fixed unit, and is added as it is, lower bounds with lower and upper with
//! upper: that is what limits are compared with, and it gives the same total in any order. Trusts the reports. Does not establish whose work a
//! device did: of that it keeps how long it was busy for somebody, and the tenants' sums are kept beside it.

use super::NodeDay;
use super::day::DEVICES;
use super::tenant::TenantTotals;
use crate::accounting::{ComputeMethod, UpperBound};
use crate::cbor::{DecodeError, Decoder, Encoder, Wire, written};
use crate::id::DeviceUuid;
use crate::report::{AcceleratorClaims, TenantShares};
use crate::time::UnixSeconds;
use crate::unit::{MicroTppHours, Millijoules};
use crate::workload::LevelTimes;

/// An amount of which totals are made. It stays at its largest or least value instead of wrapping.
pub(super) trait Amount: Sized {
    fn more(self, other: Self) -> Self;
    fn less(self, other: Self) -> Self;
    fn wide(self) -> u128;
    fn narrow(wide: u128) -> Option<Self>;
}

impl Amount for u64 {
    fn more(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn less(self, other: Self) -> Self {
        self.saturating_sub(other)
    }

    fn wide(self) -> u128 {
        u128::from(self)
    }

    fn narrow(wide: u128) -> Option<Self> {
        Self::try_from(wide).ok()
    }
}

macro_rules! amount {
    ($($name:ident),*) => {
        $(impl Amount for $name {
            fn more(self, other: Self) -> Self {
                self.plus(other)
            }

            fn less(self, other: Self) -> Self {
                self.minus(other)
            }

            fn wide(self) -> u128 {
                u128::from(self.0)
            }

            fn narrow(wide: u128) -> Option<Self> {
                wide.try_into().ok().map(Self)
            }
        })*
    };
}
amount!(Millijoules, MicroTppHours);

/// Writes an amount: how many bytes it has, and these.
pub(super) fn pack(amount: u128, into: &mut Vec<u8>) {
    let bytes = amount.to_be_bytes();
    let zeros = usize::try_from(amount.leading_zeros().div_euclid(8)).unwrap_or(0);
    let digits = bytes.get(zeros..).unwrap_or(&[]);
    into.push(u8::try_from(digits.len()).unwrap_or(0));
    into.extend_from_slice(digits);
}

/// Reads one, from the front of what is left.
pub(super) fn unpack(from: &mut &[u8]) -> Option<u128> {
    let (length, rest) = from.split_first()?;
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    *from = rest;
    let mut bytes = [0; 16];
    let start = bytes.len().checked_sub(digits.len())?;
    bytes.get_mut(start..)?.copy_from_slice(digits);
    Some(u128::from_be_bytes(bytes))
}

/// A row of amounts, each added and taken away on its own: none can be forgotten.
///
/// It is encoded as one byte string: of each amount how many bytes it has, and these, the highest first. A question about a year reads tens of thousands of
/// them. Amounts that stand under `later` came to be after rows were written; from where all that follow are zero on, they are left out.
macro_rules! sums {
    (
        $(#[$meta:meta])* pub struct $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? }
        $( later { $( $(#[$lmeta:meta])* $late:ident : $lty:ty ),* $(,)? } )?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* $($( $(#[$lmeta])* pub $late: $lty, )*)? }

        impl Wire for $name {
            fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
                let mut bytes = Vec::with_capacity(256);
                $( pack(self.$field.wide(), &mut bytes); )*
                $(
                    let mut end = bytes.len();
                    $( pack(self.$late.wide(), &mut bytes); if self.$late.wide() > 0 { end = bytes.len(); } )*
                    bytes.truncate(end);
                )?
                written(e.bytes(&bytes));
            }

            fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
                let at = d.position();
                let shape = DecodeError::Shape { what, expected: "a byte string of amounts", at };
                let Ok(mut bytes) = d.bytes() else {
                    return Err(shape);
                };
                let sums = (|| Some(Self {
                    $( $field: Amount::narrow(unpack(&mut bytes)?)?, )*
                    $($( $late: if bytes.is_empty() { Default::default() } else { Amount::narrow(unpack(&mut bytes)?)? }, )*)?
                }))();
                sums.filter(|_| bytes.is_empty()).ok_or(shape)
            }
        }

        impl $name {
            /// Adds another one to this.
            pub fn add(&mut self, other: &Self) {
                $( self.$field = self.$field.more(other.$field); )*
                $($( self.$late = self.$late.more(other.$late); )*)?
            }

            /// Both together.
            #[must_use]
            pub fn plus(&self, other: &Self) -> Self {
                let mut both = *self;
                both.add(other);
                both
            }

            /// This without a part of it.
            #[must_use]
            pub fn minus(&self, part: &Self) -> Self {
                Self { $( $field: self.$field.less(part.$field), )* $($( $late: self.$late.less(part.$late), )*)? }
            }
        }
    };
}
pub(super) use sums;

sums! {
    /// What reports say of one device, added up.
    pub struct DeviceSums {
        /// Reports that name it.
        reports: u64,
        /// Time that these speak of, in milliseconds.
        expected_ms: u64,
        /// Time in it that samples cover, in milliseconds.
        covered_ms: u64,
        /// Time in which a kernel was resident, in milliseconds, as far as it was read.
        busy_ms: u64,
        /// Time for which that could not be read, in milliseconds.
        busy_unknown_ms: u64,
        /// Energy, as far as it was read.
        energy: Millijoules,
        /// Time for which energy could not be read, in milliseconds.
        energy_unknown_ms: u64,
        /// Compute: not below.
        lower: MicroTppHours,
        /// Compute: what the counters say.
        counter: MicroTppHours,
        /// Compute: not above, if the driver tells the truth.
        upper: MicroTppHours,
        /// Compute: not above, whatever the driver tells.
        unconditional: MicroTppHours,
        /// Time for which compute could not be bounded, because the model was unknown to the node, in milliseconds.
        unbounded_ms: u64,
        /// Compute in training: not below.
        training_lower: MicroTppHours,
        /// Compute in training: not above, if the driver tells the truth.
        training_upper: MicroTppHours,
        /// Time whose compute rests on the activity of pipes, in milliseconds.
        from_pipes_ms: u64,
        /// Time whose compute rests on busy time, in milliseconds.
        from_busy_ms: u64,
        /// Time whose compute rests on energy, in milliseconds.
        from_energy_ms: u64,
        /// Time whose compute rests on nothing but its length, in milliseconds.
        from_elapsed_ms: u64,
        /// Time whose upper bound is that of busy time, in milliseconds.
        bound_time_ms: u64,
        /// Time whose upper bound is that of clocks, in milliseconds.
        bound_clock_ms: u64,
        /// Time whose upper bound is that of the counters, in milliseconds.
        bound_counter_ms: u64,
        /// Time whose upper bound is that of energy, in milliseconds.
        bound_energy_ms: u64,
        /// Time whose upper bound is that of the power limit, in milliseconds.
        bound_power_ms: u64,
        /// What the counters say of FP16, BF16, TF32, FP8 and narrower on the tensor pipe.
        hmma: MicroTppHours,
        /// What the counters say of integers on the tensor pipe.
        imma: MicroTppHours,
        /// What the counters say of FP64 on the tensor pipe.
        dfma: MicroTppHours,
        /// What the counters say of FP64 vectors.
        fp64: MicroTppHours,
        /// What the counters say of FP32 vectors.
        fp32: MicroTppHours,
        /// What the counters say of FP16 vectors.
        fp16: MicroTppHours,
        /// Time whose compute was not told by pipe, in milliseconds.
        unpiped_ms: u64,
    }
    later {
        /// Busy time that is attributed to tenants, in milliseconds.
        attributed_busy_ms: u64,
        /// Busy time in runs in which training is ruled out (L0), in milliseconds.
        ruled_out_ms: u64,
        /// Busy time in runs in which something else is likelier (L1), in milliseconds.
        weak_ms: u64,
        /// Busy time in runs in which training is possible (L2), in milliseconds.
        candidate_ms: u64,
        /// Busy time in runs in which training is established (L3), in milliseconds.
        established_ms: u64,
    }
}

impl DeviceSums {
    /// Those of one report.
    pub(super) fn of(claims: &AcceleratorClaims, length_ms: u64) -> Self {
        let delivered = &claims.delivered;
        let mut sums = Self {
            reports: 1,
            expected_ms: length_ms,
            covered_ms: u64::from(delivered.covered_ms).min(length_ms),
            ..Self::default()
        };
        let levels = delivered.workload.levels.unwrap_or_default();
        let sure_ms = match delivered.measured.busy_ms.value() {
            Some(busy) => {
                sums.busy_ms = (*busy).min(length_ms);
                // Of windows whose busy time could not be read, levels tell the time that samples cover, and no busy time is told.
                sums.busy_unknown_ms = all_of(&levels).min(sums.covered_ms).saturating_sub(sums.busy_ms);
                sums.busy_ms
            }
            None => {
                sums.busy_unknown_ms = length_ms;
                length_ms
            }
        };
        match delivered.measured.energy_mj.value() {
            Some(energy) => sums.energy = Millijoules(*energy),
            None => sums.energy_unknown_ms = length_ms,
        }
        let shares = delivered.tenants.iter().flat_map(TenantShares::iter);
        let attributed_ms = shares.fold(0u64, |sum, share| sum.saturating_add(share.busy_ms));
        sums.attributed_busy_ms = attributed_ms.min(sums.busy_ms);
        sums.level(&levels, sure_ms);
        let Some(compute) = &delivered.compute else {
            sums.unbounded_ms = length_ms;
            return sums;
        };
        sums.lower = compute.lower;
        sums.counter = compute.counter;
        sums.upper = compute.upper;
        sums.unconditional = compute.upper_unconditional;
        match &delivered.training {
            Some(training) => {
                sums.training_lower = training.lower;
                sums.training_upper = training.upper;
            }
            // Unscored compute may all have been training.
            None => sums.training_upper = compute.upper,
        }
        *match compute.method {
            ComputeMethod::PipeActivity => &mut sums.from_pipes_ms,
            ComputeMethod::BusyTime => &mut sums.from_busy_ms,
            ComputeMethod::Energy => &mut sums.from_energy_ms,
            ComputeMethod::ElapsedTime => &mut sums.from_elapsed_ms,
        } = length_ms;
        *match compute.bound {
            UpperBound::Time => &mut sums.bound_time_ms,
            UpperBound::Clock => &mut sums.bound_clock_ms,
            UpperBound::Counter => &mut sums.bound_counter_ms,
            UpperBound::Energy => &mut sums.bound_energy_ms,
            UpperBound::PowerCap => &mut sums.bound_power_ms,
        } = length_ms;
        match &delivered.by_pipe {
            Some(pipes) => {
                sums.hmma = pipes.hmma;
                sums.imma = pipes.imma;
                sums.dfma = pipes.dfma;
                sums.fp64 = pipes.fp64;
                sums.fp32 = pipes.fp32;
                sums.fp16 = pipes.fp16;
            }
            None => sums.unpiped_ms = length_ms,
        }
        sums
    }

    /// Takes what a report says of levels. Where that is more than the device can have been busy, as much is taken off both ends: neither is
    /// training established by what is too much, nor ruled out. Where it is more than `sure_ms`, for which it was busy as far as that was read,
    /// training that may lie in the rest is possible and no more.
    fn level(&mut self, told: &LevelTimes, sure_ms: u64) {
        let [ruled_out, weak, candidate, established] = [
            told.ruled_out_ms,
            told.weak_ms,
            told.candidate_ms,
            told.established_ms,
        ]
        .map(u64::from);
        let (most, all) = (self.most_busy_ms(), all_of(told));
        let excess = all.saturating_sub(most);
        self.ruled_out_ms = ruled_out.saturating_sub(excess);
        self.established_ms = established.saturating_sub(all.saturating_sub(sure_ms));
        let unsure = established
            .saturating_sub(excess)
            .saturating_sub(self.established_ms);
        let left = most
            .saturating_sub(self.ruled_out_ms)
            .saturating_sub(self.established_ms);
        self.candidate_ms = candidate.saturating_add(unsure).min(left);
        self.weak_ms = weak.min(left.saturating_sub(self.candidate_ms));
    }

    /// Time in which it was busy or may have been, in milliseconds.
    pub(crate) fn most_busy_ms(&self) -> u64 {
        self.busy_ms.saturating_add(self.busy_unknown_ms)
    }

    /// The most time of these reports in which nobody saw whether it was busy, in milliseconds: samples do not cover it, and it is not told as time
    /// for which that could not be read.
    pub(crate) fn unseen_ms(&self) -> u64 {
        let uncovered = self.expected_ms.saturating_sub(self.covered_ms);
        uncovered.min(self.expected_ms.saturating_sub(self.most_busy_ms()))
    }

    /// The part of busy time, or what may have been, of which no level was told, in milliseconds.
    #[must_use]
    pub fn unlevelled_ms(&self) -> u64 {
        let told = [
            self.ruled_out_ms,
            self.weak_ms,
            self.candidate_ms,
            self.established_ms,
        ];
        let told = told.into_iter().fold(0, u64::saturating_add);
        self.most_busy_ms().saturating_sub(told)
    }

    /// What may have been computed in so many milliseconds of the time that these speak of; all of it where no peak is known.
    pub(crate) fn at_peak(&self, ms: u64) -> MicroTppHours {
        let told_ms = self.expected_ms.saturating_sub(self.unbounded_ms);
        if ms == 0 {
            return MicroTppHours(0);
        }
        let scaled = self.unconditional.0.saturating_mul(u128::from(ms));
        match told_ms {
            0 => self.upper.max(self.lower),
            _ => MicroTppHours(scaled.div_ceil(u128::from(told_ms))),
        }
    }

    /// What the compute rests on, in words, the surest first: `counters and busy time`. `None` where nothing was bounded.
    #[must_use]
    pub fn source(&self) -> Option<String> {
        let ways = [
            (self.from_pipes_ms, "counters"),
            (self.from_busy_ms, "busy time"),
            (self.from_energy_ms, "energy"),
            (self.from_elapsed_ms, "elapsed time"),
        ];
        let named: Vec<&str> = ways.iter().filter(|(ms, _)| *ms > 0).map(|(_, n)| *n).collect();
        match named.split_last()? {
            (only, []) => Some((*only).to_owned()),
            (last, others) => Some(format!("{} and {last}", others.join(", "))),
        }
    }

    /// What these bounds are over the bits of the formats that may have run, in operations: at least, and at most.
    ///
    /// `widest` and `narrowest` are bit lengths of the part's formats beside FP64. What may have been FP64 counts by its 64 bits in the lower
    /// bound, and all counts by the narrowest format in the upper one.
    #[must_use]
    pub fn operations(&self, widest: u64, narrowest: u64) -> (u128, u128) {
        // Without a word on the pipes, all may have been FP64.
        let double = if self.unpiped_ms > 0 {
            self.lower
        } else {
            self.dfma.plus(self.fp64).min(self.lower)
        };
        let least = |hours: MicroTppHours, bits: u64| {
            hours.bit_operations().checked_div(u128::from(bits)).unwrap_or(0)
        };
        let lower = least(self.lower.minus(double), widest).saturating_add(least(double, 64));
        (lower, self.upper.operations_at_most(narrowest))
    }
}

/// The time that has a level, in milliseconds.
fn all_of(levels: &LevelTimes) -> u64 {
    let times = [
        levels.ruled_out_ms,
        levels.weak_ms,
        levels.candidate_ms,
        levels.established_ms,
    ];
    times.iter().fold(0, |sum, ms| sum.saturating_add(u64::from(*ms)))
}

crate::row! {
    /// What the reports of one node say of one device over some time.
    #[derive(Copy)]
    pub struct DeviceTotal {
        /// The device.
        uuid: DeviceUuid,
        /// Start of the first of these reports, by the node's clock and never later than its receipt.
        since: UnixSeconds,
        /// End of the last of them, by the same clock.
        until: UnixSeconds,
        /// What they say.
        sums: DeviceSums,
    }
}

impl DeviceTotal {
    /// Takes in another time of the same device.
    pub fn join(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        self.until = self.until.max(other.until);
        self.sums.add(&other.sums);
    }

    /// What several nodes say of one device, together, and how many milliseconds of it may have been told of twice.
    ///
    /// Where the times of two nodes overlap, one device may stand in the reports of both, by two agents on one host as well as by fraud. From
    /// below, time and compute then count once: of each node after the first, what lies in the overlap is taken off, at peak. From above,
    /// both count.
    #[must_use]
    pub fn of_nodes(told: &mut [Self], from: UnixSeconds, until: UnixSeconds) -> Option<(Self, u64)> {
        told.sort_unstable_by_key(|t| (t.since, t.until));
        let (first, others) = told.split_first()?;
        let (mut all, mut reach, mut twice_ms) = (*first, first.until.min(until), 0u64);
        let mut most = first.sums;
        for next in others {
            let overlap = next.until.min(reach).since(next.since.max(from)).max(0);
            let overlap_ms = u64::try_from(overlap).unwrap_or(0).saturating_mul(1_000);
            let overlap_ms = overlap_ms.min(next.sums.expected_ms);
            twice_ms = twice_ms.saturating_add(overlap_ms);
            let part = next.sums.at_peak(overlap_ms);
            let alone = DeviceSums {
                lower: next.sums.lower.minus(part),
                training_lower: next.sums.training_lower.minus(part),
                established_ms: next.sums.established_ms.saturating_sub(overlap_ms),
                busy_ms: next.sums.busy_ms.saturating_sub(overlap_ms),
                busy_unknown_ms: next
                    .sums
                    .busy_unknown_ms
                    .saturating_add(next.sums.busy_ms.min(overlap_ms)),
                ..next.sums
            };
            all.join(&Self { sums: alone, ..*next });
            most.lower = most.lower.max(next.sums.lower);
            most.training_lower = most.training_lower.max(next.sums.training_lower);
            most.established_ms = most.established_ms.max(next.sums.established_ms);
            most.busy_ms = most.busy_ms.max(next.sums.busy_ms);
            most.expected_ms = most.expected_ms.max(next.sums.expected_ms);
            reach = reach.max(next.until.min(until));
        }
        all.sums.lower = all.sums.lower.max(most.lower);
        all.sums.training_lower = all.sums.training_lower.max(most.training_lower);
        all.sums.established_ms = all.sums.established_ms.max(most.established_ms);
        // What is not surely busy by one of them may have been by the other.
        let most_busy_ms = all.sums.most_busy_ms();
        all.sums.busy_ms = all.sums.busy_ms.max(most.busy_ms);
        all.sums.busy_unknown_ms = most_busy_ms.saturating_sub(all.sums.busy_ms);
        twice_ms = twice_ms.min(all.sums.expected_ms.saturating_sub(most.expected_ms));
        Some((all, twice_ms))
    }

    /// Adds one to a list that is sorted by UUID. Whether there was room for it.
    pub(super) fn put(list: &mut Vec<Self>, total: &Self) -> bool {
        match list.binary_search_by(|d| d.uuid.cmp(&total.uuid)) {
            Ok(at) => {
                if let Some(known) = list.get_mut(at) {
                    known.join(total);
                }
            }
            Err(_) if list.len() >= DEVICES => return false,
            Err(at) => list.insert(at, *total),
        }
        true
    }
}

crate::record! {
    /// What a node's days come to from its first one on, up to and including one: the difference of two of these is any period.
    pub struct NodeRun {
        /// The last day that is counted in.
        0 => day: i64,
        /// Devices, in the order of their UUIDs.
        1 => devices: Vec<DeviceTotal>,
        /// Days of which not all could be counted in: they could not be read, or named more devices than are kept.
        2 => lost: u64,
        /// Tenants; absent where none held a device.
        3 => tenants: Option<Box<TenantTotals>>,
    }
}

impl NodeRun {
    /// Before the first day.
    #[must_use]
    pub fn new() -> Self {
        Self {
            day: i64::MIN,
            devices: Vec::new(),
            lost: 0,
            tenants: None,
        }
    }

    /// Counts in the next day.
    pub fn add(&mut self, day: &NodeDay) {
        self.day = day.day;
        let mut whole = true;
        for total in &day.devices {
            whole &= DeviceTotal::put(&mut self.devices, total);
        }
        self.lost = self.lost.saturating_add(u64::from(!whole));
        if let Some(tenants) = &day.tenants {
            self.tenants.get_or_insert_default().join(tenants);
        }
    }

    /// Counts in a day that cannot be read.
    pub fn pass(&mut self, day: i64) {
        self.day = day;
        self.lost = self.lost.saturating_add(1);
    }

    /// The devices that reports name in the days after an earlier run, with the start of the first report that ever named each.
    pub fn after<'a>(&'a self, earlier: Option<&'a Self>) -> impl Iterator<Item = DeviceTotal> + 'a {
        // Both are sorted, and a device never leaves.
        let mut before = earlier
            .map_or(&[][..], |e| e.devices.as_slice())
            .iter()
            .peekable();
        self.devices.iter().filter_map(move |total| {
            while before.peek().is_some_and(|b| b.uuid < total.uuid) {
                before.next();
            }
            let part = before.peek().filter(|b| b.uuid == total.uuid);
            let sums = part.map_or(total.sums, |b| total.sums.minus(&b.sums));
            (sums.reports > 0).then_some(DeviceTotal { sums, ..*total })
        })
    }

    /// How many days could not be counted in whole since an earlier run.
    #[must_use]
    pub fn lost_after(&self, earlier: Option<&Self>) -> u64 {
        self.lost.saturating_sub(earlier.map_or(0, |e| e.lost))
    }
}

impl Default for NodeRun {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "total_tests.rs"]
mod tests;
