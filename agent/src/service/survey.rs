//! One look at the devices, through a sampler of its own: a call that hangs in the driver must not keep whoever looks.

use crate::clock::SystemClock;
use crate::devices::Survey;
use crate::devices::dcgm::HOST_ENGINE_HUNG;
use crate::sampler::{EnvironmentError, SamplerEvent, Supervisor, SupervisorOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use weighbridge::telemetry::{Inventory, NoticeKind};

/// A call may take this long while a person waits, in milliseconds.
const LONGEST_CALL_MS: u32 = 10_000;
/// How long a look may take in all, with several devices that hang one after another.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// Why the devices could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// The driver hangs, and with it every device.
    #[error("the driver hangs: a call to it did not return; `dmesg | grep -i nvrm` often says why")]
    DriverHangs,
    /// One device after another.
    #[error("the driver did not list its devices within a minute{}", after(.hung))]
    TooLong {
        /// The driver's indices of those that hung.
        hung: Vec<u16>,
    },
    /// The sampler died.
    #[error("the process that asks the driver ended: {0}")]
    Died(String),
    /// The sampler's environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Looks at driver, devices and bus once, and reads each device once. A device that hangs is left out and stands in the
/// trouble.
///
/// # Errors
/// [`LookError`].
pub async fn look(mut options: SupervisorOptions) -> Result<Survey, LookError> {
    let patience = &mut options.sampler.open_deadline_ms;
    *patience = LONGEST_CALL_MS.min(*patience);
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    let mut hung = Vec::new();
    let seen = tokio::time::timeout(LONGEST_LOOK, gather(&mut events, &mut hung)).await;
    drop(events);
    supervisor.shutdown().await;
    seen.unwrap_or(Err(LookError::TooLong { hung }))
}

/// Listens until the devices are listed and read.
async fn gather(events: &mut Receiver<SamplerEvent>, hung: &mut Vec<u16>) -> Result<Survey, LookError> {
    let mut found: Option<Inventory> = None;
    let mut trouble = None;
    let mut host_engine = None;
    loop {
        match events.recv().await {
            Some(SamplerEvent::Frame(frame)) => {
                match frame.notice {
                    Some(notice) if notice.kind == NoticeKind::DriverUnavailable => {
                        trouble = Some(notice.text)
                    }
                    Some(notice) if notice.kind == NoticeKind::HostEngine => {
                        host_engine = Some((notice.text, true))
                    }
                    Some(notice) if notice.kind == NoticeKind::HostEngineAway => {
                        host_engine = Some((notice.text, false));
                    }
                    _ => {}
                }
                found = frame.inventory.or(found);
                // The trouble follows its inventory, and the first reading follows both.
                if (frame.tick.is_some() || trouble.is_some())
                    && let Some(inventory) = found.take()
                {
                    let silent = (!hung.is_empty()).then(|| silence(hung));
                    return Ok(Survey {
                        inventory,
                        trouble: silent.or(trouble),
                        host_engine,
                    });
                }
            }
            Some(SamplerEvent::Hung {
                index: Some(index), ..
            }) => {
                tracing::warn!("GPU {index} hangs: a call to it did not return");
                hung.push(index);
                found = None;
            }
            Some(SamplerEvent::Hung { index: None, .. }) => return Err(LookError::DriverHangs),
            Some(SamplerEvent::HostEngineHung { .. }) => {
                host_engine = Some((HOST_ENGINE_HUNG.to_owned(), false));
                found = None;
            }
            Some(SamplerEvent::Crowded { .. }) => {
                return Err(LookError::TooLong {
                    hung: std::mem::take(hung),
                });
            }
            Some(SamplerEvent::Died { reason, .. }) => return Err(LookError::Died(reason)),
            Some(_) => {}
            None => return Err(LookError::Died("it said nothing more".to_owned())),
        }
    }
}

fn silence(hung: &[u16]) -> String {
    let (names, verb) = (named(hung), if hung.len() == 1 { "hangs" } else { "hang" });
    format!("{names} {verb}: a call did not return; reset the device, or reboot")
}

fn after(hung: &[u16]) -> String {
    if hung.is_empty() {
        return String::new();
    }
    format!("; {} did not return from a call", named(hung))
}

fn named(hung: &[u16]) -> String {
    let names: Vec<_> = hung.iter().map(|index| format!("GPU {index}")).collect();
    names.join(", ")
}

/// What a sampler finds within `patience`; `None` where it finds nothing in that time.
pub async fn survey(options: SupervisorOptions, patience: Duration) -> Option<Inventory> {
    let (supervisor, mut events) = Supervisor::start(options, Arc::new(SystemClock));
    let look = async {
        loop {
            match events.recv().await {
                Some(SamplerEvent::Frame(frame)) if frame.inventory.is_some() => return frame.inventory,
                Some(_) => {}
                None => return None,
            }
        }
    };
    let found = tokio::time::timeout(patience, look).await.ok().flatten();
    drop(events);
    supervisor.shutdown().await;
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::supervisor::tests::replayed;
    use weighbridge::telemetry::DeviceState;

    #[tokio::test]
    async fn a_device_that_hangs_is_named_and_the_others_are_listed() {
        let scenario = "profile = \"H100\"\ngpus = 3\n[[fault]]\nat_s = 0\ngpu = 1\nkind = \"hang\"\n";
        let Some((_dir, mut options)) = replayed(scenario) else {
            return;
        };
        options.sampler.open_deadline_ms = 500;
        let Survey {
            inventory, trouble, ..
        } = look(options).await.unwrap();
        let listed: Vec<_> = inventory.devices.iter().map(|d| d.index).collect();
        assert_eq!(listed, [0, 2]);
        assert!(trouble.unwrap().starts_with("GPU 1 hangs"));
        assert!(inventory.bus.iter().all(|row| row.state == DeviceState::Hung));
    }

    #[tokio::test]
    async fn a_driver_in_order_is_no_trouble() {
        let Some((_dir, options)) = replayed("profile = \"H100\"\ngpus = 2\n") else {
            return;
        };
        let seen = look(options).await.unwrap();
        assert_eq!((seen.inventory.devices.len(), seen.trouble), (2, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_never_returns_ends_the_look() {
        let error = look(crate::sampler::supervisor::tests::script("exec sleep 600"))
            .await
            .unwrap_err();
        assert!(matches!(error, LookError::DriverHangs), "{error}");
    }
}
