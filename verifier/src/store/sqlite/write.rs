//! What becomes durable together.
//!
//! Inserts of many rows go in as few statements, because each crosses to the connection's own thread: lengths are powers of two, so that
//! every statement is prepared once.

use super::super::{Batch, Change, Entry, StoreError};
use super::rows::continuity_code;
use super::runs::write_days;
use super::{SqliteStore, failed, int};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use std::sync::LazyLock;
use weighbridge::id::ChainId;
use weighbridge::ledger::LeafKind;

/// Entries are inserted in statements of 64, 32, … 1 rows.
static INSERTS: LazyLock<Vec<(usize, String)>> = LazyLock::new(|| {
    const ROW: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?)";
    [64usize, 32, 16, 8, 4, 2, 1]
        .into_iter()
        .map(|rows| {
            let values = vec![ROW; rows].join(",");
            // OR FAIL, and no trigger on the table: the transaction is rolled back here, so SQLite need not copy pages to undo the statement
            // alone. Beyond four pages it would open a file for them.
            let sql = format!(
                "INSERT OR FAIL INTO entry (leaf, kind, salt, digest, at, node, chain, sequence, continuity, round, challenge, given, body) VALUES {values}"
            );
            (rows, sql)
        })
        .collect()
});

/// Notes, of the reports from a leaf on, those that begin something after their node's sums. One that extends a chain with a row in `tail`
/// needs none: whoever looks for it starts at that row.
const TAIL_GROWS: &str = "INSERT OR FAIL INTO tail (node, leaf, chain, sequence) \
     SELECT node, leaf, iif(continuity = 2, NULL, chain), sequence FROM entry WHERE leaf >= ? AND kind = 0 AND NOT \
     (continuity = 1 AND EXISTS (SELECT 1 FROM tail WHERE tail.node = entry.node AND tail.chain = entry.chain))";

impl SqliteStore {
    pub(super) async fn commit_batch(&self, batch: Batch) -> Result<(), StoreError> {
        const WHAT: &str = "write a batch";
        let mut writer = self.writer.lock().await;
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(WHAT))?;
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
        insert_entries(&mut tx, batch.entries).await?;
        for tile in batch.tiles {
            sqlx::query("INSERT OR REPLACE INTO tile (level, place, hashes) VALUES (?, ?, ?)")
                .bind(i64::from(tile.level))
                .bind(int(tile.place, "a tile's index")?)
                .bind(tile.hashes)
                .execute(&mut *tx)
                .await
                .map_err(failed(WHAT))?;
        }
        let mut days = Vec::new();
        for change in batch.changes {
            match change {
                Change::Day(day) => days.push(day),
                other => apply(&mut tx, other).await?,
            }
        }
        write_days(&mut tx, days).await?;
        if reports {
            // After the sums were written: the report that brings them is not among them.
            sqlx::query(TAIL_GROWS)
                .bind(int(batch.before.0, "the ledger's size")?)
                .execute(&mut *tx)
                .await
                .map_err(failed(WHAT))?;
        }
        tx.commit().await.map_err(failed(WHAT))
    }
}

async fn insert_entries(tx: &mut SqliteConnection, entries: Vec<Entry>) -> Result<(), StoreError> {
    let mut left = entries.len();
    let mut entries = entries.into_iter();
    for (rows, sql) in INSERTS.iter() {
        while left >= *rows {
            let mut query = sqlx::query(sql.as_str());
            for e in entries.by_ref().take(*rows) {
                let (chain, sequence) = e.place.unzip();
                query = query
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
                    .bind(e.round.and_then(|r| r.given).map(|t| t.0))
                    .bind(e.body);
            }
            query.execute(&mut *tx).await.map_err(failed("write a batch"))?;
            left = left.saturating_sub(*rows);
        }
    }
    Ok(())
}

async fn apply(tx: &mut SqliteConnection, change: Change) -> Result<(), StoreError> {
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
        Change::Facts(f) => {
            sqlx::query("DELETE FROM tail WHERE node = ? AND leaf <= ?")
                .bind(f.node.0.to_vec())
                .bind(int(f.upto, "a leaf's index")?)
                .execute(&mut *tx)
                .await
                .map_err(failed("write a batch"))?;
            sqlx::query(
                "INSERT INTO facts (node, upto, before, body) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (node) DO UPDATE SET upto = ?2, before = ?3, body = ?4",
            )
            .bind(f.node.0.to_vec())
            .bind(int(f.upto, "a leaf's index")?)
            .bind(f.before.map(|leaf| int(leaf, "a leaf's index")).transpose()?)
            .bind(f.body)
        }
        Change::Day(d) => return write_days(tx, vec![d]).await,
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
        Change::Act { id, outcome } => sqlx::query("UPDATE pending_act SET outcome = ? WHERE id = ?")
            .bind(outcome)
            .bind(id),
    };
    query.execute(tx).await.map(drop).map_err(failed("write a batch"))
}

/// A list of short texts in one column. They were checked to hold no line break.
fn list(items: &[String]) -> String {
    items.join("\n")
}
