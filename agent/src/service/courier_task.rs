//! Delivery while the agent runs: woken by a sealed report, slowed by failures, one last try at the end.

use super::condition::Delivering;
use crate::clock::Clock;
use crate::config::Proxy;
use crate::delivery::{self, Backoff, Courier, DeliveryError, Link, LinkError, Round};
use crate::keys::NodeKey;
use crate::sentence::Sentence;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use weighbridge::crypto::Entropy;

/// Time for the last try before the process ends.
const LAST_TRY: Duration = Duration::from_secs(10);
/// Without anything to send the certificate is looked at this often.
const IDLE: Duration = Duration::from_secs(900);
/// A node that waits for its approval asks this often at least: a person is waiting too.
const PENDING: Duration = Duration::from_secs(30);

/// What the task works with.
#[derive(Debug)]
pub(super) struct CourierTask {
    pub(super) courier: Courier,
    pub(super) key: NodeKey,
    pub(super) proxy: Option<Proxy>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Entropy,
    /// Rung when a report was sealed.
    pub(super) wake: Arc<Notify>,
    /// Told after every round.
    pub(super) told: watch::Sender<Delivering>,
    /// Ends the task, after a last try.
    pub(super) stop: CancellationToken,
}

impl CourierTask {
    /// Delivers until stopped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut line = None;
        let stop = self.stop.clone();
        loop {
            let before = self.courier.receipted_in_all();
            let round = tokio::select! {
                round = self.attempt(&mut line) => round,
                () = stop.cancelled() => break,
            };
            // A line that breaks again and again, but carries reports in between, is worth trying soon.
            if self.courier.receipted_in_all() > before {
                backoff.reset();
            }
            let pause = self.tell(&round, &mut backoff);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A report sealed during a failure does not shorten the wait.
                () = self.wake.notified(), if round.is_ok() => {}
                () = stop.cancelled() => break,
            }
        }
        let last = tokio::time::timeout(LAST_TRY, self.attempt(&mut line)).await;
        match last {
            Ok(Ok(round)) => info!(receipted = round.receipted, "the last reports were delivered"),
            Ok(Err(e)) => info!("what was not delivered waits in the spool: {}", Sentence(&e)),
            Err(_) => info!("what was not delivered waits in the spool: the verifier did not answer in time"),
        }
    }

    async fn attempt(&mut self, line: &mut Option<Link>) -> Result<Round, DeliveryError> {
        let open = match line.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let now = self.clock.wall_now();
        let open = match self.courier.renew_if_due(&open, now).await {
            Ok(false) => open,
            Ok(true) => self.open()?,
            Err(e) => {
                // The old certificate may still do; where it does not, the round says so.
                warn!("the certificate could not be renewed: {}", Sentence(&e));
                open
            }
        };
        let round = self.courier.round(line.insert(open)).await;
        if matches!(&round, Err(DeliveryError::Link(LinkError::Unreachable { .. }))) {
            *line = None;
        }
        round
    }

    fn open(&self) -> Result<Link, DeliveryError> {
        delivery::link(self.courier.enrolment(), &self.key, self.proxy.as_ref())
    }

    fn tell(&self, round: &Result<Round, DeliveryError>, backoff: &mut Backoff) -> Duration {
        let (state, pause) = match round {
            Ok(round) => {
                backoff.reset();
                if round.receipted > 0 || round.refused > 0 {
                    debug!(receipted = round.receipted, refused = round.refused, "delivered");
                }
                let complaint = round.complaint.clone();
                (Delivering::Works { complaint }, IDLE)
            }
            Err(e) => {
                let why = Sentence(e).to_string();
                // Where the system gives no random bytes, waiting without jitter is the lesser evil.
                let pause = backoff.next(self.entropy.draw().unwrap_or_default());
                match e {
                    DeliveryError::NotAdmitted { .. } => {
                        let spread = pause.checked_div(10).unwrap_or(pause);
                        (
                            Delivering::NotAdmitted { said: why },
                            pause.min(PENDING.saturating_add(spread)),
                        )
                    }
                    _ => (Delivering::Fails { why }, pause),
                }
            }
        };
        self.told.send_replace(state);
        pause
    }
}
