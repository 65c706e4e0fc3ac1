use super::super::{Change, Entry};
use super::rounds::{IS_ANSWERED, ROUNDS, UNAPPRAISED};
use super::runs::PERIOD;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use weighbridge::crypto::merkle;
use weighbridge::report::Continuity;

#[tokio::test]
async fn what_is_asked_of_each_node_searches_none_of_its_past() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plan.db");
    let store = SqliteStore::create(&path, "weighbridge/test", merkle::empty_root())
        .await
        .unwrap();
    let plan = async |query: &str, numbers: usize| {
        let mut plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
        for _ in 0..numbers {
            plan = plan.bind(1i64);
        }
        let rows = plan.fetch_all(&store.readers).await.unwrap();
        rows.iter()
            .map(|r| text(r, 3, "plan").unwrap())
            .collect::<Vec<_>>()
    };
    for (query, numbers) in [(LATEST, 1), (UNSUMMED, 3)] {
        let steps = plan(query, numbers).await;
        let read = steps.iter().filter(|s| s.contains("entry") || s.contains("tail"));
        let found: BTreeSet<&str> = read
            .map(|s| s.split_once(" (").map_or(s.as_str(), |(how, _)| how))
            .collect();
        let known = [
            "SEARCH entry USING INTEGER PRIMARY KEY",
            "SEARCH tail USING PRIMARY KEY",
            "SEARCH entry USING COVERING INDEX entry_place",
        ];
        assert_eq!(found, BTreeSet::from(known), "{steps:?}");
    }
    for (query, numbers) in [(IS_ANSWERED, 2), (ROUNDS, 3)] {
        let steps = plan(query, numbers).await;
        let over_index = |s: &String| s.contains("USING COVERING INDEX entry_round (node=?");
        assert!(steps.iter().any(over_index), "{steps:?}");
        assert!(!steps.iter().any(|s| s.starts_with("SCAN entry")), "{steps:?}");
    }
    let steps = plan(PERIOD, 3).await;
    let read = |s: &&String| {
        ["run", "day", "open"]
            .iter()
            .any(|t| s.split(' ').nth(1) == Some(t))
    };
    let read: Vec<_> = steps.iter().filter(read).collect();
    let over_index = |s: &&String| s.contains("INDEX sqlite_autoindex_") && s.contains("(node=?");
    assert!(read.len() == 4 && read.iter().all(over_index), "{steps:?}");
    let steps = plan(UNAPPRAISED, 0).await;
    let over_index = |s: &String| s == "SCAN entry USING COVERING INDEX entry_round";
    assert!(steps.iter().any(over_index), "{steps:?}");
    assert_eq!(
        plan(HOLDS, 3).await,
        ["SEARCH entry USING COVERING INDEX entry_digest (kind=? AND node=?)"]
    );
}

#[tokio::test]
async fn the_newest_reports_are_found_in_whatever_order_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tail.db");
    let store = SqliteStore::create(&path, "weighbridge/test", merkle::empty_root())
        .await
        .unwrap();
    let (nodes, mut size) = ([NodeId([1; 17]), NodeId([2; 17])], 0u64);
    let mut held: [Vec<u64>; 2] = Default::default();
    let mut highest: [BTreeMap<u8, u64>; 2] = Default::default();
    let mut late = 1u64;
    for step in 0..200u64 {
        // Two nodes in turn; a chain that goes on, is left, is taken up again, has holes, and is told late.
        let (who, phase) = (usize::try_from(step % 2).unwrap(), step / 2);
        let chain = if phase % 17 < 11 {
            1
        } else {
            u8::try_from(2 + phase / 34).unwrap()
        };
        let top = highest[who].get(&chain).copied();
        let (sequence, continuity) = match (phase % 13, top) {
            (5, Some(_)) => {
                late += 1;
                (1_000_000 + late, Continuity::Late)
            }
            (8, Some(top)) => (top + 4, Continuity::Gap { missing: 3 }),
            (_, Some(top)) => (top + 1, Continuity::Follows),
            (_, None) => (2_000_000, Continuity::Gap { missing: 1_999_999 }),
        };
        if continuity != Continuity::Late {
            highest[who].insert(chain, sequence);
        }
        let sums = (phase % 12 == 7).then(|| {
            let (before, upto) = match held[who].as_slice() {
                [.., before, upto] => (Some(*before), *upto),
                _ => unreachable!("seven reports"),
            };
            let (node, body) = (nodes[who], Vec::new());
            Change::Facts(FactsRow {
                node,
                upto,
                before,
                body,
            })
        });
        let entry = Entry {
            leaf: size,
            kind: LeafKind::Report,
            salt: [0; 16],
            digest: Digest([0; 32]),
            at: UnixSeconds(0),
            node: Some(nodes[who]),
            place: Some((ChainId([chain; 16]), sequence)),
            continuity: Some(continuity),
            round: None,
            given: None,
            body: Vec::new(),
        };
        let root = |n: u64| Digest([u8::try_from(n).unwrap(); 32]);
        let before = if size == 0 {
            merkle::empty_root()
        } else {
            root(size)
        };
        let batch = Batch {
            before: (size, before),
            after: (size + 1, root(size + 1)),
            entries: vec![entry],
            tiles: Vec::new(),
            changes: sums.into_iter().collect(),
        };
        store.commit(batch).await.unwrap();
        held[who].push(size);
        size += 1;
        for (node, held) in nodes.iter().zip(&held) {
            let leaves = |rows: Vec<HeldReport>| rows.iter().map(|r| r.leaf).collect::<Vec<_>>();
            let newest: Vec<u64> = held.iter().rev().take(2).copied().collect();
            assert_eq!(leaves(store.latest(*node).await.unwrap()), newest, "step {step}");
            if let Some(sums) = store.facts(*node).await.unwrap() {
                let after: Vec<u64> = held.iter().filter(|l| **l > sums.upto).copied().collect();
                let unsummed = store.unsummed(*node, sums.upto, 256).await.unwrap();
                assert_eq!(leaves(unsummed), after, "step {step}");
            }
        }
    }
    let (rows,): (i64,) = sqlx::query_as("SELECT count(*) FROM tail")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert!(rows < 20, "what the sums reach up to is not kept: {rows} rows");
}
