//! What each node's days come to from its first one on, so that any period is the difference of two rows.
//!
//! Decides: when a day is counted in: when the node has begun a later one. The newest day of a node is open, changes with almost every hour of
//! reports, and is added when someone asks. A report that comes late for a day that was counted in makes that day's row anew, and those
//! after it, in the transaction that changes the day. A day that lies further back from the node's newest than is kept of a
//! node is in no row: no clock that names many past days makes this dear.

use super::super::{DayRow, PeriodRow, StoreError};
use super::rows::{bytes, column, text, time};
use super::write::{Grouped, in_groups, one_by_one};
use super::{SqliteStore, failed};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
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

static WRITE: Grouped = LazyLock::new(|| {
    one_by_one(
        "INSERT INTO day (node, day, body) VALUES (?, ?, ?) ON CONFLICT (node, day) DO UPDATE SET body = excluded.body",
    )
});

/// Writes days, and the rows of those that they close or change: of each node once, however many they are. `known` says which day is the newest of a
/// node, as far as that is known; returns which it is now.
pub(super) async fn write_days(
    tx: &mut SqliteConnection,
    rows: Vec<DayRow>,
    known: &HashMap<NodeId, i64>,
) -> Result<BTreeMap<NodeId, i64>, StoreError> {
    let mut of_nodes: BTreeMap<NodeId, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        of_nodes.entry(row.node).or_default().push(row.day);
    }
    let (mut newest_of, mut closed) = (BTreeMap::new(), Vec::new());
    for (node, mut days) in of_nodes {
        match known.get(&node) {
            Some(day) => days.push(*day),
            None => days.extend(newest_day(tx, node).await?),
        }
        let Some(newest) = days.iter().copied().max() else {
            continue;
        };
        newest_of.insert(node, newest);
        // What is not the newest day is closed: it came late, or was open until now.
        let is_closed = |day: &i64| *day < newest && *day >= oldest_before(newest);
        if let Some(from) = days.into_iter().filter(is_closed).min() {
            closed.push((node, from, newest));
        }
    }
    in_groups(tx, &WRITE, rows, |query, row| {
        Ok(query.bind(row.node.0.to_vec()).bind(row.day).bind(row.body))
    })
    .await?;
    for (node, from, newest) in closed {
        close(tx, &node.0, from, newest).await?;
    }
    Ok(newest_of)
}

/// The newest of a node's days that are written.
async fn newest_day(tx: &mut SqliteConnection, node: NodeId) -> Result<Option<i64>, StoreError> {
    sqlx::query("SELECT max(day) FROM day WHERE node = ?")
        .bind(node.0.to_vec())
        .fetch_one(tx)
        .await
        .map_err(failed(WHAT))
        .and_then(|r| column(&r, 0, "day"))
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
