//! Ordinary reports: whether a node's record says anything else than it did before its last reports.
//!
//! Decides: what an ordinary report may move. Time went on, in the same stretch of presence, the same chain, boot and
//! clock, and sums grew; every other field must be as it was. Each field is named here, so that a new one is decided upon
//! too. Does not establish that nothing is wrong: only that nothing is wrong anew.

use super::{
    ChainFacts, ChainHead, ClockFacts, DeviceFacts, LibraryFacts, Newest, NodeFacts, NodeRecord, Span,
};

impl NodeRecord {
    /// Whether nothing but ordinary reports lies between an earlier record of the node and this one: its newest report is newer, its
    /// stretches of presence and its sums may have grown, and all else is as it was.
    #[must_use]
    pub fn goes_on_from(&self, before: &Self) -> bool {
        let Self {
            facts,
            days: _,
            evidence,
        } = self;
        *evidence == before.evidence && facts_go_on(facts, &before.facts)
    }
}

fn facts_go_on(after: &NodeFacts, before: &NodeFacts) -> bool {
    let NodeFacts {
        node,
        reports: _,
        earliest,
        newest,
        chain,
        clock,
        devices,
        devices_unkept,
        strangers,
        libraries,
        refusals,
        sampler_restarts,
        agent_starts,
        libraries_unkept,
        presence,
        strangers_unkept,
        damaged,
        first_received,
        round,
    } = after;
    let (Some(newest), Some(last)) = (newest, &before.newest) else {
        return false;
    };
    // What was of the newest report is of the newest report, and what was not is as it was.
    let same_device = |(a, b): (&DeviceFacts, &DeviceFacts)| {
        let was_newest = b.last_report == last.digest && b.last_received == Some(last.received);
        let is_newest = a.last_report == newest.digest && a.last_received == Some(newest.received);
        if was_newest {
            is_newest && device_goes_on(a, b)
        } else {
            a == b
        }
    };
    let same_library = |(a, b): (&LibraryFacts, &LibraryFacts)| {
        let was_newest = b.report == last.digest && b.received == last.received;
        let is_newest = a.report == newest.digest && a.received == newest.received;
        if was_newest {
            is_newest && library_goes_on(a, b)
        } else {
            a == b
        }
    };
    *node == before.node
        && *earliest == before.earliest
        && newest_goes_on(newest, last)
        && chain_goes_on(chain, &before.chain)
        && clock_goes_on(clock, &before.clock)
        && devices.len() == before.devices.len()
        && devices.iter().zip(&before.devices).all(same_device)
        && *devices_unkept == before.devices_unkept
        && *strangers == before.strangers
        && libraries.len() == before.libraries.len()
        && libraries.iter().zip(&before.libraries).all(same_library)
        && *refusals == before.refusals
        && *sampler_restarts == before.sampler_restarts
        && *agent_starts == before.agent_starts
        && *libraries_unkept == before.libraries_unkept
        && presence_goes_on(presence, &before.presence)
        && *strangers_unkept == before.strangers_unkept
        && *damaged == before.damaged
        && *first_received == before.first_received
        && *round == before.round
}

fn newest_goes_on(after: &Newest, before: &Newest) -> bool {
    let Newest {
        received,
        end,
        length_ms,
        digest: _,
        trial,
        key_protection,
        bus,
        driver,
        released,
        agent_version,
        agent_digest,
        catalogue_digest,
        clock_source,
        bus_source,
        confidential,
        given: _,
    } = after;
    *received >= before.received
        && *end >= before.end
        && *length_ms == before.length_ms
        && *trial == before.trial
        && *key_protection == before.key_protection
        && *bus == before.bus
        && *driver == before.driver
        && *released == before.released
        && *agent_version == before.agent_version
        && *agent_digest == before.agent_digest
        && *catalogue_digest == before.catalogue_digest
        && *clock_source == before.clock_source
        && *bus_source == before.bus_source
        && *confidential == before.confidential
}

fn chain_goes_on(after: &ChainFacts, before: &ChainFacts) -> bool {
    let ChainFacts {
        head,
        gaps,
        openings,
        forks,
        unkept,
    } = after;
    let chain = |head: &Option<ChainHead>| head.as_ref().map(|h| h.chain);
    chain(head) == chain(&before.head)
        && *gaps == before.gaps
        && *openings == before.openings
        && *forks == before.forks
        && *unkept == before.unkept
}

fn clock_goes_on(after: &ClockFacts, before: &ClockFacts) -> bool {
    let ClockFacts {
        mark,
        events,
        overlaps,
        holes,
    } = after;
    let place = |clock: &ClockFacts| clock.mark.as_ref().map(|m| (m.boot, m.chain));
    mark.is_some()
        && place(after) == place(before)
        && *events == before.events
        && *overlaps == before.overlaps
        && *holes == before.holes
}

fn device_goes_on(after: &DeviceFacts, before: &DeviceFacts) -> bool {
    let DeviceFacts {
        identity,
        state,
        first_seen,
        last_seen,
        last_report: _,
        presence,
        changes,
        doubled,
        first_received,
        last_received: _,
        presence_unkept,
    } = after;
    *identity == before.identity
        && *state == before.state
        && *first_seen == before.first_seen
        && *last_seen >= before.last_seen
        && presence_goes_on(presence, &before.presence)
        && *changes == before.changes
        && *doubled == before.doubled
        && *first_received == before.first_received
        && *presence_unkept == before.presence_unkept
}

fn library_goes_on(after: &LibraryFacts, before: &LibraryFacts) -> bool {
    let LibraryFacts {
        digest,
        origin,
        changed,
        driver_version,
        last_seen,
        first_received,
        received: _,
        report: _,
    } = after;
    *digest == before.digest
        && *origin == before.origin
        && *changed == before.changed
        && *driver_version == before.driver_version
        && *last_seen >= before.last_seen
        && *first_received == before.first_received
}

/// The same stretches, of which the last may have grown.
fn presence_goes_on(after: &[Span], before: &[Span]) -> bool {
    let (Some((last, earlier)), Some((former, earlier_before))) = (after.split_last(), before.split_last())
    else {
        return after.is_empty() && before.is_empty();
    };
    let Span {
        from,
        to,
        first_received,
        last_received,
        lag,
        first_report,
        last_report: _,
    } = last;
    earlier == earlier_before
        && *from == former.from
        && *to >= former.to
        && *first_received == former.first_received
        && *last_received >= former.last_received
        && *lag == former.lag
        && *first_report == former.first_report
}
