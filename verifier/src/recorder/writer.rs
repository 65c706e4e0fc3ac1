//! The writer: it alone adds leaves to the tree and has them signed.
//!
//! Decides: what goes into one transaction, and when queued acts are carried out. After a failed write only the store knows where the ledger stands, and is
//! asked. Trusts whoever holds the lock to be the only one.

use super::act::{self, Act, ActKind};
use super::mark::{self, Mark};
use super::tree::Tree;
use super::{Job, NewLeaf, Proof, RecordError, Recorder, Standing};
use crate::cause::with_causes;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::store::{Batch, Change, Entry, Store, StoreError};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weighbridge::cbor;
use weighbridge::crypto::{Entropy, KeyError};
use weighbridge::id::{Digest, NodeId};
use weighbridge::ledger::{Checkpoint, CheckpointError, Leaf, LeafKind};
use weighbridge::report::CheckpointSeen;

/// The most submissions in one transaction.
const BATCH: usize = 512;
/// How often queued commands are looked for.
const ACT_PERIOD: Duration = Duration::from_millis(250);

/// What is told of every act that was carried out.
pub type Notice = Box<dyn Fn(&Act) + Send + Sync>;

/// The writer itself. Only one may work on a database; the caller holds the lock that says so.
pub struct Writer {
    store: Arc<dyn Store>,
    identity: Arc<Identity>,
    entropy: Entropy,
    clock: Arc<dyn Clock>,
    linger: Duration,
    mark: Mark,
    /// Salts drawn for leaves to come.
    salts: Vec<[u8; 16]>,
    tree: Tree,
    /// Whether the tree in memory may be ahead of what is durable.
    unsettled: bool,
    checkpoint: Arc<str>,
    /// Nodes that it revoked: a report that intake had in hand meanwhile must not come after the act.
    revoked: HashSet<NodeId>,
    notice: Notice,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Writer of {} at {:?}",
            self.identity.ledger_key().origin,
            self.tree.state()
        )
    }
}

impl Writer {
    /// Opens the ledger: its tiles must add up to its root, and its origin must be this verifier's.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn open(
        store: Arc<dyn Store>,
        identity: Arc<Identity>,
        entropy: Entropy,
        clock: Arc<dyn Clock>,
        linger: Duration,
        state_dir: &Path,
        notice: Notice,
    ) -> Result<Self, RecordError> {
        let row = store.ledger().await?;
        let origin = &identity.ledger_key().origin;
        if row.origin != *origin {
            return Err(CheckpointError::Origin {
                expected: origin.clone(),
                found: row.origin,
            }
            .into());
        }
        let mut tree = Tree::open(&*store, &row).await?;
        let mark = Mark::in_directory(state_dir);
        if let Some(signed) = mark.read(identity.ledger_key())? {
            mark::demand_continued(&mut tree, &*store, &signed).await?;
        }
        let checkpoint = signed(&identity, tree.state())?;
        Ok(Self {
            store,
            identity,
            entropy,
            clock,
            linger,
            mark,
            salts: Vec::new(),
            tree,
            unsettled: false,
            checkpoint,
            revoked: HashSet::new(),
            notice,
        })
    }

    /// Where the ledger stands.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<str> {
        Arc::clone(&self.checkpoint)
    }

    /// Starts the writer's task. It ends when `stop` is cancelled and what was submitted before is recorded.
    #[must_use]
    pub fn start(mut self, stop: CancellationToken) -> (Recorder, tokio::task::JoinHandle<()>) {
        let (jobs, mut queue) = mpsc::channel(BATCH.saturating_mul(2));
        let task = tokio::spawn(async move {
            let mut acts = tokio::time::interval(ACT_PERIOD);
            acts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                let first = tokio::select! {
                    job = queue.recv() => match job {
                        Some(job) => job,
                        None => break,
                    },
                    _ = acts.tick() => {
                        self.mark.keep(&self.checkpoint, false);
                        if let Err(error) = self.drain_acts().await {
                            tracing::error!(error = %with_causes(&error), "queued commands were not carried out");
                        }
                        continue;
                    }
                    () = stop.cancelled() => {
                        queue.close();
                        match queue.recv().await {
                            Some(job) => job,
                            None => break,
                        }
                    }
                };
                if matches!(first, Job::Append(_)) && !self.linger.is_zero() && !stop.is_cancelled() {
                    tokio::time::sleep(self.linger).await;
                }
                let mut batch = vec![first];
                while batch.len() < BATCH
                    && let Ok(job) = queue.try_recv()
                {
                    batch.push(job);
                }
                self.work(batch).await;
            }
            self.mark.keep(&self.checkpoint, true);
        });
        (Recorder { jobs }, task)
    }

    /// Carries out what administrators' commands have queued; returns how many acts there were.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn drain_acts(&mut self) -> Result<usize, RecordError> {
        let pending = self.store.pending_acts(64).await?;
        let count = pending.len();
        // One at a time: the rows that an act changes are those that the act before it left.
        for waiting in pending {
            let outcome = |text: String| Change::Act {
                id: waiting.id,
                outcome: text,
            };
            let act = cbor::decode_strict::<Act>(&waiting.body).map(|act| Act {
                at: self.clock.now(),
                ..act
            });
            let judged = match &act {
                Ok(act) => act::changes(act, &*self.store).await?,
                Err(e) => Err(format!("it cannot be read: {e}")),
            };
            let (leaf, changes) = match (judged, &act) {
                (Ok(mut changes), Ok(act)) => {
                    changes.push(outcome(String::new()));
                    (Some(act), changes)
                }
                (Err(why), _) => (None, vec![outcome(why)]),
                (Ok(_), Err(_)) => continue,
            };
            match self.record(vec![(leaf.map(NewLeaf::act), changes)]).await {
                // Its owner waited no longer, and nothing of it was recorded.
                Err(RecordError::Store(error)) if matches!(*error, StoreError::Withdrawn) => continue,
                recorded => drop(recorded?),
            }
            if let Some(act) = leaf {
                let revoked = act.node.filter(|_| act.kind == ActKind::Revoke);
                self.revoked.extend(revoked);
                (self.notice)(act);
            }
        }
        Ok(count)
    }

    /// Adds one leaf at once: for commands that work without a running task.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn append_now(&mut self, leaf: NewLeaf) -> Result<(), RecordError> {
        self.record(vec![(Some(leaf), Vec::new())]).await.map(drop)
    }

    async fn work(&mut self, batch: Vec<Job>) {
        let (mut waiting, mut work, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        for job in batch {
            match job {
                Job::Append(a) => {
                    let report = a.leaf.as_ref().filter(|l| l.kind == LeafKind::Report);
                    let node = report.and_then(|l| l.node);
                    if let Some(node) = node.filter(|n| self.revoked.contains(n)) {
                        drop(a.answer.send(Err(RecordError::Revoked { node })));
                        continue;
                    }
                    work.push((a.leaf, a.changes));
                    waiting.push((a.seen, a.answer));
                }
                other => reads.push(other),
            }
        }
        if !work.is_empty() {
            match self.record(work).await {
                Ok(placed) => {
                    for ((seen, answer), placed) in waiting.into_iter().zip(placed) {
                        let proof = match placed {
                            Some((leaf, salt)) => self.proof(leaf, salt, seen).await.map(Some),
                            None => Ok(None),
                        };
                        // A submitter that went away has nobody to tell; what it sent is recorded all the same.
                        drop(answer.send(proof));
                    }
                }
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), "a batch was not recorded; its submitters are asked to try again");
                    for (_, answer) in waiting {
                        drop(answer.send(Err(error.clone())));
                    }
                }
            }
        }
        for job in reads {
            match job {
                Job::Prove {
                    leaf,
                    salt,
                    seen,
                    answer,
                } => drop(answer.send(self.proof(leaf, salt, seen).await)),
                Job::Stand { seen, answer } => drop(answer.send(self.standing(seen).await)),
                Job::Append(_) => {}
            }
        }
    }

    /// Makes leaves and rows durable; returns index and salt of each leaf.
    async fn record(
        &mut self,
        work: Vec<(Option<NewLeaf>, Vec<Change>)>,
    ) -> Result<Vec<Option<(u64, [u8; 16])>>, RecordError> {
        self.settle().await?;
        let before = self.tree.state();
        match self.write(before, work).await {
            Ok(placed) => Ok(placed),
            Err(error) => {
                self.unsettled = true;
                Err(error)
            }
        }
    }

    /// After a failed write only the store knows where the ledger stands: reads the tree again.
    async fn settle(&mut self) -> Result<(), RecordError> {
        if self.unsettled {
            let row = self.store.ledger().await?;
            self.tree = Tree::open(&*self.store, &row).await?;
            self.checkpoint = signed(&self.identity, self.tree.state())?;
            self.unsettled = false;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        before: (u64, Digest),
        work: Vec<(Option<NewLeaf>, Vec<Change>)>,
    ) -> Result<Vec<Option<(u64, [u8; 16])>>, RecordError> {
        let (mut entries, mut changes, mut placed) = (Vec::new(), Vec::new(), Vec::new());
        for (leaf, mut with) in work {
            changes.append(&mut with);
            let Some(new) = leaf else {
                placed.push(None);
                continue;
            };
            let salt = self.salt()?;
            let index = self.tree.push(Leaf::new(new.kind, &salt, &new.digest).hash());
            placed.push(Some((index, salt)));
            entries.push(Entry {
                leaf: index,
                kind: new.kind,
                salt,
                digest: new.digest,
                at: new.at,
                node: new.node,
                place: new.place,
                continuity: new.continuity,
                round: new.round,
                given: new.given,
                body: new.body,
            });
        }
        let tiles = if entries.is_empty() {
            Vec::new()
        } else {
            self.tree.seal(&*self.store).await?
        };
        let after = self.tree.state();
        self.store
            .commit(Batch {
                before,
                after,
                entries,
                tiles,
                changes,
            })
            .await?;
        if after != before {
            self.checkpoint = signed(&self.identity, after)?;
        }
        Ok(placed)
    }

    /// A salt that no leaf has. Many are drawn at once, because each draw is a call of the system.
    fn salt(&mut self) -> Result<[u8; 16], KeyError> {
        if let Some(salt) = self.salts.pop() {
            return Ok(salt);
        }
        let drawn: [u8; 1024] = self.entropy.draw()?;
        let (last, others) = (drawn.as_chunks().0).split_last().ok_or(KeyError::NoEntropy)?;
        self.salts.extend_from_slice(others);
        Ok(*last)
    }

    async fn proof(
        &mut self,
        leaf: u64,
        salt: [u8; 16],
        seen: Option<CheckpointSeen>,
    ) -> Result<Proof, RecordError> {
        self.settle().await?;
        Ok(Proof {
            leaf,
            salt,
            inclusion: self.tree.inclusion(leaf, &*self.store).await?,
            standing: self.standing(seen.map(|s| s.size)).await?,
        })
    }

    async fn standing(&mut self, seen: Option<u64>) -> Result<Standing, RecordError> {
        self.settle().await?;
        let (size, _) = self.tree.state();
        let consistency = match seen {
            Some(old) if old <= size => self.tree.consistency(old, &*self.store).await?,
            Some(old) => {
                tracing::error!(
                    seen = old,
                    held = size,
                    "a node cites a checkpoint of more leaves than this ledger holds: it lies, or this database was restored"
                );
                Vec::new()
            }
            None => Vec::new(),
        };
        Ok(Standing {
            checkpoint: Arc::clone(&self.checkpoint),
            consistency,
        })
    }
}

fn signed(identity: &Identity, (size, root): (u64, Digest)) -> Result<Arc<str>, CheckpointError> {
    let checkpoint = Checkpoint {
        origin: identity.ledger_key().origin.clone(),
        size,
        root,
    };
    Ok(checkpoint.sign(identity.ledger_signer())?.into())
}
