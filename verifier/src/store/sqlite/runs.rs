//! What each node's days come to from its first one on, so that any period is the difference of two rows.
//!
//! Decides: when a day is counted in: when the node has begun a later one. The newest day of a node is open, changes with almost every hour of
//! reports, and is added when someone asks. A report that comes late for a day that was counted in makes that day's row anew, and those
//! after it, in the transaction that changes the day. A day that lies further back from the node's newest than is kept of a
//! node is in no row: no clock that names many past days makes this dear.

use super::super::{DayRow, PeriodRow, StoreError};
use super::rows::{bytes, column, text, time};
use super::{SqliteStore, failed};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::collections::BTreeMap;
use weighbridge::appraisal::{DAYS, NodeDay, NodeRun};
use weighbridge::cbor;
use weighbridge::id::NodeId;

const WHAT: &str = "write a batch";

/// Of a node: the last row within a period, the last one before it, and the open day if that lies within.
macro_rules! period {
    ($which:literal) => {
        concat!(
            "SELECT node.id, node.site, node.revoked_from, \
             (SELECT body FROM run WHERE run.node = node.id AND run.day BETWEEN ?1 AND ?2 ORDER BY run.day DESC LIMIT 1), \
             (SELECT body FROM run WHERE run.node = node.id AND run.day < ?1 ORDER BY run.day DESC LIMIT 1), \
             open.body \
             FROM node LEFT JOIN day AS open ON open.node = node.id AND open.day BETWEEN ?1 AND ?2 \
             AND open.day = (SELECT max(day) FROM day WHERE day.node = node.id) WHERE ",
            $which
        )
    };
}

pub(super) const PERIOD: &str = period!("?3 IS NULL OR node.site = ?3 ORDER BY node.id");
const PERIOD_OF: &str = period!("node.id = ?3");

/// Writes days, and the rows of those that they close or change: of each node once, however many they are.
pub(super) async fn write_days(tx: &mut SqliteConnection, rows: Vec<DayRow>) -> Result<(), StoreError> {
    let mut of_nodes: BTreeMap<NodeId, Vec<DayRow>> = BTreeMap::new();
    for row in rows {
        of_nodes.entry(row.node).or_default().push(row);
    }
    for (node, rows) in of_nodes {
        let node = node.0.to_vec();
        let before: Option<i64> = sqlx::query("SELECT max(day) FROM day WHERE node = ?")
            .bind(node.as_slice())
            .fetch_one(&mut *tx)
            .await
            .map_err(failed(WHAT))
            .and_then(|r| column(&r, 0, "day"))?;
        let newest = rows.iter().map(|r| r.day).chain(before).max();
        // What is not the newest day is closed: it came late, or was open until now.
        let from = rows
            .iter()
            .map(|r| r.day)
            .chain(before)
            .filter(|day| newest.is_some_and(|n| *day < n && *day >= oldest_before(n)))
            .min();
        for row in rows {
            sqlx::query(
                "INSERT INTO day (node, day, body) VALUES (?1, ?2, ?3) ON CONFLICT (node, day) DO UPDATE SET body = ?3",
            )
            .bind(node.as_slice())
            .bind(row.day)
            .bind(row.body)
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
        }
        if let (Some(from), Some(newest)) = (from, newest) {
            close(tx, &node, from, newest).await?;
        }
    }
    Ok(())
}

/// The first day that is counted in beside a newest one.
fn oldest_before(newest: i64) -> i64 {
    newest.saturating_sub(i64::from(DAYS))
}

/// Makes the rows anew of the days from one on, up to the one that is open.
async fn close(tx: &mut SqliteConnection, node: &[u8], from: i64, open: i64) -> Result<(), StoreError> {
    let oldest = oldest_before(open);
    let before = sqlx::query("SELECT body FROM run WHERE node = ? AND day < ? ORDER BY day DESC LIMIT 1")
        .bind(node)
        .bind(from)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
    let before =
        before.map(|r| cbor::decode_strict::<NodeRun>(column(&r, 0, "node's run")?).map_err(|_| DAMAGED));
    // Where a row is damaged, those after it are made from the first day that is kept.
    let (mut run, from) = match before {
        Some(Err(_)) => {
            let mut anew = NodeRun::new();
            anew.pass(oldest.saturating_sub(1));
            (anew, oldest)
        }
        Some(Ok(run)) => (run, from),
        None => (NodeRun::new(), from),
    };
    let days = sqlx::query("SELECT day, body FROM day WHERE node = ? AND day >= ? AND day < ? ORDER BY day")
        .bind(node)
        .bind(from)
        .bind(open)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(WHAT))?;
    for row in days {
        let day: i64 = column(&row, 0, "day")?;
        match cbor::decode_strict::<NodeDay>(column(&row, 1, "day")?) {
            Ok(sums) => run.add(&sums),
            Err(_) => run.pass(day),
        }
        sqlx::query("INSERT INTO run (node, day, body) VALUES (?1, ?2, ?3) ON CONFLICT (node, day) DO UPDATE SET body = ?3")
            .bind(node)
            .bind(day)
            .bind(cbor::encode(&run))
            .execute(&mut *tx)
            .await
            .map_err(failed(WHAT))?;
    }
    Ok(())
}

const DAMAGED: StoreError = StoreError::Damaged { what: "node's run" };

impl SqliteStore {
    pub(super) async fn read_period(
        &self,
        from: i64,
        to: i64,
        site: Option<String>,
    ) -> Result<Vec<PeriodRow>, StoreError> {
        sqlx::query(PERIOD)
            .bind(from)
            .bind(to)
            .bind(site)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read what nodes' days come to"))?
            .iter()
            .map(period_of)
            .collect()
    }

    pub(super) async fn read_period_of(
        &self,
        node: NodeId,
        from: i64,
        to: i64,
    ) -> Result<Option<PeriodRow>, StoreError> {
        sqlx::query(PERIOD_OF)
            .bind(from)
            .bind(to)
            .bind(node.0.to_vec())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read what a node's days come to"))?
            .map(|r| period_of(&r))
            .transpose()
    }

    pub(super) async fn read_days(
        &self,
        node: NodeId,
        from: i64,
        to: i64,
    ) -> Result<Vec<DayRow>, StoreError> {
        sqlx::query("SELECT day, body FROM day WHERE node = ? AND day BETWEEN ? AND ? ORDER BY day")
            .bind(node.0.to_vec())
            .bind(from)
            .bind(to)
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
    }
}

fn period_of(r: &SqliteRow) -> Result<PeriodRow, StoreError> {
    let run = |at: usize| -> Result<Option<NodeRun>, StoreError> {
        let body: Option<&[u8]> = column(r, at, "node's run")?;
        body.map(|b| cbor::decode_strict(b).map_err(|_| DAMAGED))
            .transpose()
    };
    let open: Option<&[u8]> = column(r, 5, "day")?;
    let open = open.map(cbor::decode_strict::<NodeDay>);
    let runs = run(3).and_then(|later| Ok((later, run(4)?)));
    // What is damaged of one node is its own.
    let damaged = runs.is_err() || open.as_ref().is_some_and(Result::is_err);
    let (later, earlier) = runs.unwrap_or_default();
    Ok(PeriodRow {
        node: NodeId(bytes(r, 0, "node's id")?),
        site: text(r, 1, "node's site")?,
        revoked_from: time(r, 2, "node's revocation")?,
        damaged,
        later,
        earlier,
        open: open.and_then(Result::ok),
    })
}
