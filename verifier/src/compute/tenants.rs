//! Compute by tenant, as the operator attributes devices to pseudonyms.
//!
//! Decides: nothing; it adds up what the reports of a site's nodes say of one pseudonym. Time without a report is nobody's, so it is in no tenant's
//! bounds.

use super::{Key, hours, plain, unattributed_ms, up, whole_seconds};
use crate::store::PeriodRow;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use weighbridge::appraisal::{Aggregate, DeviceSums, TenantSums, TenantTotals};
use weighbridge::id::TenantPseudonym;
use weighbridge::unit::{Grouped, MicroTppHours};

/// The tenants of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributed {
    /// What the reports say of each, and of how many nodes.
    tenants: BTreeMap<TenantPseudonym, (TenantSums, u64)>,
    /// Nodes with more tenants than are kept one by one.
    crowded: u64,
}

/// What a node's rows say of its tenants in the period.
pub(super) fn of_node(row: &PeriodRow) -> TenantTotals {
    let later = row.later.as_ref().and_then(|l| l.tenants.as_deref());
    let earlier = row.earlier.as_ref().and_then(|e| e.tenants.as_deref());
    let mut held = later.map_or_else(TenantTotals::default, |l| l.after(earlier));
    if let Some(today) = row.open.as_ref().and_then(|o| o.tenants.as_deref()) {
        held.join(today);
    }
    held
}

/// How much of what busy time is whose, in words.
pub(super) fn attributed(sums: &DeviceSums, held: Option<&Attributed>) -> String {
    let more = |held: &&Attributed| !held.tenants.is_empty();
    match (sums.attributed_busy_ms, held.filter(more)) {
        (0, None) => "none of it attributed to a tenant".to_owned(),
        (ms, None) => format!("{} of it attributed to tenants", hours(ms)),
        (ms, Some(held)) => format!("{} of it attributed to {}", hours(ms), held.said()),
    }
}

impl Attributed {
    /// Takes in a node.
    pub(super) fn take(&mut self, node: &TenantTotals) {
        for total in &node.kept {
            let (sums, nodes) = self.tenants.entry(total.tenant).or_default();
            *sums = sums.plus(&total.sums);
            *nodes = nodes.saturating_add(1);
        }
        self.crowded = self.crowded.saturating_add(u64::from(node.others.is_some()));
    }

    /// How many are told apart.
    pub(super) fn count(&self) -> usize {
        self.tenants.len()
    }

    /// Whether all are.
    pub(super) fn whole(&self) -> bool {
        self.crowded == 0
    }

    fn said(&self) -> String {
        let many = u128::try_from(self.count()).unwrap_or(u128::MAX);
        let least = if self.whole() { "" } else { "more than " };
        let word = if many == 1 { "tenant" } else { "tenants" };
        format!("{least}{} {word}", Grouped(many))
    }

    /// One object for each, for machines, and one for nobody.
    pub(super) fn groups(&self, key: &Key, all: &Aggregate, lacking: usize) -> Vec<Value> {
        let lacking = u64::try_from(lacking).unwrap_or(u64::MAX);
        let tenants = self.tenants.iter().map(|(tenant, (sums, nodes))| {
            json!({
                "site": key.site,
                "tenant": tenant,
                "nodes": nodes,
                "attributed_s": whole_seconds(sums.attributed_ms),
                "busy_s": whole_seconds(sums.busy_ms),
                "tpp_hours": {
                    "lower": plain(sums.lower),
                    "counter": plain(sums.counter),
                    "upper": most(sums, sums.upper).map(plain),
                    "upper_unconditional": most(sums, sums.unconditional).map(plain),
                },
                "nodes_lacking": lacking.saturating_add(self.crowded),
            })
        });
        let nobody = json!({
            "site": key.site,
            "tenant": null,
            "nodes": null,
            "attributed_s": null,
            "busy_s": whole_seconds(unattributed_ms(&all.sums)),
            "tpp_hours": null,
            "nodes_lacking": lacking.saturating_add(self.crowded),
        });
        tenants.chain([nobody]).collect()
    }

    /// One line for each, for people, and one for nobody.
    pub(super) fn write(&self, all: &Aggregate, out: &mut dyn Write) -> std::io::Result<()> {
        for (tenant, (sums, nodes)) in &self.tenants {
            let nodes = match nodes {
                1 => "1 node".to_owned(),
                n => format!("{} nodes", Grouped(u128::from(*n))),
            };
            let bounds = match most(sums, sums.upper) {
                Some(upper) => format!("between {} and {} TPP-hours", super::down(sums.lower), up(upper)),
                None => format!(
                    "at least {} TPP-hours; no more is certain, for the peak of a device is not known",
                    super::down(sums.lower)
                ),
            };
            writeln!(
                out,
                "   tenant {tenant}   {bounds}, busy for {} of {} GPU-hours on {nodes}",
                hours(sums.busy_ms),
                hours(sums.attributed_ms)
            )?;
        }
        writeln!(
            out,
            "   no tenant   busy for {} GPU-hours",
            hours(unattributed_ms(&all.sums))
        )?;
        if !self.whole() {
            writeln!(
                out,
                "   not every tenant is told apart: {} of the nodes had more than are kept",
                Grouped(u128::from(self.crowded))
            )?;
        }
        Ok(())
    }
}

/// A bound from above, where nothing of the time is without one.
fn most(sums: &TenantSums, bound: MicroTppHours) -> Option<MicroTppHours> {
    (sums.unbounded_ms == 0).then(|| bound.max(sums.lower))
}
