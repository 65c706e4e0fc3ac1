//! What is held around a place in a node's chain, and how a report for that place stands to it.
//!
//! Decides: nothing; the core's rules of continuity do. It reads what they ask for. Where the body of the report after the place is gone
//! because its time was over, or is damaged, what that report cites is not known, and is not held against anyone.

use super::facts::Copy;
use crate::store::{HeldReport, NodeRow, Store, StoreError};
use weighbridge::id::Digest;
use weighbridge::report::{ChainLink, Continuity, continuity};

/// What is held around a place in a chain.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) at_place: Option<HeldReport>,
    pub(crate) before: Option<Digest>,
    pub(crate) cited_by_next: Option<Digest>,
    pub(crate) highest: Option<u64>,
}

impl Around {
    /// Reads it from the store.
    pub(crate) async fn read(
        store: &dyn Store,
        node: &NodeRow,
        link: &ChainLink,
    ) -> Result<Self, StoreError> {
        let (chain, sequence) = (link.chain, link.sequence);
        let highest = store.highest(node.id, chain).await?.map(|r| r.sequence);
        let below = store.at_place(node.id, chain, sequence.saturating_sub(1)).await?;
        // Only a report that comes late has one after it.
        let next = match sequence.checked_add(1) {
            Some(above) if highest >= Some(above) => store.at_place(node.id, chain, above).await?,
            _ => None,
        };
        Ok(Self {
            at_place: store.at_place(node.id, chain, sequence).await?,
            before: below.map(|r| r.digest),
            cited_by_next: match next {
                Some(next) => cited(node, &next),
                None => None,
            },
            highest,
        })
    }

    /// How a report at `link` that cites `previous` stands.
    pub(crate) fn judge(&self, link: &ChainLink, previous: Option<Digest>) -> Continuity {
        let at_place = self.at_place.as_ref().map(|r| r.digest);
        continuity(
            link,
            previous,
            at_place,
            self.before,
            self.cited_by_next,
            self.highest,
        )
    }
}

/// The predecessor that a held report cites; `None` where its body is gone or damaged.
fn cited(node: &NodeRow, held: &HeldReport) -> Option<Digest> {
    match Copy::of(held.body.as_deref(), &held.digest, node) {
        // One that cites none has nothing before it: no report's digest is all zeros.
        Copy::Whole(r) => Some(r.claims().report.previous.unwrap_or(Digest([0; 32]))),
        Copy::Gone | Copy::Damaged => None,
    }
}
