//! The spool: reports on disk until the verifier holds them, and the chain they stand in.
//!
//! Decides: a report's place. Sequence number, chain head and sealed bundle change in one durable transaction, so a crash never makes two
//! reports for one place. What has no receipt waits; what has one is kept thirty days or as long as the licence wants its windows,
//! by boot time: a wall clock can be set.
//!
//! Where the operator's bound on disk is reached, the oldest receipted reports go first, and those that go before their days are over are
//! counted. Where only unreceipted ones are left, the oldest of these go and are counted as lost: their numbers stay taken, so the verifier
//! sees that they are missing.
//!
//! Trusts the disk for what it synced. Does not establish that the file is the newest one this node ever wrote: a restored copy is
//! found out from the verifier's head ([`crate::delivery`]).

mod glance;
mod open;
mod record;
mod shelf;

pub use open::{Opened, SpoolError};
pub use record::{Acceptance, ChainHead, Counters, Entry, Fate, Life, Sent, Standing};

use open::Handle;
use record::REPORTS_KEPT_DAYS;
use redb::backends::InMemoryBackend;
use redb::{ReadTransaction, ReadableTable, StorageBackend};
use shelf::{
    ANSWERS, BUNDLES, CHAIN, COUNTERS, ENTRIES, LIFE, META, PLACES, QUEUE, ROUND, STANDING, WINDOWS, entry,
    prune, read, size, store, write,
};
use std::path::Path;
use tracing::warn;
use weighbridge::cbor;
use weighbridge::crypto::{Entropy, SignError};
use weighbridge::id::{BootId, ChainId, Challenge, Digest};
use weighbridge::report::{ChainLink, Successor};
use weighbridge::time::{BootNanos, UnixSeconds};

/// The place that a report is sealed into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The chain.
    pub chain: ChainId,
    /// The number.
    pub sequence: u64,
    /// Digest of the report before.
    pub previous: Option<Digest>,
    /// In the first report of a chain that continues another.
    pub successor: Option<Successor>,
    /// What the verifier last said.
    pub standing: Standing,
}

/// A sealed report: the encoded bundle and its digest.
pub type Sealed = (Vec<u8>, Digest);

/// A report in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its ordinal in the spool.
    pub ordinal: u64,
    /// Its place and digest.
    pub link: ChainLink,
    /// The bundle.
    pub bundle: Vec<u8>,
}

/// A report in the spool: its entry, its bundle, its windows.
pub type Stored = (Entry, Vec<u8>, Vec<u8>);

/// How much the spool holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fill {
    /// Reports without a receipt.
    pub waiting: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// Reports lost to the bound.
    pub lost: u64,
    /// Reports refused.
    pub refused: u64,
    /// Reports that the bound took with their windows before their days were over.
    pub cut_short: u64,
}

/// The spool of one node. One process holds it at a time.
#[derive(Debug)]
pub struct Spool {
    db: Handle,
    limit: u64,
}

impl Spool {
    /// Opens the spool at `path`, bounded to `limit` bytes, or makes a new one with a chain of its own. A file that cannot be read is set
    /// aside, never used in part.
    ///
    /// # Errors
    /// [`SpoolError`] where another process holds it or the disk fails.
    pub fn open(path: &Path, limit: u64, entropy: &Entropy) -> Result<(Self, Opened), SpoolError> {
        let (db, opened) = Handle::open_or_replace(path)?;
        Ok((Self::begin(db, limit, entropy)?, opened))
    }

    /// The spool at `path`, to look at: what is changed in it lies in memory, and the file stays as it is.
    ///
    /// # Errors
    /// [`SpoolError`] where another process holds it, the disk fails, or it is damaged.
    pub fn look_at(path: &Path, entropy: &Entropy) -> Result<Self, SpoolError> {
        Self::begin(Handle::glance(path)?, u64::MAX, entropy)
    }

    /// A spool that leaves nothing behind.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn in_memory(entropy: &Entropy) -> Result<Self, SpoolError> {
        Self::begin(Handle::on(InMemoryBackend::new)?, u64::MAX, entropy)
    }

    /// A spool on a store of one's own; `backend` is asked for it anew after each failure of it.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn on<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
        limit: u64,
        entropy: &Entropy,
    ) -> Result<Self, SpoolError> {
        Self::begin(Handle::on(backend)?, limit, entropy)
    }

    fn begin(db: Handle, limit: u64, entropy: &Entropy) -> Result<Self, SpoolError> {
        db.change(|txn| {
            let mut meta = txn.open_table(META)?;
            if read::<ChainHead>(&meta, CHAIN)?.is_none() {
                write(&mut meta, CHAIN, &new_chain(entropy, None)?)?;
            }
            // Made here, so that a reader later never meets a table that is not there.
            drop((txn.open_table(ENTRIES)?, txn.open_table(BUNDLES)?));
            drop((txn.open_table(WINDOWS)?, txn.open_table(ANSWERS)?));
            drop((txn.open_table(QUEUE)?, txn.open_table(PLACES)?));
            Ok(())
        })?;
        Ok(Self { db, limit })
    }

    /// The chain's head.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn head(&self) -> Result<ChainHead, SpoolError> {
        self.db
            .look(|txn| read(&txn.open_table(META)?, CHAIN))?
            .ok_or(SpoolError::Incomplete("chain head"))
    }

    /// What the verifier last said.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn standing(&self) -> Result<Standing, SpoolError> {
        let known = self.db.look(|txn| read(&txn.open_table(META)?, STANDING))?;
        Ok(known.unwrap_or_default())
    }

    /// Remembers what the verifier said outside of a receipt.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn remember(&self, standing: &Standing) -> Result<(), SpoolError> {
        self.db
            .change(|txn| write(&mut txn.open_table(META)?, STANDING, standing))
    }

    /// The challenge on which a round of evidence was begun last.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn round_challenge(&self) -> Result<Option<Challenge>, SpoolError> {
        self.db.look(|txn| read(&txn.open_table(META)?, ROUND))
    }

    /// Notes that a round of evidence is begun on this challenge, which serves no other one from then on, whatever befalls this one.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn begin_round(&self, challenge: &Challenge) -> Result<(), SpoolError> {
        self.db
            .change(|txn| write(&mut txn.open_table(META)?, ROUND, challenge))
    }

    /// Notes a start of the agent; returns where it last was, if it knows, and the starts since the last report, this one included.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn started(
        &self,
        boot: BootId,
        at: BootNanos,
        wall: UnixSeconds,
    ) -> Result<(Option<Life>, u32), SpoolError> {
        self.db.change(|txn| {
            let mut meta = txn.open_table(META)?;
            let before: Option<Life> = read(&meta, LIFE)?;
            let starts = before.as_ref().map_or(0, |l| l.starts).saturating_add(1);
            let same_boot = before.as_ref().filter(|l| l.boot == boot);
            let life = Life {
                boot,
                at,
                wall,
                starts,
                reported_to: same_boot.and_then(|l| l.reported_to),
            };
            write(&mut meta, LIFE, &life)?;
            Ok((before, starts))
        })
    }

    /// Seals the next report of the chain: `seal` gets its place, and what it returns is stored with the chain's new head, all or nothing.
    /// The challenge is used up, and the starts are counted from none again.
    ///
    /// # Errors
    /// [`SpoolError`]; then nothing has changed and the report may be sealed again.
    pub fn append(
        &self,
        life: &Life,
        windows: &[u8],
        seal: impl FnOnce(&Place) -> Result<Sealed, SignError>,
    ) -> Result<ChainLink, SpoolError> {
        self.db.change(|txn| {
            let mut meta = txn.open_table(META)?;
            let mut head: ChainHead = read(&meta, CHAIN)?.ok_or(SpoolError::Incomplete("chain head"))?;
            let mut standing: Standing = read(&meta, STANDING)?.unwrap_or_default();
            let mut counters: Counters = read(&meta, COUNTERS)?.unwrap_or(NO_COUNTERS);
            let place = next_place(&head, &standing);
            let (bundle, digest) = seal(&place)?;
            let since = read::<Life>(&meta, LIFE)?
                .filter(|before| before.boot == life.boot)
                .and_then(|before| before.reported_to)
                .map_or(0, |before| life.at.since(before));
            counters.spanned = counters.spanned.saturating_add(since);
            let bytes = size(&bundle).saturating_add(size(windows));
            let entry = Entry {
                chain: place.chain,
                sequence: place.sequence,
                digest,
                fate: Fate::Waiting,
                spanned: counters.spanned,
                bytes,
            };
            let ordinal = counters.next;
            store(txn, ordinal, &entry, &bundle)?;
            txn.open_table(QUEUE)?.insert(ordinal, ())?;
            if !windows.is_empty() {
                txn.open_table(WINDOWS)?.insert(ordinal, windows)?;
            }
            advance(&mut head, &entry);
            standing.challenge = None;
            counters.next = counters.next.saturating_add(1);
            counters.bytes = counters.bytes.saturating_add(bytes);
            let (days, before) = (standing.windows_kept_days.max(REPORTS_KEPT_DAYS), counters.cut_short);
            prune(txn, &mut counters, self.limit, days)?;
            if before == 0 && counters.cut_short > 0 {
                warn!(
                    "the bound on the spool (spool_max_mib) is too low to keep reports and windows for {days} days: the oldest went early"
                );
            }
            write(&mut meta, CHAIN, &head)?;
            write(&mut meta, STANDING, &standing)?;
            write(&mut meta, COUNTERS, &counters)?;
            write(
                &mut meta,
                LIFE,
                &Life {
                    starts: 0,
                    reported_to: Some(life.at),
                    ..life.clone()
                },
            )?;
            Ok(link(&entry))
        })
    }

    /// The oldest report that waits for an answer, from `ordinal` on.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn next_waiting(&self, ordinal: u64) -> Result<Option<Waiting>, SpoolError> {
        self.db.look(|txn| {
            let Some(first) = txn.open_table(QUEUE)?.range(ordinal..)?.next() else {
                return Ok(None);
            };
            let ordinal = first?.0.value();
            let entry = entry(&txn.open_table(ENTRIES)?, ordinal)?;
            let bundles = txn.open_table(BUNDLES)?;
            let bundle = bundles.get(ordinal)?.ok_or(SpoolError::Incomplete("report"))?;
            Ok(Some(Waiting {
                ordinal,
                link: link(&entry),
                bundle: bundle.value().to_vec(),
            }))
        })
    }

    /// Keeps the verifier's answer to a report, and what it said with it.
    ///
    /// # Errors
    /// [`SpoolError`]; then the report still waits.
    pub fn answered(
        &self,
        ordinal: u64,
        fate: Fate,
        answer: &[u8],
        standing: Option<&Standing>,
    ) -> Result<(), SpoolError> {
        self.db.change(|txn| {
            let mut entries = txn.open_table(ENTRIES)?;
            // It may have been dropped for space while it was on its way.
            let Some(bytes) = entries.get(ordinal)?.map(|e| e.value().to_vec()) else {
                return Ok(());
            };
            let mut entry: Entry = cbor::decode_strict(&bytes)?;
            entry.fate = fate;
            entry.bytes = entry.bytes.saturating_add(size(answer));
            entries.insert(ordinal, cbor::encode(&entry).as_slice())?;
            txn.open_table(ANSWERS)?.insert(ordinal, answer)?;
            txn.open_table(QUEUE)?.remove(ordinal)?;
            let mut meta = txn.open_table(META)?;
            let mut counters: Counters = read(&meta, COUNTERS)?.unwrap_or(NO_COUNTERS);
            counters.bytes = counters.bytes.saturating_add(size(answer));
            counters.refused = counters.refused.saturating_add(u64::from(fate == Fate::Refused));
            write(&mut meta, COUNTERS, &counters)?;
            if let Some(standing) = standing {
                // A report may have been sealed meanwhile; its use of an older challenge does not touch the new one.
                write(&mut meta, STANDING, standing)?;
            }
            Ok(())
        })
    }

    /// The digest of the report at a place of a chain, where it is still known.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn digest_at(&self, chain: ChainId, sequence: u64) -> Result<Option<Digest>, SpoolError> {
        self.db.look(|txn| {
            let places = txn.open_table(PLACES)?;
            let Some(ordinal) = places.get((&chain.0, sequence))?.map(|o| o.value()) else {
                return Ok(None);
            };
            Ok(Some(entry(&txn.open_table(ENTRIES)?, ordinal)?.digest))
        })
    }

    /// Lets reports of the chain above `sequence` wait again although they were receipted: the verifier no longer holds them.
    /// Returns how many.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn resend_above(&self, sequence: u64) -> Result<u64, SpoolError> {
        let head = self.head()?;
        if head.sequence <= sequence {
            return Ok(0);
        }
        self.db.change(|txn| {
            let places = txn.open_table(PLACES)?;
            let mut entries = txn.open_table(ENTRIES)?;
            let mut queue = txn.open_table(QUEUE)?;
            let chain = &head.chain.0;
            let mut again = 0u64;
            for place in places.range((chain, sequence.saturating_add(1))..=(chain, u64::MAX))? {
                let ordinal = place?.1.value();
                let mut found = entry(&entries, ordinal)?;
                if found.fate == Fate::Receipted {
                    found.fate = Fate::Waiting;
                    entries.insert(ordinal, cbor::encode(&found).as_slice())?;
                    queue.insert(ordinal, ())?;
                    again = again.saturating_add(1);
                }
            }
            Ok(again)
        })
    }

    /// Opens a new chain that names `successor` as what came before, and seals every report that waits anew in it, by `reseal`.
    ///
    /// # Errors
    /// [`SpoolError`]; then nothing has changed.
    pub fn begin_chain(
        &self,
        successor: Successor,
        entropy: &Entropy,
        mut reseal: impl FnMut(&[u8], &Place) -> Result<Sealed, SpoolError>,
    ) -> Result<ChainHead, SpoolError> {
        self.db.change(|txn| {
            let mut meta = txn.open_table(META)?;
            let standing: Standing = read(&meta, STANDING)?.unwrap_or_default();
            let mut head = new_chain(entropy, Some(successor))?;
            let waiting: Vec<u64> = txn
                .open_table(QUEUE)?
                .iter()?
                .map(|row| row.map(|(ordinal, _)| ordinal.value()))
                .collect::<Result<_, _>>()?;
            for ordinal in waiting {
                let old = entry(&txn.open_table(ENTRIES)?, ordinal)?;
                let bundle = txn
                    .open_table(BUNDLES)?
                    .get(ordinal)?
                    .map(|b| b.value().to_vec())
                    .ok_or(SpoolError::Incomplete("report"))?;
                let place = next_place(&head, &standing);
                let (bundle, digest) = reseal(&bundle, &place)?;
                txn.open_table(PLACES)?.remove((&old.chain.0, old.sequence))?;
                let entry = Entry {
                    chain: place.chain,
                    sequence: place.sequence,
                    digest,
                    ..old
                };
                store(txn, ordinal, &entry, &bundle)?;
                advance(&mut head, &entry);
            }
            write(&mut meta, CHAIN, &head)?;
            Ok(head)
        })
    }

    /// How much the spool holds.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn fill(&self) -> Result<Fill, SpoolError> {
        use redb::ReadableTableMetadata;
        self.db.look(|txn| {
            let counters: Counters = read(&txn.open_table(META)?, COUNTERS)?.unwrap_or(NO_COUNTERS);
            Ok(Fill {
                waiting: txn.open_table(QUEUE)?.len()?,
                bytes: counters.bytes,
                lost: counters.lost,
                refused: counters.refused,
                cut_short: counters.cut_short,
            })
        })
    }

    /// The report sealed last: its entry and bundle.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn latest(&self) -> Result<Option<(Entry, Vec<u8>)>, SpoolError> {
        self.db.look(|txn| {
            let bundles = txn.open_table(BUNDLES)?;
            let Some(last) = bundles.last()? else {
                return Ok(None);
            };
            let found = entry(&txn.open_table(ENTRIES)?, last.0.value())?;
            Ok(Some((found, last.1.value().to_vec())))
        })
    }

    /// What became of the reports that it holds, over all chains in the order in which they were sealed, from an ordinal on: at most so many.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn sent(&self, from: u64, most: usize) -> Result<Vec<Sent>, SpoolError> {
        self.db.look(|txn| {
            let entries = txn.open_table(ENTRIES)?;
            let rows = entries.range(from..)?.take(most);
            rows.map(|row| {
                let (ordinal, bytes) = row?;
                let found: Entry = cbor::decode_strict(bytes.value())?;
                Ok(Sent {
                    ordinal: ordinal.value(),
                    chain: found.chain,
                    sequence: found.sequence,
                    report: found.digest,
                    state: found.fate,
                })
            })
            .collect()
        })
    }

    /// What the verifier answered to the report at a place of a chain (`None`: of the chain that is written now), as it came; `None` where it has
    /// not yet.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn answer_at(&self, chain: Option<ChainId>, sequence: u64) -> Result<Option<Vec<u8>>, SpoolError> {
        self.at(chain, sequence, |txn, ordinal| {
            let answers = txn.open_table(ANSWERS)?;
            Ok(answers.get(ordinal)?.map(|a| a.value().to_vec()))
        })
        .map(Option::flatten)
    }

    /// The report at a place of a chain (`None`: of the chain that is written now) with its windows.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn report_at(&self, chain: Option<ChainId>, sequence: u64) -> Result<Option<Stored>, SpoolError> {
        self.at(chain, sequence, |txn, ordinal| {
            let found = entry(&txn.open_table(ENTRIES)?, ordinal)?;
            let read_or_empty = |table: redb::ReadOnlyTable<u64, &'static [u8]>| {
                let bytes = table.get(ordinal)?.map(|b| b.value().to_vec());
                Ok::<_, SpoolError>(bytes.unwrap_or_default())
            };
            let bundle = read_or_empty(txn.open_table(BUNDLES)?)?;
            let windows = read_or_empty(txn.open_table(WINDOWS)?)?;
            Ok((found, bundle, windows))
        })
    }

    /// Looks, by its ordinal, at the report at a place of a chain (`None`: of the chain that is written now), if it is there.
    fn at<T>(
        &self,
        chain: Option<ChainId>,
        sequence: u64,
        work: impl FnOnce(&ReadTransaction, u64) -> Result<T, SpoolError>,
    ) -> Result<Option<T>, SpoolError> {
        let chain = match chain {
            Some(chain) => chain,
            None => self.head()?.chain,
        };
        self.db.look(|txn| {
            let places = txn.open_table(PLACES)?;
            let ordinal = places.get((&chain.0, sequence))?.map(|o| o.value());
            ordinal.map(|ordinal| work(txn, ordinal)).transpose()
        })
    }
}

const NO_COUNTERS: Counters = Counters {
    next: 0,
    bytes: 0,
    lost: 0,
    refused: 0,
    spanned: 0,
    cut_short: 0,
};

fn new_chain(entropy: &Entropy, successor: Option<Successor>) -> Result<ChainHead, SpoolError> {
    Ok(ChainHead {
        chain: ChainId(entropy.draw()?),
        sequence: 0,
        digest: None,
        successor,
    })
}

fn next_place(head: &ChainHead, standing: &Standing) -> Place {
    Place {
        chain: head.chain,
        sequence: head.sequence.saturating_add(1),
        previous: head.digest,
        successor: head.successor.clone().filter(|_| head.sequence == 0),
        standing: standing.clone(),
    }
}

fn advance(head: &mut ChainHead, entry: &Entry) {
    head.sequence = entry.sequence;
    head.digest = Some(entry.digest);
}

fn link(entry: &Entry) -> ChainLink {
    ChainLink {
        chain: entry.chain,
        sequence: entry.sequence,
        digest: entry.digest,
    }
}

#[cfg(test)]
pub(crate) mod tests;
