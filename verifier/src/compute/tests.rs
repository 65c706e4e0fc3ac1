use super::*;
use crate::store::{Batch, Change, DayRow, NodeRow, SqliteStore};
use proptest::prelude::*;
use std::path::Path;
use weighbridge::appraisal::{DeviceSums, TenantSums, TenantTotal};
use weighbridge::crypto::merkle;
use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer};
use weighbridge::id::{Digest, TenantPseudonym};
use weighbridge::protocol::EnrolmentState;
use weighbridge::report::KeyProtection;

const FIRST: i64 = 20_000;

fn start(day: i64) -> UnixSeconds {
    UnixSeconds(day * DAY_SECONDS)
}

fn node(n: u8, site: &str) -> NodeRow {
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
    NodeRow {
        id: NodeId([n; 17]),
        site: site.to_owned(),
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

/// A day on which each of these devices reported for an hour, and computed so much of 3,600 at its peak.
fn day_of(day: i64, devices: &[(u8, u64)]) -> NodeDay {
    let mut all: BTreeMap<u8, u64> = BTreeMap::new();
    for (device, amount) in devices {
        *all.entry(*device).or_default() += amount;
    }
    let devices = all.into_iter().map(|(device, amount)| DeviceTotal {
        uuid: DeviceUuid([device; 16]),
        since: start(day),
        until: start(day).plus(3_600),
        sums: DeviceSums {
            reports: 12,
            expected_ms: 3_600_000,
            covered_ms: 3_600_000,
            busy_ms: 1_800_000,
            lower: MicroTppHours(u128::from(amount)),
            counter: MicroTppHours(u128::from(amount)),
            upper: MicroTppHours(u128::from(amount) * 2),
            unconditional: MicroTppHours(3_600_000_000),
            from_pipes_ms: 3_600_000,
            ..DeviceSums::default()
        },
    });
    NodeDay {
        day,
        devices: devices.collect(),
        received: Some(start(day).plus(3_600)),
        days: 1,
        tenants: None,
    }
}

async fn store(at: &Path) -> SqliteStore {
    let path = at.join("compute.db");
    SqliteStore::create(&path, "weighbridge/test", merkle::empty_root())
        .await
        .unwrap()
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

fn change(node: NodeId, day: &NodeDay) -> Change {
    Change::Day(DayRow {
        node,
        day: day.day,
        body: cbor::encode(day),
    })
}

async fn asked(store: &SqliteStore, days: (i64, i64), by: By) -> Vec<(Key, Aggregate, usize)> {
    let now = start(days.1 + 1);
    weigh(store, days, now, None, by, &[]).await.unwrap().groups
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Days come in any order, and again and again as reports are added to them; one is open at the end.
    #[test]
    fn any_period_is_the_sum_of_its_days_in_whatever_order_they_were_written(
        writes in proptest::collection::vec(
            (0u8..2, 0i64..12, proptest::collection::vec((0u8..4, 0u64..1_000_000), 0..5)), 1..40),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = store(directory.path()).await;
            write(&store, [1, 2].map(|n| Change::Node(Box::new(node(n, "harbour-1")))).to_vec()).await;
            let mut known: BTreeMap<(u8, i64), NodeDay> = BTreeMap::new();
            for some in writes.chunks(3) {
                let mut changes = Vec::new();
                for (n, day, devices) in some {
                    // What two nodes say of one device at one time is no plain sum.
                    let own: Vec<(u8, u64)> = devices.iter().map(|(d, amount)| (d + 8 * n, *amount)).collect();
                    let day = day_of(FIRST + day, &own);
                    changes.push(change(NodeId([n + 1; 17]), &day));
                    known.insert((*n, day.day), day);
                }
                write(&store, changes).await;
            }
            for from in 0..12 {
                for to in from..12 {
                    let mut expected: BTreeMap<DeviceUuid, DeviceSums> = BTreeMap::new();
                    let within = known.iter().filter(|((_, d), _)| (FIRST + from..=FIRST + to).contains(d));
                    for device in within.flat_map(|(_, day)| &day.devices) {
                        let entry = expected.entry(device.uuid).or_default();
                        *entry = entry.plus(&device.sums);
                    }
                    let found = asked(&store, (FIRST + from, FIRST + to), By::Device).await;
                    let found: BTreeMap<_, _> = found.iter().map(|(k, a, _)| (k.device.unwrap(), a.sums)).collect();
                    assert_eq!(found, expected, "days {from} to {to}");
                }
            }
        });
    }
}

#[tokio::test]
async fn a_year_of_many_days_is_asked_of_three_rows_of_each_node() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    write(&store, vec![Change::Node(Box::new(node(1, "harbour-1")))]).await;
    let days: Vec<NodeDay> = (0..365)
        .map(|d| day_of(FIRST + d, &[(1, 1_000_000), (2, 500_000)]))
        .collect();
    write(&store, days.iter().map(|d| change(NodeId([1; 17]), d)).collect()).await;
    let rows = store.period(FIRST + 10, FIRST + 364, None).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].later.as_ref().map(|r| r.day), Some(FIRST + 363));
    assert_eq!(rows[0].earlier.as_ref().map(|r| r.day), Some(FIRST + 9));
    assert_eq!(rows[0].open.as_ref().map(|d| d.day), Some(FIRST + 364));
    let found = asked(&store, (FIRST, FIRST + 364), By::Site).await;
    assert_eq!((found.len(), found[0].1.devices), (1, 2));
    assert_eq!(found[0].1.sums.lower, MicroTppHours(365 * 1_500_000));
    // An hour of each day was reported, the rest counts at peak: 1,000 TPP-hours in an hour.
    let peak = MicroTppHours(2 * 365 * 24 * 3_600_000_000);
    assert_eq!(found[0].1.capacity, peak);
    assert_eq!(
        found[0].1.upper(),
        Some(MicroTppHours(2 * 365 * 1_500_000 + 2 * 365 * 23 * 3_600_000_000))
    );
}

#[tokio::test]
async fn what_came_under_a_revoked_key_counts_as_silence() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let mut revoked = node(1, "harbour-1");
    revoked.revoked_from = Some(start(FIRST + 1));
    revoked.revoked_at = revoked.revoked_from;
    let days = [0, 1, 2].map(|d| change(revoked.id, &day_of(FIRST + d, &[(1, 1_000_000)])));
    write(&store, vec![Change::Node(Box::new(revoked))]).await;
    write(&store, days.to_vec()).await;
    let found = asked(&store, (FIRST, FIRST + 2), By::Node).await;
    let all = &found[0].1;
    assert_eq!((all.sums.lower, all.sums.reports), (MicroTppHours(1_000_000), 12));
    assert_eq!(all.silent_ms, (3 * 24 - 1) * 3_600_000);
    assert_eq!(all.upper(), Some(MicroTppHours(2_000_000 + 71 * 3_600_000_000)));
}

#[tokio::test]
async fn a_day_that_comes_late_counts_after_a_batch_that_failed_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(directory.path()).await;
    let of = |day: i64, amount| change(NodeId([1; 17]), &day_of(FIRST + day, &[(1, amount)]));
    write(
        &store,
        vec![Change::Node(Box::new(node(1, "harbour-1"))), of(3, 1)],
    )
    .await;
    let elsewhere = (9, merkle::empty_root());
    let moved = Batch {
        before: elsewhere,
        after: (10, merkle::empty_root()),
        entries: Vec::new(),
        tiles: Vec::new(),
        changes: vec![of(8, 1)],
    };
    let lower =
        async |store: &SqliteStore| asked(store, (FIRST, FIRST + 9), By::Site).await[0].1.sums.lower.0;
    assert!(store.commit(moved).await.is_err());
    // The day of the batch that failed is not the newest: the fourth day still is, and is closed by a fifth.
    write(&store, vec![of(2, 10)]).await;
    write(&store, vec![of(4, 100)]).await;
    assert_eq!(lower(&store).await, 111);
    drop(store);
    store = SqliteStore::open(&directory.path().join("compute.db"))
        .await
        .unwrap();
    write(&store, vec![of(3, 1_000)]).await;
    assert_eq!(lower(&store).await, 1_110);
}

#[tokio::test]
async fn what_is_damaged_of_one_node_is_said_and_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let nodes = [1, 2].map(|n| node(n, "harbour-1"));
    write(&store, nodes.clone().map(|n| Change::Node(Box::new(n))).to_vec()).await;
    for day in 0..3 {
        let days = nodes
            .iter()
            .map(|n| change(n.id, &day_of(FIRST + day, &[(n.id.0[0], 1_000_000)])));
        write(&store, days.collect()).await;
    }
    let damaged = Change::Day(DayRow {
        node: nodes[0].id,
        day: FIRST + 1,
        body: b"damaged".to_vec(),
    });
    write(&store, vec![damaged]).await;
    let found = asked(&store, (FIRST, FIRST + 2), By::Site).await;
    assert_eq!((found[0].2, found[0].1.devices), (1, 2));
    assert_eq!(found[0].1.sums.lower, MicroTppHours(5_000_000));
    let before = asked(&store, (FIRST, FIRST), By::Site).await;
    assert_eq!(before[0].2, 0, "the day before is whole");
}

#[tokio::test]
async fn a_group_is_by_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let nodes = [node(1, "harbour-1"), node(2, "harbour-2")];
    write(&store, nodes.clone().map(|n| Change::Node(Box::new(n))).to_vec()).await;
    // Device 7 moved from the first node to the second.
    write(
        &store,
        vec![
            change(nodes[0].id, &day_of(FIRST, &[(7, 1), (8, 2)])),
            change(nodes[1].id, &day_of(FIRST + 1, &[(7, 4), (9, 8)])),
        ],
    )
    .await;
    let lower =
        |found: &[(Key, Aggregate, usize)]| found.iter().map(|g| g.1.sums.lower.0).collect::<Vec<_>>();
    let days = (FIRST, FIRST + 1);
    assert_eq!(lower(&asked(&store, days, By::Site).await), [3, 12]);
    assert_eq!(lower(&asked(&store, days, By::Node).await), [3, 12]);
    let text = format!(
        "licence_id = \"L-1\"\nserial = 1\nissuer = \"I\"\nconsignee = \"C\"\nvalid_from = 2024-01-01\nvalid_to = 2030-01-01\n\
         ruleset_id = \"contract-only\"\nsite_ids = [\"harbour-1\", \"harbour-2\"]\n\
         [[device]]\nuuid = \"{}\"\nsite = \"harbour-1\"\n[[device]]\nuuid = \"{}\"\nsite = \"harbour-2\"\n",
        DeviceUuid([7; 16]).nvml(),
        DeviceUuid([9; 16]).nvml()
    );
    let licences = [Licence::parse(&text).unwrap()];
    let found = weigh(&store, days, start(FIRST + 2), None, By::Licence, &licences)
        .await
        .unwrap();
    let mut out = Vec::new();
    found.write(By::Licence, FIRST + 1, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    // Device 7 stands on the manifest of the first site alone; what it did at the other is on none.
    assert_eq!(lower(&found.groups), [6, 9], "{text}");
    assert!(text.contains(" on no manifest   between 0 and 252,001"), "{text}");
    assert!(text.contains(" licence L-1   between 0 and 252,001"), "{text}");
    assert!(text.contains("from counters, coverage 2.77 %"), "{text}");
    assert!(text.contains("none of it attributed to a tenant"), "{text}");
}

/// The same of the first device, held by these tenants for so many minutes each, and busy half of that.
fn held(mut day: NodeDay, tenants: &[(u8, u64)]) -> NodeDay {
    let kept = tenants.iter().map(|(n, minutes)| TenantTotal {
        tenant: TenantPseudonym([*n; 16]),
        sums: TenantSums {
            attributed_ms: minutes * 60_000,
            busy_ms: minutes * 30_000,
            lower: MicroTppHours(u128::from(*minutes) * 1_000_000),
            upper: MicroTppHours(u128::from(*minutes) * 3_000_000),
            unconditional: MicroTppHours(u128::from(*minutes) * 60_000_000),
            ..TenantSums::default()
        },
    });
    day.devices[0].sums.attributed_busy_ms = tenants.iter().map(|(_, minutes)| minutes * 30_000).sum();
    day.tenants = Some(Box::new(TenantTotals {
        kept: kept.collect(),
        others: None,
    }));
    day
}

fn told(found: &Weighed, by: By) -> (Value, String) {
    let mut out = Vec::new();
    found.write(by, FIRST + 2, &mut out).unwrap();
    (found.value(by), String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn tenants_are_added_up_over_the_days_and_nodes_of_a_site() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path()).await;
    let mut nodes = [node(1, "harbour-1"), node(2, "harbour-1"), node(3, "harbour-2")];
    // What came of the third under a key that was revoked by then is nobody's word.
    nodes[2].revoked_from = Some(start(FIRST + 1));
    nodes[2].revoked_at = nodes[2].revoked_from;
    write(&store, nodes.clone().map(|n| Change::Node(Box::new(n))).to_vec()).await;
    for (node, day, tenants) in [
        (0, 0, &[(7, 60)][..]),
        (0, 1, &[(7, 20), (9, 10)]),
        (1, 1, &[(7, 40)]),
        (1, 2, &[(9, 20)]),
        (2, 0, &[(7, 5)]),
        (2, 2, &[(7, 50)]),
    ] {
        let device = u8::try_from(node).unwrap() + 1;
        let day = held(day_of(FIRST + day, &[(device, 1_000)]), tenants);
        write(&store, vec![change(nodes[node].id, &day)]).await;
    }
    let days = (FIRST + 1, FIRST + 2);
    let found = weigh(&store, days, start(FIRST + 3), None, By::Tenant, &[])
        .await
        .unwrap();
    let (json, text) = told(&found, By::Tenant);
    let groups = json["groups"].as_array().unwrap();
    let rows: Vec<_> = groups
        .iter()
        .map(|g| {
            (
                g["site"].as_str().unwrap(),
                g["tenant"].as_str(),
                g["nodes"].as_u64(),
                g["busy_s"].as_u64(),
            )
        })
        .collect();
    let (seven, nine) = ("07".repeat(16), "09".repeat(16));
    assert_eq!(
        rows,
        [
            ("harbour-1", Some(seven.as_str()), Some(2), Some(1_800)),
            ("harbour-1", Some(nine.as_str()), Some(2), Some(900)),
            ("harbour-1", None, None, Some(3 * 1_800 - 2_700)),
            ("harbour-2", None, None, Some(0)),
        ],
        "{text}"
    );
    assert_eq!(groups[0]["tpp_hours"]["lower"], "60.000000");
    assert_eq!(groups[0]["tpp_hours"]["upper"], "180.000000");
    assert!(
        text.contains(&format!(
            "tenant {seven}   between 60 and 180 TPP-hours, busy for 0 of 1 GPU-hours on 2 nodes"
        )),
        "{text}"
    );
    let sites = weigh(&store, (FIRST, FIRST + 2), start(FIRST + 3), None, By::Site, &[])
        .await
        .unwrap();
    let (json, text) = told(&sites, By::Site);
    let site = &json["groups"][0];
    assert_eq!(
        (site["tenants"].as_u64(), site["busy_s"].as_u64()),
        (Some(2), Some(7_200))
    );
    assert_eq!(site["unattributed_busy_s"], 7_200 - 75 * 60);
    assert!(
        text.contains("busy for 2 GPU-hours, 1 of it attributed to 2 tenants"),
        "{text}"
    );
    let devices = weigh(&store, (FIRST, FIRST), start(FIRST + 1), None, By::Device, &[])
        .await
        .unwrap();
    let (json, _) = told(&devices, By::Device);
    assert_eq!(
        (
            &json["groups"][0]["unattributed_busy_s"],
            &json["groups"][0]["tenants"]
        ),
        (&json!(0), &Value::Null)
    );
}
