//! Sums of the tenants of one node over any time: a day, or all of its days up to one of them.
//!
//! Decides: what is added, as for devices: lower bounds with lower, upper with upper; and that the tenants of a device have no more than the device.
//! Trusts the reports, and with them the operator, who says who held a device. Does not establish who a pseudonym is.

use super::total::{Amount, pack, sums, unpack};
use crate::accounting::Compute;
use crate::cbor::{DecodeError, Decoder, Encoder, Wire, written};
use crate::id::TenantPseudonym;
use crate::report::{TenantList, TenantShares};
use crate::unit::MicroTppHours;

sums! {
    /// What reports say of one tenant, added up over the devices of a node.
    pub struct TenantSums {
        /// Device time for which it held devices or instances of them, in milliseconds.
        attributed_ms: u64,
        /// The part of it in which a kernel was resident, as far as it was read, in milliseconds.
        busy_ms: u64,
        /// Compute: not below.
        lower: MicroTppHours,
        /// Compute: what the counters say.
        counter: MicroTppHours,
        /// Compute: not above, if the driver tells the truth.
        upper: MicroTppHours,
        /// Compute: not above, whatever the driver tells.
        unconditional: MicroTppHours,
        /// Device time for which compute could not be bounded, because the model was unknown to the node, in milliseconds.
        unbounded_ms: u64,
    }
}

crate::row! {
    /// What the reports of one node say of one tenant over some time.
    #[derive(Copy)]
    pub struct TenantTotal {
        /// The tenant.
        tenant: TenantPseudonym,
        /// What they say.
        sums: TenantSums,
    }
}

crate::record! {
    /// What the reports of one node say of its tenants over some time.
    #[derive(Default)]
    pub struct TenantTotals {
        /// Tenants, in the order of their pseudonyms, at most [`TenantTotals::MOST`].
        0 => kept: Vec<TenantTotal>,
        /// All tenants together that could not be kept one by one for want of room.
        1 => others: Option<TenantSums>,
    }
}

impl TenantTotals {
    /// The most tenants that are kept of a node.
    pub const MOST: usize = 1_024;

    /// Takes in another time of the same node.
    pub fn join(&mut self, other: &Self) {
        for total in &other.kept {
            self.put(total);
        }
        if let Some(more) = &other.others {
            self.put_aside(more);
        }
    }

    /// These without those of an earlier time that they begin with; tenants without time are left out.
    #[must_use]
    pub fn after(&self, earlier: Option<&Self>) -> Self {
        let known = |total: &TenantTotal| {
            let before = &earlier?.kept;
            let at = before.binary_search_by(|t| t.tenant.cmp(&total.tenant)).ok()?;
            before.get(at).map(|t| t.sums)
        };
        let since = |sums: &TenantSums, before: Option<TenantSums>| {
            let sums = before.map_or(*sums, |b| sums.minus(&b));
            (sums.attributed_ms > 0).then_some(sums)
        };
        let kept = self.kept.iter().filter_map(|total| {
            let sums = since(&total.sums, known(total))?;
            Some(TenantTotal { sums, ..*total })
        });
        Self {
            kept: kept.collect(),
            others: self
                .others
                .as_ref()
                .and_then(|all| since(all, earlier.and_then(|e| e.others))),
        }
    }

    /// Takes in what a report of this length says of one device, whose own compute is `device`; absent where nothing bounds that. What is said of
    /// tenants beyond it is not counted: from above no one has more than the device, from below not all of them together.
    pub(super) fn absorb(
        &mut self,
        listed: &TenantList,
        shares: &TenantShares,
        device: Option<&Compute>,
        length_ms: u64,
    ) {
        let of = |bound: fn(&Compute) -> MicroTppHours| device.map_or(MicroTppHours(0), bound);
        let (mut lower_left, mut counter_left) = (of(|c| c.lower), of(|c| c.counter));
        for share in shares.iter() {
            let Some(tenant) = listed.get(share.place) else {
                continue;
            };
            let attributed_ms = share.attributed_ms.min(length_ms);
            let sums = TenantSums {
                attributed_ms,
                busy_ms: share.busy_ms.min(attributed_ms),
                lower: share.lower.min(lower_left),
                counter: share.counter.min(counter_left),
                upper: share.upper.min(of(|c| c.upper)),
                unconditional: share.upper_unconditional.min(of(|c| c.upper_unconditional)),
                unbounded_ms: if device.is_some() { 0 } else { attributed_ms },
            };
            lower_left = lower_left.minus(sums.lower);
            counter_left = counter_left.minus(sums.counter);
            self.put(&TenantTotal {
                tenant: *tenant,
                sums,
            });
        }
    }

    fn put(&mut self, total: &TenantTotal) {
        match self.kept.binary_search_by(|t| t.tenant.cmp(&total.tenant)) {
            Ok(at) => {
                if let Some(known) = self.kept.get_mut(at) {
                    known.sums.add(&total.sums);
                }
            }
            Err(_) if self.kept.len() >= Self::MOST => self.put_aside(&total.sums),
            Err(at) => self.kept.insert(at, *total),
        }
    }

    fn put_aside(&mut self, sums: &TenantSums) {
        self.others = Some(self.others.unwrap_or_default().plus(sums));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Lab, compute, gpu, hours};
    use super::super::{NodeDay, NodeRun};
    use super::*;
    use crate::cbor;
    use crate::report::{AcceleratorClaims, TenantShare};
    use crate::time::UnixSeconds;

    const START: UnixSeconds = UnixSeconds(1_790_035_200);

    fn tenant(n: u16) -> TenantPseudonym {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        TenantPseudonym(bytes)
    }

    /// A device that the tenant at a place of the list held for a third of five minutes.
    fn held(place: u16) -> AcceleratorClaims {
        let mut claims = gpu(1);
        claims.delivered.tenants = TenantShares::of(vec![TenantShare {
            place,
            attributed_ms: 100_000,
            busy_ms: 30_000,
            lower: hours(3),
            counter: hours(4),
            upper: hours(6),
            upper_unconditional: hours(440),
        }]);
        claims
    }

    #[test]
    fn a_day_sums_each_tenant_and_a_day_without_any_is_written_as_before() {
        let mut lab = Lab::new(1, START);
        lab.run(2, &[gpu(1)]);
        let day = lab.record.days.values().next().unwrap().clone();
        let bytes = cbor::encode(&day);
        assert_eq!((bytes[0], day.devices[0].sums.attributed_busy_ms), (0xa4, 0));
        let sums = |day: &NodeDay| cbor::encode(&day.devices[0].sums).len();
        let before = sums(&day);
        lab.run_with(3, &[held(1)], |claims| {
            claims.submods.host.host.tenants = TenantList::of(vec![tenant(7), tenant(9)]);
        });
        let day = lab.record.days.values().next().unwrap();
        assert!(sums(day) > before);
        assert_eq!(day.devices[0].sums.attributed_busy_ms, 90_000);
        let totals = day.tenants.as_deref().unwrap();
        let [only] = &totals.kept[..] else {
            panic!("{totals:?}");
        };
        assert_eq!(only.tenant, tenant(9));
        assert_eq!((only.sums.attributed_ms, only.sums.busy_ms), (300_000, 90_000));
        assert_eq!((only.sums.lower, only.sums.upper), (hours(9), hours(18)));
        let bytes = cbor::encode(day);
        assert_eq!(&cbor::decode_strict::<NodeDay>(&bytes).unwrap(), day);
    }

    #[test]
    fn the_days_between_two_runs_are_told_apart_from_those_before() {
        let day = |number: i64, tenants: &[u16]| {
            let mut day = NodeDay::new(number);
            for n in tenants {
                let listed = TenantList::of(vec![tenant(*n)]).unwrap();
                day.attribute(&listed, &held(0), 300_000);
            }
            day
        };
        let mut run = NodeRun::new();
        run.add(&day(1, &[1, 2]));
        run.add(&day(2, &[]));
        let earlier = run.clone();
        run.add(&day(3, &[2, 2, 3]));
        let found = run.tenants.as_ref().unwrap().after(earlier.tenants.as_deref());
        let told: Vec<_> = found
            .kept
            .iter()
            .map(|t| (t.tenant, t.sums.attributed_ms))
            .collect();
        assert_eq!(told, [(tenant(2), 200_000), (tenant(3), 100_000)]);
        assert_eq!(found.others, None);
    }

    #[test]
    fn what_there_is_no_room_for_is_summed_together() {
        let mut totals = TenantTotals::default();
        let shares = held(0).delivered.tenants.unwrap();
        let most = u16::try_from(TenantTotals::MOST).unwrap();
        for n in 0..most + 2 {
            totals.absorb(
                &TenantList::of(vec![tenant(n)]).unwrap(),
                &shares,
                Some(&compute(10, 20)),
                300_000,
            );
        }
        let earlier = totals.clone();
        totals.absorb(
            &TenantList::of(vec![tenant(most + 5)]).unwrap(),
            &shares,
            Some(&compute(10, 20)),
            300_000,
        );
        assert_eq!(totals.kept.len(), TenantTotals::MOST);
        assert_eq!(totals.others.unwrap().attributed_ms, 300_000);
        let since = totals.after(Some(&earlier));
        assert_eq!(
            (since.kept.len(), since.others.unwrap().attributed_ms),
            (0, 100_000)
        );
    }

    #[test]
    fn no_tenant_has_more_time_than_the_report() {
        let mut totals = TenantTotals::default();
        let shares = held(0).delivered.tenants.unwrap();
        totals.absorb(
            &TenantList::of(vec![tenant(1)]).unwrap(),
            &shares,
            Some(&compute(10, 20)),
            20_000,
        );
        let sums = totals.kept[0].sums;
        assert_eq!((sums.attributed_ms, sums.busy_ms), (20_000, 20_000));
    }

    #[test]
    fn the_tenants_of_a_device_have_no_more_than_the_device() {
        let most = TenantShare {
            place: 0,
            attributed_ms: 300_000,
            busy_ms: 300_000,
            lower: hours(8),
            counter: hours(9),
            upper: hours(1_000),
            upper_unconditional: hours(1_000_000),
        };
        let second = TenantShare { place: 1, ..most };
        let shares = TenantShares::of(vec![most, second]).unwrap();
        let listed = TenantList::of(vec![tenant(1), tenant(2)]).unwrap();
        let device = compute(10, 20);
        let mut totals = TenantTotals::default();
        totals.absorb(&listed, &shares, Some(&device), 300_000);
        let all: Vec<_> = totals.kept.iter().map(|t| t.sums).collect();
        assert_eq!(all[0].lower.plus(all[1].lower), device.lower);
        assert_eq!((all[0].lower, all[1].lower), (hours(8), hours(2)));
        for sums in all {
            assert_eq!(
                (sums.upper, sums.unconditional),
                (device.upper, device.upper_unconditional)
            );
        }
        // Where nothing bounds the device, nothing is said of them.
        let mut totals = TenantTotals::default();
        totals.absorb(&listed, &shares, None, 300_000);
        assert_eq!(totals.kept[0].sums.lower, hours(0));
    }

    #[test]
    fn time_on_a_device_of_unknown_model_is_bounded_by_nothing() {
        let mut totals = TenantTotals::default();
        let shares = held(0).delivered.tenants.unwrap();
        totals.absorb(&TenantList::of(vec![tenant(1)]).unwrap(), &shares, None, 300_000);
        assert_eq!(totals.kept[0].sums.unbounded_ms, 100_000);
    }
}
