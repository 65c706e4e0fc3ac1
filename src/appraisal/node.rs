//! What is kept of one node, folded report by report.

use super::device::present;
use super::evidence::{LastRound, NodeEvidence, RoundStanding};
use super::{ChainFacts, ChainHead, ClockFacts, DeviceFacts, NodeDay, Span};
use crate::id::{Digest, NodeId, PciId};
use crate::report::{ClockSource, Continuity, HostClaims, KeyProtection, VerifiedReport};
use crate::telemetry::{BusDevice, BusSource, ConfidentialCompute, DeviceState, HostDriver, LibraryOrigin};
use crate::time::{DAY_SECONDS, UnixSeconds};
use std::collections::BTreeMap;

/// The most devices that are kept for a node; a report holds 64.
const DEVICES: usize = 256;
/// The most strangers on the bus that are kept.
const STRANGERS: usize = 32;
/// The most numbers of strangers that are kept.
const PEAKS: usize = 16;
/// The most libraries that are kept.
const LIBRARIES: usize = 16;
/// The most refusal codes that are counted.
const CODES: usize = 16;
/// The most days of a node that are kept and looked at, the newest: a year and a month.
pub const DAYS: u16 = 400;

crate::record! {
    /// The newest report.
    pub struct Newest {
        /// When the verifier received it.
        0 => received: UnixSeconds,
        /// The end of its time, by the node's clock, never later than its receipt.
        1 => end: UnixSeconds,
        /// Its length, in milliseconds.
        2 => length_ms: u64,
        /// Its digest.
        3 => digest: Digest,
        /// Whether it says trial.
        4 => trial: bool,
        /// What holds the key, as the node says.
        5 => key_protection: KeyProtection,
        /// The accelerators on its bus.
        6 => bus: Vec<BusDevice>,
        /// Whether a driver was in use.
        7 => driver: bool,
        /// Whether the driver was released on request.
        8 => released: bool,
        /// The agent's version.
        9 => agent_version: String,
        /// SHA-256 of the agent's binary.
        10 => agent_digest: Digest,
        /// SHA-256 of the catalogue that the agent computed with.
        11 => catalogue_digest: Digest,
        /// Where its wall clock takes its time from.
        12 => clock_source: ClockSource,
        /// Where the list of devices on the bus came from.
        13 => bus_source: BusSource,
        /// Whether confidential computing is on, and how, as the driver says.
        14 => confidential: Option<ConfidentialCompute>,
        /// When the verifier gave the challenge that it answers: it was not made before. Absent where it answers none that is known.
        15 => given: Option<UnixSeconds>,
    }
}

crate::row! {
    /// A number, and when there were last as many.
    pub struct Peak {
        /// The number.
        number: u16,
        /// The later of the node's clock and the verifier's.
        at: UnixSeconds,
    }
}

crate::row! {
    /// Accelerators on the bus that no reporting driver held.
    pub struct Stranger {
        /// PCI identifiers.
        id: PciId,
        /// Their state: unmanaged or passed through.
        state: DeviceState,
        /// How many at most.
        count: u16,
        /// How many of their maker and device number stood there at one time, with those that reported: the greatest number
        /// first, then the greatest since, and so on.
        at_once: Vec<Peak>,
        /// From the end of the first report that shows them to the end of the last.
        span: Span,
    }
}

crate::row! {
    /// A driver library that was loaded.
    pub struct LibraryFacts {
        /// SHA-256 of its bytes.
        digest: Digest,
        /// Where it lay.
        origin: LibraryOrigin,
        /// Whether the file was replaced or altered while it was loaded.
        changed: bool,
        /// The driver's version, as it says.
        driver_version: String,
        /// End of the last report that names it.
        last_seen: UnixSeconds,
        /// When a report first named it, by the verifier's clock.
        first_received: UnixSeconds,
        /// When a report last named it, by the verifier's clock.
        received: UnixSeconds,
        /// The report of `last_seen`.
        report: Digest,
    }
}

impl Stranger {
    /// When they were last known to be there: the later of the node's clock and the verifier's.
    #[must_use]
    pub fn last_heard(&self) -> UnixSeconds {
        self.span.to.max(self.span.last_received)
    }

    /// How many of their maker and device number stood there at most at one time since a time, with those that reported.
    #[must_use]
    pub fn most_since(&self, since: UnixSeconds) -> u16 {
        self.at_once
            .iter()
            .find(|p| p.at >= since)
            .map_or(0, |p| p.number)
    }

    fn stood(&mut self, number: u16, at: UnixSeconds) {
        while self.at_once.last().is_some_and(|p| p.number <= number) {
            self.at_once.pop();
        }
        let full = self.at_once.len() >= PEAKS;
        match self.at_once.last_mut() {
            // For want of room, as many as before count.
            Some(last) if full => last.at = at,
            _ => self.at_once.push(Peak { number, at }),
        }
    }
}

impl LibraryFacts {
    /// When it was last known to be loaded: the later of the node's clock and the verifier's.
    #[must_use]
    pub fn last_heard(&self) -> UnixSeconds {
        self.last_seen.max(self.received)
    }
}

crate::row! {
    /// Refusals of one kind.
    pub struct RefusalCount {
        /// The code, such as `E-FIELD`.
        code: String,
        /// How many.
        count: u64,
        /// When the last one happened, by the verifier's clock.
        last: UnixSeconds,
    }
}

crate::record! {
    /// A node, as its reports show it.
    pub struct NodeFacts {
        /// The node.
        0 => node: NodeId,
        /// Reports folded.
        1 => reports: u64,
        /// Start of the earliest time that a report speaks of.
        2 => earliest: Option<UnixSeconds>,
        /// The newest report.
        3 => newest: Option<Newest>,
        /// Its chains.
        4 => chain: ChainFacts,
        /// Its clock.
        5 => clock: ClockFacts,
        /// Its devices, in the order of their UUIDs.
        6 => devices: Vec<DeviceFacts>,
        /// Devices that could not be kept for want of room.
        7 => devices_unkept: u32,
        /// Accelerators that no reporting driver held.
        8 => strangers: Vec<Stranger>,
        /// Libraries that were loaded.
        9 => libraries: Vec<LibraryFacts>,
        /// Refusals.
        10 => refusals: Vec<RefusalCount>,
        /// How often the sampler was started anew.
        11 => sampler_restarts: u64,
        /// How often the agent was started.
        12 => agent_starts: u64,
        /// When the last of those libraries was loaded that could not be kept for want of room.
        13 => libraries_unkept: Option<UnixSeconds>,
        /// When it reported, oldest first, as far as it is kept.
        14 => presence: Vec<Span>,
        /// Kinds of accelerators that no reporting driver held and that could not be kept for want of room.
        15 => strangers_unkept: u32,
        /// When the last of those reports was received whose copy the verifier has damaged since: what they said is not in these facts.
        16 => damaged: Option<UnixSeconds>,
        /// When its first report was received, by the verifier's clock.
        17 => first_received: Option<UnixSeconds>,
        /// The last round of hardware evidence.
        18 => round: Option<LastRound>,
    }
}

impl NodeFacts {
    /// A node without reports.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            reports: 0,
            earliest: None,
            newest: None,
            chain: ChainFacts::default(),
            clock: ClockFacts::default(),
            devices: Vec::new(),
            devices_unkept: 0,
            strangers: Vec::new(),
            libraries: Vec::new(),
            refusals: Vec::new(),
            sampler_restarts: 0,
            agent_starts: 0,
            libraries_unkept: None,
            presence: Vec::new(),
            strangers_unkept: 0,
            damaged: None,
            first_received: None,
            round: None,
        }
    }

    /// The newest report, or in words why it cannot be read.
    ///
    /// # Errors
    /// What the node has done, for a sentence that begins with its name.
    pub fn readable_newest(&self) -> Result<&Newest, &'static str> {
        match &self.newest {
            newest if self.damaged > newest.as_ref().map(|n| n.received) => {
                Err("has sent a report since whose copy is damaged in the verifier's database")
            }
            Some(newest) => Ok(newest),
            None => Err("has never reported"),
        }
    }

    /// A stretch, with what the node's other reports of that time say of its clock.
    ///
    /// Reports that follow each other without a hole were timed by one clock: the least of their delays bounds how slow it
    /// was, even where the reports of this stretch waited for a network.
    #[must_use]
    pub fn timed(&self, span: &Span) -> Span {
        let whole = self
            .presence
            .iter()
            .filter(|s| s.from <= span.from && span.to <= s.to);
        let lag = whole.map(|s| s.lag).fold(span.lag, i64::min);
        Span { lag, ..span.clone() }
    }

    /// Counts a refusal of something that this node's key signed or its certificate brought.
    pub fn refuse(&mut self, code: &str, at: UnixSeconds) {
        if let Some(found) = self.refusals.iter_mut().find(|r| r.code == code) {
            found.count = found.count.saturating_add(1);
            found.last = found.last.max(at);
        } else if self.refusals.len() < CODES {
            self.refusals.push(RefusalCount {
                code: code.chars().take(32).collect(),
                count: 1,
                last: at,
            });
        }
    }

    /// Folds a report in, and its sums into `day`, which must be the day of [`day_of`].
    fn absorb(
        &mut self,
        report: &VerifiedReport,
        span: &Span,
        received: UnixSeconds,
        continuity: Continuity,
        day: &mut NodeDay,
    ) {
        let late = continuity == Continuity::Late;
        let claims = report.claims();
        let digest = report.digest();
        let length_ms = length_ms(report);
        self.reports = self.reports.saturating_add(1);
        self.earliest = Some(self.earliest.map_or(span.from, |t| t.min(span.from)));
        self.first_received = Some(self.first_received.map_or(received, |t| t.min(received)));
        let host = &claims.submods.host.host;
        self.sampler_restarts = self
            .sampler_restarts
            .saturating_add(u64::from(host.sampler_restarts));
        self.agent_starts = self
            .agent_starts
            .saturating_add(u64::from(claims.report.agent_starts));
        if !late {
            self.clock.absorb(claims, digest, received, continuity);
            self.newest(report, host, span, received, length_ms);
        }
        for driver in host.former_drivers.iter().chain(&host.driver) {
            self.library(driver, span.to, received, digest);
        }
        // Where an old stretch is dropped, its devices' own delays bound the clock: that is less sure, and never more.
        let _ = present(&mut self.presence, span);
        if host.former_drivers.len() >= HostClaims::MAX_FORMER_DRIVERS {
            self.libraries_unkept = self.libraries_unkept.max(Some(received));
        }
        for bus in &host.bus {
            self.stranger(bus, &host.bus, span);
        }
        day.received = day.received.max(Some(received));
        for (i, accelerator) in report.accelerators().enumerate() {
            let uuid = accelerator.identity.uuid;
            let twice = report
                .accelerators()
                .take(i)
                .any(|other| other.identity.uuid == uuid);
            let at = match self.devices.binary_search_by(|d| d.identity.uuid.cmp(&uuid)) {
                Ok(at) => at,
                Err(_) if self.devices.len() >= DEVICES => {
                    self.devices_unkept = self.devices_unkept.saturating_add(1);
                    continue;
                }
                Err(at) => {
                    self.devices.insert(at, DeviceFacts::new(accelerator, digest));
                    at
                }
            };
            if let Some(device) = self.devices.get_mut(at) {
                if twice {
                    device.doubled = device.doubled.max(Some(received));
                }
                device.absorb(accelerator, span, late);
            }
            day.absorb(accelerator, span, length_ms);
            if let Some(listed) = &host.tenants {
                day.attribute(listed, accelerator, length_ms);
            }
        }
    }

    fn newest(
        &mut self,
        report: &VerifiedReport,
        host: &HostClaims,
        span: &Span,
        received: UnixSeconds,
        length_ms: u64,
    ) {
        // What the last one holds is written over: a verifier that allocates anew for each report of each of thousands of nodes leaves
        // its memory full of holes.
        let (mut bus, mut agent_version) = match self.newest.take() {
            Some(last) => (last.bus, last.agent_version),
            None => Default::default(),
        };
        bus.clone_from(&host.bus);
        agent_version.clone_from(&host.agent_version);
        self.newest = Some(Newest {
            received,
            end: span.to,
            length_ms,
            digest: report.digest(),
            trial: report.claims().report.trial,
            key_protection: host.key_protection,
            bus,
            bus_source: host.bus_source,
            driver: host.driver.is_some(),
            released: host.released,
            agent_version,
            agent_digest: host.agent_digest,
            catalogue_digest: host.catalogue_digest,
            clock_source: host.clock_source,
            confidential: host.driver.as_ref().and_then(|d| d.confidential_compute.clone()),
            given: None,
        });
    }

    fn library(&mut self, driver: &HostDriver, end: UnixSeconds, received: UnixSeconds, report: Digest) {
        let same = self.libraries.iter_mut().find(|l| {
            l.digest == driver.library_digest
                && l.origin == driver.library_origin
                && l.changed == driver.library_changed
        });
        if let Some(library) = same {
            library.first_received = library.first_received.min(received);
            library.received = library.received.max(received);
            if library.last_seen <= end {
                library.last_seen = end;
                library.report = report;
                if library.driver_version != driver.driver_version {
                    library.driver_version.clone_from(&driver.driver_version);
                }
            }
            return;
        }
        if self.libraries.len() >= LIBRARIES {
            let forgotten = forget_oldest(&mut self.libraries, LibraryFacts::last_heard);
            self.libraries_unkept = self.libraries_unkept.max(forgotten);
        }
        self.libraries.push(LibraryFacts {
            digest: driver.library_digest,
            origin: driver.library_origin,
            changed: driver.library_changed,
            driver_version: driver.driver_version.clone(),
            last_seen: end,
            first_received: received,
            received,
            report,
        });
    }

    fn stranger(&mut self, bus: &BusDevice, all: &[BusDevice], span: &Span) {
        let count = unheld(bus);
        if count == 0 {
            return;
        }
        let kind = |b: &&BusDevice| (b.id.vendor, b.id.device) == (bus.id.vendor, bus.id.device);
        let at_once = all.iter().filter(kind).fold(0u16, |n, b| {
            n.saturating_add(b.reporting).saturating_add(unheld(b))
        });
        // A bus is listed at a report's end; nothing says that they stood there at its start.
        let span = Span {
            from: span.to,
            ..span.clone()
        };
        let same = self
            .strangers
            .iter_mut()
            .find(|s| s.id == bus.id && s.state == bus.state);
        if let Some(stranger) = same {
            stranger.count = stranger.count.max(count);
            stranger.span.join(&span);
            stranger.stood(at_once, span.to.max(span.last_received));
            return;
        }
        if self.strangers.len() >= STRANGERS {
            let _ = forget_oldest(&mut self.strangers, Stranger::last_heard);
            self.strangers_unkept = self.strangers_unkept.saturating_add(1);
        }
        self.strangers.push(Stranger {
            id: bus.id,
            state: bus.state,
            count,
            at_once: vec![Peak {
                number: at_once,
                at: span.to.max(span.last_received),
            }],
            span,
        });
    }
}

/// How many of a row no reporting driver holds, and none should.
fn unheld(bus: &BusDevice) -> u16 {
    match bus.state {
        DeviceState::Unmanaged | DeviceState::PassedThrough => bus.count.saturating_sub(bus.reporting),
        _ => 0,
    }
}

/// A node's facts and the days that belong to them.
///
/// The two are kept apart so that a report costs the same however long a node has been reporting: it changes the facts
/// and one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The facts.
    pub facts: NodeFacts,
    /// Days by number; those of a licence's period must be here when conditions are evaluated.
    pub days: BTreeMap<i64, NodeDay>,
    /// What its rounds of hardware evidence come to.
    pub evidence: NodeEvidence,
}

impl NodeRecord {
    /// A node without reports.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            facts: NodeFacts::new(node),
            days: BTreeMap::new(),
            evidence: NodeEvidence::default(),
        }
    }

    /// Passes over a report that is held but damaged: its place in the chain stands, and what it said is lost.
    pub fn pass_over(&mut self, place: ChainHead, received: UnixSeconds, continuity: Continuity) {
        self.facts.chain.take(place, received, continuity);
        self.damage(received);
    }

    /// Says that something was lost that was received by then.
    pub fn damage(&mut self, received: UnixSeconds) {
        self.facts.damaged = self.facts.damaged.max(Some(received));
    }

    /// Folds a report in, and returns the day whose sums it changed. A repeated report changes nothing; one that forks the
    /// chain is kept as proof and its sums do not count. The caller loads that day before (see [`day_of`]) and stores it
    /// with the facts after. `round` says how the round stands that it carries, if it carries one, and `given` when the challenge was given that it
    /// answers.
    pub fn absorb(
        &mut self,
        report: &VerifiedReport,
        received: UnixSeconds,
        continuity: Continuity,
        round: Option<RoundStanding>,
        given: Option<UnixSeconds>,
    ) -> Option<i64> {
        if continuity == Continuity::Repeated {
            return None;
        }
        let claims = &report.claims().report;
        self.facts
            .chain
            .absorb(claims, report.digest(), received, continuity);
        if matches!(continuity, Continuity::Fork { .. }) {
            return None;
        }
        if let Some(standing) = round {
            self.facts.round = Some(LastRound::of(report, received, standing));
        }
        let span = span_of(report, received);
        let day = span.to.day();
        let sums = self.days.entry(day).or_insert_with(|| NodeDay::new(day));
        self.facts.absorb(report, &span, received, continuity, sums);
        if let Some(newest) = self.facts.newest.as_mut().filter(|n| n.digest == report.digest()) {
            newest.given = given;
        }
        while self.days.len() > usize::from(DAYS) {
            drop(self.days.pop_first());
        }
        Some(day)
    }
}

/// The day on which a report counts.
#[must_use]
pub fn day_of(report: &VerifiedReport, received: UnixSeconds) -> i64 {
    span_of(report, received).to.day()
}

/// The wall time that a report speaks of. Its end is the node's, but never later than the receipt.
fn span_of(report: &VerifiedReport, received: UnixSeconds) -> Span {
    let end = report.claims().report.time.wall_end;
    let to = end.min(received);
    let seconds = length_ms(report).checked_div(1_000).unwrap_or(0);
    Span {
        from: to.plus(i64::try_from(seconds).unwrap_or(DAY_SECONDS).saturating_neg()),
        to,
        first_received: received,
        last_received: received,
        lag: received.since(end),
        first_report: report.digest(),
        last_report: report.digest(),
    }
}

/// The length of a report's time in milliseconds, at most a day.
fn length_ms(report: &VerifiedReport) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    let time = &report.claims().report.time;
    time.end
        .since(time.start)
        .checked_div(1_000_000)
        .unwrap_or(0)
        .min(DAY_MS)
}

/// Drops the one that was seen longest ago, and says when that was.
fn forget_oldest<T>(kept: &mut Vec<T>, last_seen: impl Fn(&T) -> UnixSeconds) -> Option<UnixSeconds> {
    let (at, oldest) = kept.iter().map(last_seen).enumerate().min_by_key(|(_, t)| *t)?;
    drop(kept.remove(at));
    Some(oldest)
}
