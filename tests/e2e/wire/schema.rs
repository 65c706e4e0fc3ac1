//! Real encodings against `docs/report.cddl`.

use super::{bundle, bundle_with_round, key, place, with_tenants};
use minicbor::data::{Token, Type};
use weighbridge::cbor::{self, Wire};
use weighbridge::telemetry::{LossReason, Reading};
use weighbridge_testbed::fixture;

const CDDL: &str = include_str!("../../../docs/report.cddl");

/// Validates `bytes` as the rule `name`.
///
/// The validator knows no tags, so both the schema and the bytes are held against each other without them; the tags themselves
/// are fixed by the golden bytes and demanded by the strict decoder.
fn validate(name: &str, bytes: &[u8]) -> Result<(), String> {
    cddl_cat::validate_cbor_bytes(name, &schema_without_tags(CDDL), &without_tags(bytes))
        .map_err(|e| e.to_string())
}

fn schema_without_tags(cddl: &str) -> String {
    let mut out = cddl.to_owned();
    while let Some(at) = out.find("#6.") {
        let open = at + out[at..].find('(').unwrap();
        let mut depth = 0;
        let close = open
            + out[open..]
                .char_indices()
                .find(|(_, c)| {
                    depth += match c {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    depth == 0
                })
                .unwrap()
                .0;
        out.replace_range(close..=close, "");
        out.replace_range(at..=open, "");
    }
    out
}

/// The same CBOR without tags, also inside byte strings that hold a map.
fn without_tags(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = minicbor::Encoder::new(&mut out);
    for token in minicbor::decode::Tokenizer::new(bytes) {
        match token.unwrap() {
            Token::Tag(_) => {}
            Token::Bytes(inner) if holds_a_map(inner) => {
                e.bytes(&without_tags(inner)).unwrap();
            }
            other => {
                e.encode(other).unwrap();
            }
        }
    }
    out
}

fn holds_a_map(bytes: &[u8]) -> bool {
    let mut d = minicbor::Decoder::new(bytes);
    d.datatype().is_ok_and(|t| t == Type::Map) && d.skip().is_ok() && d.position() == bytes.len()
}

#[test]
fn a_report_is_valid_under_the_published_schema() {
    for gpus in [0, 1, 8, 16] {
        let (bytes, _) = bundle(gpus);
        if let Err(e) = validate("bundle", &bytes) {
            panic!("a bundle of {gpus} does not satisfy docs/report.cddl: {e}");
        }
    }
}

#[test]
fn a_report_that_carries_a_round_is_valid_under_the_published_schema() {
    for gpus in [0, 1, 8, 64] {
        let (bytes, _) = bundle_with_round(gpus);
        if let Err(e) = validate("bundle", &bytes) {
            panic!("a round of {gpus} does not satisfy docs/report.cddl: {e}");
        }
        let opened = weighbridge::report::OpenedReport::open(&bytes).unwrap();
        assert_eq!(opened.evidence.len(), usize::from(gpus));
    }
}

#[test]
fn a_report_that_names_tenants_is_valid_under_the_published_schema() {
    let (token, accelerators) = with_tenants();
    let (bytes, _) = weighbridge::report::sign(token, accelerators, Vec::new(), &key()).unwrap();
    if let Err(e) = validate("bundle", &bytes) {
        panic!("a bundle with tenants does not satisfy docs/report.cddl: {e}");
    }
    weighbridge::report::OpenedReport::open(&bytes).unwrap();
}

#[test]
fn the_schema_refuses_a_field_that_is_not_in_it() {
    let module = weighbridge::report::AcceleratorSubmodule {
        accelerator: fixture::accelerator(0, 300, [0; 16]),
    };
    let good = cbor::encode(&module);
    validate("accelerator-submodule", &good).unwrap();
    // The map of claims has four entries, a4 after the key -70002; make it five and append one.
    let mut more = good;
    let at = more.iter().position(|b| *b == 0xa4).unwrap();
    more[at] = 0xa5;
    4u8.encode(&mut cbor::Encoder::new(&mut more));
    "train-70b".to_owned().encode(&mut cbor::Encoder::new(&mut more));
    validate("accelerator-submodule", &more).unwrap_err();
}

#[test]
fn a_report_of_eight_devices_and_five_minutes_fits_six_kilobytes() {
    let (bytes, _) = bundle(8);
    assert!(bytes.len() <= 6 * 1024, "{} bytes", bytes.len());
    assert_eq!(place().seconds, 300);
}

#[test]
fn a_device_that_was_lost_or_offers_little_is_valid_too() {
    let mut claims = fixture::accelerator(0, 300, [0; 16]);
    claims.delivered.measured.energy_mj = Reading::Lost(LossReason::DeviceLost);
    claims.delivered.measured.pipes = Reading::Unsupported;
    claims.delivered.measured.temperature_max_c = Reading::Lost(LossReason::Hung);
    claims.identity.serial = None;
    claims.identity.mig = None;
    claims.delivered.compute = None;
    (
        claims.delivered.workload.levels,
        claims.delivered.workload.run_windows,
    ) = (None, None);
    claims.delivered.measured.jobs = Some(weighbridge::telemetry::Jobs {
        ended: 2,
        longest_s: 3_600,
    });
    let module = weighbridge::report::AcceleratorSubmodule { accelerator: claims };
    validate("accelerator-submodule", &cbor::encode(&module)).unwrap();
}
