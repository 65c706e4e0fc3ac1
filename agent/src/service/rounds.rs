//! Rounds of evidence while the agent runs: begun right after a receipt, asked beside the sampling, held until a report carries them.
//!
//! Decides: which moments are good for a round: the verifier has just answered, so challenge and head are fresh; the devices are known and
//! the driver is in use. Whether one is due is [`crate::binding::rounds`]'s to say.

use super::reporter::Reporter;
use crate::binding::{Attestee, Collected, Collection, Rounds};
use crate::sentence::Sentence;
use crate::spool::Spool;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weighbridge::report::{Answer, NoEvidence};
use weighbridge::time::BootNanos;

/// The devices of a round, each with the answer that was known without asking.
type Asked = Vec<(Attestee, Option<NoEvidence>)>;

/// What the loop holds of its rounds.
#[derive(Debug)]
pub(super) struct Evidence {
    rounds: Rounds,
    collection: Collection,
    spool: Arc<Spool>,
    /// The verifier has answered since the last report was sealed.
    fresh: bool,
    asking: Option<Asking>,
}

/// A round that is being held.
#[derive(Debug)]
struct Asking {
    asked: Asked,
    stop: CancellationToken,
    task: JoinHandle<Option<Collected>>,
}

impl Evidence {
    pub(super) fn new(rounds: Rounds, collection: Collection, spool: Arc<Spool>) -> Self {
        Self {
            rounds,
            collection,
            spool,
            fresh: false,
            asking: None,
        }
    }

    /// The verifier has answered, and nothing waits for it: its challenge and the head are as new as they get.
    pub(super) fn answered(&mut self) {
        self.fresh = true;
    }

    /// A report was sealed: it used the challenge up.
    pub(super) fn sealed(&mut self) {
        self.fresh = false;
    }

    /// Whether a collector may be at work.
    pub(super) fn asking(&self) -> bool {
        self.asking.is_some()
    }

    /// How many processes are left behind in calls that did not return.
    pub(super) fn left_behind(&self) -> usize {
        self.collection.left_behind()
    }

    /// Begins a round, if one is due and this is a good moment. To be called whenever something has changed; it costs next to nothing where it
    /// is not.
    pub(super) fn consider(&mut self, reporter: &Reporter, now: BootNanos) {
        if !self.fresh || self.asking.is_some() || !reporter.surveyed() {
            return;
        }
        let Some(driver) = &reporter.inventory().driver else {
            return;
        };
        let asked = reporter.attestees();
        if asked.is_empty() {
            return;
        }
        // Whatever comes of it now, the next answer of the verifier's is the next good moment.
        self.fresh = false;
        let begun = self.spool.head().and_then(|head| {
            if !self.rounds.due(reporter.standing(), head.chain, now) {
                return Ok(None);
            }
            let Some(frozen) = reporter.freeze()? else {
                return Ok(None);
            };
            // A report may end some milliseconds after the tick that ends it; a round begins after what it covers.
            if now < frozen.covers_to {
                self.fresh = true;
                return Ok(None);
            }
            let Some(claims) = self.rounds.begin(reporter.standing(), &frozen, now) else {
                return Ok(None);
            };
            self.spool.begin_round(&claims.challenge)?;
            Ok(Some(claims))
        });
        let claims = match begun {
            Ok(Some(claims)) => claims,
            Ok(None) => return,
            Err(e) => {
                self.rounds.give_up();
                warn!("no round of evidence could be begun: {}", Sentence(&e));
                return;
            }
        };
        info!(
            devices = asked.len(),
            sequence = claims.sequence,
            "a round of evidence is held"
        );
        let (collection, stop) = (self.collection.clone(), CancellationToken::new());
        let (library, nonce, told) = (driver.library_digest, reporter.nonce(&claims), stop.clone());
        let devices: Vec<_> = asked
            .iter()
            .filter(|(_, known)| known.is_none())
            .map(|(device, _)| device.clone())
            .collect();
        let task = tokio::spawn(async move { collection.collect(library, nonce, &devices, &told).await });
        self.asking = Some(Asking { asked, stop, task });
    }

    /// Waits for the end of the round that is being held, for ever where there is none. What it gives is for [`Evidence::ended`].
    pub(super) async fn end(&mut self) -> Option<Collected> {
        match &mut self.asking {
            // A panic in it was printed; the round is given up.
            Some(asking) => (&mut asking.task).await.ok().flatten(),
            None => std::future::pending().await,
        }
    }

    /// Takes what a round gave, and has the next report carry it.
    pub(super) fn ended(&mut self, collected: Option<Collected>, reporter: &mut Reporter) {
        let Some(Asking { asked, .. }) = self.asking.take() else {
            return;
        };
        let Some(Collected { answers, ended }) = collected else {
            info!("the round of evidence was given up, and is held again");
            self.rounds.give_up();
            return;
        };
        let Some(claims) = self.rounds.finish(ended) else {
            return;
        };
        let mut given = answers.into_iter();
        let answers: Vec<_> = asked
            .into_iter()
            .map(|(device, known)| {
                let answer = match known {
                    Some(why) => Answer::None(why),
                    None => given.next().unwrap_or(Answer::None(NoEvidence::Failed)),
                };
                (device, answer)
            })
            .collect();
        let signed = answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Answer::Evidence(_)))
            .count();
        info!(devices = answers.len(), signed, "the round of evidence has ended");
        reporter.hold(claims, answers);
    }

    /// Tells the collector to end; [`Evidence::end`] says when it has.
    pub(super) fn stop(&self) {
        if let Some(asking) = &self.asking {
            asking.stop.cancel();
        }
    }
}
