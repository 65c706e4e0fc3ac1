//! A result of NRAS beside our own appraisal of the same report.
//!
//! Decides: which claims agree, which differ, and which one side did not check. That both agree says that two readers came to the same, not
//! that it is so. The service checked at its time and with its collateral, we at ours: what expired in between differs.

use super::Vouched;
use crate::hardware::Step;
use crate::hardware::nvidia::Appraisal;
use data_encoding::HEXLOWER;
use serde::Serialize;

/// How a claim compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Both say the same.
    #[serde(rename = "agree")]
    Agree,
    /// They do not.
    #[serde(rename = "differ")]
    Differ,
    /// The service did not check or say it.
    #[serde(rename = "not checked by NRAS")]
    OpenThere,
    /// We did not.
    #[serde(rename = "not checked by us")]
    OpenHere,
    /// Neither did.
    #[serde(rename = "not checked")]
    Open,
}

impl Outcome {
    /// The words for it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Differ => "differ",
            Self::OpenThere => "not checked by NRAS",
            Self::OpenHere => "not checked by us",
            Self::Open => "not checked",
        }
    }
}

/// One claim, as both sides have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The claim.
    pub claim: &'static str,
    /// How it compares.
    pub outcome: Outcome,
    /// What the service says.
    pub nras: Option<String>,
    /// What our appraisal says.
    pub ours: Option<String>,
}

impl Vouched {
    /// Whether it speaks of the device whose firmware's certificate has this serial number.
    #[must_use]
    pub fn is_of(&self, serial: &[u8]) -> bool {
        self.serial.as_ref().is_some_and(|s| *s == without_zeros(serial))
    }
}

/// Compares what the service says of a device with our own appraisal of its report, whose firmware's certificate has this serial number.
#[must_use]
pub fn compare(vouched: &Vouched, ours: &Appraisal, serial: Option<&[u8]>) -> Vec<Row> {
    let nonce = ours.answers.map(|n| HEXLOWER.encode(&n));
    let values = [
        ("serial", vouched.serial.clone(), serial.map(without_zeros)),
        ("eat_nonce", vouched.eat_nonce.map(|n| n.to_string()), nonce),
        (
            "product",
            family(vouched.product.clone()),
            family(ours.product.clone()),
        ),
        ("driver", vouched.driver.clone(), ours.driver.clone()),
        ("vbios", upper(vouched.vbios.clone()), upper(ours.vbios.clone())),
    ];
    let values = values.into_iter().map(|(claim, nras, ours)| Row {
        claim,
        outcome: match (&nras, &ours) {
            (Some(nras), Some(ours)) if nras == ours => Outcome::Agree,
            (Some(_), Some(_)) => Outcome::Differ,
            (None, Some(_)) => Outcome::OpenThere,
            (Some(_), None) => Outcome::OpenHere,
            (None, None) => Outcome::Open,
        },
        nras,
        ours,
    });
    let steps = vouched.steps().into_iter().zip(ours.steps());
    let steps = steps.map(|((claim, nras), (_, ours))| Row {
        claim,
        outcome: match (nras, ours) {
            (Step::NotChecked(_), Step::NotChecked(_)) => Outcome::Open,
            (Step::NotChecked(_), _) => Outcome::OpenThere,
            (_, Step::NotChecked(_)) => Outcome::OpenHere,
            _ if nras.passed() == ours.passed() => Outcome::Agree,
            _ => Outcome::Differ,
        },
        nras: Some(nras.word().to_owned()),
        ours: Some(ours.word().to_owned()),
    });
    values.chain(steps).collect()
}

/// A serial number as a number: DER puts a zero before one that would be negative.
fn without_zeros(serial: &[u8]) -> String {
    let from = serial.iter().position(|b| *b != 0).unwrap_or(serial.len());
    HEXLOWER.encode(serial.get(from..).unwrap_or_default())
}

/// The service names the family of a workstation's chip where the report names the chip.
fn family(product: Option<String>) -> Option<String> {
    let product = product?;
    Some(if product.starts_with("GB20") {
        "GB20X".to_owned()
    } else {
        product
    })
}

fn upper(version: Option<String>) -> Option<String> {
    version.map(|v| v.to_ascii_uppercase())
}
