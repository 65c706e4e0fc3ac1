use super::super::sealing::MAX_UNSTORED;
use super::super::tests::{Node, inventory, run, tick};
use super::super::*;
use super::*;
use weighbridge::bounded::MAX_BUNDLE;
use weighbridge::cbor::Bytes;
use weighbridge::hardware::nvidia::MAX_REPORT;
use weighbridge::id::{BootId, ChainId, Challenge, DeviceUuid};
use weighbridge::report::{NvidiaEvidence, Successor};
use weighbridge::telemetry::{AcceleratorIdentity, DeviceSample};

/// A round on the report at the head, as the service begins one.
fn round(reporter: &Reporter, challenge: u8, seconds: f64) -> RoundClaims {
    let frozen = reporter.freeze().unwrap().unwrap();
    let at = BootNanos((seconds * 1e9) as u64);
    RoundClaims {
        challenge: Challenge([challenge; 32]),
        chain: frozen.link.chain,
        sequence: frozen.link.sequence,
        digest: frozen.link.digest,
        covers_to: frozen.covers_to,
        begun: at,
        ended: at,
    }
}

/// What each device that the reporter knows answers: a report and a chain of these sizes.
fn answers(reporter: &Reporter, report: usize, chain: usize) -> Vec<(Attestee, Answer)> {
    let evidence = NvidiaEvidence {
        report: Bytes(vec![0xa5; report]),
        chain: Bytes(vec![b'-'; chain]),
    };
    let attestees = reporter.attestees().into_iter();
    attestees
        .map(|(device, known)| {
            let answer = known.map_or_else(|| Answer::Evidence(evidence.wrap()), Answer::None);
            (device, answer)
        })
        .collect()
}

#[test]
fn a_round_rides_in_the_first_report_after_it_and_in_no_other() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    assert_eq!(
        reporter.freeze().unwrap(),
        None,
        "there is no report to freeze yet"
    );
    run(&node, &mut reporter, 1..302);
    let frozen = reporter.freeze().unwrap().unwrap();
    let claims = round(&reporter, 7, 301.0);
    // The devices are asked while sampling goes on, past the end of the next report.
    run(&node, &mut reporter, 302..603);
    reporter.hold(claims.clone(), answers(&reporter, 4_000, 3_000));
    run(&node, &mut reporter, 603..1_203);
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 4);
    let carried: Vec<_> = reports
        .iter()
        .map(|r| r.claims().report.round.is_some())
        .collect();
    assert_eq!(carried, [false, false, true, false]);

    // It covers the reports up to the frozen one, which is not the one before its carrier here.
    assert_eq!(
        (frozen.link.sequence, frozen.link.digest),
        (1, reports[0].digest())
    );
    assert_eq!(frozen.covers_to, reports[0].claims().report.time.end);
    let said = reports[2].claims().report.round.as_ref().unwrap();
    assert_eq!(*said, claims);
    assert_eq!(
        (said.chain, said.digest),
        (frozen.link.chain, reports[0].digest())
    );
    // The nonce follows from what the report says, the verifier's id and the node's key.
    let binding = Binding {
        verifier: VerifierId([3; 32]),
        challenge: said.challenge,
        key: node.key.signer.public_key().id(),
        chain: said.chain,
        sequence: said.sequence,
        report: said.digest,
    };
    assert_eq!(reporter.nonce(&claims), binding.nonce());
    let evidence: Vec<_> = reports[2].evidence().collect();
    assert_eq!(evidence.len(), 1);
    assert_eq!(evidence[0].attester, Attester::Gpu);
    assert_eq!(evidence[0].device, Some(DeviceUuid([5; 16])));
    assert!(matches!(evidence[0].answer, Answer::Evidence(_)));
    assert_ne!(evidence[0].salt, [0; 16]);
}

#[test]
fn a_round_that_ends_after_a_report_does_not_ride_in_it() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..600);
    // The report ends at 600 s, and is not closed yet.
    reporter.hold(round(&reporter, 7, 600.5), answers(&reporter, 9, 9));
    reporter.advance(node.now(602.6)).unwrap();
    run(&node, &mut reporter, 603..902);
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 3);
    let second = &reports[1].claims().report;
    assert!(second.time.end < BootNanos(600_500_000_000) && second.round.is_none());
    assert!(reports[2].claims().report.round.is_some());
}

#[test]
fn a_report_of_another_boot_is_not_frozen() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..302);
    assert!(reporter.freeze().unwrap().is_some());
    // The agent is started again: the report before is of this boot.
    let mut reporter = node.reporter(&spool, 310.0);
    assert!(reporter.freeze().unwrap().is_some());
    reporter.facts.boot_id = BootId([10; 16]);
    assert_eq!(reporter.freeze().unwrap(), None);
}

#[test]
fn a_device_that_hangs_is_not_asked_again() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    assert_eq!(reporter.attestees()[0].1, None);
    reporter.sampler_restarted(Some(0));
    assert_eq!(reporter.attestees()[0].1, Some(NoEvidence::Hung));
}

#[test]
fn a_round_on_a_chain_that_was_begun_anew_is_left_out() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..302);
    reporter.hold(round(&reporter, 7, 301.0), answers(&reporter, 9, 9));
    run(&node, &mut reporter, 302..602);
    assert!(node.reports(&spool)[1].claims().report.round.is_some());
    // One is sealed and waits, one is held: the verifier holds another chain of this node.
    reporter.hold(round(&reporter, 8, 601.0), answers(&reporter, 9, 9));
    let successor = Successor {
        chain: ChainId([1; 16]),
        sequence: 9,
        digest: Digest([2; 32]),
    };
    let key = node.key.signer.as_ref();
    let reseal = |bundle: &[u8], place: &_| crate::draft::reseal(bundle, place, key);
    spool.begin_chain(successor, &Entropy::system(), reseal).unwrap();
    run(&node, &mut reporter, 602..903);
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 3);
    for report in &reports {
        assert_eq!(report.claims().report.round, None);
        assert_eq!(report.evidence().count(), 0);
    }
    // The next one is of the new chain.
    let claims = round(&reporter, 9, 903.0);
    assert_eq!((claims.sequence, claims.digest), (3, reports[2].digest()));
    reporter.hold(claims, answers(&reporter, 9, 9));
    run(&node, &mut reporter, 903..1_203);
    assert!(node.reports(&spool)[3].claims().report.round.is_some());
}

#[test]
fn a_round_outlives_a_full_disk() {
    let node = Node::new();
    let (spool, full) = crate::spool::tests::Disk::spool();
    let spool = Arc::new(spool);
    let mut reporter = node.reporter(&spool, 0.0);
    reporter.frame(&inventory(), node.now(0.1)).unwrap();
    run(&node, &mut reporter, 1..302);
    let claims = round(&reporter, 7, 301.0);
    reporter.hold(claims.clone(), answers(&reporter, 9, 9));
    full.store(true, std::sync::atomic::Ordering::Relaxed);
    // Longer than memory holds reports: the one that would have carried it goes, and another carries it.
    for second in 302..302 + 300 * 18 {
        let at = f64::from(second) + 0.002;
        reporter.frame(&tick(at), node.now(at)).ok();
        reporter.advance(node.now(at)).ok();
    }
    assert_eq!(reporter.unstored(), MAX_UNSTORED);
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    run(&node, &mut reporter, 5_702..5_730);
    let reports = node.reports(&spool);
    assert_eq!(reports.len(), 1 + MAX_UNSTORED);
    let carriers: Vec<_> = reports
        .iter()
        .filter_map(|r| r.claims().report.round.as_ref())
        .collect();
    assert_eq!(carriers, [&claims]);
}

#[test]
fn the_largest_round_of_the_largest_host_is_a_report_that_a_verifier_takes() {
    let node = Node::new();
    let spool = node.spool();
    let mut reporter = node.reporter(&spool, 0.0);
    let mut frame = inventory();
    let devices = &mut frame.inventory.as_mut().unwrap().devices;
    let most = u16::try_from(crate::devices::MAX_DEVICES).unwrap();
    let one = devices[0].clone();
    *devices = (0..most)
        .map(|index| AcceleratorIdentity {
            index,
            uuid: DeviceUuid([index as u8; 16]),
            ..one.clone()
        })
        .collect();
    reporter.frame(&frame, node.now(0.1)).unwrap();
    let tick_of_all = |second: f64| {
        let mut frame = tick(second);
        let samples = &mut frame.tick.as_mut().unwrap().devices;
        let one = samples[0].clone();
        *samples = (0..most)
            .map(|device| DeviceSample {
                device,
                ..one.clone()
            })
            .collect();
        frame
    };
    for second in 1..602 {
        if second == 301 {
            let answers = answers(&reporter, MAX_REPORT, NvidiaEvidence::MAX_CHAIN);
            reporter.hold(round(&reporter, 7, 301.0), answers);
        }
        let at = f64::from(second) + 0.002;
        reporter.frame(&tick_of_all(at), node.now(at + 0.01)).unwrap();
    }
    let (entry, bundle) = spool.latest().unwrap().unwrap();
    assert_eq!(entry.sequence, 2);
    assert_eq!(
        OpenedReport::open(&bundle).unwrap().evidence.len(),
        usize::from(most)
    );
    assert!(bundle.len() < MAX_BUNDLE, "{} bytes", bundle.len());
}
