//! Sums of a device: how they are written, and what they take of a report.

use super::*;
use crate::cbor;

#[test]
fn amounts_are_read_back_and_written_in_one_way_only() {
    let sums = DeviceSums {
        reports: 288,
        expected_ms: u64::MAX,
        lower: MicroTppHours(u128::MAX),
        energy: Millijoules(1),
        ..DeviceSums::default()
    };
    let bytes = cbor::encode(&sums);
    assert_eq!(cbor::decode_strict::<DeviceSums>(&bytes).as_ref(), Ok(&sums));
    let zero = cbor::encode(&DeviceSums::default());
    assert!(zero.len() < 40, "{}", zero.len());
    // A leading zero, a cut end, a number too many, and one too large for its unit.
    let mut padded = zero.clone();
    padded.splice(2..3, [1, 0]);
    padded[1] += 1;
    for wrong in [
        &padded[..],
        &zero[..zero.len() - 1],
        &[zero.as_slice(), &[0]].concat(),
    ] {
        assert!(cbor::decode_strict::<DeviceSums>(wrong).is_err(), "{wrong:02x?}");
    }
    let mut large = zero;
    large.splice(2..3, [9, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    large[1] += 9;
    assert!(cbor::decode_strict::<DeviceSums>(&large).is_err());
}

#[test]
fn amounts_that_came_later_are_left_out_from_where_they_are_zero() {
    let none = cbor::encode(&DeviceSums::default());
    let some = DeviceSums {
        weak_ms: 300,
        ..DeviceSums::default()
    };
    let bytes = cbor::encode(&some);
    // Two zeros before it, and two bytes of its own after their count.
    assert_eq!(bytes.len(), none.len() + 5);
    assert_eq!(cbor::decode_strict::<DeviceSums>(&bytes), Ok(some));
    let mut longer = bytes;
    longer.push(0);
    longer[1] += 1;
    assert!(
        cbor::decode_strict::<DeviceSums>(&longer).is_err(),
        "a zero at the end"
    );
}

/// Five minutes of which two were busy, with these levels, of which samples cover so much.
fn levelled(levels: Option<[u32; 4]>, covered_ms: u32) -> DeviceSums {
    let mut claims = crate::appraisal::fixture::gpu(1);
    claims.delivered.covered_ms = covered_ms;
    claims.delivered.measured.busy_ms = crate::telemetry::Reading::Value(120_000);
    claims.delivered.workload.levels = levels.map(|[a, b, c, d]| LevelTimes {
        ruled_out_ms: a,
        weak_ms: b,
        candidate_ms: c,
        established_ms: d,
    });
    DeviceSums::of(&claims, 300_000)
}

fn levels(sums: &DeviceSums) -> [u64; 5] {
    [
        sums.ruled_out_ms,
        sums.weak_ms,
        sums.candidate_ms,
        sums.established_ms,
        sums.unlevelled_ms(),
    ]
}

#[test]
fn busy_time_without_a_level_is_untold_and_no_more_has_one_than_was_busy() {
    let cases: [(Option<[u32; 4]>, [u64; 5]); 6] = [
        (None, [0, 0, 0, 0, 120_000]),
        (Some([0; 4]), [0, 0, 0, 0, 120_000]),
        (
            Some([40_000, 10_000, 20_000, 50_000]),
            [40_000, 10_000, 20_000, 50_000, 0],
        ),
        (Some([0, 0, 0, 120_000]), [0, 0, 0, 120_000, 0]),
        // Twice as much as there is: neither end gains by it.
        (Some([120_000, 0, 0, 120_000]), [0, 0, 0, 0, 120_000]),
        (Some([u32::MAX; 4]), [0, 0, 120_000, 0, 0]),
    ];
    for (told, taken) in cases {
        let sums = levelled(told, 120_000);
        assert_eq!((levels(&sums), sums.busy_unknown_ms), (taken, 0), "{told:?}");
    }
}

#[test]
fn busy_time_that_was_read_in_part_is_not_taken_for_the_whole() {
    // Levels tell of more than the two minutes that were read: how much of the rest was busy, nobody knows.
    let cases: [([u32; 4], [u64; 5], u64); 6] = [
        ([0, 0, 300_000, 0], [0, 0, 300_000, 0, 0], 180_000),
        ([300_000, 0, 0, 0], [300_000, 0, 0, 0, 0], 180_000),
        // Of training, what must lie within these two minutes is sure.
        ([0, 0, 0, 300_000], [0, 0, 180_000, 120_000, 0], 180_000),
        ([0, 50_000, 100_000, 50_000], [0, 50_000, 150_000, 0, 0], 80_000),
        ([200_000, 0, 0, 100_000], [200_000, 0, 100_000, 0, 0], 180_000),
        // More than samples cover: neither end gains by it.
        ([300_000, 0, 0, 300_000], [0, 0, 0, 0, 300_000], 180_000),
    ];
    for (told, taken, unknown_ms) in cases {
        let sums = levelled(Some(told), 300_000);
        assert_eq!(levels(&sums), taken, "{told:?}");
        assert_eq!(
            (sums.busy_ms, sums.busy_unknown_ms),
            (120_000, unknown_ms),
            "{told:?}"
        );
    }
}
