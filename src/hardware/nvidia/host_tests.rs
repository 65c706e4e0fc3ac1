//! Real hosts, and the envelopes in which their evidence was published.

use super::*;

/// The members of a host by the names of its reports.
fn members(dir: &Path, ids: impl Iterator<Item = String>) -> Vec<topology::Member> {
    ids.map(|id| {
        let chain = chain(dir, &id).content.unwrap();
        let identity = chain.verify(&DEVICE_ROOT, then(), &mut Links::default()).unwrap();
        let report = Report::parse(&read(&dir.join(format!("reports/{id}.bin")))).unwrap();
        topology::Member {
            name: id,
            identity,
            arch: chain.arch().unwrap(),
            report,
        }
    })
    .collect()
}

#[test]
fn a_real_host_is_whole_and_a_missing_foreign_or_repeated_member_is_named() {
    let Some(dir) = data() else { return };
    let gpus = (0..8).map(|i| format!("hopper-ppcie-590.12-{i}"));
    let switches = (0..4).map(|i| format!("ls10-sw-96.10.73.00.01-{i}"));
    let whole = members(&dir, gpus.chain(switches));
    let host = topology::host(&whole);
    assert!(host.steps().iter().all(|(_, s)| s.passed()), "{host:?}");
    assert_eq!(consensus::outliers(&whole), []);

    let mut fewer = whole.clone();
    let gone = fewer.remove(3).identity.pdi.to_string();
    let why = topology::host(&fewer).topology;
    assert!(
        why.why().unwrap().contains(&format!("GPU {gone} is missing")),
        "{why:?}"
    );

    let mut without_switch = whole.clone();
    let gone = without_switch.pop().unwrap().identity.pdi.to_string();
    let why = topology::host(&without_switch).topology;
    assert!(
        why.why().unwrap().contains(&format!("switch {gone} is missing")),
        "{why:?}"
    );

    let mut swapped = whole.clone();
    swapped.pop();
    swapped.extend(members(&dir, ["ls10-sw-96.10.55.00.01-0".to_owned()].into_iter()));
    let host = topology::host(&swapped);
    assert!(
        host.topology
            .why()
            .unwrap()
            .contains("ls10-sw-96.10.55.00.01-0 is foreign"),
        "{host:?}"
    );
    assert_eq!(host.one_nonce.word(), "fail");

    let mut again = whole.clone();
    again.extend(members(&dir, ["hopper-ppcie-590.12-8".to_owned()].into_iter()));
    let host = topology::host(&again);
    assert_eq!(
        (host.distinct.word(), host.one_nonce.word()),
        ("fail", "fail"),
        "{host:?}"
    );

    let alone = topology::host(&whole[..8]);
    assert_eq!(alone.topology.word(), "not checked", "{alone:?}");
    let switches = topology::host(&whole[8..]).topology;
    assert_eq!(switches.why(), Some("no GPU is among the devices"));

    // 61 is a Blackwell's own, and 10 a switch's, and of no other.
    for (member, index, name) in [
        (5, 20, Some("hopper-ppcie-590.12-5")),
        (5, 61, Some("hopper-ppcie-590.12-5")),
        (9, 10, None),
        (9, 12, Some("ls10-sw-96.10.73.00.01-1")),
    ] {
        let mut altered = whole.clone();
        altered[member].report.blocks[usize::from(index)].value[0] ^= 1;
        let common = |m: &topology::Member| consensus::common(m.arch, &m.report);
        let differs = common(&altered[member]) != common(&whole[member]);
        assert_eq!(differs, name.is_some(), "{member} at {index}");
        let found: Vec<_> = consensus::outliers(&altered)
            .into_iter()
            .map(|o| (o.name, o.indices))
            .collect();
        let expected: Vec<_> = name.map(|n| (n.to_owned(), vec![index])).into_iter().collect();
        assert_eq!(found, expected, "{member} at {index}");
    }
}

#[test]
fn published_envelopes_hold_the_reports_that_they_were_made_of() {
    let Some(dir) = data() else { return };
    let count = |file: &str| {
        Evidence::read(&read(&dir.join("original").join(file)))
            .unwrap()
            .len()
    };
    assert_eq!(count("ppcie_590.12_gpu_evidence.json"), 8);
    assert_eq!(count("ppcie_590.12_switch_evidence.json"), 4);
    for evidence in Evidence::read(&read(&dir.join("original/multi_gpu_hopper.json"))).unwrap() {
        Report::parse(&evidence.report).unwrap();
        DeviceChain::parse(&evidence.chain).unwrap();
    }
    assert!(Evidence::read(b"{}").is_err());
    assert!(Evidence::read(br#"[{"evidence":"*","certificate":""}]"#).is_err());
}
