//! Permissions: devices that are presumed to break the rules, and that an agency or the supplier permits all the same.
//!
//! Decides: which devices a permission covers: those that it names, or as many of a model as it lists. What its holder says of itself permits
//! nothing. Does not establish which of several devices of a model is meant where a permission only counts them.

use super::super::case::Case;
use super::super::papers::Paper;
use crate::id::{DeviceUuid, Digest, PciId};
use crate::statement::{Authorisation, AuthorisationKind, Role};

/// The permissions that hold, and how many devices each still covers.
pub(in crate::conditions) struct Permissions<'a> {
    papers: Vec<Paper<'a, Authorisation>>,
    /// How many of each item of each paper are taken.
    taken: Vec<(Digest, String, u64)>,
}

/// What is permitted of devices of one kind.
pub(in crate::conditions) enum Permit {
    /// All of them, by the statement of this name.
    Given(String),
    /// The statement of this name does not say for which devices it is.
    Unclear(String),
    /// Not all of them.
    Lacking,
}

impl<'a> Permissions<'a> {
    /// Those of the licence's consignee.
    pub(in crate::conditions) fn of(case: &Case<'a>) -> Self {
        let all = case.papers().holding::<Authorisation>(case.now);
        let listed = all.filter(|p| {
            p.claims.kind == AuthorisationKind::ListedDevice
                && p.claims.consignee.as_str() == case.licence.consignee
                && matches!(p.header.role, Role::Authority | Role::Supplier)
        });
        Self {
            papers: listed.collect(),
            taken: Vec::new(),
        }
    }

    /// Their digests.
    pub(in crate::conditions) fn digests(&self) -> Vec<Digest> {
        self.papers.iter().map(|p| p.digest).collect()
    }

    /// Whether so many devices of a kind are permitted, of which these answer; what is permitted is used up.
    pub(in crate::conditions) fn take(
        &mut self,
        case: &Case<'_>,
        id: &PciId,
        number: u64,
        devices: &[DeviceUuid],
    ) -> Permit {
        let all_answer = u64::try_from(devices.len()).is_ok_and(|n| n >= number);
        for paper in &self.papers {
            let named = paper.header.devices.as_ref();
            if all_answer && named.is_some_and(|n| devices.iter().all(|d| n.iter().any(|n| n.0 == *d))) {
                return Permit::Given(paper.label());
            }
        }
        if let Some(model) = case.catalogue.find(id, "").model() {
            let cards = model.cards(number);
            // One that names devices permits these alone.
            for paper in self.papers.iter().filter(|p| p.header.devices.is_none()) {
                let items = paper.claims.items.iter().flatten();
                let of_model = items.filter(|i| model.is_called(i.model.as_str()));
                let most = of_model.fold(0u64, |n, i| n.saturating_add(i.count));
                let mut known = self.taken.iter_mut();
                let known = known.find(|(p, m, _)| *p == paper.digest && *m == model.name);
                let before = known.as_ref().map_or(0, |(.., n)| *n);
                let after = before.saturating_add(cards);
                if after > most {
                    continue;
                }
                match known {
                    Some((.., n)) => *n = after,
                    None => self.taken.push((paper.digest, model.name.clone(), after)),
                }
                return Permit::Given(paper.label());
            }
        }
        let bare = |p: &&Paper<'_, Authorisation>| p.header.devices.is_none() && p.claims.items.is_none();
        self.papers
            .iter()
            .find(bare)
            .map_or(Permit::Lacking, |p| Permit::Unclear(p.label()))
    }
}
