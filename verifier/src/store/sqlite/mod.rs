//! The store on SQLite: one file, write-ahead log, `synchronous=FULL`.
//!
//! One connection writes; the recorder is its only user in a running verifier. A few others read.

use super::{
    Answer, Batch, DayRow, DeliveredRow, EvidenceRow, FactsRow, FindingRow, HeldEntry, HeldReport, LedgerRow,
    NodeRow, PendingAct, PeriodRow, RefusalRow, Store, StoreError, TokenRow, UnappraisedRow,
};
mod rounds;
mod rows;
mod runs;
mod write;

use rows::{bytes, coded, column, entry, finding, node, number, report, text, token};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;
use weighbridge::crypto::PublicKey;
use weighbridge::id::{ChainId, Challenge, Digest, NodeId};
use weighbridge::ledger::LeafKind;
use weighbridge::protocol::RefusalCode;
use weighbridge::time::UnixSeconds;

const SCHEMA: &str = include_str!("../../../migrations/0001.sql");
const SCHEMA_VERSION: i64 = 2;

/// The leaves of a node's reports that came after its sums: those that begin something, and those that extend the chains of these.
macro_rules! tail {
    () => {
        "SELECT leaf FROM tail WHERE node = ?1 UNION SELECT entry.leaf FROM tail CROSS JOIN entry INDEXED BY entry_place \
         ON kind = 0 AND entry.node = tail.node AND entry.chain = tail.chain AND entry.sequence > tail.sequence \
         WHERE tail.node = ?1"
    };
}

/// What is asked of each node by `status`, and at its first report after a start.
const LATEST: &str = concat!(
    "SELECT leaf, salt, digest, at, chain, sequence, continuity, round, given, body FROM entry WHERE leaf IN (SELECT leaf FROM (",
    tail!(),
    " UNION SELECT upto FROM facts WHERE node = ?1 UNION SELECT before FROM facts WHERE node = ?1 AND before IS NOT NULL) \
      ORDER BY leaf DESC LIMIT 2) ORDER BY leaf DESC"
);
const UNSUMMED: &str = concat!(
    "SELECT leaf, salt, digest, at, chain, sequence, continuity, round, given, body FROM entry WHERE leaf IN (SELECT leaf FROM (",
    tail!(),
    ") WHERE leaf > ?2 ORDER BY leaf LIMIT ?3) ORDER BY leaf"
);

/// Of those, `intake` keeps few for a node.
const HOLDS: &str = "SELECT count(*) FILTER (WHERE digest = ?3), count(*) FROM entry INDEXED BY entry_digest \
     WHERE kind <> 0 AND kind = ?1 AND node = ?2";

/// The store on SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Mutex<Writer>,
    readers: SqlitePool,
}

/// The connection that writes, which no other program does meanwhile.
#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    /// The newest day that is written of each node, as far as one was written since the store was opened: so no hour of reports asks for it.
    newest: HashMap<NodeId, i64>,
}

impl SqliteStore {
    /// Makes a new database with an empty ledger.
    ///
    /// # Errors
    /// [`StoreError`], also where the file holds a ledger already.
    pub async fn create(path: &Path, origin: &str, root: Digest) -> Result<Self, StoreError> {
        // Made beforehand, so that no other user can read it; SQLite gives its log the same mode.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed("be created")(sqlx::Error::Io(e)))?;
        // Two recorded reports of eight devices fit a page.
        let mut writer = SqliteConnection::connect_with(&options(path).page_size(16384))
            .await
            .map_err(failed("be created"))?;
        let mut tx = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed("be created"))?;
        sqlx::raw_sql(SCHEMA)
            .execute(&mut *tx)
            .await
            .map_err(failed("be given its schema (is there one already?)"))?;
        sqlx::raw_sql("PRAGMA user_version = 2")
            .execute(&mut *tx)
            .await
            .map_err(failed("be given its schema"))?;
        sqlx::query("INSERT INTO ledger (one, origin, size, root) VALUES (1, ?, 0, ?)")
            .bind(origin.to_owned())
            .bind(root.0.to_vec())
            .execute(&mut *tx)
            .await
            .map_err(failed("be given its ledger"))?;
        tx.commit().await.map_err(failed("be created"))?;
        drop(writer);
        Self::open(path).await
    }

    /// Opens the database that `init` made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut writer = SqliteConnection::connect_with(&options(path))
            .await
            .map_err(failed("be opened"))?;
        let (found,): (i64,) = sqlx::query_as("PRAGMA user_version")
            .fetch_one(&mut writer)
            .await
            .map_err(failed("be read"))?;
        if found != SCHEMA_VERSION {
            return Err(StoreError::Schema {
                found,
                expected: SCHEMA_VERSION,
            });
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(0)
            .test_before_acquire(false)
            .connect_lazy_with(options(path));
        Ok(Self {
            writer: Mutex::new(Writer {
                connection: writer,
                newest: HashMap::new(),
            }),
            readers,
        })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        // 64 MiB of pages, so that the index of many nodes stays in memory; 16 MiB of log between two checkpoints.
        .pragma("cache_size", "-65536")
        .pragma("wal_autocheckpoint", "1024")
        // A statement of 64 rows would fill the log, and to format it costs more than to run it.
        .disable_statement_logging()
}

/// Wraps the driver's error with what was tried.
fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { what, source }
}

fn int(value: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Range { what })
}

impl Store for SqliteStore {
    fn ledger(&self) -> Answer<'_, LedgerRow> {
        Box::pin(async move {
            let row = sqlx::query("SELECT origin, size, root FROM ledger")
                .fetch_one(&self.readers)
                .await
                .map_err(failed("read the ledger's size"))?;
            Ok(LedgerRow {
                origin: text(&row, 0, "the ledger's origin")?,
                size: number(&row, 1, "the ledger's size")?,
                root: Digest(bytes(&row, 2, "the ledger's root")?),
            })
        })
    }

    fn tile(&self, level: u32, place: u64) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT hashes FROM tile WHERE level = ? AND place = ?")
                .bind(i64::from(level))
                .bind(int(place, "a tile's index")?)
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("read a tile"))?;
            row.map(|r| column(&r, 0, "tile")).transpose()
        })
    }

    fn commit(&self, batch: Batch) -> Answer<'_, ()> {
        Box::pin(self.commit_batch(batch))
    }

    fn at_place(&self, node: NodeId, chain: ChainId, sequence: u64) -> Answer<'_, Option<HeldReport>> {
        Box::pin(async move {
            let Ok(sequence) = i64::try_from(sequence) else {
                return Ok(None);
            };
            let row = sqlx::query(
                "SELECT leaf, salt, digest, at, chain, sequence, continuity, round, given, body FROM entry \
                 WHERE kind = 0 AND node = ? AND chain = ? AND sequence = ?",
            )
            .bind(node.0.to_vec())
            .bind(chain.0.to_vec())
            .bind(sequence)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("look up a report"))?;
            row.map(|r| report(&r)).transpose()
        })
    }

    fn highest(&self, node: NodeId, chain: ChainId) -> Answer<'_, Option<HeldReport>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT leaf, salt, digest, at, chain, sequence, continuity, round, given FROM entry \
                 WHERE kind = 0 AND node = ? AND chain = ? ORDER BY sequence DESC LIMIT 1",
            )
            .bind(node.0.to_vec())
            .bind(chain.0.to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("look up a report"))?;
            row.map(|r| report(&r)).transpose()
        })
    }

    fn latest(&self, node: NodeId) -> Answer<'_, Vec<HeldReport>> {
        Box::pin(async move {
            sqlx::query(LATEST)
                .bind(node.0.to_vec())
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read reports"))?
                .iter()
                .map(report)
                .collect()
        })
    }

    fn reports_after(&self, node: NodeId, leaf: Option<u64>, limit: u32) -> Answer<'_, Vec<HeldReport>> {
        Box::pin(async move {
            sqlx::query(
                "SELECT leaf, salt, digest, at, chain, sequence, continuity, round, given, body FROM entry \
                 WHERE leaf IN (SELECT leaf FROM entry INDEXED BY entry_place \
                                WHERE kind = 0 AND node = ? AND leaf > ? ORDER BY leaf LIMIT ?) \
                 ORDER BY leaf",
            )
            .bind(node.0.to_vec())
            .bind(leaf.map(|l| int(l, "a leaf's index")).transpose()?.unwrap_or(-1))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read reports"))?
            .iter()
            .map(report)
            .collect()
        })
    }

    fn unsummed(&self, node: NodeId, upto: u64, limit: u32) -> Answer<'_, Vec<HeldReport>> {
        Box::pin(async move {
            sqlx::query(UNSUMMED)
                .bind(node.0.to_vec())
                .bind(int(upto, "a leaf's index")?)
                .bind(i64::from(limit))
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read reports"))?
                .iter()
                .map(report)
                .collect()
        })
    }

    fn entries(&self, kind: LeafKind) -> Answer<'_, Vec<HeldEntry>> {
        Box::pin(async move {
            sqlx::query(
                "SELECT leaf, at, digest, node, body FROM entry WHERE kind <> 0 AND kind = ? ORDER BY leaf",
            )
            .bind(i64::from(kind.code()))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read the ledger's entries"))?
            .iter()
            .map(entry)
            .collect()
        })
    }

    fn entries_of(&self, node: NodeId, kind: LeafKind) -> Answer<'_, Vec<HeldEntry>> {
        Box::pin(async move {
            sqlx::query(
                "SELECT leaf, at, digest, node, body FROM entry WHERE kind <> 0 AND kind = ? AND node = ? \
                 ORDER BY leaf",
            )
            .bind(i64::from(kind.code()))
            .bind(node.0.to_vec())
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read a node's entries"))?
            .iter()
            .map(entry)
            .collect()
        })
    }

    fn holds(&self, node: NodeId, kind: LeafKind, digest: Digest) -> Answer<'_, (bool, u64)> {
        Box::pin(async move {
            let row = sqlx::query(HOLDS)
                .bind(i64::from(kind.code()))
                .bind(node.0.to_vec())
                .bind(digest.0.to_vec())
                .fetch_one(&self.readers)
                .await
                .map_err(failed("look up a node's entry"))?;
            Ok((
                number::<u64>(&row, 0, "count of entries")? > 0,
                number(&row, 1, "count of entries")?,
            ))
        })
    }

    fn node(&self, id: NodeId) -> Answer<'_, Option<NodeRow>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM node WHERE id = ?")
                .bind(id.0.to_vec())
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("look up a node"))?
                .map(|r| node(&r))
                .transpose()
        })
    }

    fn node_by_key(&self, key: PublicKey) -> Answer<'_, Option<NodeRow>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM node WHERE key = ?")
                .bind(key.spki().to_vec())
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("look up a node"))?
                .map(|r| node(&r))
                .transpose()
        })
    }

    fn delivered(&self) -> Answer<'_, Vec<DeliveredRow>> {
        Box::pin(async move {
            // The counting reads the index alone, not the reports.
            sqlx::query(
                "SELECT held.node, held.reports, entry.at FROM \
                 (SELECT node, count(*) AS reports, max(leaf) AS last FROM entry INDEXED BY entry_place \
                  WHERE kind = 0 GROUP BY node) AS held JOIN entry ON entry.leaf = held.last",
            )
            .fetch_all(&self.readers)
            .await
            .map_err(failed("count reports"))?
            .iter()
            .map(|r| {
                Ok(DeliveredRow {
                    node: NodeId(bytes(r, 0, "report's node")?),
                    reports: number(r, 1, "count of reports")?,
                    last_at: UnixSeconds(column(r, 2, "report's time")?),
                })
            })
            .collect()
        })
    }

    fn nodes(&self) -> Answer<'_, Vec<NodeRow>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM node ORDER BY enrolled_at, id")
                .fetch_all(&self.readers)
                .await
                .map_err(failed("list the nodes"))?
                .iter()
                .map(node)
                .collect()
        })
    }

    fn token(&self, digest: Digest) -> Answer<'_, Option<TokenRow>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM token WHERE digest = ?")
                .bind(digest.0.to_vec())
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("look up a token"))?
                .map(|r| token(&r))
                .transpose()
        })
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRow>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM token ORDER BY made_at DESC, digest")
                .fetch_all(&self.readers)
                .await
                .map_err(failed("list the tokens"))?
                .iter()
                .map(token)
                .collect()
        })
    }

    fn refusals(&self, node: NodeId) -> Answer<'_, Vec<RefusalRow>> {
        Box::pin(async move {
            sqlx::query("SELECT code, count, first_at, last_at FROM refusal WHERE node = ? ORDER BY code")
                .bind(node.0.to_vec())
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read refusals"))?
                .iter()
                .map(|r| {
                    Ok(RefusalRow {
                        node,
                        code: coded(r, 0, RefusalCode::ALL, RefusalCode::code, "refusal's code")?,
                        count: number(r, 1, "refusal's count")?,
                        first_at: UnixSeconds(column(r, 2, "refusal's time")?),
                        last_at: UnixSeconds(column(r, 3, "refusal's time")?),
                    })
                })
                .collect()
        })
    }

    fn facts(&self, node: NodeId) -> Answer<'_, Option<FactsRow>> {
        Box::pin(async move {
            sqlx::query("SELECT upto, before, body FROM facts WHERE node = ?")
                .bind(node.0.to_vec())
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("read a node's facts"))?
                .map(|r| {
                    Ok(FactsRow {
                        node,
                        upto: number(&r, 0, "facts' leaf")?,
                        before: column::<Option<i64>>(&r, 1, "facts' leaf")?
                            .map(u64::try_from)
                            .transpose()
                            .map_err(|_| StoreError::Damaged { what: "facts' leaf" })?,
                        body: column(&r, 2, "facts")?,
                    })
                })
                .transpose()
        })
    }

    fn day(&self, node: NodeId, day: i64) -> Answer<'_, Option<DayRow>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT body FROM day WHERE node = ? AND day = ?")
                .bind(node.0.to_vec())
                .bind(day)
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("read a node's day"))?;
            row.map(|r| column(&r, 0, "day").map(|body| DayRow { node, day, body }))
                .transpose()
        })
    }

    fn days(&self, node: NodeId, limit: u16) -> Answer<'_, Vec<DayRow>> {
        Box::pin(async move {
            sqlx::query("SELECT day, body FROM day WHERE node = ? ORDER BY day DESC LIMIT ?")
                .bind(node.0.to_vec())
                .bind(i64::from(limit))
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read a node's days"))?
                .iter()
                .map(|r| {
                    Ok(DayRow {
                        node,
                        day: column(r, 0, "day")?,
                        body: column(r, 1, "day")?,
                    })
                })
                .collect()
        })
    }

    fn days_between(&self, node: NodeId, from: i64, to: i64) -> Answer<'_, Vec<DayRow>> {
        Box::pin(self.read_days(node, from, to))
    }

    fn period_of(&self, node: NodeId, from: i64, to: i64) -> Answer<'_, Option<PeriodRow>> {
        Box::pin(self.read_period_of(node, from, to))
    }

    fn period(&self, from: i64, to: i64, site: Option<String>) -> Answer<'_, Vec<PeriodRow>> {
        Box::pin(self.read_period(from, to, site))
    }

    fn is_answered(&self, node: NodeId, challenge: Challenge) -> Answer<'_, bool> {
        Box::pin(self.find_answer(node, challenge))
    }

    fn rounds(&self, node: NodeId, leaf: Option<u64>, limit: usize) -> Answer<'_, Vec<HeldReport>> {
        Box::pin(self.read_rounds(node, leaf, limit))
    }

    fn unappraised(&self) -> Answer<'_, Vec<UnappraisedRow>> {
        Box::pin(self.list_unappraised())
    }

    fn evidence(&self, node: NodeId) -> Answer<'_, Option<EvidenceRow>> {
        Box::pin(self.read_evidence(node))
    }

    fn findings(&self) -> Answer<'_, Vec<FindingRow>> {
        Box::pin(async move {
            sqlx::query("SELECT * FROM finding")
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read the findings that changed"))?
                .iter()
                .map(finding)
                .collect()
        })
    }

    fn queue_act(&self, body: Vec<u8>) -> Answer<'_, i64> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            sqlx::query("INSERT INTO pending_act (body) VALUES (?)")
                .bind(body)
                .execute(&mut writer.connection)
                .await
                .map(|done| done.last_insert_rowid())
                .map_err(failed("queue the command"))
        })
    }

    fn pending_acts(&self, limit: u32) -> Answer<'_, Vec<PendingAct>> {
        Box::pin(async move {
            sqlx::query("SELECT id, body FROM pending_act WHERE outcome IS NULL ORDER BY id LIMIT ?")
                .bind(i64::from(limit))
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read queued commands"))?
                .iter()
                .map(|r| {
                    Ok(PendingAct {
                        id: column(r, 0, "queued command")?,
                        body: column(r, 1, "queued command")?,
                    })
                })
                .collect()
        })
    }

    fn act_outcome(&self, id: i64) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let outcome: Option<String> = sqlx::query("SELECT outcome FROM pending_act WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.readers)
                .await
                .map_err(failed("read queued commands"))?
                .map_or(Ok(None), |r| column(&r, 0, "queued command"))?;
            if outcome.is_some() {
                let mut writer = self.writer.lock().await;
                sqlx::query("DELETE FROM pending_act WHERE id = ?")
                    .bind(id)
                    .execute(&mut writer.connection)
                    .await
                    .map_err(failed("forget a queued command"))?;
            }
            Ok(outcome)
        })
    }

    fn withdraw_act(&self, id: i64) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            // One statement: whoever records the act meanwhile finds it gone, or has been before.
            sqlx::query("DELETE FROM pending_act WHERE id = ? AND outcome IS NULL")
                .bind(id)
                .execute(&mut writer.connection)
                .await
                .map(|done| done.rows_affected() > 0)
                .map_err(failed("take a queued command back"))
        })
    }
}

#[cfg(test)]
mod tests;
