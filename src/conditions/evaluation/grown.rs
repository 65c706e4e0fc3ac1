//! What a report added to the sums of its node.
//!
//! Decides: by how much any sum of device time or of compute can have moved, and whether something came that was not there before: a day, a tenant, a device
//! that may have trained, one that was busy. It looks at both records and at nothing that the report says of itself.

use crate::appraisal::{DeviceSums, NodeDay, NodeRecord, TenantSums};
use crate::conditions::case::Case;
use crate::conditions::finding::peak;
use crate::conditions::read::Grown;
use crate::conditions::tenant::attribution::{may_train, unattributed_ms};
use crate::conditions::training::levels::level_of;
use crate::id::DeviceUuid;
use crate::unit::MicroTppHours;
use crate::workload::Level;

impl Grown {
    /// From what a node's record was to what it is.
    pub(super) fn between(case: &Case<'_>, before: &NodeRecord, after: &NodeRecord) -> Self {
        let mut grown = Self::default();
        let known = before.days.keys().all(|day| after.days.contains_key(day));
        if !known {
            // No report takes a day away.
            return Self {
                first_day: i64::MIN,
                ms: u64::MAX,
                hours: MicroTppHours(u128::MAX),
                otherwise: true,
                below_peak: true,
            };
        }
        for (number, day) in &after.days {
            let former = before.days.get(number);
            if former != Some(day) {
                grown.first_day = grown.first_day.min(*number);
                grown.add(case, after, former, day);
            }
        }
        grown
    }

    fn add(&mut self, case: &Case<'_>, node: &NodeRecord, before: Option<&NodeDay>, after: &NodeDay) {
        let none = NodeDay::new(after.day);
        let before = before.unwrap_or(&none);
        self.otherwise |= kind_of(before) != kind_of(after);
        for device in &after.devices {
            let former = before.device(&device.uuid).copied().unwrap_or_default();
            self.add_device(&former, &device.sums);
            self.below_peak |= is_below_peak(case, node, &device.uuid, &former, &device.sums);
        }
        let totals = |day: &NodeDay| {
            day.tenants
                .iter()
                .flat_map(|t| t.kept.clone())
                .collect::<Vec<_>>()
        };
        let formers = totals(before);
        for total in totals(after) {
            let former = formers.binary_search_by(|t| t.tenant.cmp(&total.tenant));
            let former = former.ok().and_then(|at| formers.get(at)).map(|t| t.sums);
            self.add_tenant(&former.unwrap_or_default(), &total.sums);
        }
    }

    fn add_device(&mut self, before: &DeviceSums, after: &DeviceSums) {
        let times: [fn(&DeviceSums) -> u64; 8] = [
            |s| s.expected_ms,
            |s| s.covered_ms,
            |s| s.unbounded_ms,
            |s| s.busy_ms,
            |s| s.busy_unknown_ms,
            |s| s.attributed_busy_ms,
            |s| s.ruled_out_ms,
            |s| s.established_ms,
        ];
        for time in times {
            self.ms = self.ms.saturating_add(time(before).abs_diff(time(after)));
        }
        let amounts: [fn(&DeviceSums) -> MicroTppHours; 6] = [
            |s| s.lower,
            |s| s.upper,
            |s| s.training_lower,
            |s| s.training_upper,
            |s| s.dfma,
            |s| s.fp64,
        ];
        for amount in amounts {
            let moved = amount(before).0.abs_diff(amount(after).0);
            self.hours = self.hours.plus(MicroTppHours(moved));
        }
    }

    fn add_tenant(&mut self, before: &TenantSums, after: &TenantSums) {
        let moved = before.attributed_ms.abs_diff(after.attributed_ms);
        self.ms = self.ms.saturating_add(moved);
    }
}

/// Whether what was added to a device's sums goes by a lower peak than its model has.
fn is_below_peak(
    case: &Case<'_>,
    node: &NodeRecord,
    uuid: &DeviceUuid,
    before: &DeviceSums,
    after: &DeviceSums,
) -> bool {
    let devices = &node.facts.devices;
    let at = devices.binary_search_by(|d| d.identity.uuid.cmp(uuid)).ok();
    let model = at.and_then(|at| case.model(devices.get(at)?));
    let Some(tpp) = model.and_then(|m| m.device_tpp()) else {
        return true;
    };
    let told = |sums: &DeviceSums| sums.expected_ms.saturating_sub(sums.unbounded_ms);
    let ms = told(after).saturating_sub(told(before));
    after.unconditional.minus(before.unconditional) < peak(tpp, ms)
}

/// What a day says of a device or a tenant, beside how much.
#[derive(PartialEq, Eq)]
enum Kind {
    Device {
        uuid: DeviceUuid,
        is_busy: bool,
        is_loose: bool,
        may_train: bool,
        level: Option<Level>,
        is_unbounded: bool,
        is_unpiped: bool,
    },
    Tenant {
        tenant: crate::id::TenantPseudonym,
        held: bool,
        computed: bool,
    },
    Others,
}

fn kind_of(day: &NodeDay) -> Vec<Kind> {
    let zero = MicroTppHours(0);
    let devices = day.devices.iter().map(|d| Kind::Device {
        uuid: d.uuid,
        is_busy: d.sums.busy_ms > 0 || d.sums.busy_unknown_ms > 0,
        is_loose: unattributed_ms(&d.sums) > 0,
        may_train: may_train(&d.sums),
        level: level_of(&d.sums),
        is_unbounded: d.sums.unbounded_ms > 0,
        is_unpiped: d.sums.unpiped_ms > 0,
    });
    let kept = day.tenants.iter().flat_map(|t| &t.kept);
    let tenants = kept.map(|t| Kind::Tenant {
        tenant: t.tenant,
        held: t.sums.attributed_ms > 0,
        computed: t.sums.upper > zero || t.sums.unbounded_ms > 0,
    });
    let others = day.tenants.iter().filter(|t| t.others.is_some());
    devices
        .chain(tenants)
        .chain(others.map(|_| Kind::Others))
        .collect()
}
