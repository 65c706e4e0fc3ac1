//! What the verifier holds of a chain, what the node holds of it, and whether both are true.

use super::Books;
use std::collections::BTreeMap;
use std::path::Path;
use weighbridge::crypto::Entropy;
use weighbridge::id::{ChainId, Digest};
use weighbridge::report::OpenedReport;
use weighbridge_agent::spool::{Fate, Opened, Spool};

/// Reports by chain and number.
pub(super) type Reports = BTreeMap<(ChainId, u64), Held>;

/// A report as the verifier holds it.
pub(super) struct Held {
    digest: Digest,
    report: OpenedReport,
}

impl Books {
    /// The reports of a site's nodes, by chain and number.
    pub(super) fn reports(&self, site: &str) -> Reports {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = self.ask(async |db| {
            let sql = "SELECT digest, body FROM entry WHERE kind = 0 AND node IN (SELECT id FROM node WHERE site = ?)";
            sqlx::query_as(sql).bind(site).fetch_all(db).await
        });
        rows.into_iter()
            .map(|(digest, body)| {
                let report = OpenedReport::open(&body).unwrap();
                let digest = Digest(digest.try_into().unwrap());
                assert_eq!(
                    report.digest(),
                    digest,
                    "a leaf stands for other bytes than it holds"
                );
                let claims = &report.claims.report;
                ((claims.chain, claims.sequence), Held { digest, report })
            })
            .collect()
    }
}

/// One chain from its first report on, each citing the one before, each speaking of a time of its own, and every start that left a hole named.
pub(super) fn assert_true_chain(reports: &Reports, starts: u32) {
    let mut before: Option<&Held> = None;
    let mut told = 0;
    for ((chain, sequence), held) in reports {
        let claims = &held.report.claims.report;
        assert!(
            before.is_none_or(|b| b.report.claims.report.chain == *chain),
            "a second chain began, although nothing durable was lost"
        );
        let expected = before.map_or(1, |b| b.report.claims.report.sequence + 1);
        assert_eq!(*sequence, expected, "the chain has a gap");
        assert_eq!(
            claims.previous,
            before.map(|b| b.digest),
            "report {sequence} cites another one"
        );
        if let Some(before) = before {
            let earlier = &before.report.claims.report;
            assert!(
                claims.time.start >= earlier.time.end,
                "report {sequence} counts a time twice"
            );
            let hole = claims.time.start > earlier.time.end;
            assert!(
                !hole || claims.agent_starts > 0,
                "report {sequence} hides a restart"
            );
        }
        for device in held.report.accelerators.iter().flatten() {
            let length = claims.time.end.since(claims.time.start) / 1_000_000;
            assert!(
                u64::from(device.delivered.covered_ms) <= length,
                "report {sequence} covers more than its time"
            );
        }
        told += claims.agent_starts;
        before = Some(held);
    }
    assert!(before.is_some(), "no report is held");
    assert!(told <= starts, "{told} starts were told, {starts} happened");
}

/// What the spool of an agent that has ended says of its chain is what the verifier holds.
pub(super) fn assert_spool_agrees(state: &Path, reports: &Reports) {
    let entropy = Entropy::system();
    let (spool, opened) = Spool::open(&state.join("spool.redb"), 1 << 30, &entropy).unwrap();
    assert_eq!(opened, Opened::Existing, "the spool was damaged");
    let head = spool.head().unwrap();
    let mut receipted = 0;
    for sequence in 1..=head.sequence {
        let (entry, _, _) = spool
            .report_at(None, sequence)
            .unwrap()
            .expect("reports are kept for days");
        let held = reports.get(&(head.chain, sequence)).map(|h| h.digest);
        assert!(
            held.is_none_or(|h| h == entry.digest),
            "report {sequence} is another one on the node"
        );
        match entry.fate {
            Fate::Receipted => {
                assert!(held.is_some(), "report {sequence} was receipted and is lost");
                receipted += 1;
            }
            Fate::Waiting => {}
            Fate::Refused => panic!("report {sequence} was refused"),
        }
    }
    assert!(receipted > 0);
    assert!(
        reports
            .keys()
            .all(|(chain, sequence)| *chain == head.chain && *sequence <= head.sequence)
    );
}
