//! What is known of a device, in the claims of RFC 9711 and in their JSON form (§7.2: bytes are base64url without padding).
//!
//! Decides: which claims may be made. What a device says of itself is claimed where its signature and its chain hold, and not otherwise. `dbgstat`
//! is never claimed, for no field of a report says it, and `hwversion` is not either.

use super::{STEPS, steps};
use crate::hardware::nvidia::{Appraisal, Kind};
use crate::time::UnixSeconds;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

/// The profile of these claims.
pub const DEVICE_PROFILE: &str = "tag:weighbridge.example,2026:device/1";
/// NVIDIA's private enterprise number (IANA).
const NVIDIA: u32 = 5703;
/// A UEID of type RAND (§4.2.1.1): 256 bits drawn once and kept in the device, or what stands for them. The boot ROM's key is such a number, and is
/// named by its SHA-256, so that the name outlasts changes of firmware.
const RAND: u8 = 0x01;
/// The longest `hwmodel`, in bytes (§4.2.4).
const MAX_MODEL: usize = 32;

/// The claims about one device.
#[must_use]
pub fn claims(appraisal: &Appraisal, at: UnixSeconds) -> Value {
    let mut set = headed(at);
    set.extend(device(appraisal));
    Value::Object(set)
}

/// The claims about devices of a host, each a submodule under its name.
#[must_use]
pub fn claims_of_host(devices: &[(String, &Appraisal)], at: UnixSeconds) -> Value {
    let submods: Map<String, Value> = devices
        .iter()
        .map(|(name, appraisal)| (name.clone(), Value::Object(device(appraisal))))
        .collect();
    let mut set = headed(at);
    set.insert("submods".to_owned(), Value::Object(submods));
    Value::Object(set)
}

fn headed(at: UnixSeconds) -> Map<String, Value> {
    Map::from_iter([
        ("eat_profile".to_owned(), json!(DEVICE_PROFILE)),
        ("iat".to_owned(), json!(at.0)),
    ])
}

/// Nonce and identity, where the device signed them.
pub(super) fn identity(appraisal: &Appraisal) -> Map<String, Value> {
    let mut set = Map::new();
    if !is_authentic(appraisal) {
        return set;
    }
    if let Some(nonce) = appraisal.answers {
        set.insert("eat_nonce".to_owned(), json!(base64url(&nonce)));
    }
    if let Some(device) = appraisal.device_id {
        let ueid = [&[RAND], &device.0[..]].concat();
        set.insert("ueid".to_owned(), json!(base64url(&ueid)));
    }
    set
}

fn device(appraisal: &Appraisal) -> Map<String, Value> {
    let mut set = identity(appraisal);
    if is_authentic(appraisal) {
        set.insert("oemid".to_owned(), json!(NVIDIA));
        let model = appraisal.product.as_deref().map(str::as_bytes);
        if let Some(model) = model.filter(|m| !m.is_empty() && m.len() <= MAX_MODEL) {
            set.insert("hwmodel".to_owned(), json!(base64url(model)));
        }
        let vbios = if appraisal.is_switch() { "BIOS" } else { "VBIOS" };
        let software: Map<String, Value> = [("driver", &appraisal.driver), (vbios, &appraisal.vbios)]
            .into_iter()
            .filter_map(|(name, version)| {
                let version = version.as_ref()?;
                Some((name.to_owned(), json!({"swname": name, "swversion": [version]})))
            })
            .collect();
        if !software.is_empty() {
            set.insert("submods".to_owned(), Value::Object(software));
        }
    }
    set.insert("measres".to_owned(), results(appraisal));
    set.insert(STEPS.to_owned(), steps(appraisal));
    set
}

/// `measres` (§4.2.17): one result for each part of the device that has a manifest, and one for each measurement that is not as it demands.
///
/// A part's comparison is `success` only where report and manifests are authentic: what was compared on nobody's word was not run.
fn results(appraisal: &Appraisal) -> Value {
    let parts: &[Kind] = if appraisal.is_switch() {
        &[Kind::Bios]
    } else {
        &[Kind::Driver, Kind::Vbios]
    };
    let counted = is_authentic(appraisal) && appraisal.rim.passed();
    let mut results = Vec::new();
    for part in parts {
        let compared = appraisal.compared.iter().any(|c| c.kind == *part);
        let differs = appraisal.mismatches.iter().any(|m| m.source == *part);
        let conflict = !appraisal.measurements.passed() && appraisal.mismatches.is_empty();
        let result = match () {
            () if compared && differs => "fail",
            () if compared && counted && !conflict => "success",
            () => "not-run",
        };
        results.push(json!([part.text(), result]));
    }
    for mismatch in &appraisal.mismatches {
        let name = format!("{} measurement {}", mismatch.source.text(), mismatch.index);
        let result = if mismatch.found.is_some() {
            "fail"
        } else {
            "absent"
        };
        results.push(json!([name, result]));
    }
    json!([["NVIDIA reference manifests", results]])
}

/// Whether the report is of the device that its chain names.
fn is_authentic(appraisal: &Appraisal) -> bool {
    appraisal.signature.passed() && appraisal.chain.passed()
}

pub(super) fn base64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}
