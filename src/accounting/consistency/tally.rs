//! What was observed in a report's time, by kind.

use crate::accounting::{Observation, ObservationKind};

/// Kinds that there can be.
const KINDS: usize = ObservationKind::ALL.len();

/// For each kind the largest size, and the windows in which it was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// The largest of the open window, zero where none was seen.
    open: [u32; KINDS],
    largest: [u32; KINDS],
    windows: [u32; KINDS],
}

impl Tally {
    /// Notes what was seen in the open window.
    pub fn note(&mut self, kind: ObservationKind, size: u32) {
        if let Some(open) = self.open.get_mut(usize::from(kind.code())) {
            *open = (*open).max(size.max(1));
        }
    }

    /// Ends the open window.
    pub fn end_window(&mut self) {
        let sums = self.largest.iter_mut().zip(&mut self.windows);
        for (open, (largest, windows)) in self.open.iter_mut().zip(sums) {
            let size = std::mem::take(open);
            if size > 0 {
                *largest = (*largest).max(size);
                *windows = windows.saturating_add(1);
            }
        }
    }

    /// The observations of the windows that have ended, in the order of their kinds; the count begins anew.
    pub fn finish(&mut self) -> Vec<Observation> {
        let largest = std::mem::take(&mut self.largest);
        let windows = std::mem::take(&mut self.windows);
        ObservationKind::ALL
            .iter()
            .zip(largest.into_iter().zip(windows))
            .filter(|(_, (_, windows))| *windows > 0)
            .map(|(kind, (size, windows))| Observation {
                kind: *kind,
                size,
                windows,
            })
            .take(Observation::MOST)
            .collect()
    }
}
