//! A recording through the agent's own series, window by window.

use super::recording::{Device, Recording};
use crate::in_process::BURSTS;
use std::ops::Range;
use weighbridge::telemetry::Track;
use weighbridge::workload::{Features, Instant, Model, Run, Series, Verdict, synchrony};

/// Ticks of a window: a minute, where samples are a second apart.
const WINDOW: usize = 60;

/// A last window with fewer ticks of its own than this counts only where it is the first too.
const LEAST_TAIL: usize = 20;

/// The features of each window of each device.
#[must_use]
pub fn play(recording: &Recording) -> Vec<Vec<Features>> {
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
            all.extend(one);
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

fn through(recording: &Recording, windows: &[Range<usize>]) -> Vec<Vec<Features>> {
    let devices = &recording.devices;
    let mut followed: Vec<Followed<'_>> = devices.iter().map(|d| Followed::new(d, recording)).collect();
    let mut all: Vec<Vec<Features>> = devices.iter().map(|_| Vec::new()).collect();
    for window in windows {
        for tick in window.clone() {
            for one in &mut followed {
                one.take(tick, window.start);
            }
        }
        let series: Vec<&Series> = followed.iter().map(|f| &f.series).collect();
        let features: Vec<Features> = (0..series.len())
            .map(|i| {
                let others = series.iter().enumerate().filter(|(j, _)| *j != i);
                let likenesses = others.filter_map(|(_, other)| series[i].likeness(other));
                series[i].features(synchrony(likenesses))
            })
            .collect();
        for ((all, features), one) in all.iter_mut().zip(features).zip(&mut followed) {
            all.push(features);
            one.series.next_window();
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
}

/// What a model makes of the windows of a device.
#[must_use]
pub fn verdict(model: &Model, windows: &[Features]) -> Verdict {
    let mut run = Run::default();
    for features in windows {
        run.add(model, features, &model.score(features));
    }
    run.verdict(model)
}
