//! What is kept of one device at one node.

use crate::id::Digest;
use crate::report::AcceleratorClaims;
use crate::telemetry::{AcceleratorIdentity, DeviceState};
use crate::time::UnixSeconds;

/// The most stretches of presence that are kept.
const SPANS: usize = 16;
/// The most changes of identity that are kept.
const CHANGES: usize = 8;
/// Reports that follow each other meet within this many seconds; wall time is written in whole ones.
const JOIN_SECONDS: i64 = 5;

crate::row! {
    /// A stretch of wall time, by the node's clock, and the reports that speak of it.
    pub struct Span {
        /// Its start.
        from: UnixSeconds,
        /// Its end.
        to: UnixSeconds,
        /// When the first of these reports came, by the verifier's clock.
        first_received: UnixSeconds,
        /// When the last of them came, by the verifier's clock.
        last_received: UnixSeconds,
        /// The least time from the end of one of them, by the node's clock, to its receipt, in seconds: the clock was slow
        /// by no more than this. Negative where it ran ahead.
        lag: i64,
        /// The report of its start.
        first_report: Digest,
        /// The report of its end.
        last_report: Digest,
    }
}

impl Span {
    /// Takes in another stretch, with what lies between the two.
    pub(crate) fn join(&mut self, other: &Self) {
        if other.from < self.from {
            self.from = other.from;
            self.first_report = other.first_report;
        }
        if self.to <= other.to {
            self.to = other.to;
            self.last_report = other.last_report;
        }
        self.first_received = self.first_received.min(other.first_received);
        self.last_received = self.last_received.max(other.last_received);
        self.lag = self.lag.min(other.lag);
    }
}

crate::code! {
    /// An identifier that belongs to a device for good.
    pub enum IdentityField {
        /// The board's serial number.
        Serial = 0 => "serial number",
        /// PCI identifiers.
        Pci = 1 => "PCI id",
        /// The name that the driver gives it.
        Name = 2 => "name",
    }
}

crate::row! {
    /// An identifier that changed under one UUID.
    pub struct IdentityChange {
        /// When, by the verifier's clock.
        at: UnixSeconds,
        /// Which.
        field: IdentityField,
        /// What it was before.
        was: String,
        /// The report that shows the new one.
        report: Digest,
    }
}

crate::record! {
    /// A device, as one node knew it.
    pub struct DeviceFacts {
        /// Who it says it is, in the newest report.
        0 => identity: AcceleratorIdentity,
        /// Its state in the newest report that names it.
        1 => state: DeviceState,
        /// Start of the first report in which it answered.
        2 => first_seen: Option<UnixSeconds>,
        /// End of the last report in which it answered.
        3 => last_seen: Option<UnixSeconds>,
        /// That report.
        4 => last_report: Digest,
        /// When it answered, oldest first.
        5 => presence: Vec<Span>,
        /// Identifiers that changed, oldest first.
        6 => changes: Vec<IdentityChange>,
        /// When one report last named two devices of this UUID, by the verifier's clock.
        7 => doubled: Option<UnixSeconds>,
        /// When the first report in which it answered came, by the verifier's clock.
        8 => first_received: Option<UnixSeconds>,
        /// When the last report in which it answered came, by the verifier's clock.
        9 => last_received: Option<UnixSeconds>,
        /// End of the last of those stretches of presence that could not be kept for want of room.
        10 => presence_unkept: Option<UnixSeconds>,
    }
}

impl DeviceFacts {
    pub(super) fn new(claims: &AcceleratorClaims, report: Digest) -> Self {
        Self {
            identity: claims.identity.clone(),
            state: claims.state,
            first_seen: None,
            last_seen: None,
            last_report: report,
            presence: Vec::new(),
            changes: Vec::new(),
            doubled: None,
            first_received: None,
            last_received: None,
            presence_unkept: None,
        }
    }

    /// When it was last known to answer: the later of the node's clock and the verifier's.
    #[must_use]
    pub fn last_heard(&self) -> Option<UnixSeconds> {
        self.last_seen.max(self.last_received)
    }

    pub(super) fn absorb(&mut self, claims: &AcceleratorClaims, span: &Span, late: bool) {
        let (received, report) = (span.last_received, span.last_report);
        if !late {
            for (field, was) in changed(&self.identity, &claims.identity) {
                if self.changes.len() >= CHANGES {
                    self.changes.remove(0);
                }
                self.changes.push(IdentityChange {
                    at: received,
                    field,
                    was,
                    report,
                });
            }
            if self.identity != claims.identity {
                self.identity = claims.identity.clone();
            }
            self.state = claims.state;
        }
        if claims.state != DeviceState::Present && claims.delivered.covered_ms == 0 {
            return;
        }
        if self.last_seen.is_none_or(|t| t <= span.to) {
            self.last_seen = Some(span.to);
            self.last_report = report;
        }
        self.first_received = Some(self.first_received.map_or(received, |t| t.min(received)));
        self.last_received = self.last_received.max(Some(received));
        self.first_seen = Some(self.first_seen.map_or(span.from, |t| t.min(span.from)));
        let dropped = present(&mut self.presence, span);
        self.presence_unkept = self.presence_unkept.max(dropped);
    }
}

/// Adds a stretch, joined with those that it touches, and returns the end of the last that was dropped for want of room.
pub(super) fn present(presence: &mut Vec<Span>, span: &Span) -> Option<UnixSeconds> {
    // The ordinary case: it continues the newest one.
    if let Some(last) = presence.last_mut()
        && span.from <= last.to.plus(JOIN_SECONDS)
        && last.from <= span.from
    {
        last.join(span);
        return None;
    }
    let at = presence.partition_point(|s| s.from <= span.from);
    presence.insert(at, span.clone());
    let mut joined: Vec<Span> = Vec::with_capacity(presence.len());
    for next in presence.drain(..) {
        match joined.last_mut() {
            Some(last) if next.from <= last.to.plus(JOIN_SECONDS) => last.join(&next),
            _ => joined.push(next),
        }
    }
    let excess = joined.len().saturating_sub(SPANS);
    let dropped = joined.drain(..excess).map(|s| s.to).max();
    *presence = joined;
    dropped
}

/// What differs, and what it was in the old one.
fn changed(old: &AcceleratorIdentity, new: &AcceleratorIdentity) -> Vec<(IdentityField, String)> {
    let mut fields = Vec::new();
    // A serial number that could not be read this time is missing, not changed.
    if let (Some(was), Some(is)) = (&old.serial, &new.serial)
        && was != is
    {
        fields.push((IdentityField::Serial, was.clone()));
    }
    if old.pci != new.pci {
        fields.push((IdentityField::Pci, old.pci.to_string()));
    }
    if old.name != new.name {
        fields.push((IdentityField::Name, old.name.clone()));
    }
    fields
}
