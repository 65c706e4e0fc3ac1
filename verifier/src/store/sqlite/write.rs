//! What becomes durable together.
//!
//! Rows go in as few calls as their number allows, because each call crosses to the connection's own thread and back: groups are of a few sizes,
//! so that every statement is prepared once.

use super::super::{Batch, Change, DayRow, Entry, FactsRow, StoreError};
use super::rows::continuity_code;
use super::runs::write_days;
use super::{SqliteStore, Writer, failed, int};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{Connection, query::Query};
use std::sync::LazyLock;
use weighbridge::id::ChainId;
use weighbridge::ledger::LeafKind;

/// SQL for groups of rows, the largest first.
pub(super) type Grouped = LazyLock<Vec<(usize, String)>>;

/// A statement that waits for its values.
pub(super) type Waiting = Query<'static, Sqlite, SqliteArguments>;

/// For statements of which each takes one row. SQLite need copy no page to undo such a statement alone, as it does for one that updates many rows.
pub(super) fn one_by_one(statement: &str) -> Vec<(usize, String)> {
    let sql = |rows| (rows, vec![statement; rows].join(";"));
    [16, 4, 2, 1].map(sql).into()
}

/// Hands rows over in as few groups as their number allows.
pub(super) async fn in_groups<T>(
    tx: &mut SqliteConnection,
    grouped: &'static Grouped,
    rows: Vec<T>,
    bind: impl Fn(Waiting, T) -> Result<Waiting, StoreError>,
) -> Result<(), StoreError> {
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    for (size, sql) in grouped.iter() {
        while left >= *size {
            let query = rows
                .by_ref()
                .take(*size)
                .try_fold(sqlx::query(sql.as_str()), &bind)?;
            query.execute(&mut *tx).await.map_err(failed("write a batch"))?;
            left = left.saturating_sub(*size);
        }
    }
    Ok(())
}

/// Entries go in as one statement for each group.
static ENTRIES: Grouped = LazyLock::new(|| {
    const ROW: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?)";
    let sql = |rows| {
        let values = vec![ROW; rows].join(",");
        // OR FAIL, and no trigger on the table: the transaction is rolled back here, so SQLite need not copy pages to undo the statement
        // alone. Beyond four pages it would open a file for them.
        let sql = format!(
            "INSERT OR FAIL INTO entry (leaf, kind, salt, digest, at, node, chain, sequence, continuity, round, challenge, given, body) VALUES {values}"
        );
        (rows, sql)
    };
    [64, 32, 16, 8, 4, 2, 1].map(sql).into()
});

/// A node's sums, in place of the rows that led to the reports now counted in.
static FACTS: Grouped = LazyLock::new(|| {
    one_by_one(
        "DELETE FROM tail WHERE node = ? AND leaf <= ?; \
         INSERT INTO facts (node, upto, before, body) VALUES (?, ?, ?, ?) \
         ON CONFLICT (node) DO UPDATE SET upto = excluded.upto, before = excluded.before, body = excluded.body",
    )
});

static TILES: Grouped =
    LazyLock::new(|| one_by_one("INSERT OR REPLACE INTO tile (level, place, hashes) VALUES (?, ?, ?)"));

/// Notes, of the reports from a leaf on, those that begin something after their node's sums. One that extends a chain with a row in `tail`
/// needs none: whoever looks for it starts at that row.
const TAIL_GROWS: &str = "INSERT OR FAIL INTO tail (node, leaf, chain, sequence) \
     SELECT node, leaf, iif(continuity = 2, NULL, chain), sequence FROM entry WHERE leaf >= ? AND kind = 0 AND NOT \
     (continuity = 1 AND EXISTS (SELECT 1 FROM tail WHERE tail.node = entry.node AND tail.chain = entry.chain))";

impl SqliteStore {
    pub(super) async fn commit_batch(&self, batch: Batch) -> Result<(), StoreError> {
        const WHAT: &str = "write a batch";
        let mut writer = self.writer.lock().await;
        let Writer { connection, newest } = &mut *writer;
        // Whatever fails, what is durable then has to be asked for.
        let mut known = std::mem::take(newest);
        let mut tx = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(WHAT))?;
        if batch.before != batch.after {
            let moved = sqlx::query("UPDATE ledger SET size = ?, root = ? WHERE size = ? AND root = ?")
                .bind(int(batch.after.0, "the ledger's size")?)
                .bind(batch.after.1.0.to_vec())
                .bind(int(batch.before.0, "the ledger's size")?)
                .bind(batch.before.1.0.to_vec())
                .execute(&mut *tx)
                .await
                .map_err(failed(WHAT))?;
            if moved.rows_affected() != 1 {
                return Err(StoreError::Moved);
            }
        }
        let reports = batch.entries.iter().any(|e| e.kind == LeafKind::Report);
        in_groups(&mut tx, &ENTRIES, batch.entries, bind_entry).await?;
        in_groups(&mut tx, &TILES, batch.tiles, |query, tile| {
            let place = int(tile.place, "a tile's index")?;
            Ok(query.bind(i64::from(tile.level)).bind(place).bind(tile.hashes))
        })
        .await?;
        let mut sums = Sums::default();
        for change in batch.changes {
            apply(&mut tx, change, &mut sums).await?;
        }
        in_groups(&mut tx, &FACTS, sums.facts, bind_facts).await?;
        let begun = write_days(&mut tx, sums.days, &known).await?;
        if reports {
            // After the sums were written: the report that brings them is not among them.
            sqlx::query(TAIL_GROWS)
                .bind(int(batch.before.0, "the ledger's size")?)
                .execute(&mut *tx)
                .await
                .map_err(failed(WHAT))?;
        }
        tx.commit().await.map_err(failed(WHAT))?;
        known.extend(begun);
        *newest = known;
        Ok(())
    }
}

fn bind_entry(query: Waiting, e: Entry) -> Result<Waiting, StoreError> {
    let (chain, sequence) = e.place.unzip();
    Ok(query
        .bind(int(e.leaf, "a leaf's index")?)
        .bind(i64::from(e.kind.code()))
        .bind(e.salt.to_vec())
        .bind(e.digest.0.to_vec())
        .bind(e.at.0)
        .bind(e.node.map(|n| n.0.to_vec()))
        .bind(chain.map(|c: ChainId| c.0.to_vec()))
        .bind(sequence.map(|s| int(s, "a sequence number")).transpose()?)
        .bind(e.continuity.map(continuity_code))
        .bind(e.round.map(|r| i64::from(r.standing.code())))
        .bind(e.round.map(|r| r.challenge.0.to_vec()))
        .bind(e.given.map(|t| t.0))
        .bind(e.body))
}

fn bind_facts(query: Waiting, f: FactsRow) -> Result<Waiting, StoreError> {
    let (node, upto) = (f.node.0.to_vec(), int(f.upto, "a leaf's index")?);
    Ok(query
        .bind(node.clone())
        .bind(upto)
        .bind(node)
        .bind(upto)
        .bind(f.before.map(|leaf| int(leaf, "a leaf's index")).transpose()?)
        .bind(f.body))
}

/// Sums that wait to be written together.
#[derive(Default)]
struct Sums {
    facts: Vec<FactsRow>,
    days: Vec<DayRow>,
}

/// Writes a change, or puts it beside those that are written together.
async fn apply(tx: &mut SqliteConnection, change: Change, sums: &mut Sums) -> Result<(), StoreError> {
    let query = match change {
        Change::Node(n) => sqlx::query(
            "INSERT OR REPLACE INTO node (id, site, state, key, key_protection, token, predecessor, serials, \
             enrolled_at, approved_at, revoked_at, revoked_from, renewed_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
        )
        .bind(n.id.0.to_vec())
        .bind(n.site)
        .bind(i64::from(n.state.code()))
        .bind(n.key.spki().to_vec())
        .bind(i64::from(n.key_protection.code()))
        .bind(n.token.0.to_vec())
        .bind(n.predecessor.map(|p| p.0.to_vec()))
        .bind(list(&n.serials))
        .bind(n.enrolled_at.0)
        .bind(n.approved_at.map(|t| t.0))
        .bind(n.revoked_at.map(|t| t.0))
        .bind(n.revoked_from.map(|t| t.0))
        .bind(n.renewed_at.map(|t| t.0)),
        Change::Renewed { node, at } => sqlx::query("UPDATE node SET renewed_at = ? WHERE id = ?")
            .bind(at.0)
            .bind(node.0.to_vec()),
        Change::Token(t) => sqlx::query(
            "INSERT OR REPLACE INTO token (digest, site, count, used, expires, serials, approve, made_at, revoked_at) \
             VALUES (?,?,?,?,?,?,?,?,?)",
        )
        .bind(t.digest.0.to_vec())
        .bind(t.site)
        .bind(i64::from(t.count))
        .bind(i64::from(t.used))
        .bind(t.expires.0)
        .bind(list(&t.serials))
        .bind(i64::from(t.approve))
        .bind(t.made_at.0)
        .bind(t.revoked_at.map(|at| at.0)),
        Change::Spent(digest) => {
            sqlx::query("UPDATE token SET used = used + 1 WHERE digest = ?").bind(digest.0.to_vec())
        }
        Change::Refused {
            node,
            code,
            count,
            at,
        } => sqlx::query(
            "INSERT INTO refusal (node, code, count, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?4) \
             ON CONFLICT (node, code) DO UPDATE SET count = max(count, ?3), last_at = ?4",
        )
        .bind(node.0.to_vec())
        .bind(i64::from(code.code()))
        .bind(int(count, "a count of refusals")?)
        .bind(at.0),
        Change::Facts(row) => {
            sums.facts.push(row);
            return Ok(());
        }
        Change::Day(row) => {
            sums.days.push(row);
            return Ok(());
        }
        Change::Evidence(e) => {
            sqlx::query("INSERT OR REPLACE INTO evidence (node, upto, open, body) VALUES (?, ?, ?, ?)")
                .bind(e.node.0.to_vec())
                .bind(int(e.upto, "a leaf's index")?)
                .bind(e.open.map(|leaf| int(leaf, "a leaf's index")).transpose()?)
                .bind(e.body)
        }
        Change::Finding(f) => sqlx::query(
            "INSERT OR REPLACE INTO finding (site, licence, condition, outcome, gist, digest, since) \
             VALUES (?,?,?,?,?,?,?)",
        )
        .bind(f.site)
        .bind(f.licence)
        .bind(f.condition)
        .bind(i64::from(f.outcome.code()))
        .bind(f.gist.0.to_vec())
        .bind(f.digest.0.to_vec())
        .bind(f.since.0),
        Change::Act { id, outcome } => {
            let done = sqlx::query("UPDATE pending_act SET outcome = ? WHERE id = ? AND outcome IS NULL")
                .bind(outcome)
                .bind(id)
                .execute(tx)
                .await
                .map_err(failed("write a batch"))?;
            // It leaves no trace then, not even its leaf.
            return match done.rows_affected() {
                0 => Err(StoreError::Withdrawn),
                _ => Ok(()),
            };
        }
    };
    query.execute(tx).await.map(drop).map_err(failed("write a batch"))
}

/// A list of short texts in one column. They were checked to hold no line break.
fn list(items: &[String]) -> String {
    items.join("\n")
}
