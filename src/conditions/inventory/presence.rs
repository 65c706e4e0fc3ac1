//! Presence: when a device was where it was seen, as surely as clocks and keys allow, and how many were there at one time.
//!
//! A node's clock is its own, and reports may wait for a network. A clock was slow by no more than the least delay with
//! which its reports came, and off by no more than all that was odd about it. Within the tolerance that the licence sets,
//! a clock is taken at its word; beyond it, a stretch has a part that is sure and one that is possible.

use super::super::case::Case;
use super::bus::{self, Kind, kind};
use crate::accelerator::Model;
use crate::appraisal::{ClockFacts, ClockOddity, NodeAtSite, Span};
use crate::id::{DeviceUuid, Digest, NodeId};
use crate::time::UnixSeconds;

/// Start and end.
pub(in crate::conditions) type Stretch = (UnixSeconds, UnixSeconds);

/// A stretch in which a device was seen.
#[derive(Clone, Copy, Debug)]
pub(in crate::conditions) struct Stay {
    /// By the node's clock, whoever held its key.
    pub(in crate::conditions) said: Stretch,
    /// The same, as far as a key speaks that was not revoked by then.
    pub(in crate::conditions) told: Option<Stretch>,
    /// The part of it in which the device surely was there, whatever the clock did.
    pub(in crate::conditions) sure: Option<Stretch>,
    /// The time in which it may have been there.
    pub(in crate::conditions) possible: Stretch,
    /// The reports of its start and of its end.
    pub(in crate::conditions) reports: [Digest; 2],
}

impl Stay {
    /// `clock` is that of the node that saw the device, and `revoked_from` is about its key. What is sure is asked for
    /// since a time.
    pub(in crate::conditions) fn new(
        case: &Case<'_>,
        since: UnixSeconds,
        span: &Span,
        clock: &ClockFacts,
        revoked_from: Option<UnixSeconds>,
    ) -> Self {
        let said = (span.from, span.to);
        let told = match revoked_from {
            Some(revoked) if revoked <= span.first_received.max(since) => None,
            Some(revoked) => Some((span.from, span.to.min(revoked))),
            None => Some(said),
        };
        let (mut off, mut slow) = (moved(clock, since), span.lag.max(0));
        if off.saturating_add(slow) <= case.term(|l| l.clock_tolerance).map_or(0, |t| t.value) {
            (off, slow) = (0, 0);
        }
        let slow = off.saturating_add(slow);
        let sure = told.map(|(from, to)| (from.plus(slow), to.plus(off.saturating_neg())));
        Self {
            said,
            told,
            sure: sure.filter(|(from, to)| from < to),
            possible: (span.from.plus(off.saturating_neg()), span.to.plus(slow)),
            reports: [span.first_report, span.last_report],
        }
    }
}

/// By how many seconds a clock may have been off in the window at most, beside being slow all the time.
pub(in crate::conditions) fn moved(clock: &ClockFacts, since: UnixSeconds) -> i64 {
    let log = &clock.events;
    if log.unkept.is_some_and(|t| t >= since) {
        return i64::MAX;
    }
    let (mut ahead, mut moved) = (0u64, 0u64);
    for event in log.kept.iter().filter(|e| e.at >= since) {
        match event.kind {
            // Every report shows the same once more.
            ClockOddity::Ahead => ahead = ahead.max(event.seconds),
            _ => moved = moved.saturating_add(event.seconds.saturating_mul(u64::from(event.count))),
        }
    }
    i64::try_from(ahead.saturating_add(moved)).unwrap_or(i64::MAX)
}

/// The part that two stretches share, if any.
pub(in crate::conditions) fn shared(a: Stretch, b: Stretch) -> Option<Stretch> {
    Some((a.0.max(b.0), a.1.min(b.1))).filter(|(from, to)| from < to)
}

/// What stands there: a device, or the accelerators of one kind that no reporting driver of a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Device(DeviceUuid),
    Unheld(NodeId, Kind),
}

/// A stay of one or more accelerators.
#[derive(Clone, Copy, Debug)]
struct Standing<'a> {
    who: Who,
    kind: Kind,
    model: Option<&'a Model>,
    number: u64,
    stay: Stay,
}

/// Parts of which a card has a whole number for each of its devices, however many these are: the least common multiple of 1 to 8.
const PARTS: u128 = 840;

/// All stays since a time, node by node.
#[derive(Debug)]
pub(in crate::conditions) struct Standings<'a>(Vec<Vec<Standing<'a>>>);

impl<'a> Standings<'a> {
    pub(in crate::conditions) fn of(case: &Case<'a>, since: UnixSeconds) -> Self {
        Self(case.nodes().map(|node| at_node(case, node, since)).collect())
    }

    /// The greatest sum of a weight, by the card, that surely, and that possibly, stood there at one time.
    ///
    /// Each device of a card that shows itself as several carries its part of the weight, so that the card counts once, and a part
    /// of a card as far as it was seen; the sum is rounded up. What one node saw at one time was there at one time, whatever its clock says of when.
    pub(in crate::conditions) fn at_once(&self, weigh: impl Fn(&Model) -> u128) -> (u128, u128) {
        let peak = |nodes: &[Vec<Standing<'_>>], when: fn(&Stay) -> Option<Stretch>| {
            most(nodes.iter().flatten().filter_map(|s| {
                let model = s.model?;
                let part = PARTS.checked_div(u128::from(model.devices_per_card))?;
                let weight = weigh(model)
                    .saturating_mul(u128::from(s.number))
                    .saturating_mul(part);
                Some((s.who, when(&s.stay)?, weight))
            }))
        };
        let sure = peak(&self.0, |s| s.sure);
        let nodes = self.0.iter().map(|n| peak(std::slice::from_ref(n), |s| s.told));
        let possible = peak(&self.0, |s| Some(s.possible));
        (
            nodes.fold(sure, u128::max).div_ceil(PARTS),
            possible.div_ceil(PARTS),
        )
    }
}

fn at_node<'a>(case: &Case<'a>, node: &'a NodeAtSite, since: UnixSeconds) -> Vec<Standing<'a>> {
    let facts = &node.record.facts;
    let stay = |span: &Span| {
        Stay::new(
            case,
            since,
            &facts.timed(span),
            &facts.clock,
            node.status.revoked_from,
        )
    };
    let mut out = Vec::new();
    for device in &facts.devices {
        let stays = device.presence.iter().map(stay);
        out.extend(stays.filter(|s| s.possible.1 >= since).map(|stay| Standing {
            who: Who::Device(device.identity.uuid),
            kind: kind(&device.identity.pci),
            // One that another licence answers for explains what stands on the bus, and weighs nothing here.
            model: case.model(device).filter(|_| !case.is_beside(device)),
            number: 1,
            stay,
        }));
    }
    let devices = out.clone();
    for unheld in bus::unheld(node, since) {
        // A bus is listed at one moment, which is a time too.
        let span = Span {
            to: unheld.span.to.plus(1),
            ..unheld.span
        };
        // Those of the node's own devices that answered meanwhile are among those that stood there at one time.
        let own = devices.iter().filter(|s| s.kind == unheld.kind).filter_map(|s| {
            let meanwhile = shared(s.stay.said, (span.from, span.to))?;
            Some((s.who, meanwhile, 1))
        });
        let own = u64::try_from(most(own)).unwrap_or(u64::MAX);
        out.push(Standing {
            who: Who::Unheld(facts.node, unheld.kind),
            kind: unheld.kind,
            model: case
                .catalogue
                .find(&unheld.id, "")
                .model()
                .filter(|_| case.other_licence().is_none()),
            number: unheld.at_once.saturating_sub(own),
            stay: stay(&span),
        });
    }
    out
}

/// The greatest sum of weights at one time. A device counts once, however many nodes speak of it, and one that leaves
/// when another comes was not there with it.
fn most(stays: impl Iterator<Item = (Who, Stretch, u128)>) -> u128 {
    let mut stays: Vec<_> = stays.filter(|(_, (from, to), _)| from < to).collect();
    stays.sort_unstable();
    stays.dedup_by(|next, kept| {
        let one = next.0 == kept.0 && next.1.0 <= kept.1.1;
        if one {
            kept.1.1 = kept.1.1.max(next.1.1);
        }
        one
    });
    let mut edges: Vec<(UnixSeconds, bool, u128)> = Vec::with_capacity(stays.len().saturating_mul(2));
    for (_, (from, to), weight) in stays {
        edges.extend([(from, true, weight), (to, false, weight)]);
    }
    edges.sort_unstable();
    let (mut sum, mut greatest) = (0u128, 0u128);
    for (_, comes, weight) in edges {
        if comes {
            sum = sum.saturating_add(weight);
            greatest = greatest.max(sum);
        } else {
            sum = sum.saturating_sub(weight);
        }
    }
    greatest
}
