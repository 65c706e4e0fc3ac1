//! Sealing a report: what the host says of itself in it, and its way into the spool, or into memory while the disk takes none.
//!
//! Decides: which wall time the end of a report had, and which report goes where memory holds no more. When a report ends is the reporter's
//! to say. Does not establish that anyone receives it.

use super::{Incidents, Now, Reporter, tenants};
use crate::draft::Draft;
use crate::meters::Tally;
use crate::sentence::Sentence;
use crate::service::kept::KeptLeaves;
use crate::spool::{Life, SpoolError};
use tracing::{error, warn};
use weighbridge::report::{AcceleratorClaims, ChainLink, ClockSource, HostClaims, ReportTime};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge::workload::model_digest;

/// How long to wait before a disk that took nothing is tried again.
const DISK_RETRY_NS: u64 = 15 * SECOND;
/// Reports that are kept in memory while the disk takes none.
pub(super) const MAX_UNSTORED: usize = 16;

impl Reporter {
    /// Ends the report in the making at `end`, and seals it.
    pub(super) fn close_report(&mut self, end: BootNanos, now: Now) -> Result<ChainLink, SpoolError> {
        let start = self.meter.start();
        let salts = &mut self.salts;
        let finished = self.meter.finish(end, &mut || salts.next());
        KeptLeaves::add(&mut self.kept, finished.windows);
        let since = now.boot.since(end).checked_div(SECOND).unwrap_or(0);
        let wall_end = now.wall.plus(i64::try_from(since).unwrap_or(0).saturating_neg());
        let mut draft = self.draft(start, end, wall_end, now.source, finished.accelerators);
        draft.host.observations = finished.observations;
        draft.host.tenants = finished.tenants;
        tenants::name_crowd(finished.crowded);
        self.hold_outside(&mut draft);
        // A round that ended after the report did rides in the next: what is carried was all there when its carrier ended.
        draft.round = self.round.take_if(|round| round.claims.ended <= end);
        let windows = KeptLeaves::encode(std::mem::take(&mut self.kept));
        let life = Life {
            boot: self.facts.boot_id,
            at: end,
            wall: wall_end,
            starts: 0,
            reported_to: Some(end),
        };
        self.incidents = Incidents {
            released: self.released_now,
            ..Incidents::default()
        };
        if self.unstored.len() >= MAX_UNSTORED {
            // The oldest goes; the verifier sees the hole between the times of the reports around it.
            warn!("the disk takes no reports and memory holds no more: the oldest was dropped");
            let dropped = self.unstored.pop_front();
            // A round of evidence is not of the time of its carrier: the next may carry it.
            draft.round = draft
                .round
                .or_else(|| dropped.and_then(|(draft, ..)| draft.round));
        }
        self.unstored.push_back((draft, windows, life));
        let link = self.store_unstored(now)?;
        self.follow_standing()?;
        link.ok_or(SpoolError::Incomplete("report that was just sealed"))
    }

    /// Seals what waits in memory, oldest first. The place is taken only now, so a report that is never stored leaves no hole in the
    /// numbers.
    pub(super) fn store_unstored(&mut self, now: Now) -> Result<Option<ChainLink>, SpoolError> {
        let mut last = None;
        while let Some((draft, windows, life)) = self.unstored.front() {
            let key = self.key.signer.as_ref();
            match self.spool.append(life, windows, |place| draft.seal(place, key)) {
                Ok(link) => last = Some(link),
                Err(e) => {
                    self.retry_at = now.boot.plus(DISK_RETRY_NS);
                    error!("a report is kept in memory: {}", Sentence(&e));
                    return Err(e);
                }
            }
            self.unstored.pop_front();
        }
        Ok(last)
    }

    fn draft(
        &mut self,
        start: BootNanos,
        end: BootNanos,
        wall_end: UnixSeconds,
        clock_source: ClockSource,
        accelerators: Vec<AcceleratorClaims>,
    ) -> Draft {
        let traffic = self.links.finish();
        let meters = self.meters.iter_mut().map(Tally::finish).collect();
        let driver = self.inventory.driver.clone();
        let former = self.incidents.former_drivers.iter();
        let former_drivers = former
            .filter(|former| driver.as_ref() != Some(former))
            .take(HostClaims::MAX_FORMER_DRIVERS)
            .cloned()
            .collect();
        Draft {
            verifier: self.identity.verifier,
            node: self.identity.node,
            boot: self.facts.boot_id,
            time: ReportTime {
                start,
                end,
                wall_end,
                wall_steps: self.incidents.wall_steps,
                wall_step_seconds: self.incidents.wall_step_seconds,
            },
            agent_starts: self.incidents.starts,
            report_seconds: self.standing.report_seconds,
            trial: self.standing.trial,
            host: HostClaims {
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                agent_digest: self.facts.agent_digest,
                key_protection: self.key.protection,
                kernel: self.facts.kernel.clone(),
                cpus: self.facts.cpus,
                memory_mib: self.facts.memory_mib,
                driver,
                bus: self.inventory.bus.clone(),
                clock_source,
                model_digest: model_digest(),
                catalogue_digest: self.catalogue,
                released: self.incidents.released,
                sampler_restarts: self.incidents.sampler_restarts,
                bus_source: self.inventory.bus_source,
                former_drivers,
                switches: self.inventory.switches.clone(),
                traffic,
                meters,
                observations: Vec::new(),
                tenants: None,
            },
            accelerators,
            round: None,
        }
    }
}
