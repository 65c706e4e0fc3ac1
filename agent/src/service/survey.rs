//! One look at the devices, through a sampler of its own.

use crate::clock::SystemClock;
use crate::sampler::{SamplerEvent, Supervisor, SupervisorOptions};
use std::sync::Arc;
use std::time::Duration;
use weighbridge::telemetry::Inventory;

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
