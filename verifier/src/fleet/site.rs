//! The facts of each site, gathered from all its nodes.
//!
//! Decides: what conditions may look at for a site: its nodes' records, and where its devices were seen at other sites of this verifier.

use super::facts::{Kept, rounds_of};
use crate::store::{NodeRow, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weighbridge::appraisal::{
    Estate, EstateNode, EstateSite, NodeAtSite, NodeRecord, NodeStatus, SightedProof, Sighting, SiteFacts,
};
use weighbridge::conditions::DaysAsked;
use weighbridge::id::{DeviceUuid, Digest, NodeId};
use weighbridge::time::UnixSeconds;

/// All nodes, site by site, and where their devices were seen.
#[derive(Debug)]
pub(crate) struct Fleet {
    sites: BTreeMap<String, Vec<NodeRow>>,
    /// Every device on every node; empty where there is one site only, for then nothing is elsewhere.
    seen: Vec<Sighting>,
    /// All sites as they are counted together; empty likewise, for then a site's own facts are all.
    estate: Arc<Vec<EstateSite>>,
}

impl Fleet {
    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut sites: BTreeMap<String, Vec<NodeRow>> = BTreeMap::new();
        for row in store.nodes().await? {
            sites.entry(row.site.clone()).or_default().push(row);
        }
        let (mut seen, mut estate) = (Vec::new(), Vec::<EstateSite>::new());
        if sites.len() > 1 {
            for row in sites.values().flatten() {
                let facts = record(store, row, None).await?.facts;
                let rounds = store.evidence(row.id).await?;
                let rounds = rounds.as_ref().and_then(rounds_of).unwrap_or_default();
                seen.extend(facts.devices.iter().map(|device| Sighting {
                    node: row.id,
                    status: status_of(row),
                    clock: facts.clock.clone(),
                    site: row.site.clone(),
                    uuid: device.identity.uuid,
                    serial: device.identity.serial.clone(),
                    presence: device.presence.iter().map(|s| facts.timed(s)).collect(),
                    proof: SightedProof::of(&rounds, &device.identity.uuid),
                }));
                let node = EstateNode::of(status_of(row), &facts);
                match estate.last_mut().filter(|s| s.site == row.site) {
                    Some(site) => site.nodes.push(node),
                    None => estate.push(EstateSite {
                        site: row.site.clone(),
                        nodes: vec![node],
                    }),
                }
            }
        }
        Ok(Self {
            sites,
            seen,
            estate: Arc::new(estate),
        })
    }

    /// The facts of one site: none where it has no nodes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn facts(
        &self,
        store: &dyn Store,
        site: &str,
        asked: &DaysAsked,
    ) -> Result<SiteFacts, StoreError> {
        let each = DaysAsked::all();
        let mut nodes = Vec::new();
        let rows = self.sites.get(site).map_or(&[][..], Vec::as_slice);
        for row in rows {
            // Each day says for itself whether its reports came before the key was revoked.
            let asked = if row.revoked_from.is_some() { &each } else { asked };
            nodes.push(NodeAtSite {
                status: status_of(row),
                record: record(store, row, Some(asked)).await?,
            });
        }
        if !asked.is_all() {
            // A device has no more than a day in a day, on however many nodes it was.
            for (row, at) in rows.iter().zip(sharing(&nodes)) {
                let node = nodes.iter_mut().find(|n| at && n.record.facts.node == row.id);
                if let Some(node) = node {
                    node.record = record(store, row, Some(&each)).await?;
                }
            }
        }
        succeed(rows, &mut nodes);
        let estate = Estate {
            sites: self.estate(store, site, &nodes).await?,
            licences: Vec::new(),
        };
        Ok(SiteFacts {
            site: site.to_owned(),
            elsewhere: self.elsewhere(site, &nodes),
            nodes,
            licences: Vec::new(),
            former: Vec::new(),
            statements: Vec::new(),
            issuers: BTreeMap::new(),
            estate,
            standing: Arc::default(),
        })
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> usize {
        self.sites
            .values()
            .fold(0, |count, rows| count.saturating_add(rows.len()))
    }

    /// The nodes of a site, if there are no others: then its reports say nothing about another site.
    pub(crate) fn alone(&self, site: &str) -> Option<&[NodeRow]> {
        let rows = self.sites.get(site)?;
        (self.sites.len() == 1).then_some(rows)
    }

    /// All sites as they are counted together.
    async fn estate(
        &self,
        store: &dyn Store,
        site: &str,
        nodes: &[NodeAtSite],
    ) -> Result<Arc<Vec<EstateSite>>, StoreError> {
        if !self.estate.is_empty() {
            return Ok(Arc::clone(&self.estate));
        }
        let own = nodes.iter();
        let mut all = vec![EstateSite {
            site: site.to_owned(),
            nodes: own
                .map(|n| EstateNode::of(n.status.clone(), &n.record.facts))
                .collect(),
        }];
        // A licence may name a site without nodes beside the one that has all.
        for (other, rows) in self.sites.iter().filter(|(other, _)| *other != site) {
            let mut nodes = Vec::new();
            for row in rows {
                nodes.push(EstateNode::of(
                    status_of(row),
                    &record(store, row, None).await?.facts,
                ));
            }
            all.push(EstateSite {
                site: other.clone(),
                nodes,
            });
        }
        Ok(Arc::new(all))
    }

    /// Where the devices of `site` were seen at others.
    fn elsewhere(&self, site: &str, nodes: &[NodeAtSite]) -> Vec<Sighting> {
        let own = || {
            nodes
                .iter()
                .flat_map(|n| &n.record.facts.devices)
                .map(|d| &d.identity)
        };
        let uuids: BTreeSet<DeviceUuid> = own().map(|i| i.uuid).collect();
        let serials: BTreeSet<&String> = own().filter_map(|i| i.serial.as_ref()).collect();
        let rounds = nodes.iter().filter_map(|n| n.record.evidence.newest.as_ref());
        let keys: BTreeSet<Digest> = rounds
            .flat_map(|r| &r.devices)
            .filter_map(|d| d.identity)
            .collect();
        let shared = |s: &&Sighting| {
            uuids.contains(&s.uuid)
                || s.serial.as_ref().is_some_and(|serial| serials.contains(serial))
                || s.proof.is_some_and(|p| keys.contains(&p.key))
        };
        let others = self.seen.iter().filter(|s| s.site != site);
        others.filter(shared).cloned().collect()
    }
}

/// Reads the records of some nodes of a site again, whose nodes are all there are, and gives back what they were; `None` where the site must be looked at
/// anew, since that changed more than these records or a node is not known. Then, and after an error, `facts` are of no more use.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn renew(
    store: &dyn Store,
    (rows, which): (&[NodeRow], &BTreeSet<NodeId>),
    facts: &mut SiteFacts,
    asked: &DaysAsked,
) -> Result<Option<Vec<NodeRecord>>, StoreError> {
    let each = DaysAsked::all();
    let shared = sharing(&facts.nodes);
    let succeeded: Vec<_> = facts.nodes.iter().map(|n| n.status.succeeded_from).collect();
    let mut before = Vec::new();
    for ((row, node), is_shared) in rows.iter().zip(&mut facts.nodes).zip(&shared) {
        if which.contains(&row.id) {
            let whole = *is_shared || row.revoked_from.is_some();
            let now = record(store, row, Some(if whole { &each } else { asked })).await?;
            before.push(std::mem::replace(&mut node.record, now));
        }
    }
    succeed(rows, &mut facts.nodes);
    let is_succeeded = facts.nodes.iter().map(|n| n.status.succeeded_from);
    if before.len() < which.len() || sharing(&facts.nodes) != shared || !is_succeeded.eq(succeeded) {
        return Ok(None);
    }
    let sites = Arc::make_mut(&mut facts.estate.sites).iter_mut();
    let own = sites.filter(|s| s.site == facts.site).flat_map(|s| &mut s.nodes);
    for (counted, node) in own.zip(&facts.nodes) {
        if which.contains(&node.record.facts.node) {
            *counted = EstateNode::of(node.status.clone(), &node.record.facts);
        }
    }
    Ok(Some(before))
}

/// Says of each node from when another one of its site reports in its place: one that was approved and named it as its predecessor
/// when it was enrolled, from its first report on. A node that reports after that is not gone, whatever was said.
fn succeed(rows: &[NodeRow], nodes: &mut [NodeAtSite]) {
    let mut successions: BTreeMap<NodeId, UnixSeconds> = BTreeMap::new();
    for (row, node) in rows.iter().zip(&*nodes) {
        let first = node.record.facts.first_received;
        if let (Some(before), Some(from)) = (row.predecessor, first.filter(|t| node.status.is_active(*t))) {
            let known = successions.entry(before).or_insert(from);
            *known = from.min(*known);
        }
    }
    for (row, node) in rows.iter().zip(nodes) {
        let last = node.record.facts.newest.as_ref().map(|n| n.received);
        node.status.succeeded_from = successions
            .get(&row.id)
            .copied()
            .filter(|from| last < Some(*from));
    }
}

/// Of each node, whether another one of its site names one of its devices too.
fn sharing(nodes: &[NodeAtSite]) -> Vec<bool> {
    let mut times: BTreeMap<DeviceUuid, u32> = BTreeMap::new();
    for device in nodes.iter().flat_map(|n| &n.record.facts.devices) {
        let entry = times.entry(device.identity.uuid).or_default();
        *entry = entry.saturating_add(1);
    }
    let shared = |uuid: &DeviceUuid| times.get(uuid).is_some_and(|n| *n > 1);
    let mut out = Vec::new();
    for node in nodes {
        let mut devices = node.record.facts.devices.iter();
        out.push(devices.any(|d| shared(&d.identity.uuid)));
    }
    out
}

/// What a node's reports add up to, with the days that are asked for, if any. Damage to what is kept of one node is its own: it is among its facts.
async fn record(
    store: &dyn Store,
    row: &NodeRow,
    asked: Option<&DaysAsked>,
) -> Result<NodeRecord, StoreError> {
    let read = async {
        let kept = Kept::read(store, row).await?;
        match asked {
            Some(asked) => kept.complete(store, row, asked).await,
            None => Ok(kept.record),
        }
    };
    match read.await {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(node = %row.id, %error, "what is kept of a node cannot be read");
            let mut lost = NodeRecord::new(row.id);
            lost.damage(UnixSeconds(i64::MAX));
            Ok(lost)
        }
        other => other,
    }
}

/// The facts of all sites that have nodes, by the site's id, with the days that are asked for.
///
/// # Errors
/// [`StoreError`].
pub async fn sites(store: &dyn Store, asked: &DaysAsked) -> Result<BTreeMap<String, SiteFacts>, StoreError> {
    let fleet = Fleet::read(store).await?;
    let mut out = BTreeMap::new();
    for site in fleet.sites.keys() {
        out.insert(site.clone(), fleet.facts(store, site, asked).await?);
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
        succeeded_from: None,
        key_certified: false,
    }
}
