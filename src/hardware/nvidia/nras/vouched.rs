//! What NRAS says of one device, in the words of our own appraisal.
//!
//! Decides: which step each claim of version 3 speaks of. A claim that is missing or null leaves its step `not checked`: the service says
//! nothing of it, and that is not `pass`.

use super::{nonce, text};
use crate::hardware::Step;
use crate::id::Digest;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest text that is taken over.
const MAX_TEXT: usize = 100;
/// The most digits of a serial number: 20 bytes (RFC 5280 §4.1.2.2) have 49.
const MAX_DIGITS: usize = 49;

/// What a token speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VouchedKind {
    /// A GPU.
    Gpu,
    /// A switch.
    Switch,
}

/// What the service says of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vouched {
    /// How the service calls it.
    pub name: String,
    /// What it is.
    pub kind: VouchedKind,
    /// Serial number of the firmware's certificate, in hexadecimal: what NVIDIA calls `ueid`. It changes with the firmware.
    pub serial: Option<String>,
    /// The nonce.
    pub eat_nonce: Option<Digest>,
    /// The chip, as manifests call it.
    pub product: Option<String>,
    /// Driver version.
    pub driver: Option<String>,
    /// VBIOS or BIOS version.
    pub vbios: Option<String>,
    /// The report's signature.
    pub signature: Step,
    /// The chain.
    pub chain: Step,
    /// The firmware's identity.
    pub fwid: Step,
    /// The nonce in the report.
    pub nonce: Step,
    /// The manifests.
    pub rim: Step,
    /// The measurements.
    pub measurements: Step,
    /// Revocation.
    pub revocation: Step,
    /// What did not pass, and why, by step.
    pub why: BTreeMap<&'static str, String>,
}

impl Vouched {
    pub(super) fn read(name: &str, claims: &Map<String, Value>) -> Self {
        let is_switch = claims
            .keys()
            .any(|k| k.starts_with("x-nvidia-switch-attestation-report"));
        let (kind, prefix, parts) = if is_switch {
            (VouchedKind::Switch, "x-nvidia-switch", &["bios"][..])
        } else {
            (VouchedKind::Gpu, "x-nvidia-gpu", &["driver", "vbios"][..])
        };
        let said = Said { claims, prefix };
        let owned = |text: Option<&str>| {
            let plain = |t: &&str| t.len() <= MAX_TEXT && t.chars().all(|c| c.is_ascii_graphic());
            text.filter(plain).map(str::to_owned)
        };
        let version = |part: &str| owned(text(claims, &format!("{prefix}-{part}-version")));
        let report = "attestation-report";
        let mut rim = Vec::new();
        let mut good = vec![said.ocsp(report)];
        for part in parts {
            for check in [
                "fetched",
                "schema-validated",
                "signature-verified",
                "version-match",
                "measurements-available",
            ] {
                rim.push(said.flag(&format!("{part}-rim-{check}")));
            }
            rim.push(said.status(&format!("{part}-rim")));
            good.push(said.ocsp(&format!("{part}-rim")));
        }
        let mut measured = vec![match text(claims, "measres") {
            Some("success") => Step::Pass,
            Some("fail") => Step::Fail("measres is `fail`".to_owned()),
            _ => Step::NotChecked("no measres that is known".to_owned()),
        }];
        if kind == VouchedKind::Gpu {
            measured.push(said.flag("vbios-index-no-conflict"));
        }
        let mut result = Self {
            name: name.to_owned(),
            kind,
            serial: text(claims, "ueid").and_then(hexadecimal),
            eat_nonce: nonce(claims),
            product: text(claims, "hwmodel").and_then(product),
            driver: version("driver"),
            vbios: version(if is_switch { "bios" } else { "vbios" }),
            signature: all([
                said.flag(&format!("{report}-parsed")),
                said.flag(&format!("{report}-signature-verified")),
            ]),
            chain: all([said.flag("arch-check"), said.status(report)]),
            fwid: said.flag(&format!("{report}-cert-chain-fwid-match")),
            nonce: said.flag(&format!("{report}-nonce-match")),
            rim: all(rim),
            measurements: all(measured),
            revocation: all(good),
            why: BTreeMap::new(),
        };
        let why = result
            .steps()
            .into_iter()
            .filter_map(|(n, s)| Some((n, s.why()?.to_owned())));
        result.why = why.collect();
        result
    }

    /// The steps by name, as those of an [`Appraisal`](super::super::Appraisal).
    #[must_use]
    pub fn steps(&self) -> [(&'static str, &Step); 7] {
        [
            ("signature", &self.signature),
            ("chain", &self.chain),
            ("fwid", &self.fwid),
            ("nonce", &self.nonce),
            ("rim", &self.rim),
            ("measurements", &self.measurements),
            ("revocation", &self.revocation),
        ]
    }
}

struct Said<'a> {
    claims: &'a Map<String, Value>,
    prefix: &'static str,
}

impl Said<'_> {
    fn flag(&self, name: &str) -> Step {
        match self.claims.get(&format!("{}-{name}", self.prefix)) {
            Some(Value::Bool(true)) => Step::Pass,
            Some(Value::Bool(false)) => Step::Fail(format!("{name} is false")),
            _ => Step::NotChecked(format!("{name} is not claimed")),
        }
    }

    /// A member of the claims about a chain.
    fn of_chain(&self, chain: &str, member: &str, good: &str) -> Step {
        let claim = self.claims.get(&format!("{}-{chain}-cert-chain", self.prefix));
        match claim.and_then(|c| c.get(member)).and_then(Value::as_str) {
            Some(said) if said == good => Step::Pass,
            Some(said) => {
                let said: String = said.chars().filter(|c| !c.is_control()).take(40).collect();
                Step::Fail(format!("{member} of the {chain}'s chain is `{said}`"))
            }
            None => Step::NotChecked(format!("{member} of the {chain}'s chain is not claimed")),
        }
    }

    fn status(&self, chain: &str) -> Step {
        self.of_chain(chain, "x-nvidia-cert-status", "valid")
    }

    fn ocsp(&self, chain: &str) -> Step {
        self.of_chain(chain, "x-nvidia-cert-ocsp-status", "good")
    }
}

/// All must pass; one that fails outweighs one that was not checked.
fn all(steps: impl IntoIterator<Item = Step>) -> Step {
    let (mut failed, mut open) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Pass => {}
            Step::Fail(why) => failed.push(why),
            Step::NotChecked(why) => open.push(why),
        }
    }
    match (failed.is_empty(), open.is_empty()) {
        (false, _) => Step::Fail(failed.join("; ")),
        (true, false) => Step::NotChecked(open.join("; ")),
        (true, true) => Step::Pass,
    }
}

/// `GH100 A01 GSP BROM` or `GH100`: the chip is the first word. Manifests write the switch's without its underscore.
fn product(model: &str) -> Option<String> {
    let chip = model
        .split(' ')
        .next()
        .filter(|c| !c.is_empty() && c.len() <= 16)?;
    let plain = chip.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then(|| chip.replace('_', ""))
}

/// A decimal number, in hexadecimal by whole bytes without leading zeros.
fn hexadecimal(decimal: &str) -> Option<String> {
    if decimal.is_empty() || decimal.len() > MAX_DIGITS {
        return None;
    }
    // Little-endian, so that a carry is pushed at the end.
    let mut bytes: Vec<u8> = Vec::new();
    for c in decimal.chars() {
        let mut carry = c.to_digit(10)?;
        for byte in &mut bytes {
            let value = u32::from(*byte).wrapping_mul(10).wrapping_add(carry);
            let [low, high, ..] = value.to_le_bytes();
            *byte = low;
            carry = u32::from(high);
        }
        if carry > 0 {
            let [low, ..] = carry.to_le_bytes();
            bytes.push(low);
        }
    }
    bytes.reverse();
    Some(data_encoding::HEXLOWER.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_in_decimal_is_that_in_hexadecimal() {
        assert_eq!(hexadecimal("255").as_deref(), Some("ff"));
        assert_eq!(hexadecimal("65536").as_deref(), Some("010000"));
        assert_eq!(
            hexadecimal("18446744073709551616").as_deref(),
            Some("010000000000000000")
        );
        let most = "9".repeat(MAX_DIGITS);
        assert_eq!(hexadecimal(&most).map(|h| h.len()), Some(42));
        for wrong in ["", "-1", "0x10", "1 ", &"9".repeat(MAX_DIGITS + 1)] {
            assert_eq!(hexadecimal(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_chip_is_called_as_manifests_call_it() {
        assert_eq!(product("GH100 A01 GSP BROM").as_deref(), Some("GH100"));
        assert_eq!(product("LS_10 A01 FSP BROM").as_deref(), Some("LS10"));
        assert_eq!(product(" \u{7}"), None);
    }

    #[test]
    fn what_is_not_claimed_is_not_checked() {
        let empty = Vouched::read("GPU-0", &Map::new());
        assert!(
            empty
                .steps()
                .iter()
                .all(|(_, s)| matches!(s, Step::NotChecked(_))),
            "{empty:?}"
        );
        assert_eq!(empty.why.len(), 7);
    }
}
