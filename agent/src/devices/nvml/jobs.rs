//! Processes that ended on a device, where the operator runs the driver's accounting mode: how many, and the longest life.
//!
//! Decides: which processes count as ended since the last look. Trusts the driver's list. The numbers of processes stay in
//! here: what leaves is a count and a duration. Does not establish whose they were, and switches nothing on. A process with the
//! number of one that ended before is taken for it.

use super::fault::Answer;
use super::session::{Handle, Session};
use std::collections::BTreeSet;
use weighbridge::telemetry::Jobs;

/// The most processes that are asked for at one look, each by a call; when a device is opened all are, once.
const MOST_ASKED: usize = 512;

/// What is known of the processes of one device.
#[derive(Debug)]
pub(super) struct JobLog {
    ended: BTreeSet<u32>,
    untold: Jobs,
}

impl JobLog {
    /// `None` where accounting mode is off or not offered.
    pub(super) fn open(session: &Session, device: Handle) -> Option<Self> {
        if session.accounting(device) != Ok(true) {
            return None;
        }
        let mut log = Self {
            ended: BTreeSet::new(),
            untold: Jobs::NONE,
        };
        log.ask(session, device, usize::MAX).ok()?;
        // Those ended before anyone looked.
        log.take();
        Some(log)
    }

    /// Looks for processes that have ended.
    pub(super) fn look(&mut self, session: &Session, device: Handle) -> Answer<()> {
        self.ask(session, device, MOST_ASKED)
    }

    fn ask(&mut self, session: &Session, device: Handle, most: usize) -> Answer<()> {
        let listed: BTreeSet<u32> = session.accounted(device)?.into_iter().collect();
        // What the driver's own ring has dropped is forgotten here, too.
        self.ended.retain(|process| listed.contains(process));
        let unknown: Vec<u32> = listed.difference(&self.ended).copied().collect();
        for process in unknown.into_iter().take(most) {
            let Ok(Some(lived_ms)) = session.lifetime_ms(device, process) else {
                continue;
            };
            self.ended.insert(process);
            self.untold = self.untold.plus(&Jobs {
                ended: 1,
                longest_s: u32::try_from(lived_ms.div_euclid(1_000)).unwrap_or(u32::MAX),
            });
        }
        Ok(())
    }

    /// What was found since the last call.
    pub(super) fn take(&mut self) -> Jobs {
        std::mem::replace(&mut self.untold, Jobs::NONE)
    }
}
