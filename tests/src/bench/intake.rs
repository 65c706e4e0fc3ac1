//! The verifier's intake: the real program, simulated nodes, kept-alive mutual TLS.
//!
//! Reports are signed before they are measured, so that the clients leave the machine to the server. Every answer is demanded to be a
//! receipt of a report recorded now. How many reports became durable together is read off the checkpoints in the receipts.

use super::cpu::{Memory, Meter};
use super::figure::{Figure, number};
use super::ledger::Tree;
use super::limit::{BareServer, Column, stages};
use super::load::{Peer, block_on, drive, request};
use super::reference::{Round, median};
use super::{Bench, say};
use crate::licence::Terms;
use crate::node::{Line, SimulatedNode, client_tls};
use crate::process::Verifier;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use weighbridge::cbor;
use weighbridge::protocol::{EnrolmentToken, Receipt, ReceiptState};
use weighbridge::time::UnixSeconds;

/// Intake of one report, in verifications.
const MAX_INTAKE: f64 = 5.0;
/// Intake of one report, in sums of the limit column.
const MAX_LIMITS: f64 = 2.5;
/// Cost at the most nodes, in costs at the fewest.
const MAX_GROWTH: f64 = 1.25;
/// Connections that report at a time.
const CONNECTIONS: usize = 64;
/// Reports in flight where few nodes are held against many: as many as the few nodes can have.
const FEW: usize = 10;
/// Reports after which a verifier may have more to write for a node than a report: a multiple of its period.
const PHASES: usize = 12;
const SITE: &str = "harbour-1";

/// A verifier that serves, and the nodes that report to it.
struct Site {
    verifier: Verifier,
    meter: Meter,
    peers: Vec<Peer>,
    dir: tempfile::TempDir,
}

/// What a run of reports cost and what was answered.
struct Run {
    reports: usize,
    cpu_ns: f64,
    batch: f64,
    answer: usize,
}

impl Site {
    /// Starts a verifier and enrols `nodes`, each with as many signed reports to send as `reports` says.
    async fn new(nodes: usize, reports: impl Fn(usize) -> usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut verifier = Verifier::init(dir.path());
        verifier.serve();
        verifier.load_licence(&Terms::at(SITE).write(&[]));
        let token = verifier.token(SITE, &["--count", &nodes.to_string()]);
        let address: SocketAddr = verifier.url.strip_prefix("https://").unwrap().parse().unwrap();
        let meter = Meter::of_family(verifier.process().pid());
        let mut peers = Vec::new();
        while peers.len() < nodes {
            let some: Vec<_> = (peers.len()..nodes.min(peers.len() + CONNECTIONS))
                .map(|i| tokio::task::spawn_local(peer(token.clone(), address, reports(i))))
                .collect();
            for one in some {
                peers.push(one.await.unwrap());
            }
        }
        Self {
            verifier,
            meter,
            peers,
            dir,
        }
    }

    /// Sends reports from the nodes in `range`, until each has only `leave` left.
    async fn run(&mut self, range: std::ops::Range<usize>, in_flight: usize, leave: usize) -> Run {
        let rest = self.peers.split_off(range.end);
        let mut some = self.peers.split_off(range.start);
        let before = settled(|| self.meter.read()).await;
        let answers = drive(&mut some, in_flight, leave).await;
        let after = settled(|| self.meter.read()).await;
        self.peers.extend(some);
        self.peers.extend(rest);
        let mut checkpoints = BTreeSet::new();
        for answer in &answers {
            let receipt: Receipt = cbor::decode_strict(answer).unwrap();
            assert_eq!(receipt.state, ReceiptState::Recorded, "a report was sent twice");
            checkpoints.insert(receipt.checkpoint);
        }
        Run {
            reports: answers.len(),
            cpu_ns: (after - before) as f64 / answers.len() as f64,
            batch: answers.len() as f64 / checkpoints.len() as f64,
            answer: answers.iter().map(Vec::len).sum::<usize>() / answers.len(),
        }
    }
}

/// Reads a server's CPU time once it has come to rest, which is when the kernel's count is up to date.
async fn settled(mut read: impl FnMut() -> u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(50)).await;
    read()
}

/// A node that has enrolled, with its reports signed.
async fn peer(token: String, address: SocketAddr, reports: usize) -> Peer {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let token = EnrolmentToken::parse(&token).unwrap();
    let mut node =
        SimulatedNode::enrol_over(&Line::anonymous(&token.url), &token, 8, UnixSeconds(now as i64)).await;
    // The last report ends about now.
    let told = i64::from(node.seconds) * reports as i64;
    node.wall = node.wall.plus(-told);
    let mut peer = Peer::new(address, client_tls(Some((&node.certificate, &node.key))));
    peer.requests = (0..reports).map(|_| request(&node.seal().0)).collect();
    peer
}

/// Measures intake from 64 connections against verifications and against the limit column.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    let each = if bench.quick { 10 } else { 40 };
    say("intake: enrolling 64 nodes and signing their reports");
    block_on(async {
        let mut site = Site::new(CONNECTIONS, |_| each * (bench.rounds() + 1)).await;
        let body = body(&site.peers[0].requests[0]);
        // What a node's first report and handshake cost is not what the thousandth costs.
        let warm = site.run(0..CONNECTIONS, CONNECTIONS, each * bench.rounds()).await;
        let mut bare = BareServer::start(warm.answer);
        let mut bare_peers: Vec<_> = (0..CONNECTIONS).map(|_| bare.peer()).collect();
        fill(&mut bare_peers, &body, 5);
        drive(&mut bare_peers, CONNECTIONS, 0).await;

        let (mut rounds, mut columns, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let mut tree = Tree::default();
        for round in 0..bench.rounds() {
            say(&format!("intake: round {} of {}", round + 1, bench.rounds()));
            let before = bench.reference.measure();
            let left = each * (bench.rounds() - round - 1);
            let run = site.run(0..CONNECTIONS, CONNECTIONS, left).await;
            let middle = bench.reference.measure();
            fill(&mut bare_peers, &body, each);
            let from = settled(|| bare.cpu_ns()).await;
            let answers = drive(&mut bare_peers, CONNECTIONS, 0).await;
            let to = settled(|| bare.cpu_ns()).await;
            let column = Column {
                transport: (to - from) as f64 / answers.len() as f64,
                signature: f64::midpoint(middle, bench.reference.measure()),
                ..stages(&body, run.batch.round() as usize, site.dir.path(), &mut tree)
            };
            rounds.push(Round {
                work_ns: run.cpu_ns,
                reference_ns: f64::midpoint(before, middle),
            });
            columns.push(column);
            batches.push(run.batch);
        }
        let ratios = rounds.iter().map(Round::ratio).collect();
        let against = rounds
            .iter()
            .zip(&columns)
            .map(|(r, c)| r.work_ns / c.sum())
            .collect();
        let row = |of: fn(&Column) -> f64| {
            let us = median(&columns.iter().map(of).collect::<Vec<_>>()) / 1000.0;
            format!("{} µs", number(us))
        };
        let memory = Memory::of(site.verifier.process().pid());
        let mb = number(memory.resident as f64 / 1e6);
        vec![
            Figure::of(
                "intake.report",
                "the verifier's CPU time per report of 8 GPUs: mutual TLS kept alive, checked, recorded, durable before the answer",
                "verifications",
                ratios,
            )
            .at_most(MAX_INTAKE)
            .beside("connections", CONNECTIONS)
            .beside("bytes of a report", body.len())
            .beside("bytes of a receipt", warm.answer)
            .beside("reports that became durable together", number(median(&batches)))
            .beside("verifier resident", format!("{mb} MB")),
            Figure::of(
                "intake.limit",
                "the same against the sum of the limit column, rebuilt in this run",
                "sums",
                against,
            )
            .at_most(MAX_LIMITS)
            .beside("TLS and HTTP, bare server", row(|c| c.transport))
            .beside("signature, one bare verification", row(|c| c.signature))
            .beside("CBOR walk", row(|c| c.walk))
            .beside("leaf hash of the body", row(|c| c.leaf))
            .beside("tree", row(|c| c.merkle))
            .beside("preallocated file, fdatasync per group", row(|c| c.store))
            .beside("sum", row(Column::sum)),
        ]
    })
}

/// Measures the cost of a report where ten nodes are enrolled and where ten thousand are.
pub(super) fn measure_flat(bench: &Bench) -> Vec<Figure> {
    let many = if bench.quick { 1000 } else { 10_000 };
    let rounds = if bench.quick { 3 } else { 5 };
    // The same number of reports on both sides.
    let share = many / rounds / FEW * FEW;
    block_on(async {
        say(&format!(
            "flat: enrolling {FEW} and {many} nodes and signing their reports"
        ));
        // A node's sums are written every so many of its reports. The nodes of the crowd have sent from one to as many before they are measured,
        // so that the same part of reports pays for it on both sides.
        let each = share / FEW;
        let mut few = Site::new(FEW, |_| PHASES + each * rounds).await;
        let mut crowd = Site::new(many, |i| 2 + i % PHASES).await;
        say("flat: connecting, and the reports before");
        few.run(0..FEW, FEW, each * rounds).await;
        crowd.run(0..many, CONNECTIONS, 1).await;
        let (mut costs, mut of_few, mut of_crowd) = (Vec::new(), Vec::new(), Vec::new());
        let mut batches = Vec::new();
        for round in 0..rounds {
            say(&format!("flat: round {} of {rounds}", round + 1));
            let before = bench.reference.measure();
            let small = few.run(0..FEW, FEW, each * (rounds - round - 1)).await;
            let middle = bench.reference.measure();
            let large = crowd.run(round * share..(round + 1) * share, FEW, 0).await;
            let after = bench.reference.measure();
            assert!(
                small.reports == large.reports,
                "the two sides must do the same work"
            );
            let small_in = small.cpu_ns / f64::midpoint(before, middle);
            let large_in = large.cpu_ns / f64::midpoint(middle, after);
            costs.push(large_in / small_in);
            of_few.push(small_in);
            of_crowd.push(large_in);
            batches.push((small.batch, large.batch));
        }
        let memory = Memory::of(crowd.verifier.process().pid());
        let small_batch = median(&batches.iter().map(|b| b.0).collect::<Vec<_>>());
        let large_batch = median(&batches.iter().map(|b| b.1).collect::<Vec<_>>());
        vec![
            Figure::of(
                "flat.growth",
                &format!("cost of a report with {many} nodes enrolled, connected and reporting in turn, in costs with {FEW}"),
                "times",
                costs,
            )
            .at_most(MAX_GROWTH)
            .beside("reports in flight on both sides", FEW)
            .beside(&format!("with {FEW} nodes"), format!("{} verifications", number(median(&of_few))))
            .beside(&format!("with {many} nodes"), format!("{} verifications", number(median(&of_crowd))))
            .beside(
                "reports that became durable together",
                format!("{} and {}", number(small_batch), number(large_batch)),
            )
            .beside(
                &format!("verifier resident with {many} connections"),
                format!("{} MB", number(memory.resident as f64 / 1e6)),
            ),
        ]
    })
}

/// The body of a prepared request.
fn body(request: &[u8]) -> Vec<u8> {
    let (head, length) = super::load::message(request).unwrap();
    request[head..head + length].to_vec()
}

/// Gives each peer so many requests with `body`.
fn fill(peers: &mut [Peer], body: &[u8], each: usize) {
    for peer in peers {
        peer.requests = (0..each).map(|_| request(body)).collect();
    }
}
