//! Fabric: how many devices are joined into one.
//!
//! Decides: by what drivers say of the NVLink fabric in the newest report of each node. Devices of one cluster and clique are one domain, on
//! however many nodes; a device that is linked and of no fabric is joined to devices of its own node at most. Does not establish what cables
//! that no driver sees join.

use super::super::case::{Case, no_report};
use super::super::finding::{Quantity, Verdict, count, few};
use crate::appraisal::{DeviceFacts, Grade};
use crate::telemetry::{Fabric, NvlinkLinks};
use std::collections::BTreeMap;

/// The state of a fabric that a device has joined (nvmlDeviceGetGpuFabricInfoV).
const JOINED: u8 = 3;
/// The state of a device that can join none.
const NO_FABRIC: u8 = 0;

/// To what a device is joined, as far as its driver tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// To the devices of this cluster and clique, on any node.
    Cluster([u8; 16], u32),
    /// To the devices of this clique of its node.
    Clique(u32),
    /// To some devices of its node at most.
    Node,
    /// To none.
    Alone,
    /// To devices anywhere.
    Unknown,
}

impl Reach {
    fn of(device: &DeviceFacts) -> Self {
        let links = device.identity.nvlink_links.as_ref();
        match &device.identity.fabric {
            Some(Fabric {
                state: JOINED,
                cluster,
                clique,
            }) if cluster.iter().all(|b| *b == 0) => Self::Clique(*clique),
            Some(Fabric {
                state: JOINED,
                cluster,
                clique,
            }) => Self::Cluster(*cluster, *clique),
            // What joins no fabric is linked within its host, if at all.
            Some(Fabric { state: NO_FABRIC, .. }) => links.map_or(Self::Node, Self::within),
            // Not joined yet, or not told: links that end at GPUs stay within a host, those to switches may leave it.
            _ => match links {
                Some(links) if links.to_switches == 0 && links.to_others == 0 => Self::within(links),
                _ => Self::Unknown,
            },
        }
    }

    fn within(links: &NvlinkLinks) -> Self {
        match (links.to_gpus, links.to_switches, links.to_others) {
            (0, 0, 0) => Self::Alone,
            _ => Self::Node,
        }
    }
}

/// A domain that surely is one, and its devices.
#[derive(Default)]
struct Domains {
    sure: BTreeMap<(String, Reach), Vec<String>>,
    /// The most devices of one node that may be joined, by the node's name.
    possible: BTreeMap<String, Vec<String>>,
    untold: Vec<String>,
}

impl Domains {
    /// By what the newest report of each node says of the devices that answered in it.
    fn of(case: &Case<'_>) -> Self {
        let mut found = Self::default();
        for node in case.nodes() {
            let facts = &node.record.facts;
            let Some(newest) = &facts.newest else { continue };
            let here = facts.devices.iter().filter(|d| d.last_report == newest.digest);
            for device in here {
                let (name, uuid) = (&node.status.name, device.identity.uuid.nvml());
                match Reach::of(device) {
                    Reach::Alone => {}
                    Reach::Node => found.possible.entry(name.clone()).or_default().push(uuid),
                    Reach::Unknown => found.untold.push(uuid),
                    // A clique without a cluster is one of its own node.
                    clique @ Reach::Clique(_) => {
                        found.sure.entry((name.clone(), clique)).or_default().push(uuid);
                    }
                    cluster @ Reach::Cluster(..) => {
                        found.sure.entry((String::new(), cluster)).or_default().push(uuid);
                    }
                }
            }
        }
        // One device that two nodes name is one.
        for devices in found.sure.values_mut().chain(found.possible.values_mut()) {
            devices.sort();
            devices.dedup();
        }
        found
    }

    fn largest(&self) -> usize {
        self.sure.values().map(Vec::len).max().unwrap_or(0)
    }
}

/// CAP-09: no more devices are joined into one scale-up domain than the licence allows.
pub(in crate::conditions) fn domain_within(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.domain_devices_max) else {
        return Verdict::not_applicable(
            "not-limited",
            "neither the licence nor its rule set limits how many devices may be joined into one domain (`domain_devices_max`)",
        )
        .grade(Grade::Declared)
        .evidence([case.licence.digest]);
    };
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return no_report(Verdict::met("", "")).limit(Quantity::at_most(limit.value, "devices"));
    }
    let domains = Domains::of(case);
    let most = usize::try_from(limit.value).unwrap_or(usize::MAX);
    let rule = format!("{} allows {}", limit.from, count(most, "device"));
    let (largest, of_node) = (
        domains.largest(),
        domains.possible.values().map(Vec::len).max().unwrap_or(0),
    );
    let over: Vec<&Vec<String>> = domains.sure.values().filter(|d| d.len() > most).collect();
    let verdict = if !over.is_empty() {
        let words: Vec<String> = over
            .iter()
            .map(|d| format!("{} are joined into one domain", count(d.len(), "device")))
            .collect();
        Verdict::not_met("domain-too-large", format!("{}; {rule}", few(&words)))
            .measured(Quantity::at_least(largest, "devices"))
            .subjects(over.into_iter().flatten().cloned())
    } else if !domains.untold.is_empty() {
        let sentence = format!(
            "no driver tells which fabric {} joined, so that more may be joined than a node holds; {rule}; a driver that tells it would settle it",
            count(domains.untold.len(), "device")
        );
        Verdict::cannot_tell("fabric-untold", sentence)
            .measured(Quantity::at_least(largest, "devices"))
            .subjects(domains.untold)
    } else if of_node > most {
        let names: Vec<String> = domains
            .possible
            .iter()
            .filter(|(_, d)| d.len() > most)
            .map(|(name, d)| format!("{} of node {name}", count(d.len(), "linked device")))
            .collect();
        let sentence = format!(
            "{} may be joined into one domain, for no driver names their fabric; {rule}",
            few(&names)
        );
        Verdict::cannot_tell("may-be-joined", sentence)
            .measured(Quantity::between(largest, of_node, "devices"))
            .subjects(
                domains
                    .possible
                    .into_values()
                    .filter(|d| d.len() > most)
                    .flatten(),
            )
    } else {
        let all = largest.max(of_node);
        let sentence = format!(
            "no more than {} are joined into one domain, as the drivers say; {rule}",
            count(all.max(1), "device")
        );
        case.hold_devices(Verdict::met("domain-within", sentence).measured(Quantity::at_most(all, "devices")))
    };
    let newest = case.nodes().filter_map(|n| n.record.facts.newest.as_ref());
    let from = newest.map(|n| n.end).min().unwrap_or(case.now);
    verdict
        .limit(Quantity::at_most(limit.value, "devices"))
        .window(from, case.now)
        .coverage(case.coverage())
        .evidence(case.newest_reports())
}
