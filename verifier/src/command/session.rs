//! The verifier's state, as a command works on it.
//!
//! Decides: who writes what a command asks for: the verifier that serves, else the command itself. An act that nobody wrote in time stays queued, or is
//! taken back where something else follows from it.

use super::CommandError;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::Identity;
use crate::recorder::{Act, Writer};
use crate::serve::LedgerLock;
use crate::store::{SqliteStore, Store};
use std::sync::Arc;
use std::time::Duration;
use weighbridge::cbor;
use weighbridge::crypto::Entropy;

/// How long a command waits for a running verifier to carry it out.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A command's view of the verifier's state. It may run while the verifier serves.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    pub(crate) identity: Arc<Identity>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Entropy,
}

impl Session {
    /// Opens the state that `init` made.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, CommandError> {
        let entropy = Entropy::system();
        let identity = Arc::new(Identity::open(&config.state_dir, &entropy)?);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.database()).await?);
        Ok(Self {
            config,
            identity,
            store,
            clock,
            entropy,
        })
    }

    /// Has an act carried out by the ledger's one writer: the verifier that serves, or, where none does, this process.
    pub(crate) async fn carry_out(&self, act: &Act) -> Result<(), CommandError> {
        let id = self.store.queue_act(cbor::encode(act)).await?;
        self.outcome(id, PATIENCE).await
    }

    /// The same, or takes the act back: what is not recorded when this fails is never recorded.
    pub(crate) async fn carry_out_or_withdraw(
        &self,
        act: &Act,
        patience: Duration,
    ) -> Result<(), CommandError> {
        let id = self.store.queue_act(cbor::encode(act)).await?;
        let error = match self.outcome(id, patience).await {
            Ok(()) => return Ok(()),
            Err(refused @ CommandError::Refused { .. }) => return Err(refused),
            Err(error) => error,
        };
        let unsure = |error| CommandError::Unsure(Some(error));
        if self.store.withdraw_act(id).await.map_err(unsure)? {
            return Err(match error {
                CommandError::Queued => CommandError::Refused {
                    why: format!(
                        "the running verifier has not recorded this within {} s, so it was taken back, and nothing was recorded or changed; see its log, then try again",
                        patience.as_secs()
                    ),
                },
                other => other,
            });
        }
        // At the last moment something became of it.
        match self.store.act_outcome(id).await.map_err(unsure)? {
            Some(why) if why.is_empty() => Ok(()),
            Some(why) => Err(CommandError::Refused { why }),
            // It was forgotten while the waiting ended, and nobody read it.
            None => Err(CommandError::Unsure(None)),
        }
    }

    /// Waits for what becomes of a queued act.
    async fn outcome(&self, id: i64, patience: Duration) -> Result<(), CommandError> {
        let waited = tokio::time::timeout(patience, async {
            loop {
                if let Some(_lock) = LedgerLock::take(&self.config.state_dir)? {
                    self.write_queue().await?;
                }
                if let Some(why) = self.store.act_outcome(id).await? {
                    return if why.is_empty() {
                        Ok(())
                    } else {
                        Err(CommandError::Refused { why })
                    };
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.unwrap_or(Err(CommandError::Queued))
    }

    async fn write_queue(&self) -> Result<(), CommandError> {
        let mut writer = Writer::open(
            Arc::clone(&self.store),
            Arc::clone(&self.identity),
            self.entropy.clone(),
            Arc::clone(&self.clock),
            Duration::ZERO,
            &self.config.state_dir,
            Box::new(|_| {}),
        )
        .await?;
        while writer.drain_acts().await? > 0 {}
        Ok(())
    }
}
