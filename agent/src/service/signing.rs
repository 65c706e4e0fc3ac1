//! What `doctor` says of evidence: whether the devices sign.
//!
//! Decides: in which words. Where confidential computing is on, every device is asked to sign some bytes that nobody keeps. Does not
//! establish that a verifier accepts what they sign.

use crate::binding::{Attestee, Collection, CollectorOptions};
use crate::clock::SystemClock;
use crate::doctor::{Check, Health};
use crate::sampler::SupervisorOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use weighbridge::crypto::{Entropy, KeyError};
use weighbridge::report::{Answer, NoEvidence};
use weighbridge::telemetry::{ConfidentialCompute, Inventory};

/// How long a device may take while a person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// `NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE`: the driver then says that confidential computing itself is off.
const PROTECTED_PCIE: u8 = 1;

/// Whether the devices that were found sign; `None` where there are none to ask.
///
/// # Errors
/// [`KeyError`] where the system gives no random bytes.
pub async fn signing(sampler: SupervisorOptions, found: &Inventory) -> Result<Option<Check>, KeyError> {
    let Some(driver) = found.driver.as_ref().filter(|_| !found.devices.is_empty()) else {
        return Ok(None);
    };
    let mode = driver.confidential_compute.as_ref();
    let devices: Vec<_> = found
        .devices
        .iter()
        .map(|device| Attestee {
            index: device.index,
            uuid: device.uuid,
        })
        .collect();
    let answers = if mode.is_some_and(is_off) {
        vec![Answer::None(NoEvidence::NotOffered); devices.len()]
    } else {
        let options = CollectorOptions {
            patience: PATIENCE,
            ..CollectorOptions::beside(&sampler)
        };
        let nonce = Entropy::system().draw()?;
        let collection = Collection::new(options, Arc::new(SystemClock));
        let never = CancellationToken::new();
        let collected = collection
            .collect(driver.library_digest, nonce, &devices, &never)
            .await;
        collected.map_or_else(Vec::new, |c| c.answers)
    };
    Ok(Some(check(mode, &devices, &answers)))
}

fn is_off(mode: &ConfidentialCompute) -> bool {
    !mode.enabled && mode.multi_gpu_mode != PROTECTED_PCIE
}

fn check(mode: Option<&ConfidentialCompute>, devices: &[Attestee], answers: &[Answer]) -> Check {
    const SUBJECT: &str = "evidence";
    let signed = |answer: &&Answer| matches!(answer, Answer::Evidence(_));
    let count = answers.iter().filter(signed).count();
    let none = answers
        .iter()
        .all(|answer| *answer == Answer::None(NoEvidence::NotOffered));
    if none {
        let why = match mode {
            Some(mode) if is_off(mode) => "confidential computing is off",
            Some(_) => "confidential computing is on, but the driver gives no signed reports",
            None => "the driver knows no confidential computing",
        };
        let text = format!("none: {why}, so identity stays driver-reported");
        return Check::new(SUBJECT, Health::Advice, text);
    }
    let named = match mode {
        Some(mode) if mode.developer_mode => {
            "confidential computing for developers' tools, which protects nothing"
        }
        Some(mode) if mode.multi_gpu_mode == PROTECTED_PCIE => "protected PCIe",
        Some(_) => "confidential computing",
        None => "unknown",
    };
    let mut text = format!("{count} of {} GPUs sign, mode {named}", devices.len());
    for (device, answer) in devices.iter().zip(answers) {
        if let Answer::None(why) = answer {
            text.push_str(&format!("; GPU {}: {}", device.index, why.text()));
        }
    }
    let developers = mode.is_some_and(|mode| mode.developer_mode);
    if count == devices.len() && !developers {
        Check::new(SUBJECT, Health::Ok, text)
    } else {
        Check::new(SUBJECT, Health::Advice, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::cbor::Bytes;
    use weighbridge::id::DeviceUuid;
    use weighbridge::report::NvidiaEvidence;

    fn said(enabled: bool, developer_mode: bool, multi_gpu_mode: u8, answers: &[Answer]) -> (Health, String) {
        let devices: Vec<_> = (0..)
            .take(answers.len())
            .map(|index| Attestee {
                index,
                uuid: DeviceUuid([0; 16]),
            })
            .collect();
        let mode = ConfidentialCompute {
            enabled,
            developer_mode,
            multi_gpu_mode,
        };
        let check = check(Some(&mode), &devices, answers);
        (check.health, check.finding)
    }

    #[test]
    fn whether_devices_sign_is_said_with_the_mode_and_the_reason() {
        let signs = || {
            let evidence = NvidiaEvidence {
                report: Bytes(vec![1]),
                chain: Bytes(vec![2]),
            };
            Answer::Evidence(evidence.wrap())
        };
        let none = || Answer::None(NoEvidence::NotOffered);
        assert_eq!(
            said(true, false, 0, &[signs(), signs()]),
            (
                Health::Ok,
                "2 of 2 GPUs sign, mode confidential computing".to_owned()
            )
        );
        assert_eq!(
            said(false, false, PROTECTED_PCIE, &[signs()]),
            (Health::Ok, "1 of 1 GPUs sign, mode protected PCIe".to_owned())
        );
        assert_eq!(
            said(false, false, 0, &[none(), none()]),
            (
                Health::Advice,
                "none: confidential computing is off, so identity stays driver-reported".to_owned()
            )
        );
        let (health, finding) = said(true, false, 0, &[signs(), Answer::None(NoEvidence::Hung)]);
        assert_eq!(health, Health::Advice);
        assert_eq!(
            finding,
            "1 of 2 GPUs sign, mode confidential computing; GPU 1: the driver did not answer"
        );
        let (health, finding) = said(true, true, 0, &[signs()]);
        assert!(
            health == Health::Advice && finding.contains("developers' tools"),
            "{finding}"
        );
    }
}
