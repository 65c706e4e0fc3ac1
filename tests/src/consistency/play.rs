//! A recording through `Track` and `Checker`, in windows of a minute.

use super::recording::Recording;
use weighbridge::accounting::ObservationKind;
use weighbridge::accounting::consistency::{Checker, Physics, check_node};
use weighbridge::telemetry::Track;
use weighbridge::time::SECOND;

/// Length of a window.
const WINDOW_NS: u64 = 60 * SECOND;

/// What was observed in one window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Of each device: kinds and sizes.
    pub devices: Vec<Vec<(ObservationKind, u32)>>,
    /// Of the node.
    pub host: Vec<(ObservationKind, u32)>,
}

/// Plays a recording; the last window counts if it has a third of its length.
#[must_use]
pub fn play(recording: &Recording, physics: &Physics) -> Vec<Window> {
    let series: Vec<_> = recording
        .devices
        .iter()
        .zip(0u16..)
        .map(|(d, i)| d.samples(i))
        .collect();
    let ticks = series.iter().map(Vec::len).min().unwrap_or(0);
    let mut tracks: Vec<_> = series.iter().map(|_| Track::new(SECOND)).collect();
    let mut checkers: Vec<_> = series.iter().map(|_| Checker::new(recording.part)).collect();
    let mut windows = Vec::new();
    let Some(first) = series.iter().filter_map(|s| s.first()).map(|s| s.at.0).min() else {
        return windows;
    };
    let mut end = first + WINDOW_NS;
    let mut close = |checkers: &mut Vec<Checker>| {
        let summaries: Vec<_> = checkers.iter_mut().map(|c| c.close_window(physics)).collect();
        let shared = check_node(&summaries, physics);
        for (place, kind, size) in shared.devices {
            checkers[place].note(kind, size);
        }
        windows.push(Window {
            devices: checkers
                .iter_mut()
                .map(|c| {
                    c.end_window();
                    c.finish().iter().map(|o| (o.kind, o.size)).collect()
                })
                .collect(),
            host: shared.host,
        });
    };
    for tick in 0..ticks {
        if series.iter().all(|s| s[tick].at.0 > end) {
            close(&mut checkers);
            end += WINDOW_NS;
        }
        for ((samples, track), checker) in series.iter().zip(&mut tracks).zip(&mut checkers) {
            if let Some(step) = track.push(&samples[tick]) {
                checker.push(&step, &samples[tick], physics);
            }
        }
    }
    let last = series
        .iter()
        .filter_map(|s| s.last())
        .map(|s| s.at.0)
        .max()
        .unwrap_or(0);
    if last + WINDOW_NS / 3 * 2 > end {
        close(&mut checkers);
    }
    windows
}
