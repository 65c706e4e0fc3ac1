//! One encoding for each report, and no byte of it without meaning.

use super::{bundle, bundle_with_round, key, place, signed, with_tenants};
use proptest::prelude::*;
use weighbridge::cbor;
use weighbridge::crypto::Signer;
use weighbridge::id::{Digest, TenantPseudonym};
use weighbridge::report::{Bundle, EnvelopeError, OpenedReport, SubmoduleDigest, Submodules, TenantList};
use weighbridge_testbed::fixture;

#[test]
fn no_single_byte_of_a_report_can_be_changed_unnoticed() {
    let (bytes, key) = bundle(2);
    let public = key.public_key();
    OpenedReport::open(&bytes).unwrap().verify(public).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x01;
        let survived = OpenedReport::open(&altered)
            .and_then(|r| r.verify(public))
            .is_ok();
        assert!(!survived, "byte {at} was changed, and the report still verified");
    }
}

#[test]
fn a_submodule_may_be_withheld_from_a_third_party_but_not_from_intake() {
    let (bytes, key) = bundle(3);
    let mut parts: Bundle = cbor::decode_strict(&bytes).unwrap();
    parts.detached.retain(|(name, _)| name != "gpu-1");
    let shown = cbor::encode(&parts);
    assert_eq!(
        OpenedReport::open(&shown),
        Err(EnvelopeError::Submodule { name: "gpu-1".into() })
    );
    let opened = OpenedReport::open_disclosed(&shown).unwrap();
    assert_eq!(opened.accelerators.iter().filter(|a| a.is_some()).count(), 2);
    assert_eq!(opened.verify(key.public_key()).unwrap().accelerators().count(), 2);
}

#[test]
fn an_answer_of_a_round_may_be_withheld_from_a_third_party_and_not_be_replaced() {
    let (bytes, key) = bundle_with_round(2);
    let whole: Bundle = cbor::decode_strict(&bytes).unwrap();
    let missing = |name: &str| Err(EnvelopeError::Submodule { name: name.into() });

    let mut parts = whole.clone();
    parts.detached.retain(|(name, _)| name != "evidence-0");
    let shown = cbor::encode(&parts);
    assert_eq!(OpenedReport::open(&shown), missing("evidence-0"));
    let opened = OpenedReport::open_disclosed(&shown).unwrap();
    assert_eq!(opened.verify(key.public_key()).unwrap().evidence().count(), 1);

    let mut parts = whole;
    let place = |name: &str| parts.detached.iter().position(|(n, _)| n == name).unwrap();
    let (first, second) = (place("evidence-0"), place("evidence-1"));
    parts.detached[first].1 = parts.detached[second].1.clone();
    assert_eq!(OpenedReport::open(&cbor::encode(&parts)), missing("evidence-0"));
}

#[test]
fn the_names_of_as_many_submodules_as_there_may_be_stand_in_deterministic_order() {
    let mut token = fixture::token(&place(), 0);
    token.submods.accelerators = vec![SubmoduleDigest(Digest([1; 32])); Submodules::MAX_ACCELERATORS];
    token.submods.evidence = vec![SubmoduleDigest(Digest([2; 32])); Submodules::MAX_EVIDENCE];
    let bytes = cbor::encode(&token.submods);
    let mut d = cbor::Decoder::new(&bytes);
    let names: Vec<&str> = (0..d.map().unwrap().unwrap())
        .map(|_| {
            let name = d.str().unwrap();
            d.skip().unwrap();
            name
        })
        .collect();
    assert_eq!(names.len(), 161);
    assert!(names.is_sorted_by_key(|name| (name.len(), *name)), "{names:?}");
    assert_eq!(cbor::decode_strict(&bytes).as_ref(), Ok(&token.submods));
}

#[test]
fn answers_without_a_round_are_refused() {
    let token = fixture::token(&place(), 1);
    let (bytes, _) = signed(token, 1, vec![fixture::answer(0, None)]);
    let name = "evidence-0".into();
    assert_eq!(OpenedReport::open(&bytes), Err(EnvelopeError::Submodule { name }));
}

#[test]
fn a_tenant_that_the_host_does_not_list_is_refused() {
    let open = |token, accelerators: Vec<_>| {
        let (bytes, _) = weighbridge::report::sign(token, accelerators, Vec::new(), &key()).unwrap();
        OpenedReport::open(&bytes).map(|_| ())
    };
    let stray = Err(EnvelopeError::Tenant { name: "gpu-0".into() });
    let (token, accelerators) = with_tenants();
    assert_eq!(open(token.clone(), accelerators.clone()), Ok(()));
    let mut without = token.clone();
    without.submods.host.host.tenants = None;
    assert_eq!(open(without, accelerators.clone()), stray);
    let mut one = token;
    one.submods.host.host.tenants = TenantList::of(vec![TenantPseudonym([0x7e; 16])]);
    assert_eq!(open(one, accelerators), stray);
}

#[test]
fn claims_of_another_device_do_not_pass_for_those_that_were_signed() {
    let (bytes, _) = bundle(2);
    let mut parts: Bundle = cbor::decode_strict(&bytes).unwrap();
    let (first, second) = (parts.detached[0].1.clone(), parts.detached[1].1.clone());
    parts.detached[0].1 = second;
    parts.detached[1].1 = first;
    assert_eq!(
        OpenedReport::open(&cbor::encode(&parts)),
        Err(EnvelopeError::Submodule { name: "gpu-0".into() })
    );
}

#[test]
fn a_report_of_another_profile_is_refused_as_such_before_its_fields_are_read() {
    let key = key();
    let mut claims = fixture::token(&place(), 1);
    claims.profile = "tag:weighbridge.example,2026:report/9".into();
    let (bytes, _) =
        weighbridge::report::sign(claims, fixture::accelerators(1, 300), Vec::new(), &key).unwrap();
    assert!(
        matches!(OpenedReport::open(&bytes), Err(EnvelopeError::Profile { found }) if found.ends_with("/9"))
    );
}

#[test]
fn a_malleable_signature_gives_the_same_statement_and_digest() {
    let (bytes, key) = bundle(1);
    let mut parts: Bundle = cbor::decode_strict(&bytes).unwrap();
    let before = parts.token.digest();
    parts.token.signature = fixture::other_signature(&parts.token.signature);
    let twin = cbor::encode(&parts);
    assert_ne!(twin, bytes);
    let verified = OpenedReport::open(&twin)
        .unwrap()
        .verify(key.public_key())
        .unwrap();
    assert_eq!(
        verified.digest(),
        before,
        "the digest must not cover what anyone can change"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(OpenedReport::open(&bytes).is_err());
    }

    #[test]
    fn a_report_cut_or_spliced_anywhere_never_panics_and_never_verifies(
        cut in 0usize..6000, insert in proptest::collection::vec(any::<u8>(), 1..40)
    ) {
        let (bytes, key) = bundle(2);
        let at = cut % bytes.len();
        let mut spliced = bytes[..at].to_vec();
        spliced.extend(&insert);
        spliced.extend(&bytes[at..]);
        prop_assert!(OpenedReport::open(&bytes[..at]).is_err());
        prop_assert!(OpenedReport::open(&spliced).and_then(|r| r.verify(key.public_key())).is_err());
    }
}
