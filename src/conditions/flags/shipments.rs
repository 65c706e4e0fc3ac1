//! Shipments: whether a supplier holds them back.
//!
//! Decides: by the newest hold or release of each supplier whom the licence hears. One that names single shipments holds nothing else, and lets
//! these move. Does not establish that nothing moved.

use super::super::case::Case;
use super::super::papers::Paper;
use crate::id::Digest;
use crate::statement::{HoldAction, Role, ShipmentHold};
use crate::time::UnixSeconds;
use serde::Serialize;
use std::collections::BTreeSet;

crate::code! {
    /// What a supplier does with shipments to a site.
    pub enum Movement {
        /// It holds all of them back.
        Held = 0 => "held",
        /// It let them, or some of them, move.
        Released = 1 => "released",
        /// It said neither, or of single shipments only that they are held.
        Free = 2 => "free",
    }
}

/// Whether shipments to a site move, and who said so.
///
/// It serialises to the member `shipments` of `status --format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shipments {
    /// Held, released or free.
    pub state: Movement,
    /// The hold or release that decides it; absent where none is heard.
    pub statement: Option<Digest>,
    /// When that was issued.
    pub since: Option<UnixSeconds>,
    /// Until when it holds.
    pub until: Option<UnixSeconds>,
    /// The shipments that it names; all, where it names none.
    pub only: Vec<String>,
    /// The same for people.
    pub sentence: String,
}

impl Shipments {
    pub(in super::super) fn of(case: &Case<'_>) -> Self {
        let mut issuers = BTreeSet::new();
        let heard: Vec<Paper<'_, ShipmentHold>> = case.papers().holding(case.now).collect();
        let heard: Vec<_> = heard
            .into_iter()
            .filter(|p| p.header.role == Role::Supplier)
            .collect();
        // One supplier's hold stops no other's shipments: what any of them lets move, moves.
        let decided = heard
            .iter()
            .filter(|p| issuers.insert(p.header.issuer.as_str()))
            .filter_map(|p| of_issuer(&heard, p.header.issuer.as_str()))
            .min_by_key(|(movement, _)| match movement {
                Movement::Released => 0,
                Movement::Held => 1,
                Movement::Free => 2,
            });
        let Some((state, paper)) = decided else {
            return Self {
                state: Movement::Free,
                statement: None,
                since: None,
                until: None,
                only: Vec::new(),
                sentence: "no hold or release of shipments is on file".to_owned(),
            };
        };
        let only: Vec<String> = paper
            .claims
            .shipments
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let which = match only.as_slice() {
            [] => "all shipments".to_owned(),
            some => format!("shipments {}", super::super::finding::few(some)),
        };
        let does = match paper.claims.action {
            HoldAction::Hold => "holds",
            HoldAction::Release => "releases",
        };
        let sentence = format!(
            "the {} {does} {which} since {}, until just before {}: {}",
            paper.label(),
            paper.header.issued.0,
            paper.header.valid_to.0,
            paper.claims.reason.as_str().replace('\n', " ")
        );
        Self {
            state,
            statement: Some(paper.digest),
            since: Some(paper.header.issued.0),
            until: Some(paper.header.valid_to.0),
            only,
            sentence,
        }
    }
}

/// What the newest statements of one supplier come to, and the one that decides it. Of two of one moment the release counts.
fn of_issuer<'a, 'c>(
    heard: &'c [Paper<'a, ShipmentHold>],
    issuer: &str,
) -> Option<(Movement, &'c Paper<'a, ShipmentHold>)> {
    let theirs = || heard.iter().filter(|p| p.header.issuer.as_str() == issuer);
    let rank = |p: &&Paper<'_, ShipmentHold>| (p.header.issued, p.claims.action == HoldAction::Release);
    let whole = theirs().filter(|p| p.claims.shipments.is_none()).max_by_key(rank);
    let in_part = theirs()
        .filter(|p| p.claims.shipments.is_some())
        .filter(|p| whole.is_none_or(|w| w.header.issued <= p.header.issued));
    // Of shipments that are named one by one, what was let go counts until it is held again by a hold of all.
    let released = in_part
        .clone()
        .filter(|p| p.claims.action == HoldAction::Release)
        .max_by_key(rank);
    match (whole, released) {
        (_, Some(paper)) => Some((Movement::Released, paper)),
        (Some(paper), None) if paper.claims.action == HoldAction::Hold => Some((Movement::Held, paper)),
        (Some(paper), None) => Some((Movement::Released, paper)),
        (None, None) => in_part.max_by_key(rank).map(|paper| (Movement::Free, paper)),
    }
}
