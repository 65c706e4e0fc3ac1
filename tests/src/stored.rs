//! Reading what a verifier has stored, as an auditor with the database file would.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use std::path::Path;
use std::time::{Duration, Instant};
use weighbridge::report::OpenedReport;
use weighbridge::time::BootNanos;

/// Every report held, in the order of its leaf.
///
/// # Panics
/// Where the database cannot be read.
#[must_use]
pub fn reports(state: &Path) -> Vec<OpenedReport> {
    rows(
        state,
        "SELECT body FROM entry WHERE kind = 0 AND body IS NOT NULL ORDER BY leaf",
    )
    .iter()
    .map(|body| OpenedReport::open(body).unwrap())
    .collect()
}

/// How many reports are held of each node that has any.
///
/// # Panics
/// Where the database cannot be read.
#[must_use]
pub fn counts(state: &Path) -> Vec<u64> {
    let mut nodes = rows(state, "SELECT node FROM entry WHERE kind = 0");
    nodes.sort();
    nodes
        .chunk_by(|a, b| a == b)
        .map(|of_one| of_one.len() as u64)
        .collect()
}

/// Waits until that many reports are held.
///
/// # Panics
/// Where they are not after so many seconds.
pub fn wait_for_reports(state: &Path, count: u64, seconds: u64) {
    let begun = Instant::now();
    loop {
        let held = rows(state, "SELECT digest FROM entry WHERE kind = 0").len();
        if u64::try_from(held).unwrap() >= count {
            return;
        }
        assert!(
            begun.elapsed().as_secs() < seconds,
            "{held} of {count} reports after {seconds} s"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// When a replayed play began: the boot time that its `start_file` keeps, in nanoseconds.
///
/// # Panics
/// Where the file is absent or holds something else.
#[must_use]
pub fn play_began(start_file: &Path) -> BootNanos {
    let text = std::fs::read_to_string(start_file).unwrap();
    BootNanos(
        text.trim()
            .parse()
            .unwrap_or_else(|e| panic!("{}: {e}: {text}", start_file.display())),
    )
}

fn rows(state: &Path, query: &'static str) -> Vec<Vec<u8>> {
    let file = database(state);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let options = SqliteConnectOptions::new().filename(file).read_only(true);
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .connect_with(options)
                .await
                .unwrap();
            let rows = sqlx::query(query).fetch_all(&pool).await.unwrap();
            pool.close().await;
            rows.iter().map(|r| r.get::<Vec<u8>, _>(0)).collect()
        })
}

fn database(state: &Path) -> std::path::PathBuf {
    let mut found: Vec<_> = std::fs::read_dir(state)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| {
            p.extension()
                .is_some_and(|e| e == "sqlite" || e == "db" || e == "sqlite3")
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no database in {}", state.display()))
}
