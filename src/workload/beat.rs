//! The beat of exchanges: whether what a device exchanges with others rises and falls in a fixed rhythm, by how much, and how that goes with its work.
//!
//! Decides, of NVLink in a burst:
//!
//! * `link_beat`. Devices of one job that trains exchange once a step, and the traffic between is less or none; one model that is served over several
//!   devices exchanges as much both ways and moves them alike as well, but word by word, far faster than a burst reads, and what remains varies little or
//!   as requests come. What beats slightly counts little: ten readings a second of a faster rhythm leave a slow one of their own, by a few percent. Nor does
//!   what beats because work turns: where a step multiplies less its traffic rises or both end soon, where serving in rounds turns from prompts, which multiply
//!   and exchange much, to answers, which do little of either and take their time.
//! * `link_apart`. Replicas work for most of a step without a word and exchange what they learned at its end. One model over several devices exchanges
//!   with every layer, be it trained or served: its traffic rises and falls as its tensor pipes do, and rests only where they rest.
//! * `beat_per_memory`. Gradients are as many bytes as a good part of what a device holds in memory; results that are gathered are few.
//!
//! Does not establish that what beats is training: batches of one size may, and steps shorter than two readings do not show.

#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a rate is kept in single precision, which is exactly rounded and never traps"
)]

use super::rhythm::Timed;
use super::row::{Row, mean, variation};
use super::series::{AT_REST, MAX_BURST};

/// A rhythm up to here is what noise and requests have, in so many readings as are looked at.
const OF_NOISE: f64 = 0.3;

/// Of fewer readings nothing is told: half a minute, ten a second. In a few seconds noise has rhythms of any height.
const LEAST: usize = 300;

/// Readings further apart than this are of two bursts, in milliseconds.
const APART_MS: u64 = 3_000;

/// For so long a burst speaks for what follows it, in milliseconds: agents burst for a minute somewhere in every ten, so that from one to the next
/// it may be eighteen.
const STANDS_MS: u64 = 20 * 60 * 1_000;

/// Fewer pairs of samples that tell of activity than these tell nothing of how work and exchanges go together: a quarter of a minute.
const LEAST_PAIRS: usize = 75;

/// Tensor pipes that work this much of their ninth decile are at work,
const AT_WORK: f64 = 0.5;

/// and traffic below this much of its mean rests.
const RESTS: f64 = 0.25;

/// No step spends this share of its work multiplying less than half as much as it does elsewhere and exchanging less than half as much: the update
/// of a model at its end is shorter.
const ANSWERS: f64 = 0.3;

/// Where both are below this much of their ninth decile.
const LITTLE: f64 = 0.5;

/// What was exchanged between two readings.
#[derive(Clone, Copy, Debug)]
struct Exchanged {
    /// When the second was, in milliseconds since the burst began.
    since_ms: u32,
    /// Kibibytes per millisecond.
    rate: f32,
    /// Activity of SMs and of tensor pipes over the pair of samples that ended there; not a number where none did.
    activity: [f32; 2],
}

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exchange {
    /// Milliseconds after the start of its window.
    pub(super) at_ms: u32,
    /// Kibibytes sent and received since the reading before.
    pub(super) kib: Option<f64>,
    /// Shares of SM and tensor activity over the pair of samples that ended with it.
    pub(super) activity: Option<[f64; 2]>,
}

/// What a burst tells of exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// By how much traffic rises and falls in its rhythm, of its mean: at most one, and less where it does so because work turns.
    pub(super) beat: f64,
    /// The share of time at full tensor activity in which traffic rests.
    pub(super) apart: Option<f64>,
    /// Kibibytes sent in each beat.
    pub(super) each_kib: Option<f64>,
}

/// What was exchanged in the latest burst, over the edges of windows, and its beat.
#[derive(Clone, Debug, Default)]
pub(super) struct Beat {
    traffic: Vec<Exchanged>,
    /// Of the latest reading: its place in its window, how long after the one before it came, and when since the burst began, in milliseconds; and the
    /// clock of the series.
    last_ms: Option<u32>,
    step_ms: u32,
    since_ms: u32,
    clock_ms: u64,
    /// Whether the open window has readings.
    fresh: bool,
    /// What the latest burst told that had enough of them, and the clock then.
    before: Option<(Told, u64)>,
}

impl Beat {
    /// What a reading takes, in bytes.
    pub(super) const BYTES: usize = size_of::<Exchanged>();

    /// Adds a reading.
    pub(super) fn add(&mut self, clock_ms: u64, reading: &Exchange) {
        let at_ms = reading.at_ms;
        if clock_ms.saturating_sub(self.clock_ms) > APART_MS {
            self.traffic.clear();
            self.last_ms = None;
            self.since_ms = 0;
        }
        if self.traffic.capacity() == 0 {
            self.traffic.reserve_exact(MAX_BURST);
        }
        self.clock_ms = clock_ms;
        self.fresh = true;
        let Some(last) = self.last_ms.replace(at_ms) else {
            return;
        };
        // Places begin anew with each window; readings go on as evenly as before.
        if let Some(step) = at_ms.checked_sub(last).filter(|step| *step > 0) {
            self.step_ms = step;
        }
        self.since_ms = self.since_ms.saturating_add(self.step_ms);
        // A reading that failed leaves a hole.
        let has_room = self.step_ms > 0 && self.traffic.len() < MAX_BURST;
        if let Some(kib) = reading.kib.filter(|_| has_room) {
            let rate = kib / f64::from(self.step_ms);
            self.traffic.push(Exchanged {
                since_ms: self.since_ms,
                rate: rate as f32,
                activity: reading
                    .activity
                    .map_or([f32::NAN; 2], |both| both.map(|share| share as f32)),
            });
        }
    }

    /// What the open window has: what its burst tells, or else what the latest before told, while it stands.
    pub(super) fn told(&self, clock_ms: u64) -> Option<Told> {
        let stands = |(_, at): &(Told, u64)| clock_ms.saturating_sub(*at) <= STANDS_MS;
        let before = || self.before.filter(stands).map(|(told, _)| told);
        self.now().or_else(before)
    }

    /// Closes the window. Where links are out of use, what beat has ended.
    pub(super) fn close(&mut self, clock_ms: u64, linked: bool) {
        if !linked {
            self.forget();
            return;
        }
        if let Some(told) = self.now() {
            self.before = Some((told, clock_ms));
        }
        self.fresh = false;
        // A burst that never ends goes on with its latest half minute.
        let surplus = self.traffic.len().saturating_sub(LEAST);
        self.traffic.drain(..surplus);
    }

    /// What beat before is of other work than what comes.
    pub(super) fn forget(&mut self) {
        self.traffic.clear();
        self.last_ms = None;
        self.since_ms = 0;
        self.fresh = false;
        self.before = None;
    }

    /// That of a burst in the open window.
    fn now(&self) -> Option<Told> {
        (self.fresh && self.traffic.len() >= LEAST).then(|| told(&self.traffic))
    }
}

/// Traffic that stands still has no beat.
fn told(traffic: &[Exchanged]) -> Told {
    let timed = |e: &Exchanged| (f64::from(e.since_ms), f64::from(e.rate));
    let timed: Timed<MAX_BURST> = traffic.iter().map(timed).collect();
    let rhythm = timed.rhythm();
    let depth = variation(timed.values()).unwrap_or(0.0);
    let height = rhythm.map_or(0.0, |rhythm| rhythm.height);
    let sure = (height - OF_NOISE).max(0.0) / (1.0 - OF_NOISE);
    let rate = mean(timed.values().iter().copied());
    let period_ms = rhythm.and_then(|rhythm| rhythm.period_ms);
    let pairs = Pairs::of(traffic);
    Told {
        beat: sure * depth.min(1.0) * pairs.steadiness(),
        apart: pairs.apart(),
        // What is sent is half of what is exchanged.
        each_kib: rate.zip(period_ms).map(|(rate, period)| rate * period / 2.0),
    }
}

/// Exchanges of a burst, and what the device did meanwhile.
struct Pairs {
    rates: Row<MAX_BURST>,
    sm: Row<MAX_BURST>,
    tensor: Row<MAX_BURST>,
}

impl Pairs {
    /// Of each pair of samples that tells of activity, with the mean of what was exchanged since the one before.
    fn of(traffic: &[Exchanged]) -> Self {
        let mut pairs = Self {
            rates: Row::default(),
            sm: Row::default(),
            tensor: Row::default(),
        };
        let (mut sum, mut count) = (0.0, 0.0);
        for exchanged in traffic {
            sum += f64::from(exchanged.rate);
            count += 1.0;
            let [sm, tensor] = exchanged.activity.map(f64::from);
            if sm.is_finite() && tensor.is_finite() {
                pairs.rates.push(sum / count);
                pairs.sm.push(sm);
                pairs.tensor.push(tensor);
                (sum, count) = (0.0, 0.0);
            }
        }
        pairs
    }

    /// The share of pairs at full tensor activity in which traffic rests; `None` of too few, or where tensor pipes rest.
    fn apart(&self) -> Option<f64> {
        let full = self.tensor.centile(90).filter(|full| *full > AT_REST)?;
        let usual = mean(self.rates.values().iter().copied()).filter(|rate| *rate > 0.0)?;
        let (mut works, mut rests) = (0.0, 0.0);
        for (tensor, rate) in self.tensor.values().iter().zip(self.rates.values()) {
            if *tensor >= AT_WORK * full {
                works += 1.0;
                rests += f64::from(u8::from(*rate < RESTS * usual));
            }
        }
        (self.tensor.len() >= LEAST_PAIRS && works > 0.0).then(|| rests / works)
    }

    /// One where work does not turn, nothing where it does as prompts and answers do; one where nobody read it.
    fn steadiness(&self) -> f64 {
        let answers = self.answers().unwrap_or(0.0) / ANSWERS;
        (1.0 - answers * answers).max(0.0)
    }

    /// The share of SM activity in pairs that multiply little for what the SMs do, and exchange little.
    fn answers(&self) -> Option<f64> {
        let mixtures = || {
            let both = self.tensor.values().iter().zip(self.sm.values());
            both.map(|(tensor, sm)| if *sm >= AT_REST { tensor / sm } else { 0.0 })
        };
        let multiplies = mixtures().collect::<Row<MAX_BURST>>().centile(90)?;
        let exchanges = self.rates.centile(90)?;
        let (mut all, mut little) = (0.0, 0.0);
        for ((mixture, rate), sm) in mixtures().zip(self.rates.values()).zip(self.sm.values()) {
            all += sm;
            if mixture < LITTLE * multiplies && *rate < LITTLE * exchanges {
                little += sm;
            }
        }
        (self.sm.len() >= LEAST_PAIRS && all > 0.0).then(|| little / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten readings a second, in windows of a minute; the second of each two ends a pair of samples.
    fn follow(
        beat: &mut Beat,
        readings: std::ops::Range<usize>,
        kib: impl Fn(usize) -> f64,
        does: impl Fn(usize) -> [f64; 2],
    ) {
        for i in readings {
            if i > 0 && i % 600 == 0 {
                beat.close(i as u64 * 100, true);
            }
            let reading = Exchange {
                at_ms: (i % 600) as u32 * 100,
                kib: Some(kib(i)),
                activity: (i % 2 == 1).then(|| does(i)),
            };
            beat.add(i as u64 * 100, &reading);
        }
    }

    fn burst(beat: &mut Beat, readings: std::ops::Range<usize>, kib: impl Fn(usize) -> f64) {
        follow(beat, readings, kib, |_| [0.8, 0.4]);
    }

    /// What the open window tells at a time.
    fn beats(beat: &Beat, clock_ms: u64) -> Option<f64> {
        beat.told(clock_ms).map(|told| told.beat)
    }

    fn told(readings: usize, kib: impl Fn(usize) -> f64) -> Option<f64> {
        let mut beat = Beat::default();
        burst(&mut beat, 0..readings, kib);
        beats(&beat, readings as u64 * 100)
    }

    /// A minute of work in which what is exchanged goes with what is done.
    fn minute(kib: impl Fn(usize) -> f64, does: impl Fn(usize) -> [f64; 2]) -> Told {
        let mut beat = Beat::default();
        follow(&mut beat, 0..600, kib, does);
        beat.told(60_000).unwrap()
    }

    /// Numbers that follow no rule, from nought to one.
    fn noise(i: usize) -> f64 {
        let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 40) as f64 / f64::from(1u32 << 24)
    }

    fn steps(i: usize) -> f64 {
        if i % 4 == 3 { 900.0 } else { 100.0 }
    }

    #[test]
    fn exchanges_once_a_step_beat_and_requests_as_they_come_do_not() {
        let train = |i: usize| steps(i) + 20.0 * noise(i);
        assert!(told(600, train).unwrap() > 0.5);
        for readings in [301, 330, 400, 500, 600] {
            for draw in 0..40 {
                let request = |i: usize| {
                    if noise(i / 2 + 10_000 * draw) < 0.3 {
                        900.0
                    } else {
                        100.0
                    }
                };
                let height = told(readings, request).unwrap();
                assert!(height < 0.06, "{readings} readings: {height}");
            }
        }
    }

    #[test]
    fn a_few_seconds_tell_nothing() {
        for readings in [50, 100, 150, 300] {
            assert_eq!(told(readings, steps), None, "{readings}");
        }
    }

    #[test]
    fn replicas_work_without_a_word_and_one_model_over_several_devices_does_not() {
        // Steps of two seconds, of which an exchange takes the last four tenths: 8,000 KiB both ways.
        let exchanges = |i: usize| i % 20 >= 16;
        let replica = minute(
            |i| if exchanges(i) { 2_000.0 } else { 0.0 },
            |i| if exchanges(i) { [0.2, 0.0] } else { [0.9, 0.5] },
        );
        assert!(replica.beat > 0.5 && replica.apart.unwrap() > 0.9, "{replica:?}");
        assert!((replica.each_kib.unwrap() - 4_000.0).abs() < 100.0, "{replica:?}");
        // Layer by layer, in rounds of one size with a pause between.
        let round = |i: usize| i % 20 < 16;
        let served = minute(
            |i| if round(i) { 2_000.0 + 50.0 * noise(i) } else { 0.0 },
            |i| if round(i) { [0.8, 0.45] } else { [0.05, 0.0] },
        );
        assert!(served.beat > 0.3 && served.apart == Some(0.0), "{served:?}");
    }

    #[test]
    fn a_step_is_one_mixture_and_prompts_with_their_answers_are_two() {
        let prompts = |i: usize| i % 12 < 4;
        let traffic = |i: usize| if prompts(i) { 2_000.0 } else { 100.0 };
        let step = minute(traffic, |i| if prompts(i) { [0.9, 0.5] } else { [0.6, 0.3] });
        assert!(step.beat > 0.5, "{step:?}");
        // An exchange that all wait for multiplies nothing either, and is no answer.
        let waits = minute(traffic, |i| if prompts(i) { [0.3, 0.0] } else { [0.9, 0.5] });
        assert!(waits.beat > 0.5, "{waits:?}");
        let waves = minute(traffic, |i| if prompts(i) { [0.8, 0.45] } else { [0.5, 0.04] });
        assert!(waves.beat < 0.01, "{waves:?}");
    }

    #[test]
    fn where_nobody_reads_activity_nothing_is_told_of_how_it_goes_with_exchanges() {
        let blind = minute(steps, |_| [f64::NAN; 2]);
        assert!(blind.beat > 0.5 && blind.apart.is_none(), "{blind:?}");
        let rests = minute(steps, |_| [0.0, 0.0]);
        assert!(rests.beat > 0.5 && rests.apart.is_none(), "{rests:?}");
        let still = minute(|_| 0.0, |_| [0.8, 0.4]);
        assert_eq!((still.beat, still.apart, still.each_kib), (0.0, None, None));
    }

    #[test]
    fn a_burst_over_the_edge_of_a_window_is_one() {
        let mut beat = Beat::default();
        burst(&mut beat, 200..650, steps);
        assert!(beats(&beat, 65_000).unwrap() > 0.5);
        let mut late = Beat::default();
        burst(&mut late, 550..1_150, steps);
        let whole = late.told(115_000).unwrap();
        late.close(120_000, true);
        assert_eq!(late.told(180_000), Some(whole));
    }

    #[test]
    fn what_reading_too_slowly_leaves_of_a_faster_rhythm_counts_little() {
        // Three words and a third in each reading.
        let words = |i: usize| ((i + 1) * 10 / 3 - i * 10 / 3) as f64;
        assert!(told(600, words).unwrap() < 0.15);
    }

    #[test]
    fn a_burst_speaks_until_the_next_but_for_no_other_work() {
        let mut beat = Beat::default();
        burst(&mut beat, 0..600, steps);
        beat.close(60_000, true);
        let whole = beat.told(60_000);
        assert!(whole.unwrap().beat > 0.5);
        assert_eq!(beat.told(60_000 + STANDS_MS), whole);
        assert_eq!(beat.told(60_001 + STANDS_MS), None);
        let mut ended = beat.clone();
        ended.close(120_000, false);
        assert_eq!(ended.told(120_000), None);
        // Traffic that stands still is the latest that is known.
        burst(&mut beat, 3_000..3_600, |_| 500.0);
        assert_eq!(beats(&beat, 360_000), Some(0.0));
        beat.forget();
        assert_eq!(beat.told(360_000), None);
    }
}
