//! What the rounds of hardware evidence come to.
//!
//! Decides: when a round is appraised, with what and as of when; what it comes to is the core's part. A round that stands good is
//! appraised once its report is held, and again while a manifest or an OCSP reply is missing that may come. The time at which everything must hold is the one at which collateral was
//! asked for. It works beside the intake, on threads of its own, so that no report waits for it, and alone writes what it finds. Trusts neither the copy of a report nor
//! collateral: each is verified again. Does not establish where a device is, nor that telemetry is true.

mod rounds;

pub(crate) use rounds::Rounds;

use crate::cause::with_causes;
use crate::clock::Clock;
use crate::collateral::{Cache, Roots};
use crate::findings::Reported;
use crate::fleet::{Copy, rounds_of};
use crate::recorder::{RecordError, Recorder};
use crate::store::{Change, EvidenceRow, HeldReport, NodeRow, Store, StoreError};
use rounds::Open;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weighbridge::appraisal::evidence::{
    AppraisedRound, CheckName, CheckOutcome, NodeEvidence, RoundStanding, RoundTerms, appraise_round,
    wanted_collateral,
};
use weighbridge::cbor;
use weighbridge::id::{NodeId, VerifierId};
use weighbridge::protocol::EnrolmentState;
use weighbridge::report::EvidenceClaims;
use weighbridge::x509::Links;

/// Nodes worked on at a time. They wait for services side by side, and compute one after the other.
const AT_ONCE: usize = 8;
/// Rounds of one node that are appraised before others have their turn.
const AT_MOST: usize = 4;
/// How often open rounds are looked for, and how many are tried then at most.
const SWEEP: Duration = Duration::from_secs(10);
const SWEPT: usize = 32;
/// How long a round waits for collateral altogether. A service that answers each question late, or with junk, keeps no node from being judged.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds after which an open round is tried again though no collateral has come: a service may have some by then.
const PAUSE: i64 = 600;

/// Why a node's rounds were not appraised. They are tried again.
#[derive(Debug, thiserror::Error)]
enum AppraiserError {
    #[error("what is held of its rounds cannot be read")]
    Store(#[from] StoreError),
    #[error("what its rounds come to was not recorded")]
    Record(#[from] RecordError),
    #[error("an appraisal ended in an odd way")]
    Ended(#[from] tokio::task::JoinError),
}

/// What appraises rounds, and alone writes what they come to.
#[derive(Debug)]
pub(crate) struct Appraiser {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) verifier: VerifierId,
    pub(crate) roots: Roots,
    pub(crate) collateral: Arc<Cache>,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) reported: Arc<Reported>,
    /// Certificates that were verified before: devices share their authorities, and answer every day.
    pub(crate) links: Arc<Mutex<Links>>,
}

/// What became of a node's rounds.
enum Looked {
    /// Nothing is left to be done.
    Done,
    /// The newest may come to more than it did with the collateral of this generation.
    Open(u64),
}

impl Appraiser {
    /// Appraises rounds as they come, until `stop`. What was not appraised by then is found again after the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let me = Arc::new(self);
        let mut open = Open::default();
        me.find_left_over(&mut open).await;
        let (mut running, mut busy, mut last) = (JoinSet::new(), HashMap::new(), None);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while running.len() < AT_ONCE
                && let Some(node) = me.rounds.take(|n| busy.values().any(|b| b == n), last)
            {
                last = Some(node);
                let me = Arc::clone(&me);
                busy.insert(running.spawn(async move { me.look(node).await }).id(), node);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = me.rounds.woken() => {}
                Some(ended) = running.join_next_with_id() => {
                    let (id, looked) = match ended {
                        Ok((id, looked)) => (id, looked),
                        Err(error) => (error.id(), Err(error.into())),
                    };
                    let Some(node) = busy.remove(&id) else { continue };
                    match looked {
                        Ok(Looked::Done) => open.close(&node),
                        Ok(Looked::Open(generation)) => open.keep(node, me.clock.now(), Some(generation)),
                        Err(error) => {
                            tracing::error!(%node, error = %with_causes(&error), "the rounds of a node were not appraised; they are tried again");
                            open.keep(node, me.clock.now(), None);
                        }
                    }
                }
                _ = sweep.tick() => {
                    let due = open.due(me.collateral.generation(), me.clock.now(), PAUSE, SWEPT);
                    for node in due {
                        me.rounds.push(node);
                    }
                }
            }
        }
        running.shutdown().await;
    }

    /// Finds what was not appraised before the last stop.
    async fn find_left_over(&self, open: &mut Open) {
        match self.store.unappraised().await {
            Ok(rows) => {
                for row in rows {
                    if row.new {
                        self.rounds.push(row.node);
                    } else {
                        open.keep(row.node, self.clock.now(), None);
                    }
                }
            }
            Err(error) => {
                tracing::error!(error = %with_causes(&error), "which rounds of hardware evidence wait cannot be read: they are appraised when their nodes send the next");
            }
        }
    }

    /// Appraises the rounds of a node that were not looked at yet; where there are none, the newest again if it is open.
    async fn look(&self, id: NodeId) -> Result<Looked, AppraiserError> {
        let node = self.store.node(id).await?;
        // The key of a node that was revoked may be anyone's.
        let Some(node) = node.filter(|n| n.state == EnrolmentState::Approved) else {
            return Ok(Looked::Done);
        };
        let row = self.store.evidence(id).await?;
        let read = row.as_ref().and_then(|row| Some((row, rounds_of(row)?)));
        let (mut upto, mut open, mut evidence) = match read {
            Some((row, evidence)) => (Some(row.upto), row.open, evidence),
            None => (None, None, NodeEvidence::default()),
        };
        let mut generation = self.collateral.generation();
        let mut page = self.store.rounds(id, upto, AT_MOST).await?;
        if let (true, Some(leaf)) = (page.is_empty(), open) {
            page = self.store.rounds(id, Some(leaf.saturating_sub(1)), 1).await?;
        }
        if page.len() >= AT_MOST {
            // A node that sends more than can be appraised delays no other.
            self.rounds.push(id);
        }
        for held in page {
            upto = upto.max(Some(held.leaf));
            generation = self.collateral.generation();
            if let Some(round) = self.appraise(&node, &held).await
                && replaces(&round, evidence.newest.as_ref())
            {
                let (report, is_open) = (round.report, is_open(&round));
                evidence.take(round);
                // One that came late, behind one that was asked for after it, is not looked at again.
                if evidence.newest.as_ref().is_some_and(|n| n.report == report) {
                    open = is_open.then_some(held.leaf);
                }
            }
        }
        let found = upto.map(|upto| EvidenceRow {
            node: id,
            upto,
            open,
            body: cbor::encode(&evidence),
        });
        if let Some(found) = found.filter(|found| row.as_ref() != Some(found)) {
            self.recorder.change(vec![Change::Evidence(found)]).await?;
            self.reported.push(id);
        }
        Ok(open.map_or(Looked::Done, |_| Looked::Open(generation)))
    }

    /// Appraises the round of a report; `None` where no device signed anything, or where the report's copy is damaged.
    async fn appraise(&self, node: &NodeRow, held: &HeldReport) -> Option<AppraisedRound> {
        let Copy::Whole(report) = Copy::of(held.body.as_deref(), &held.digest, node) else {
            return None;
        };
        if !report.evidence().any(EvidenceClaims::is_evidence) {
            return None;
        }
        let report = Arc::new(*report);
        let terms = RoundTerms {
            verifier: self.verifier,
            key: node.key.id(),
            standing: held.round.unwrap_or(RoundStanding::ChallengeUnknown),
            given: held.given.unwrap_or(node.enrolled_at),
            received: held.at,
            at: self.clock.now().max(held.at),
            root: self.roots.device.key,
            rim_root: self.roots.rim.key,
        };
        let (signed, links) = (Arc::clone(&report), Arc::clone(&self.links));
        let wanted = computed(node.id, move || {
            let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
            wanted_collateral(&signed, &terms, &mut links)
        });
        let wanted = wanted.await?;
        let refresh = self.collateral.refresh(&wanted, self.clock.now());
        match tokio::time::timeout(PATIENCE, refresh).await {
            Ok(refreshed) => tracing::debug!(node = %node.id, ?refreshed, "asked for collateral"),
            Err(_) => {
                tracing::warn!(node = %node.id, seconds = PATIENCE.as_secs(), "the services of manifests and OCSP are slow: a round is appraised with what is held, and again later")
            }
        }
        // A reply that was just given speaks of now, and of no moment before.
        let terms = RoundTerms {
            at: self.clock.now().max(held.at),
            ..terms
        };
        let held = self.collateral.held_for(&wanted, terms.at);
        let links = Arc::clone(&self.links);
        let appraised = computed(node.id, move || {
            let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
            appraise_round(&report, &terms, &held.collateral(), &mut links)
        });
        let round = appraised.await??;
        let signed = round.devices.iter().filter(|d| d.none.is_none()).count();
        let proved = round.devices.iter().filter(|d| d.is_proved()).count();
        if proved < signed {
            tracing::warn!(node = %node.id, report = %round.report, signed, proved, "devices gave evidence that does not prove who they are; `node show` says why");
        } else {
            tracing::debug!(node = %node.id, report = %round.report, proved, "a round of hardware evidence was appraised");
        }
        Some(round)
    }
}

/// Computes something on a thread where no request waits. A signature of P-384 takes about a millisecond, and a round has hundreds.
async fn computed<T: Send + 'static>(node: NodeId, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work)
        .await
        .inspect_err(|error| tracing::error!(%node, %error, "the appraisal of a round ended in an odd way; it is passed over"))
        .ok()
}

/// Checks that collateral has a part in.
const OF_COLLATERAL: [CheckName; 3] = [CheckName::Rim, CheckName::Measurements, CheckName::Revocation];

/// Whether other collateral may change what a round comes to.
fn is_open(round: &AppraisedRound) -> bool {
    let devices = round.devices.iter().filter(|d| d.identity.is_some());
    devices
        .flat_map(|d| OF_COLLATERAL.map(|name| d.outcome(name)))
        .any(|outcome| outcome != CheckOutcome::Pass)
}

/// Whether an appraisal takes the place of the last one. Of one round it does unless it finds less: replies that were held then may have run out since.
fn replaces(new: &AppraisedRound, last: Option<&AppraisedRound>) -> bool {
    let count = |round: &AppraisedRound, outcome: CheckOutcome| {
        let checks = round.devices.iter().flat_map(|d| &d.checks);
        checks.filter(|c| c.outcome == outcome).count()
    };
    let more = |last: &AppraisedRound, outcome| count(new, outcome).cmp(&count(last, outcome));
    last.is_none_or(|last| {
        last.report != new.report
            || match more(last, CheckOutcome::Fail) {
                Ordering::Greater => true,
                Ordering::Equal => more(last, CheckOutcome::Pass).is_ge(),
                // What failed is not undone by what is not held any more.
                Ordering::Less => more(last, CheckOutcome::Pass).is_gt(),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::appraisal::evidence::{AppraisedDevice, Check};
    use weighbridge::id::{BootId, DeviceUuid, Digest};
    use weighbridge::report::Attester;
    use weighbridge::time::UnixSeconds;

    /// A round of one authentic device of which manifests, measurements and revocation came to this.
    fn round(report: u8, outcomes: [CheckOutcome; 3]) -> AppraisedRound {
        let pairs = OF_COLLATERAL.into_iter().zip(outcomes);
        let device = AppraisedDevice {
            attester: Attester::Gpu,
            device: Some(DeviceUuid([1; 16])),
            none: None,
            evidence: None,
            identity: Some(Digest([1; 32])),
            pdi: None,
            arch: None,
            mode: None,
            driver: None,
            vbios: None,
            checks: pairs
                .map(|(name, outcome)| Check {
                    name,
                    outcome,
                    why: String::new(),
                })
                .collect(),
            mismatches: Vec::new(),
            whole: true,
            collateral: Vec::new(),
            measured: None,
        };
        AppraisedRound {
            report: Digest([report; 32]),
            given: UnixSeconds(1),
            received: UnixSeconds(1),
            standing: RoundStanding::Good,
            boot: BootId([1; 16]),
            covers_to: UnixSeconds(1),
            ended: UnixSeconds(1),
            at: UnixSeconds(1),
            root: Digest([0; 32]),
            rim_root: Digest([0; 32]),
            devices: vec![device],
            host: Vec::new(),
        }
    }

    #[test]
    fn a_round_is_open_until_all_that_collateral_decides_passes() {
        use CheckOutcome::{Fail, NotChecked, Pass};
        assert!(!is_open(&round(1, [Pass, Pass, Pass])));
        assert!(is_open(&round(1, [Pass, Pass, NotChecked])));
        assert!(
            is_open(&round(1, [Pass, Fail, Pass])),
            "another issue of the manifest may come"
        );
        let mut stranger = round(1, [NotChecked; 3]);
        for device in &mut stranger.devices {
            device.identity = None;
        }
        assert!(!is_open(&stranger), "no collateral makes it authentic");
    }

    #[test]
    fn what_was_found_once_is_not_lost_when_replies_run_out_and_a_revocation_always_counts() {
        use CheckOutcome::{Fail, NotChecked, Pass};
        let last = round(1, [NotChecked, NotChecked, Pass]);
        assert!(replaces(&last, None));
        assert!(!replaces(&round(1, [NotChecked; 3]), Some(&last)));
        assert!(replaces(&round(1, [Pass, Pass, NotChecked]), Some(&last)));
        assert!(replaces(&round(1, [NotChecked, NotChecked, Fail]), Some(&last)));
        let on_hold = round(1, [Pass, Pass, Fail]);
        assert!(!replaces(&round(1, [Pass, Pass, NotChecked]), Some(&on_hold)));
        assert!(replaces(&round(1, [Pass; 3]), Some(&on_hold)));
        assert!(
            replaces(&round(2, [NotChecked; 3]), Some(&last)),
            "another round is another matter"
        );
    }
}
