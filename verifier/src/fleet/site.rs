//! The facts of each site, gathered from all its nodes.
//!
//! Decides: what conditions may look at for a site: its nodes' records, and where its devices were seen at other sites of this verifier.

use super::facts::Kept;
use crate::store::{NodeRow, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use weighbridge::appraisal::{NodeAtSite, NodeStatus, Sighting, SiteFacts};
use weighbridge::id::{DeviceUuid, NodeId};

/// The facts of all sites that have nodes, by the site's id.
///
/// # Errors
/// [`StoreError`].
pub async fn sites(store: &dyn Store) -> Result<BTreeMap<String, SiteFacts>, StoreError> {
    let mut out: BTreeMap<String, SiteFacts> = BTreeMap::new();
    for row in store.nodes().await? {
        let record = Kept::read(store, &row).await?.complete(store, &row).await?;
        let site = out.entry(row.site.clone()).or_insert_with(|| SiteFacts {
            site: row.site.clone(),
            ..SiteFacts::default()
        });
        site.nodes.push(NodeAtSite {
            status: status_of(&row),
            record,
        });
    }
    if out.len() > 1 {
        let elsewhere: Vec<(String, Vec<Sighting>)> = out
            .keys()
            .map(|site| (site.clone(), sightings(site, &out)))
            .collect();
        for (site, seen) in elsewhere {
            if let Some(state) = out.get_mut(&site) {
                state.elsewhere = seen;
            }
        }
    }
    Ok(out)
}

/// The name under which people know a node: the first ten digits of its id, which commands accept for it. The first two are the same in
/// every id.
#[must_use]
pub(crate) fn name_of(node: &NodeId) -> String {
    node.to_string().chars().take(10).collect()
}

fn status_of(row: &NodeRow) -> NodeStatus {
    NodeStatus {
        name: name_of(&row.id),
        approved: row.approved_at,
        revoked_from: row.revoked_from,
        revoked_at: row.revoked_at,
        // No hardware has proved a key here yet: that takes credential activation.
        key_certified: false,
    }
}

/// Where the devices of `site` were seen at others.
fn sightings(site: &str, all: &BTreeMap<String, SiteFacts>) -> Vec<Sighting> {
    let devices = |state: &SiteFacts| -> Vec<(DeviceUuid, Option<String>)> {
        state
            .nodes
            .iter()
            .flat_map(|n| &n.record.facts.devices)
            .map(|d| (d.identity.uuid, d.identity.serial.clone()))
            .collect()
    };
    let own = all.get(site).map(devices).unwrap_or_default();
    let uuids: BTreeSet<DeviceUuid> = own.iter().map(|(u, _)| *u).collect();
    let serials: BTreeSet<&String> = own.iter().filter_map(|(_, s)| s.as_ref()).collect();
    let mut out = Vec::new();
    for (other, state) in all.iter().filter(|(name, _)| *name != site) {
        for node in &state.nodes {
            for device in &node.record.facts.devices {
                let serial = &device.identity.serial;
                if uuids.contains(&device.identity.uuid)
                    || serial.as_ref().is_some_and(|s| serials.contains(s))
                {
                    out.push(Sighting {
                        node: node.record.facts.node,
                        status: node.status.clone(),
                        clock: node.record.facts.clock.clone(),
                        site: other.clone(),
                        uuid: device.identity.uuid,
                        serial: serial.clone(),
                        presence: device
                            .presence
                            .iter()
                            .map(|s| node.record.facts.timed(s))
                            .collect(),
                    });
                }
            }
        }
    }
    out
}
