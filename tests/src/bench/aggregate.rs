//! Compute of twelve months, from what the verifier keeps of each node's days in SQLite.
//!
//! A person waits for this answer, so that its time on the clock is a figure, beside its CPU time. Each round opens the database anew, in a connection that
//! has read nothing; the system holds the file in memory, as it does where a verifier serves.

use super::figure::{Figure, number};
use super::{Bench, cpu, say};
use std::path::Path;
use weighbridge::appraisal::{DeviceSums, DeviceTotal, NodeDay};
use weighbridge::cbor;
use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer, merkle};
use weighbridge::id::{DeviceUuid, Digest, NodeId};
use weighbridge::protocol::EnrolmentState;
use weighbridge::report::KeyProtection;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use weighbridge::unit::{MicroTppHours, Millijoules};
use weighbridge_verifier::compute::{By, weigh};
use weighbridge_verifier::store::{Batch, Change, DayRow, NodeRow, SqliteStore, Store};

/// Wall time of a year's aggregate by site, in milliseconds.
const MAX_YEAR_MS: f64 = 50.0;
/// Nodes, each with eight devices.
const NODES: u16 = 1_000;
const DEVICES: u8 = 8;
const FIRST: i64 = 20_000;
/// A year that begins within what is kept.
const DAYS: i64 = 380;

/// Measures a year's aggregate by site, by node and by device.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    let nodes = if bench.quick { NODES / 10 } else { NODES };
    say(&format!(
        "aggregate: {DAYS} days of {nodes} nodes with {DEVICES} GPUs each are written; this takes a while"
    ));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aggregate.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let writing = runtime.block_on(fill(&path, nodes));
    let mut figures = Vec::new();
    for (by, name) in [(By::Site, "site"), (By::Node, "node"), (By::Device, "device")] {
        let (mut wall, mut ratios, mut groups) = (Vec::new(), Vec::new(), 0);
        for _ in 0..bench.rounds() {
            let mut elapsed = 0;
            let round = bench.reference.hold(|| {
                let (begun, spent) = (cpu::wall_ns(), cpu::process_ns());
                groups = runtime.block_on(async {
                    let store = SqliteStore::open(&path).await.unwrap();
                    let days = (FIRST + DAYS - 365, FIRST + DAYS - 1);
                    let now = UnixSeconds((days.1 + 1) * DAY_SECONDS - 3_600);
                    weigh(&store, days, now, None, by, &[])
                        .await
                        .unwrap()
                        .groups
                        .len()
                });
                elapsed = cpu::wall_ns() - begun;
                (cpu::process_ns() - spent) as f64
            });
            wall.push(elapsed as f64 / 1e6);
            ratios.push(round.ratio());
        }
        let what =
            format!("the compute of twelve months of {nodes} nodes with {DEVICES} GPUs each, by {name}");
        let time = Figure::of(
            &format!("aggregate.year.{name}"),
            &format!("{what}, on the clock, the database opened anew"),
            "ms",
            wall,
        )
        .beside("groups", groups);
        figures.push(match by {
            By::Site => time
                .at_most(MAX_YEAR_MS)
                .beside(
                    "bytes of the database",
                    std::fs::metadata(&path).map_or(0, |m| m.len()),
                )
                .beside(
                    "µs of CPU to write a node's day, day closed and run written",
                    number(writing),
                ),
            _ => time,
        });
        figures.push(Figure::of(
            &format!("aggregate.year.{name}.cpu"),
            &format!("{what}, in CPU time of all threads"),
            "verifications",
            ratios,
        ));
    }
    figures
}

/// Writes the days of all nodes, day by day, as a verifier does; returns the CPU time for one of them, in microseconds.
async fn fill(path: &Path, nodes: u16) -> f64 {
    let store = SqliteStore::create(path, "weighbridge/bench", merkle::empty_root())
        .await
        .unwrap();
    let changes = (0..nodes).map(|n| Change::Node(Box::new(node(n)))).collect();
    write(&store, changes).await;
    let spent = cpu::process_ns();
    for day in FIRST..FIRST + DAYS {
        let changes = (0..nodes).map(|n| {
            Change::Day(DayRow {
                node: id(n),
                day,
                body: cbor::encode(&day_of(n, day)),
            })
        });
        write(&store, changes.collect()).await;
    }
    (cpu::process_ns() - spent) as f64 / f64::from(nodes) / DAYS as f64 / 1e3
}

async fn write(store: &SqliteStore, changes: Vec<Change>) {
    let tree = (0, merkle::empty_root());
    let batch = Batch {
        before: tree,
        after: tree,
        entries: Vec::new(),
        tiles: Vec::new(),
        changes,
    };
    store.commit(batch).await.unwrap();
}

/// Ids that nothing orders, as verifiers draw them.
fn id(n: u16) -> NodeId {
    let digest = weighbridge::crypto::sha256(&n.to_be_bytes());
    let mut id = [1; 17];
    id[1..].copy_from_slice(&digest.0[..16]);
    NodeId(id)
}

fn node(n: u16) -> NodeRow {
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
    NodeRow {
        id: id(n),
        site: "harbour-1".to_owned(),
        state: EnrolmentState::Approved,
        key: key.public_key().clone(),
        key_protection: KeyProtection::File,
        token: Digest([0; 32]),
        predecessor: None,
        serials: Vec::new(),
        enrolled_at: UnixSeconds(0),
        approved_at: Some(UnixSeconds(0)),
        revoked_at: None,
        revoked_from: None,
        renewed_at: None,
    }
}

/// A whole day of eight H100 in use.
fn day_of(node: u16, day: i64) -> NodeDay {
    const MS: u64 = 86_400_000;
    let start = UnixSeconds(day * DAY_SECONDS);
    let devices = (0..DEVICES).map(|d| {
        let mut uuid = [d; 16];
        uuid[..2].copy_from_slice(&node.to_be_bytes());
        let some = u128::from(node) * 1_009 + u128::from(d) * 13 + day as u128;
        let compute = 190_000_000_000 + some * 1_000_003;
        DeviceTotal {
            uuid: DeviceUuid(uuid),
            since: start,
            until: start.plus(DAY_SECONDS),
            sums: DeviceSums {
                reports: 288,
                expected_ms: MS,
                covered_ms: MS - 172_800,
                busy_ms: MS - 7_654_321,
                energy: Millijoules(45_000_000_000 + some as u64),
                lower: MicroTppHours(compute),
                counter: MicroTppHours(compute + 9_000_000_000),
                upper: MicroTppHours(compute + 15_000_000_000),
                unconditional: MicroTppHours(379_968_000_000),
                training_lower: MicroTppHours(compute / 2),
                training_upper: MicroTppHours(compute + 15_000_000_000),
                from_pipes_ms: MS,
                bound_counter_ms: MS - 172_800,
                bound_clock_ms: 172_800,
                hmma: MicroTppHours(compute + 8_000_000_000),
                imma: MicroTppHours(1_000_000_000),
                fp32: MicroTppHours(compute / 50),
                ..DeviceSums::default()
            },
        }
    });
    NodeDay {
        day,
        devices: devices.collect(),
        received: Some(start.plus(DAY_SECONDS)),
        days: 1,
        tenants: None,
    }
}
