use super::fixture::{LENGTH, Lab, bus, driver, gpu, hours};
use super::*;
use crate::cbor;
use crate::id::{ChainId, Digest};
use crate::report::{Continuity, Successor};
use crate::telemetry::DeviceState;
use crate::time::{DAY_SECONDS, UnixSeconds};

fn start() -> UnixSeconds {
    UnixSeconds::parse("2026-11-20").unwrap()
}

#[test]
fn the_same_reports_give_the_same_bytes_and_these_are_read_back() {
    let mut lab = Lab::new(1, start());
    let mut again = NodeRecord::new(lab.node);
    for _ in 0..6 {
        let report = lab.make(&[gpu(1), gpu(2)], |_| {});
        let received = lab.wall().plus(5);
        let how = lab.receive(&report, received);
        again.absorb(&report, received, how, None, Some(received.plus(-LENGTH)));
    }
    assert_eq!(lab.record, again);
    let bytes = cbor::encode(&lab.record.facts);
    assert_eq!(bytes, cbor::encode(&again.facts));
    assert_eq!(
        cbor::decode_strict::<NodeFacts>(&bytes).unwrap(),
        lab.record.facts
    );
    let day = lab.record.days.values().next().unwrap();
    let bytes = cbor::encode(day);
    assert_eq!(cbor::decode_strict::<NodeDay>(&bytes).unwrap(), *day);
}

#[test]
fn sums_count_on_the_day_in_which_the_report_ends() {
    let mut lab = Lab::new(1, start().plus(DAY_SECONDS - 450));
    lab.run(3, &[gpu(1)]);
    let days: Vec<_> = lab.record.days.values().collect();
    assert_eq!(days.len(), 2);
    let first = days[0].device(&gpu(1).identity.uuid).unwrap();
    assert_eq!(
        (first.reports, first.covered_ms, first.lower),
        (1, 300_000, hours(10))
    );
    let second = days[1].device(&gpu(1).identity.uuid).unwrap();
    assert_eq!(
        (second.reports, second.expected_ms, second.upper),
        (2, 600_000, hours(40))
    );
}

#[test]
fn unscored_compute_may_all_be_training_and_an_unknown_model_has_no_bound() {
    let mut unscored = gpu(1);
    unscored.delivered.training = None;
    let mut unknown = gpu(2);
    unknown.delivered.compute = None;
    let mut lab = Lab::new(1, start());
    lab.run(1, &[unscored, unknown]);
    let day = lab.record.days.values().next().unwrap();
    let first = day.device(&gpu(1).identity.uuid).unwrap();
    assert_eq!(
        (first.training_lower, first.training_upper),
        (hours(0), hours(20))
    );
    let second = day.device(&gpu(2).identity.uuid).unwrap();
    assert_eq!((second.unbounded_ms, second.upper), (300_000, hours(0)));
}

#[test]
fn a_hole_closes_when_the_late_reports_come_and_their_sums_count() {
    let mut lab = Lab::new(1, start());
    lab.run(1, &[gpu(1)]);
    let late = [lab.make(&[gpu(1)], |_| {}), lab.make(&[gpu(1)], |_| {})];
    lab.run(1, &[gpu(1)]);
    assert_eq!(lab.record.facts.chain.missing_since(start()), 2);
    for report in &late {
        assert_eq!(lab.receive(report, start().plus(9_000)), Continuity::Late);
    }
    assert_eq!(lab.record.facts.chain.missing_since(start()), 0);
    let day = lab.record.days.values().next().unwrap();
    assert_eq!(day.device(&gpu(1).identity.uuid).unwrap().reports, 4);
    // A late report does not become the newest one.
    assert_eq!(lab.record.facts.newest.as_ref().unwrap().end, start().plus(1_200));
    let presence = &lab.record.facts.devices[0].presence;
    assert_eq!(presence.len(), 1, "stretches that touch are one: {presence:?}");
}

#[test]
fn a_repeated_report_changes_nothing_and_a_fork_is_kept_as_proof() {
    let mut lab = Lab::new(1, start());
    lab.run(1, &[gpu(1)]);
    let second = lab.make(&[gpu(1)], |_| {});
    lab.receive(&second, lab.wall());
    let before = lab.record.clone();
    assert_eq!(lab.receive(&second, lab.wall()), Continuity::Repeated);
    assert_eq!(lab.record, before);
    let other = lab.make(&[gpu(1)], |c| {
        c.report.sequence = 2;
        c.report.previous = second.claims().report.previous;
    });
    assert!(matches!(lab.receive(&other, lab.wall()), Continuity::Fork { .. }));
    let fork = &lab.record.facts.chain.forks[0];
    assert_eq!((fork.held, fork.offered), (second.digest(), other.digest()));
    assert_eq!(lab.record.days, before.days, "a fork's sums do not count");
}

#[test]
fn a_new_chain_is_known_by_what_it_cites() {
    let kind = |cite: fn(&Lab) -> Option<Successor>| {
        let mut lab = Lab::new(1, start());
        lab.run(2, &[gpu(1)]);
        let successor = cite(&lab);
        lab.chain = ChainId([0xaa; 16]);
        lab.sequence = 0;
        lab.previous = None;
        let first = lab.make(&[gpu(1)], |c| c.report.successor = successor);
        lab.receive(&first, lab.wall());
        lab.record.facts.chain.openings[0].kind
    };
    assert_eq!(kind(|_| None), OpeningKind::Unexplained);
    let head = |lab: &Lab| {
        Some(Successor {
            chain: lab.chain,
            sequence: lab.sequence,
            digest: lab.previous.unwrap(),
        })
    };
    assert_eq!(kind(head), OpeningKind::Successor);
    let astray = |lab: &Lab| {
        Some(Successor {
            chain: lab.chain,
            sequence: 1,
            digest: Digest([5; 32]),
        })
    };
    assert_eq!(kind(astray), OpeningKind::Astray);
}

#[test]
fn two_holders_of_one_key_are_seen_as_chains_that_interleave() {
    let mut lab = Lab::new(1, start());
    lab.run(2, &[gpu(1)]);
    let (chain, sequence, previous) = (lab.chain, lab.sequence, lab.previous);
    lab.chain = ChainId([0xaa; 16]);
    (lab.sequence, lab.previous) = (0, None);
    lab.run(1, &[gpu(1)]);
    (lab.chain, lab.sequence, lab.previous) = (chain, sequence, previous);
    lab.run(1, &[gpu(1)]);
    let kinds: Vec<_> = lab.record.facts.chain.openings.iter().map(|o| o.kind).collect();
    assert_eq!(kinds, [OpeningKind::Unexplained, OpeningKind::Interleaved]);
}

#[test]
fn clocks_that_run_ahead_go_back_or_slip_leave_their_size() {
    let mut lab = Lab::new(1, start());
    lab.run(1, &[gpu(1)]);
    lab.run_with(1, &[gpu(1)], |c| {
        c.report.time.wall_end = c.report.time.wall_end.plus(7_200);
        c.issued_at = c.issued_at.plus(7_200);
    });
    lab.run(1, &[gpu(1)]);
    let clock = &lab.record.facts.clock;
    let events = &clock.events.kept;
    let size = |kind| events.iter().find(|e| e.kind == kind).map(|e| e.seconds);
    assert_eq!(size(ClockOddity::Ahead), Some(7_195));
    assert_eq!(size(ClockOddity::Slipped), Some(7_200));
    assert_eq!(size(ClockOddity::Back), Some(6_900));
    assert_eq!(
        (&clock.overlaps.kept, &clock.holes.kept),
        (&Vec::new(), &Vec::new())
    );
    // The newest report's end is never later than its receipt.
    assert!(lab.record.facts.newest.as_ref().unwrap().end <= lab.wall().plus(5));
}

#[test]
fn a_node_that_names_new_devices_for_ever_does_not_grow_for_ever() {
    let mut lab = Lab::new(1, start());
    for round in 0..12u8 {
        let devices: Vec<_> = (0..32u8)
            .map(|i| {
                let mut d = gpu(i);
                d.identity.uuid.0[1] = round;
                d
            })
            .collect();
        lab.run(1, &devices);
    }
    assert_eq!(lab.record.facts.devices.len(), 256);
    assert_eq!(lab.record.facts.devices_unkept, 128);
    for i in 0..100u64 {
        lab.run_with(1, &[gpu(1)], |c| {
            c.submods.host.host.bus = vec![bus(u16::try_from(i).unwrap(), 1, 0, DeviceState::Unmanaged)];
            c.report.sequence += 5 * i;
        });
        lab.sequence += 5 * i;
    }
    let facts = &lab.record.facts;
    assert!(facts.strangers.len() <= 32 && facts.chain.gaps.len() <= 32);
    assert_eq!(
        facts.chain.missing_since(start()),
        (0..100).map(|i| 5 * i).sum::<u64>()
    );
    for i in 0..40 {
        lab.record.facts.refuse(&format!("E-{i}"), start());
    }
    assert_eq!(lab.record.facts.refusals.len(), 16);
}

#[test]
fn time_between_two_reports_is_kept_as_a_hole_over_a_boot_too() {
    let mut lab = Lab::new(1, start());
    lab.run(2, &[gpu(1)]);
    lab.sleep(120);
    lab.run(2, &[gpu(1)]);
    lab.sleep(600);
    lab.run_with(1, &[gpu(1)], |c| c.report.boot = crate::id::BootId([8; 16]));
    let holes = &lab.record.facts.clock.holes.kept;
    assert_eq!(holes.len(), 1, "those of one day are one: {holes:?}");
    assert_eq!((holes[0].seconds, holes[0].count), (720, 2));
    // Where reports are missing, the chain counts them.
    let lost = lab.make(&[gpu(1)], |c| c.report.boot = crate::id::BootId([8; 16]));
    drop(lost);
    lab.run_with(1, &[gpu(1)], |c| c.report.boot = crate::id::BootId([8; 16]));
    assert_eq!(lab.record.facts.clock.holes.kept[0].count, 2);
}

#[test]
fn what_is_dropped_for_want_of_room_leaves_its_time() {
    let mut lab = Lab::new(1, start());
    for day in 0..40u64 {
        lab.run(1, &[gpu(1)]);
        lab.run_with(1, &[gpu(1)], |c| {
            let mut other = driver();
            other.library_digest = Digest([u8::try_from(day).unwrap(); 32]);
            c.submods.host.host.driver = Some(other);
            c.report.time.wall_steps = 1;
            c.report.time.wall_step_seconds = 9;
        });
        lab.sleep(86_400);
    }
    let facts = &lab.record.facts;
    let since = |t: Option<UnixSeconds>| t.unwrap().since(start()).div_euclid(DAY_SECONDS);
    assert_eq!(since(facts.clock.events.unkept), 7);
    assert_eq!(facts.clock.overlaps.unkept, None);
    assert!((20..25).contains(&since(facts.libraries_unkept)));
    assert!((22..25).contains(&since(facts.devices[0].presence_unkept)));
}

#[test]
fn facts_of_a_node_stay_small() {
    let devices: Vec<_> = (1..=8).map(gpu).collect();
    let mut lab = Lab::new(1, start());
    lab.run(288, &devices);
    let facts = cbor::encode(&lab.record.facts).len();
    let day = cbor::encode(lab.record.days.values().next().unwrap()).len();
    assert!(
        facts < 4_096 && day < 1_536,
        "{facts} and {day} bytes for eight devices"
    );
}
