//! What a device did while tenants held it.
//!
//! Decides: whose time a stretch between two samples was. What lies wholly in a time when one tenant alone held the whole device counts
//! in all of its bounds. A stretch in which somebody came or went, time that several shared, and an instance of MIG, for which no account
//! exists, count in the upper bounds alone. Trusts who is said to hold a device, and boot time. Does not establish that the holder
//! was the one who computed.

use super::Delivered;
use super::tenant::{TenantShare, TenantShares};
use crate::accounting::{Account, Compute, Peak};
use crate::id::{DeviceUuid, TenantPseudonym};
use crate::telemetry::Step;
use crate::time::BootNanos;
use crate::unit::{MicroTppHours, Ppm};

/// A share of time in parts per million, in nanoseconds, makes a millisecond.
const SHARE_MS: u128 = 1_000_000_000_000;

/// A tenant holds a device, or an instance of it, for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The device.
    pub device: DeviceUuid,
    /// The tenant.
    pub tenant: TenantPseudonym,
    /// The part of the device's compute that its instance has at most; `None` for the whole device.
    pub part: Option<Ppm>,
    /// From when.
    pub from: BootNanos,
    /// Until when; the largest time where no end is known.
    pub to: BootNanos,
}

impl Holding {
    /// Whether it begins or ends between two times.
    fn changes_within(&self, from: BootNanos, to: BootNanos) -> bool {
        [self.from, self.to].iter().any(|edge| from < *edge && *edge < to)
    }
}

/// What a report tells of the tenants of a device. Their places are not known yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) shares: Vec<(TenantPseudonym, TenantShare)>,
    /// Whether more held it than are told of.
    pub(super) crowded: bool,
}

/// The tenants of one device, in the report in the making.
#[derive(Debug)]
pub(super) struct Tenancies {
    holdings: Vec<Holding>,
    /// Up to here time is attributed.
    reached: BootNanos,
    /// No stretch that reaches back before this is wholly anyone's: who held the device then is not kept.
    known_from: BootNanos,
    told: Vec<Tenancy>,
    crowded: bool,
    /// Who held the device when that was last looked at, and whether it has been somebody else since it was last asked.
    last: Option<Holders>,
    changed: bool,
}

/// One tenant of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenancy {
    tenant: TenantPseudonym,
    held_ns: u64,
    /// Of this, time in which it held the whole device, and the parts of time in which it held instances.
    whole_ns: u64,
    part_ns: u64,
    /// Nanoseconds × parts per million.
    busy: u128,
    /// Stretches in which it held the whole device, alone and with others.
    alone: Account,
    shared: Account,
}

/// Who holds a device in a stretch, and which part of it.
type Holders = Vec<(TenantPseudonym, Option<Ppm>)>;

impl Tenancies {
    pub(super) fn new(start: BootNanos) -> Self {
        Self {
            holdings: Vec::new(),
            reached: start,
            known_from: BootNanos(0),
            told: Vec::new(),
            crowded: false,
            last: None,
            changed: false,
        }
    }

    /// Whether somebody came or went since this was last asked.
    pub(super) fn have_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes over the holdings of one device.
    pub(super) fn set(&mut self, all: &[Holding], device: &DeviceUuid) {
        let own: Vec<Holding> = all.iter().filter(|h| h.device == *device).copied().collect();
        if own != self.holdings {
            self.known_from = self.reached;
            self.holdings = own;
        }
    }

    /// Takes a stretch up to a sample.
    pub(super) fn add(&mut self, step: &Step, peak: Option<&Peak>) {
        let from = self.reached;
        self.reached = from.max(step.to);
        if step.to <= from {
            return;
        }
        if self.holdings.is_empty() {
            self.look(&Holders::new());
            return;
        }
        let mean = step.utilisation.value().filter(|_| step.gap.is_none());
        let mean = mean.map_or(0, |e| e.low.0.midpoint(e.high.0));
        // Activity that is told late is of earlier time too.
        let reach = from.min(step.to.before(step.reach_ns()));
        let steady = !self.holdings.iter().any(|h| h.changes_within(reach, step.to));
        if !steady || reach < self.known_from {
            self.split(from, step.to, mean);
            return;
        }
        let (holders, length) = (self.holders(from, step.to), step.to.since(from));
        self.hold(&holders, length, mean);
        let Some(peak) = peak else { return };
        // Of a gap, what lay before was attributed then.
        let within = (step.from < from).then(|| Step { from, ..step.clone() });
        let step = within.as_ref().unwrap_or(step);
        let lone = holders.len() == 1;
        for (tenant, _) in holders.iter().filter(|(_, part)| part.is_none()) {
            if let Some(known) = self.told.iter_mut().find(|t| t.tenant == *tenant) {
                let account = if lone { &mut known.alone } else { &mut known.shared };
                account.add(step, peak);
            }
        }
    }

    /// Takes time that no sample ends.
    pub(super) fn pass(&mut self, to: BootNanos) {
        let from = self.reached;
        self.reached = from.max(to);
        self.split(from, to, 0);
    }

    /// What the report tells, of a device with this account of all of its time. The next report begins.
    pub(super) fn finish(
        &mut self,
        peak: Option<&Peak>,
        account: &Account,
        delivered: &Delivered,
        length_ms: u32,
    ) -> Told {
        for ended in self.holdings.extract_if(.., |h| h.to <= self.reached) {
            self.known_from = self.known_from.max(ended.to);
        }
        let whole = peak.zip(delivered.compute.as_ref());
        let mut left = Left {
            lower: delivered.compute.as_ref().map_or(MicroTppHours(0), |c| c.lower),
            counter: delivered.compute.as_ref().map_or(MicroTppHours(0), |c| c.counter),
            busy_ms: delivered.measured.busy_ms.value().copied().unwrap_or(0),
        };
        let told = std::mem::take(&mut self.told);
        Told {
            shares: told
                .iter()
                .map(|t| (t.tenant, t.share(whole, account, length_ms, &mut left)))
                .collect(),
            crowded: std::mem::take(&mut self.crowded),
        }
    }

    /// Attributes a stretch in which somebody may have come or gone, piece by piece.
    fn split(&mut self, from: BootNanos, to: BootNanos, mean: u32) {
        let within = |edge: &BootNanos| from < *edge && *edge < to;
        let mut edges: Vec<BootNanos> = self
            .holdings
            .iter()
            .flat_map(|h| [h.from, h.to])
            .filter(within)
            .collect();
        edges.extend([from, to]);
        edges.sort_unstable();
        for pair in edges.windows(2) {
            if let [from, to] = pair
                && from < to
            {
                let holders = self.holders(*from, *to);
                self.hold(&holders, to.since(*from), mean);
            }
        }
    }

    /// Who holds the device in all of a stretch, each once.
    fn holders(&self, from: BootNanos, to: BootNanos) -> Holders {
        let mut holders: Holders = Vec::new();
        for held in self.holdings.iter().filter(|h| h.from <= from && to <= h.to) {
            match holders.iter_mut().find(|(tenant, _)| *tenant == held.tenant) {
                Some((_, part)) => {
                    *part = part.zip(held.part).map(|(a, b)| a.plus(b).min(Ppm::ONE));
                }
                None => holders.push((held.tenant, held.part)),
            }
        }
        holders
    }

    /// Looks at who holds the device now.
    fn look(&mut self, holders: &Holders) {
        let Some(last) = &self.last else {
            self.last = Some(holders.clone());
            return;
        };
        // The order is that in which holdings came.
        if last.len() != holders.len() || !last.iter().all(|h| holders.contains(h)) {
            self.changed = true;
            self.last = Some(holders.clone());
        }
    }

    /// Adds time, busy for `mean` parts per million of it.
    fn hold(&mut self, holders: &Holders, ns: u64, mean: u32) {
        self.look(holders);
        let busy = u128::from(ns).saturating_mul(u128::from(mean));
        let several = u128::try_from(holders.len()).unwrap_or(u128::MAX).max(1);
        for (tenant, part) in holders {
            let known = match self.told.iter().position(|t| t.tenant == *tenant) {
                Some(at) => at,
                None if self.told.len() >= TenantShares::MOST => {
                    self.crowded = true;
                    continue;
                }
                None => {
                    self.told.push(Tenancy::new(*tenant));
                    self.told.len().saturating_sub(1)
                }
            };
            let Some(known) = self.told.get_mut(known) else {
                continue;
            };
            known.held_ns = known.held_ns.saturating_add(ns);
            let own = match part {
                None => {
                    known.whole_ns = known.whole_ns.saturating_add(ns);
                    busy.checked_div(several)
                }
                Some(Ppm(part)) => {
                    let parts = u128::from(ns)
                        .saturating_mul(u128::from(*part))
                        .div_ceil(1_000_000);
                    let parts = u64::try_from(parts).unwrap_or(u64::MAX);
                    known.part_ns = known.part_ns.saturating_add(parts);
                    busy.saturating_mul(u128::from(*part)).checked_div(1_000_000)
                }
            };
            known.busy = known.busy.saturating_add(own.unwrap_or(0));
        }
    }
}

/// What of a device's amounts no tenant told so far has.
struct Left {
    lower: MicroTppHours,
    counter: MicroTppHours,
    busy_ms: u64,
}

impl Tenancy {
    fn new(tenant: TenantPseudonym) -> Self {
        Self {
            tenant,
            held_ns: 0,
            whole_ns: 0,
            part_ns: 0,
            busy: 0,
            alone: Account::default(),
            shared: Account::default(),
        }
    }

    /// Its share, and takes that off what is left of the device's.
    fn share(
        &self,
        whole: Option<(&Peak, &Compute)>,
        account: &Account,
        length_ms: u32,
        left: &mut Left,
    ) -> TenantShare {
        let milliseconds = self.held_ns.checked_div(1_000_000).unwrap_or(0);
        let busy_ms = self.busy.checked_div(SHARE_MS).unwrap_or(0);
        let busy_ms = u64::try_from(busy_ms).unwrap_or(u64::MAX).min(left.busy_ms);
        left.busy_ms = left.busy_ms.saturating_sub(busy_ms);
        let mut share = TenantShare {
            place: 0,
            attributed_ms: milliseconds.min(u64::from(length_ms)),
            busy_ms,
            lower: MicroTppHours(0),
            counter: MicroTppHours(0),
            upper: MicroTppHours(0),
            upper_unconditional: MicroTppHours(0),
        };
        let Some((peak, device)) = whole else {
            return share;
        };
        let all = self
            .alone
            .plus(self.shared)
            .as_part_of(account)
            .compute(peak, self.whole_ns);
        let parts = peak.over(self.part_ns);
        // How the device is divided is the driver's word.
        share.upper_unconditional = peak.over(self.held_ns).min(device.upper_unconditional);
        share.upper = all
            .upper
            .plus(parts)
            .min(device.upper)
            .min(share.upper_unconditional);
        let least = self
            .alone
            .as_part_of(account)
            .compute(peak, self.alone.covered_ns());
        // Where the device's own bounds were cut by one another, so are these.
        share.counter = least.counter.min(left.counter).min(share.upper);
        share.lower = least.lower.min(left.lower).min(share.counter);
        left.counter = left.counter.minus(share.counter);
        left.lower = left.lower.minus(share.lower);
        share
    }
}
