//! The devices of a node against each other.

use super::bounds::Physics;
use super::level::{Level, MOST_PEERS};
use super::repeat::Sketch;
use super::{Summary, ppm, scale};
use crate::accounting::ObservationKind;

/// What was found: for the host as a whole, and for single devices by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// What concerns several devices.
    pub host: Vec<(ObservationKind, u32)>,
    /// What concerns one.
    pub devices: Vec<(usize, ObservationKind, u32)>,
}

/// Compares the devices of a window.
#[must_use]
pub fn check(summaries: &[Summary], physics: &Physics) -> Shared {
    let summaries = summaries.get(..MOST_PEERS).unwrap_or(summaries);
    let mut shared = Shared::default();
    shared.host.extend(links(summaries, physics));
    shared.host.extend(copies(summaries, physics));
    for (place, own) in summaries.iter().enumerate() {
        let found = [
            apart(place, own, summaries, physics),
            uneven(place, own, summaries, physics),
        ];
        for (kind, size) in found.into_iter().flatten() {
            shared.devices.push((place, kind, size));
        }
    }
    shared
}

/// What one device sends, another receives.
fn links(summaries: &[Summary], physics: &Physics) -> Option<(ObservationKind, u32)> {
    // One device whose links were not read leaves the sums open.
    let all: Option<Vec<[u64; 2]>> = summaries.iter().map(|s| s.level.links()).collect();
    let (sent, received) = all?.iter().fold((0u64, 0u64), |(a, b), [tx, rx]| {
        (a.saturating_add(*tx), b.saturating_add(*rx))
    });
    let size = ppm(sent.abs_diff(received), sent.max(received));
    let enough = sent.max(received) >= physics.link_least && summaries.len() > 1;
    (enough && u64::from(size) > physics.link_tolerance).then_some((ObservationKind::LinkAgainstLink, size))
}

/// Two devices never show the same readings.
fn copies(summaries: &[Summary], physics: &Physics) -> Option<(ObservationKind, u32)> {
    let common = |a: &Summary, b: &Summary| {
        a.sketches
            .iter()
            .zip(&b.sketches)
            .map(|(a, b): (&Sketch, &Sketch)| a.common(b))
            .max()
            .unwrap_or(0)
    };
    let pairs = summaries.iter().enumerate().flat_map(|(i, a)| {
        summaries
            .iter()
            .skip(i.saturating_add(1))
            .map(move |b| common(a, b))
    });
    let most = pairs.max().unwrap_or(0);
    (u64::from(most) >= physics.shared_matches).then(|| (ObservationKind::Repeated, ppm(u64::from(most), 8)))
}

/// A device that is apart in one quantity from others that do the same work.
fn apart(
    place: usize,
    own: &Summary,
    summaries: &[Summary],
    physics: &Physics,
) -> Option<(ObservationKind, u32)> {
    if own.micros == 0 {
        return None;
    }
    let peers: Vec<Level> = summaries
        .iter()
        .enumerate()
        .filter(|(i, s)| *i != place && s.part == own.part && s.micros.saturating_mul(2) > own.micros)
        .map(|(_, s)| s.level)
        .collect();
    if few(peers.len(), physics) {
        return None;
    }
    own.level.against(&Level::middle(&peers, physics), physics)
}

/// Whether these other devices are too few to say how things are.
fn few(peers: usize, physics: &Physics) -> bool {
    u64::try_from(peers).unwrap_or(u64::MAX) < physics.peers_least
}

/// A device that is colder, or much warmer, than every other one that draws as much in the same chassis. Poor contact with its cooler may
/// warm a device by so much for the power that it draws; a colder one has no such excuse. One that drew more in the window before
/// may still be warm of it.
fn uneven(
    place: usize,
    own: &Summary,
    summaries: &[Summary],
    physics: &Physics,
) -> Option<(ObservationKind, u32)> {
    let (warmth, power) = (own.temperature_c?, own.level.power()?);
    let close = |a: u64, b: u64| u64::from(ppm(a.abs_diff(b), a.max(b))) <= physics.agree;
    let draws_alike = |s: &Summary| {
        let alike = s.part == own.part && close(s.level.power()?, power);
        s.temperature_c.filter(|_| alike)
    };
    let peers = summaries.iter().enumerate().filter(|(i, _)| *i != place);
    let (mut coldest, mut warmest, mut count) = (i64::MAX, i64::MIN, 0usize);
    for other in peers.filter_map(|(_, s)| draws_alike(s)) {
        (coldest, warmest) = (coldest.min(other), warmest.max(other));
        count = count.saturating_add(1);
    }
    if few(count, physics) {
        return None;
    }
    let below = u64::try_from(coldest.saturating_sub(warmth)).unwrap_or(0);
    let above = u64::try_from(warmth.saturating_sub(warmest)).unwrap_or(0);
    let excuse = scale(power, physics.temperature_contact).saturating_add(physics.temperature_peers);
    let settled = own.before_mw.is_some_and(|before| close(before, power));
    let wrong = below > physics.temperature_peers || (settled && above > excuse);
    wrong.then(|| {
        (
            ObservationKind::TemperatureAgainstPower,
            ppm(below.max(above), 100),
        )
    })
}
