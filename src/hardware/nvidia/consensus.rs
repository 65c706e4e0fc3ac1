//! Devices held against their peers, where no reference manifest exists.
//!
//! Decides: which devices measure something else than most devices of equal chip, mode, driver and VBIOS. It is a hint and never proof: a fleet that was
//! altered as a whole agrees with itself, and two devices that differ do not say which of them is right.

use super::chain::Arch;
use super::spdm::Report;
use super::topology::Member;
use crate::crypto::sha256;
use crate::id::Digest;
use std::collections::BTreeMap;

/// Fewer than this many devices have no majority that means anything.
pub const LEAST_PEERS: usize = 3;

/// Measurements that are each device's own (found in real reports), by index from 0: none of Hopper.
const OWN_OF_BLACKWELL: [u8; 1] = [61];
const OWN_OF_LS10: [u8; 11] = [10, 11, 14, 18, 19, 20, 21, 22, 23, 24, 25];

fn own(arch: Arch) -> &'static [u8] {
    match arch {
        Arch::Hopper => &[],
        Arch::Blackwell => &OWN_OF_BLACKWELL,
        Arch::Ls10 => &OWN_OF_LS10,
    }
}

/// SHA-256 over the measurements that devices of a kind have in common: equal where they measure the same.
#[must_use]
pub fn common(arch: Arch, report: &Report) -> Digest {
    let mut all = Vec::new();
    for block in &report.blocks {
        if block
            .index
            .checked_sub(1)
            .is_some_and(|index| !own(arch).contains(&index))
        {
            all.push(block.index);
            all.extend(u16::try_from(block.value.len()).unwrap_or(u16::MAX).to_be_bytes());
            all.extend(&block.value);
        }
    }
    sha256(&all)
}

/// A device that differs from its peers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outlier {
    /// How a person calls it.
    pub name: String,
    /// With how many others it was compared.
    pub peers: usize,
    /// Indices of the measurements that differ, from 0.
    pub indices: Vec<u8>,
}

/// Devices that differ from most of their peers.
#[must_use]
pub fn outliers(members: &[Member]) -> Vec<Outlier> {
    let mut groups: BTreeMap<_, Vec<&Member>> = BTreeMap::new();
    for member in members {
        let said = &member.report.opaque;
        let key = (member.arch, said.mode(), said.chip(), said.driver(), said.vbios());
        groups.entry(key).or_default().push(member);
    }
    let mut found = Vec::new();
    for group in groups.values().filter(|g| g.len() >= LEAST_PEERS) {
        for member in group {
            let own = own(member.arch);
            let indices: Vec<u8> = member
                .report
                .blocks
                .iter()
                .filter_map(|b| b.index.checked_sub(1))
                .filter(|index| !own.contains(index) && !is_common(group, member, *index))
                .collect();
            if !indices.is_empty() {
                found.push(Outlier {
                    name: member.name.clone(),
                    peers: group.len().saturating_sub(1),
                    indices,
                });
            }
        }
    }
    found
}

/// Whether more than half of a group measures what this member does.
fn is_common(group: &[&Member], member: &Member, index: u8) -> bool {
    let value = member.report.measurement(index).map(|b| &b.value);
    let same = group
        .iter()
        .filter(|m| m.report.measurement(index).map(|b| &b.value) == value);
    same.count().saturating_mul(2) > group.len()
}
