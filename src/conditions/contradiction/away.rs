//! Devices that a declaration has away: put out of use, gone, sent back, without power, or on their way; and reports that show them meanwhile.

use super::super::case::{Case, Term};
use super::{Apart, CLOCK, Looks, devices};
use crate::appraisal::{DeviceFacts, Span};
use crate::id::{DeviceUuid, Digest};
use crate::statement::{Disposal, Header, Loss, Maintenance, Rma, Said, ShipmentList, ShipmentState};
use crate::time::{DAY_SECONDS, UnixSeconds};
use std::collections::BTreeSet;

/// A time in which devices cannot be seen, and why.
struct Away {
    from: UnixSeconds,
    to: UnixSeconds,
    words: String,
    /// Whether they cannot be seen at another site either.
    anywhere: bool,
}

/// Which devices a declaration means.
enum Meant<'m> {
    /// By their UUIDs.
    Uuids(&'m BTreeSet<DeviceUuid>),
    /// By their serial numbers.
    Serials(&'m BTreeSet<&'m str>),
    /// All of the site for which no other licence answers: it names none.
    Ours,
}

impl Meant<'_> {
    fn names(&self, uuid: &DeviceUuid, serial: Option<&str>) -> bool {
        match self {
            Self::Uuids(uuids) => uuids.contains(uuid),
            Self::Serials(serials) => serial.is_some_and(|s| serials.contains(s)),
            Self::Ours => true,
        }
    }

    fn has(&self, case: &Case<'_>, device: &DeviceFacts) -> bool {
        let beside = matches!(self, Self::Ours) && case.is_beside(device);
        !beside && self.names(&device.identity.uuid, device.identity.serial.as_deref())
    }
}

pub(super) fn disposed(case: &Case<'_>) -> Looks {
    away::<Disposal>(case, |said, _| {
        let words = format!("was put out of use ({}) on {}", said.method, said.on.0);
        Some(Away {
            anywhere: true,
            ..Away::after(case, said.on.0, words)
        })
    })
}

pub(super) fn lost(case: &Case<'_>) -> Looks {
    away::<Loss>(case, |said, _| {
        let last = said.last_seen.unwrap_or(said.noticed).0;
        let words = format!("is gone ({}), and was last seen by {last}", said.kind);
        Some(Away {
            anywhere: true,
            ..Away::after(case, last, words)
        })
    })
}

pub(super) fn returned(case: &Case<'_>) -> Looks {
    away::<Rma>(case, |said, _| {
        let words = format!("left on {} under return {}", said.left.0, said.number);
        let away = Away::after(case, said.left.0, words);
        let to = said.back.map_or(away.to, |back| back.0.min(away.to));
        Some(Away { to, ..away })
    })
}

pub(super) fn powered_off(case: &Case<'_>) -> Looks {
    away::<Maintenance>(case, |said, header| {
        let period = header.period.as_ref().filter(|_| said.powered_off)?;
        let words = format!(
            "is without power from {} until just before {}",
            period.from.0, period.to.0
        );
        Some(Away {
            from: period.from.0,
            to: period.to.0.min(case.now),
            words,
            anywhere: false,
        })
    })
}

impl Away {
    /// From the end of the day on which something happened: who writes a day means some time of it.
    fn after(case: &Case<'_>, at: UnixSeconds, words: String) -> Self {
        Self {
            from: at.plus(DAY_SECONDS),
            to: case.now,
            words,
            anywhere: false,
        }
    }
}

/// Devices that statements of one kind have away, and reports that show them meanwhile. One that names no device is about all of the licence.
fn away<T: Said>(case: &Case<'_>, judge: impl Fn(&T, &Header) -> Option<Away>) -> Looks {
    let mut looks = Looks::default();
    for paper in case.papers().all::<T>() {
        let Some(away) = judge(paper.claims, paper.header) else {
            continue;
        };
        let named = devices(paper.header);
        let meant = named.as_ref().map_or(Meant::Ours, Meant::Uuids);
        shown(case, &mut looks, (&paper.label(), paper.digest), &meant, &away);
    }
    looks
}

/// Holds a declaration that devices are away against the reports of this site, and where they cannot be anywhere against those of other sites too.
fn shown(
    case: &Case<'_>,
    looks: &mut Looks,
    (label, digest): (&str, Digest),
    meant: &Meant<'_>,
    away: &Away,
) {
    let Some(tolerance) = case.term(|l| l.clock_tolerance) else {
        looks.no_limit = Some(CLOCK);
        return;
    };
    looks.held = looks.held.saturating_add(1);
    case.reaches(away.to);
    let mut found: Vec<(String, String, Digest)> = Vec::new();
    for seen in case.seen_since(case.since()) {
        if !meant.has(case, seen.device) {
            continue;
        }
        if let Some((span, until)) = stay(seen.sure_spans(), away, tolerance) {
            let words = format!("{} reported until {until}", seen.label());
            found.push((words, seen.subject(), span.last_report));
        }
    }
    for seen in case.facts.elsewhere.iter().filter(|_| away.anywhere) {
        if !meant.names(&seen.uuid, seen.serial.as_deref()) {
            continue;
        }
        let revoked = seen.status.revoked_from.unwrap_or(UnixSeconds(i64::MAX));
        let sure = seen.presence.iter().filter(|s| s.first_received < revoked);
        if let Some((span, until)) = stay(sure.map(|s| (s, revoked)), away, tolerance) {
            let name = seen.uuid.nvml();
            let words = format!("{name} reported from site {} until {until}", seen.site);
            found.push((words, name, span.last_report));
        }
    }
    let Some((first, ..)) = found.first() else {
        return;
    };
    let more = match found.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(", and {} more devices of it report meanwhile too", more),
    };
    looks.apart.push(Apart {
        words: format!("the {label} says that a device {}, and {first}{more}", away.words),
        subjects: found.iter().map(|(_, subject, _)| subject.clone()).collect(),
        evidence: std::iter::once(digest)
            .chain(found.iter().map(|(.., report)| *report))
            .collect(),
    });
}

/// The last stretch of a device within a time, as far as a key speaks that was not revoked, and its end within it. It must be longer than two clocks
/// may be off.
fn stay<'s>(
    sure: impl Iterator<Item = (&'s Span, UnixSeconds)>,
    away: &Away,
    tolerance: Term<i64>,
) -> Option<(&'s Span, UnixSeconds)> {
    let within = sure.filter_map(|(span, revoked)| {
        let from = span.from.max(away.from);
        let to = span.to.min(revoked).min(away.to);
        (to.since(from) > tolerance.value).then_some((span, to))
    });
    within.max_by_key(|(_, to)| *to)
}

/// Devices that a shipment list has elsewhere, by their serial numbers, and reports that show them at the site.
pub(super) fn shipped(case: &Case<'_>) -> Looks {
    let mut looks = Looks::default();
    for paper in case.papers().all::<ShipmentList>() {
        let (said, issued) = (paper.claims, paper.header.issued.0);
        let (from, to, what) = match (said.state, said.arrived) {
            (ShipmentState::InTransit, _) => (said.shipped.0.plus(DAY_SECONDS), issued, "is on its way"),
            (ShipmentState::Delivered, Some(arrived)) => {
                (said.shipped.0.plus(DAY_SECONDS), arrived.0, "arrives later")
            }
            // It was in use before, and may be again.
            _ => continue,
        };
        let serials = said.items.iter().flat_map(|i| i.serials.iter().flatten());
        let serials: BTreeSet<&str> = serials.map(|s| s.as_str()).collect();
        if serials.is_empty() || from >= to {
            continue;
        }
        let words = format!(
            "of shipment {} {what}, shipped on {} and not there before {to}",
            said.shipment, said.shipped.0
        );
        let away = Away {
            from,
            to: to.min(case.now),
            words,
            anywhere: false,
        };
        let meant = Meant::Serials(&serials);
        shown(case, &mut looks, (&paper.label(), paper.digest), &meant, &away);
    }
    looks
}
