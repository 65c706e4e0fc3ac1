//! A recording through the agent's own series, window by window.

use super::recording::{Device, Recording};
use crate::in_process::BURSTS;
use std::ops::Range;
use weighbridge::telemetry::Track;
use weighbridge::workload::{Features, Instant, Series, synchrony};

/// Ticks of a window: a minute, where samples are a second apart.
pub(super) const WINDOW: usize = 60;

/// A last window with fewer ticks of its own than this counts only where it is the first too.
const LEAST_TAIL: usize = 20;

/// The features of each window of each device; `None` where nothing of a window was seen.
#[must_use]
pub fn play(recording: &Recording) -> Vec<Vec<Option<Features>>> {
    let ticks = length(recording);
    let mut windows: Vec<Range<usize>> = (0..ticks)
        .step_by(WINDOW)
        .map(|from| from..ticks.min(from + WINDOW))
        .collect();
    if windows.len() > 1 && windows.last().is_some_and(|w| w.len() < LEAST_TAIL) {
        windows.pop();
    }
    through(recording, &windows)
}

/// The same of parts of the recording alone, each begun anew: what a shorter recording of the same work would have shown.
#[must_use]
pub(super) fn parts(recording: &Recording, parts: &[Range<f64>]) -> Vec<Vec<Features>> {
    let ticks = length(recording);
    let mut all: Vec<Vec<Features>> = recording.devices.iter().map(|_| Vec::new()).collect();
    for part in parts {
        let place = |share: f64| (share * ticks as f64).round() as usize;
        let (from, to) = (place(part.start), place(part.end));
        // A part has no more than a window, as near to its end as can be: the beginning is often a warm-up.
        let window = to.saturating_sub(WINDOW).max(from)..to;
        for (all, one) in all.iter_mut().zip(through(recording, &[window])) {
            all.extend(one.into_iter().flatten());
        }
    }
    all
}

/// Leaves a recording only those instants that an agent's bursts would have read, the first of which begins so many seconds after the recording
/// did: what a recording shows at 10 Hz throughout, an agent sees for a minute in every ten.
pub(super) fn in_bursts(recording: &mut Recording, first_s: u64) {
    let [period, length] = [BURSTS.period, BURSTS.length].map(|ns| ns / 1_000_000);
    let first = first_s.saturating_mul(1_000);
    let within = |at: u64| at.checked_sub(first).is_some_and(|since| since % period < length);
    for device in &mut recording.devices {
        device.instants.retain(|(at, _)| within(*at));
    }
}

fn length(recording: &Recording) -> usize {
    let last = recording.devices.iter().filter_map(|d| d.samples.last());
    last.map(|(tick, _)| tick + 1).max().unwrap_or(0)
}

fn through(recording: &Recording, windows: &[Range<usize>]) -> Vec<Vec<Option<Features>>> {
    let devices = &recording.devices;
    let mut followed: Vec<Followed<'_>> = devices.iter().map(|d| Followed::new(d, recording)).collect();
    let mut all: Vec<Vec<Option<Features>>> = devices.iter().map(|_| Vec::new()).collect();
    for window in windows {
        for tick in window.clone() {
            for one in &mut followed {
                one.take(tick, window.start);
            }
        }
        let features: Vec<Option<Features>> = (0..followed.len())
            .map(|i| {
                let one = followed.get(i).filter(|f| f.is_seen)?;
                let others = followed.iter().enumerate().filter(|(j, _)| *j != i);
                let likenesses = others.filter_map(|(_, other)| one.series.likeness(&other.series));
                Some(one.series.features(synchrony(likenesses)))
            })
            .collect();
        for ((all, features), one) in all.iter_mut().zip(features).zip(&mut followed) {
            all.push(features);
            one.next_window();
        }
    }
    all
}

/// A device as the agent follows it.
struct Followed<'a> {
    device: &'a Device,
    nominal_ns: u64,
    track: Track,
    series: Series,
    next: usize,
    next_instant: usize,
    /// Whether any time of the open window is covered.
    is_seen: bool,
}

impl<'a> Followed<'a> {
    fn new(device: &'a Device, recording: &Recording) -> Self {
        Self {
            device,
            nominal_ns: recording.nominal_ns,
            track: Track::new(recording.nominal_ns),
            series: Series::default(),
            next: 0,
            next_instant: 0,
            is_seen: false,
        }
    }

    fn take(&mut self, tick: usize, from: usize) {
        // The sample before the first is where counters begin.
        while let Some((at, sample)) = self.device.samples.get(self.next) {
            if *at > tick {
                break;
            }
            self.next += 1;
            let step = self.track.push(sample);
            if let Some(step) = step.filter(|_| *at >= from) {
                self.series.add(&step);
                self.is_seen |= step.covered_ns() > 0;
            }
        }
        let at_ms = |tick: usize| (tick as u64).saturating_mul(self.nominal_ns) / 1_000_000;
        let (begun_ms, ended_ms) = (at_ms(from), at_ms(tick.saturating_add(1)));
        while let Some((at, instant)) = self.device.instants.get(self.next_instant) {
            if *at >= ended_ms {
                break;
            }
            self.next_instant += 1;
            if let Some(into) = at.checked_sub(begun_ms) {
                self.series.add_instant(Instant {
                    at_ms: u32::try_from(into).unwrap_or(u32::MAX),
                    ..*instant
                });
            }
        }
        self.series.close_point();
    }

    fn next_window(&mut self) {
        self.series.next_window();
        self.is_seen = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::recording::parse;
    use super::*;

    #[test]
    fn a_window_in_a_hole_of_a_recording_is_seen_of_no_device_that_has_it() {
        let mut text = "timestamp,gpu,sm_active\n".to_owned();
        for second in 0..300 {
            text += &format!("{second},0,0.9\n");
            if !(55..185).contains(&second) {
                text += &format!("{second},1,0.9\n");
            }
        }
        let seen = play(&parse(&text).unwrap()).into_iter().map(|windows| {
            let seen = windows.iter().map(Option::is_some);
            seen.collect::<Vec<bool>>()
        });
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [[true; 5], [true, false, false, true, true]]
        );
    }
}
