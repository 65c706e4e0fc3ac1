//! A device where it was seen, and how surely.

use crate::appraisal::{DeviceFacts, NodeAtSite, Span};
use crate::time::UnixSeconds;

/// A device where it was seen.
#[derive(Clone, Copy, Debug)]
pub(in crate::conditions) struct Seen<'a> {
    pub(in crate::conditions) node: &'a NodeAtSite,
    pub(in crate::conditions) device: &'a DeviceFacts,
    /// By the node's clock, and never later than the receipt: the earlier of the two, for what speaks for a site.
    pub(in crate::conditions) last: UnixSeconds,
    /// The later of the node's clock and the receipt, for what speaks against it: a clock turned back hides nothing.
    pub(in crate::conditions) heard: UnixSeconds,
}

impl Seen<'_> {
    /// How a sentence names it.
    pub(in crate::conditions) fn label(&self) -> String {
        let identity = &self.device.identity;
        match &identity.serial {
            Some(serial) => format!(
                "{} (serial {serial}, {}) at {}",
                identity.uuid.nvml(),
                identity.name,
                self.node.status.name
            ),
            None => format!(
                "{} ({}) at {}",
                identity.uuid.nvml(),
                identity.name,
                self.node.status.name
            ),
        }
    }

    /// What it said of itself and when, as far as a key speaks that was not revoked by then.
    ///
    /// Of a stretch whose last reports came after that, no more is taken than what lies before that moment.
    pub(in crate::conditions) fn sure_spans(&self) -> impl Iterator<Item = (&Span, UnixSeconds)> {
        let from = self.node.status.revoked_from.unwrap_or(UnixSeconds(i64::MAX));
        let before = self
            .device
            .presence
            .iter()
            .filter(move |s| s.first_received < from);
        before.map(move |s| (s, from))
    }

    /// When it was last seen under a key that was not revoked by then.
    pub(in crate::conditions) fn last_sure(&self) -> Option<UnixSeconds> {
        self.sure_spans().map(|(s, from)| s.to.min(from)).max()
    }

    /// Whether what it says of itself now came under a key that was revoked by then.
    pub(in crate::conditions) fn is_told_late(&self) -> bool {
        let from = self.node.status.revoked_from;
        from.is_some_and(|from| self.device.last_received.is_none_or(|t| t >= from))
    }

    /// Whether only a key that was revoked by then speaks of it since a time, or of the identifiers that it has now.
    pub(in crate::conditions) fn is_doubtful(&self, since: UnixSeconds) -> bool {
        self.node.status.revoked_from.is_some_and(|from| {
            let heard = self
                .sure_spans()
                .map(|(s, _)| s.to.max(s.last_received).min(from));
            heard.max().is_none_or(|t| t < since) || self.device.changes.iter().any(|c| c.at >= from)
        })
    }

    /// How the list of subjects names it.
    pub(in crate::conditions) fn subject(&self) -> String {
        self.device.identity.uuid.nvml()
    }
}
