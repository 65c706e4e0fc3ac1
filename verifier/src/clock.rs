//! The one place that reads the time.
//!
//! Decides: what time it is, for certificates, tokens, receipts and leaves. Trusts the host's clock. Does not establish time for anyone
//! else: that takes witnesses.

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};
use weighbridge::time::UnixSeconds;

/// A source of wall time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> UnixSeconds;
}

/// The host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock;

impl Clock for HostClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock file")]
    fn now(&self) -> UnixSeconds {
        // A host whose clock stands before 1970 has no time; 1970 makes every certificate and token of ours not yet valid.
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands where it is set, for rehearsals and tests.
#[derive(Clone, Debug)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: UnixSeconds) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Moves the clock.
    pub fn set(&self, now: UnixSeconds) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// Gives TLS the same time as everything else.
#[derive(Clone, Debug)]
pub(crate) struct TlsTime(pub(crate) Arc<dyn Clock>);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
