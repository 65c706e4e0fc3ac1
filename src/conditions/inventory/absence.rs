//! Absence: devices of which people say that they are not where the manifest has them, or that they are at rest.
//!
//! Decides: for which time a statement that the licence hears says so, and who stands behind it. Does not establish that it is true: a device
//! that reports meanwhile is there, whatever was said, and what was said is then worth nothing.

use super::super::case::Case;
use super::super::papers::Paper;
use super::presence::{Stretch, shared};
use crate::id::{DeviceUuid, Digest};
use crate::statement::{Disposal, Header, Loss, LossKind, Maintenance, Rma, Role, Transfer};
use crate::time::{DAY_SECONDS, UnixSeconds};
use std::collections::{BTreeMap, BTreeSet};

/// Why a device does not report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::conditions) enum Why {
    /// It went back to its maker.
    Returned,
    /// It was put out of use.
    Disposed,
    /// It is missing or was stolen.
    Lost,
    /// Fire, water or the like took it.
    Destroyed,
    /// It moved to another site.
    Moved,
    /// It is there, without power.
    AtRest,
}

/// A time in which a device is not to be seen, as a statement has it.
#[derive(Clone, Debug)]
pub(in crate::conditions) struct Absence {
    pub(in crate::conditions) why: Why,
    /// From when: of a bare day its first second.
    pub(in crate::conditions) from: UnixSeconds,
    /// Until when, where it ends.
    pub(in crate::conditions) until: Option<UnixSeconds>,
    /// What follows the device's name in a sentence.
    pub(in crate::conditions) words: String,
    /// In which roles people stand behind it, with what others say of the same.
    pub(in crate::conditions) roles: BTreeSet<Role>,
    pub(in crate::conditions) digest: Digest,
}

impl Absence {
    /// Whether someone beside the operator says so.
    pub(in crate::conditions) fn is_confirmed(&self) -> bool {
        self.roles.contains(&Role::Supplier) || self.roles.contains(&Role::Assessor)
    }

    /// Whether it speaks of this time.
    pub(in crate::conditions) fn is_in_force(&self, at: UnixSeconds) -> bool {
        self.from <= at && self.until.is_none_or(|t| at < t)
    }

    /// Whether the device is not at its place at this time, as it says.
    pub(in crate::conditions) fn is_gone(&self, at: UnixSeconds) -> bool {
        self.why != Why::AtRest && self.is_in_force(at)
    }

    /// Whether a device refutes it that was last seen at this time: it reported after the day on which it was gone.
    pub(in crate::conditions) fn is_refuted(&self, last: UnixSeconds) -> bool {
        self.is_gone(last) && last > self.from.plus(DAY_SECONDS)
    }

    pub(in crate::conditions) fn stretch(&self) -> Stretch {
        (self.from, self.until.unwrap_or(UnixSeconds(i64::MAX)))
    }
}

/// All such times of a site.
#[derive(Debug, Default)]
pub(in crate::conditions) struct Absences {
    by_device: BTreeMap<DeviceUuid, Vec<Absence>>,
    /// Those of the whole site.
    of_all: Vec<Absence>,
}

impl Absences {
    /// What the statements say that hold now.
    pub(in crate::conditions) fn of(case: &Case<'_>) -> Self {
        let mut all = Self::default();
        for p in holding::<Rma>(case) {
            let (said, to) = (p.claims, p.claims.back.map(|t| t.0));
            let words = format!(
                "went back to {} on {} as {}",
                said.returned_to, said.left.0, said.number
            );
            all.add(case, &p, (Why::Returned, said.left.0, to), &words);
        }
        for p in holding::<Disposal>(case) {
            let words = format!("was {} on {}", p.claims.method, p.claims.on.0);
            all.add(case, &p, (Why::Disposed, p.claims.on.0, None), &words);
        }
        for p in holding::<Loss>(case) {
            let (said, noticed) = (p.claims, p.claims.noticed.0);
            let (why, from) = match said.kind {
                LossKind::Destroyed => (Why::Destroyed, said.last_seen.map_or(noticed, |t| t.0)),
                LossKind::Missing | LossKind::Stolen => (Why::Lost, noticed),
            };
            let words = format!("was declared {} on {noticed}", said.kind);
            all.add(case, &p, (why, from, None), &words);
        }
        all.moves(case);
        for p in holding::<Maintenance>(case).filter(|p| p.claims.powered_off) {
            if let Some(period) = &p.header.period {
                let words = format!("is without power from {} until {}", period.from.0, period.to.0);
                all.add(case, &p, (Why::AtRest, period.from.0, Some(period.to.0)), &words);
            }
        }
        all.join_roles();
        if !all.is_empty() {
            // A device that is seen after it went refutes that it did.
            case.grows();
        }
        all
    }

    /// Whether nobody says anything of the kind.
    pub(in crate::conditions) fn is_empty(&self) -> bool {
        self.by_device.is_empty() && self.of_all.is_empty()
    }

    /// The times of one device that it does not refute; those of the whole site are among them.
    pub(in crate::conditions) fn standing(
        &self,
        uuid: Option<&DeviceUuid>,
        last: Option<UnixSeconds>,
    ) -> impl Iterator<Item = &Absence> {
        let all = self.of_device(uuid);
        all.filter(move |a| last.is_none_or(|t| !a.is_refuted(t)))
    }

    /// Those that it refutes, since it was seen at this time.
    pub(in crate::conditions) fn refuted(
        &self,
        uuid: Option<&DeviceUuid>,
        last: UnixSeconds,
    ) -> impl Iterator<Item = &Absence> {
        self.of_device(uuid).filter(move |a| a.is_refuted(last))
    }

    fn of_device(&self, uuid: Option<&DeviceUuid>) -> impl Iterator<Item = &Absence> {
        let own = uuid.and_then(|u| self.by_device.get(u));
        own.into_iter().flatten().chain(&self.of_all)
    }

    fn add<T>(
        &mut self,
        case: &Case<'_>,
        paper: &Paper<'_, T>,
        (why, from, until): (Why, UnixSeconds, Option<UnixSeconds>),
        words: &str,
    ) {
        let Header {
            id, issuer, devices, ..
        } = paper.header;
        let absence = Absence {
            why,
            from,
            until,
            words: format!("{words}, by statement {id} of {issuer}"),
            roles: case.voices(paper),
            digest: paper.digest,
        };
        match devices {
            None => self.of_all.push(absence),
            Some(devices) => {
                for device in devices {
                    self.by_device.entry(device.0).or_default().push(absence.clone());
                }
            }
        }
    }

    /// Transfers away from this site; one that leads back ends them.
    fn moves(&mut self, case: &Case<'_>) {
        let site = case.facts.site.as_str();
        let transfers: Vec<Paper<'_, Transfer>> = holding(case).collect();
        for p in transfers.iter().filter(|p| p.claims.from_site.as_str() == site) {
            let words = format!("left for site {} on {}", p.claims.to_site, p.claims.leaves.0);
            self.add(case, p, (Why::Moved, p.claims.leaves.0, None), &words);
        }
        for p in transfers.iter().filter(|p| p.claims.to_site.as_str() == site) {
            let back = p.claims.arrives.0;
            for device in p.header.devices.iter().flatten() {
                let left = self.by_device.get_mut(&device.0).into_iter().flatten();
                for away in left.filter(|a| a.why == Why::Moved && a.from < back) {
                    away.until = Some(away.until.map_or(back, |t| t.min(back)));
                }
            }
        }
    }

    /// What two parties say of one event in two statements is said by both. Who spoke of an earlier one has not spoken of this.
    fn join_roles(&mut self) {
        for all in self.by_device.values_mut() {
            let said = all.clone();
            for absence in all {
                let begins = absence.from;
                let same = |other: &&Absence| {
                    let apart = other.from.since(begins).unsigned_abs();
                    other.why == absence.why && apart <= DAY_SECONDS.unsigned_abs()
                };
                let roles: Vec<Role> = said
                    .iter()
                    .filter(same)
                    .flat_map(|o| o.roles.iter().copied())
                    .collect();
                absence.roles.extend(roles);
            }
        }
    }
}

/// How much of a stretch these times cover together, in seconds.
pub(in crate::conditions) fn covered<'a>(
    absences: impl Iterator<Item = &'a Absence>,
    stretch: Stretch,
) -> i64 {
    let mut parts: Vec<Stretch> = absences.filter_map(|a| shared(a.stretch(), stretch)).collect();
    parts.sort_unstable();
    let (mut sum, mut reached) = (0i64, stretch.0);
    for (from, to) in parts {
        sum = sum.saturating_add(to.since(from.max(reached)).max(0));
        reached = reached.max(to);
    }
    sum
}

fn holding<'a, T: crate::statement::Said + 'a>(case: &Case<'a>) -> impl Iterator<Item = Paper<'a, T>> {
    let papers: Vec<_> = case.papers().holding::<T>(case.now).collect();
    papers.into_iter()
}
