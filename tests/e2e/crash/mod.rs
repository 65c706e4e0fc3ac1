//! What must hold under stress: whatever is killed, whenever, no report that was receipted is lost, and the chain stays true.
//!
//! Each ordeal runs twice. SIGKILL leaves what the kernel had taken; over a disk that forgets ([`Outage`]) only what was synced is left.
//!
//! [`Outage`]: weighbridge_testbed::outage::Outage

mod agent_killed;
mod chain;
mod network_cut;
mod verifier_killed;

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use weighbridge_testbed::process::Verifier;

/// How often a program is killed.
const KILLS: u32 = 100;
/// How long anything is waited for: slow machines pass, a program that hangs does not.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits closely: what follows is to happen soon after.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < PATIENCE,
            "waited {} s in vain for {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A verifier's database, read beside it.
struct Books {
    database: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Books {
    fn of(verifier: &Verifier) -> Self {
        Self {
            database: verifier.state.join("verifier.db"),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// How many leaves of a kind are held, over all sites or of one.
    fn count(&self, kind: u8, site: &str) -> i64 {
        self.ask(async |db| {
            let sql = "SELECT count(*) FROM entry WHERE kind = ? AND node IN (SELECT id FROM node WHERE site LIKE ?)";
            sqlx::query_scalar(sql).bind(kind).bind(site).fetch_one(db).await
        })
    }

    /// No statement was refused, and none contradicted another.
    fn assert_no_refusal(&self) {
        let refused: i64 = self.ask(async |db| {
            sqlx::query_scalar("SELECT count(*) FROM refusal")
                .fetch_one(db)
                .await
        });
        assert_eq!(
            (refused, self.count(2, "%")),
            (0, 0),
            "a report was refused, or made a fork"
        );
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>) -> T {
        self.runtime.block_on(async {
            let options = SqliteConnectOptions::new()
                .filename(&self.database)
                .read_only(true);
            let mut db = SqliteConnection::connect_with(&options).await.unwrap();
            question(&mut db).await.unwrap()
        })
    }
}
