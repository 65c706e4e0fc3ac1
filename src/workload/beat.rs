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
//!   with every layer, be it trained or served: its traffic rises and falls as its tensor pipes do, and rests only where they rest. Activity and traffic are
//!   not read at the same moment: of what comes out where one is moved against the other by up to a pair of samples, the least counts.
//! * `beat_per_memory`. Gradients of most that is trained are as many bytes as a good part of what a device holds in memory; most results that are gathered
//!   are few.
//!
//! Does not establish that what beats is training: batches of one size may, and steps shorter than two readings do not show.

#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "signal arithmetic on f64, which saturates and never traps; rates are kept in single precision, and counts lie below a bound that is checked"
)]

use super::rhythm::Timed;
use super::row::{Row, mean, variation};
use super::series::{AT_REST, KIB_PER_MIB, LONGEST_MS, MAX_BURST};

/// A rhythm up to here is what noise and requests have, in so many readings as are looked at.
const OF_NOISE: f64 = 0.3;

/// Of fewer readings nothing is told: nearly half a minute, ten a second. In a few seconds noise has rhythms of any height.
const LEAST: usize = 290;

/// Readings further apart than this are of two bursts, in milliseconds.
const APART_MS: u64 = 3_000;

/// For so long a burst speaks for what follows it, in milliseconds: agents burst for a minute somewhere in every ten, so that from one to the next
/// it may be eighteen.
const STANDS_MS: u64 = 20 * 60 * 1_000;

/// Activity and traffic may be read so far apart, in milliseconds: the pair of samples that a recording may lag behind.
const ASKEW_MS: f64 = 200.0;

/// Fewer times that traffic rose are no rhythm to count by.
const LEAST_RISES: f64 = 3.0;

/// Fewer pairs of samples that tell of activity than these tell nothing of how work and exchanges go together: a quarter of a minute in bursts.
const LEAST_PAIRS: usize = 75;

/// Tensor pipes that work this much of their ninth decile are at work,
const AT_WORK: f64 = 0.5;

/// and traffic below this much of its mean rests.
const RESTS: f64 = 0.25;

/// No step spends this share of its work multiplying less than half as much as it does elsewhere and exchanging less than half as much: the update
/// of a model at its end is shorter.
const ANSWERS: f64 = 0.3;

/// Little is less than this much of what it does where it multiplies most, and of the mean of what it exchanges.
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
    /// The share of time at full tensor activity in which traffic rests; `None` where nothing beats.
    pub(super) apart: Option<f64>,
    /// Bytes sent each time that traffic rose, of memory in use; `None` where nothing beats, or it never came to rest between.
    pub(super) per_memory: Option<f64>,
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
    /// How long ago a reading was told, and whether one was left out since.
    untold_ms: u32,
    broken: bool,
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
            self.begin();
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
        self.untold_ms = self.untold_ms.saturating_add(self.step_ms);
        // A counter that failed once goes on, and its next reading counts over both steps.
        let Some(kib) = reading.kib else { return };
        let over_ms = std::mem::take(&mut self.untold_ms);
        let is_whole = !std::mem::take(&mut self.broken) && (1..=LONGEST_MS).contains(&over_ms);
        if is_whole && self.traffic.len() < MAX_BURST {
            let rate = kib / f64::from(over_ms);
            self.traffic.push(Exchanged {
                since_ms: self.since_ms,
                rate: rate as f32,
                activity: reading
                    .activity
                    .map_or([f32::NAN; 2], |both| both.map(|share| share as f32)),
            });
        }
    }

    /// What comes is another burst.
    fn begin(&mut self) {
        self.traffic.clear();
        self.last_ms = None;
        (self.since_ms, self.untold_ms, self.broken) = (0, 0, false);
    }

    /// A reading was left out, which had counted already: the next counts over less time than has gone by.
    pub(super) fn leave_out(&mut self) {
        self.broken = true;
    }

    /// What the open window has: what its burst tells, or else what the latest before told, while it stands.
    pub(super) fn told(&self, clock_ms: u64, memory_mib: Option<f64>) -> Option<Told> {
        let stands = |(_, at): &(Told, u64)| clock_ms.saturating_sub(*at) <= STANDS_MS;
        let before = || self.before.filter(stands).map(|(told, _)| told);
        self.now(memory_mib).or_else(before)
    }

    /// Closes the window, in which so much memory was in use. Where links are out of use, what beat has ended.
    pub(super) fn close(&mut self, clock_ms: u64, linked: bool, memory_mib: Option<f64>) {
        if !linked {
            self.forget();
            return;
        }
        if let Some(told) = self.now(memory_mib) {
            self.before = Some((told, clock_ms));
        }
        self.fresh = false;
        // A burst that never ends goes on with its latest half minute.
        let surplus = self.traffic.len().saturating_sub(LEAST);
        self.traffic.drain(..surplus);
    }

    /// What beat before is of other work than what comes.
    pub(super) fn forget(&mut self) {
        self.begin();
        self.fresh = false;
        self.before = None;
    }

    /// That of a burst in the open window.
    fn now(&self, memory_mib: Option<f64>) -> Option<Told> {
        (self.fresh && self.traffic.len() >= LEAST).then(|| told(&self.traffic, memory_mib))
    }
}

/// Traffic that stands still has no beat.
fn told(traffic: &[Exchanged], memory_mib: Option<f64>) -> Told {
    let timed = |e: &Exchanged| (f64::from(e.since_ms), f64::from(e.rate));
    let timed: Timed<MAX_BURST> = traffic.iter().map(timed).collect();
    let depth = variation(timed.values()).unwrap_or(0.0);
    let height = timed.rhythm().map_or(0.0, |rhythm| rhythm.height);
    let sure = (height - OF_NOISE).max(0.0) / (1.0 - OF_NOISE);
    let pairs = Pairs::of(traffic);
    let memory_kib = memory_mib.map(|mib| mib * KIB_PER_MIB).filter(|kib| *kib > 0.0);
    let sent_kib = sent_each_time(traffic).filter(|_| sure > 0.0);
    Told {
        beat: sure * depth.min(1.0) * pairs.steadiness(),
        apart: pairs.apart().filter(|_| sure > 0.0),
        per_memory: sent_kib.zip(memory_kib).map(|(sent, held)| sent / held),
    }
}

/// From the first reading to the last, in milliseconds.
fn span_ms(traffic: &[Exchanged]) -> f64 {
    let ends = traffic.first().zip(traffic.last());
    ends.map_or(0.0, |(first, last)| {
        f64::from(last.since_ms.saturating_sub(first.since_ms))
    })
}

/// Kibibytes sent each time that traffic rose above its mean from where it rested. The period that is found of a rhythm would not do: where it is no
/// multiple of a reading, a multiple of it fits better.
fn sent_each_time(traffic: &[Exchanged]) -> Option<f64> {
    let rates = || traffic.iter().map(|e| f64::from(e.rate));
    let usual = mean(rates())?;
    let (mut rises, mut rested) = (0.0, true);
    for rate in rates() {
        if rate < RESTS * usual {
            rested = true;
        } else if rate > usual && rested {
            (rises, rested) = (rises + 1.0, false);
        }
    }
    // What is sent is half of what is exchanged.
    let sent = usual * span_ms(traffic) / 2.0;
    (rises >= LEAST_RISES).then(|| sent / rises)
}

/// Exchanges of a burst, and what the device did meanwhile.
struct Pairs {
    /// Over how long, in milliseconds.
    span_ms: f64,
    rates: Row<MAX_BURST>,
    sm: Row<MAX_BURST>,
    tensor: Row<MAX_BURST>,
}

impl Pairs {
    /// Of each pair of samples that tells of activity, with the mean of what was exchanged since the one before.
    fn of(traffic: &[Exchanged]) -> Self {
        let mut pairs = Self {
            span_ms: span_ms(traffic),
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

    /// The share of pairs at full tensor activity in which traffic rests; `None` of too few, or where tensor pipes rest. The least of those by each
    /// pairing of what may have been read askew.
    fn apart(&self) -> Option<f64> {
        let full = self.tensor.centile(90).filter(|full| *full > AT_REST)?;
        let usual = mean(self.rates.values().iter().copied()).filter(|rate| *rate > 0.0)?;
        let count = self.tensor.len();
        if count < LEAST_PAIRS {
            return None;
        }
        let each_ms = self.span_ms / count as f64;
        let askew = (ASKEW_MS / each_ms.max(1.0)).round().max(1.0) as usize;
        let of = |sooner: usize, later: usize| {
            let tensor = self.tensor.values().iter().skip(sooner);
            let both = tensor.zip(self.rates.values().iter().skip(later));
            let (mut works, mut rests) = (0.0, 0.0);
            for (_, rate) in both.filter(|(tensor, _)| **tensor >= AT_WORK * full) {
                works += 1.0;
                rests += f64::from(u8::from(*rate < RESTS * usual));
            }
            (works > 0.0).then(|| rests / works)
        };
        let moved = (1..=askew).flat_map(|by| [of(by, 0), of(0, by)]);
        moved.chain([of(0, 0)]).flatten().reduce(f64::min)
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
        let full = AT_WORK * self.sm.centile(90)?;
        let busy = mixtures().zip(self.sm.values()).filter(|(_, sm)| **sm >= full);
        // So that prompts count that are one in twenty.
        let multiplies = busy
            .map(|(mixture, _)| mixture)
            .collect::<Row<MAX_BURST>>()
            .centile(95)?;
        let exchanges = mean(self.rates.values().iter().copied())?;
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

    /// A device that holds 1,000 MiB.
    const HELD: Option<f64> = Some(1_000.0);

    /// Ten readings a second, in windows of a minute; the second of each two ends a pair of samples.
    fn follow(
        beat: &mut Beat,
        readings: std::ops::Range<usize>,
        kib: impl Fn(usize) -> f64,
        does: impl Fn(usize) -> [f64; 2],
    ) {
        for i in readings {
            if i > 0 && i % 600 == 0 {
                beat.close(i as u64 * 100, true, HELD);
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
        beat.told(clock_ms, HELD).map(|told| told.beat)
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
        beat.told(60_000, HELD).unwrap()
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
        for readings in [50, 100, 150, 290] {
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
        assert!(replica.beat > 0.5 && replica.apart.unwrap() > 0.8, "{replica:?}");
        let sent = replica.per_memory.unwrap() * 1_000.0 * 1_024.0;
        assert!((sent - 4_000.0).abs() < 150.0, "{replica:?}");
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
    fn what_is_sent_in_a_beat_is_counted_by_how_often_it_rose() {
        // Every 430 ms for 30 ms, 900 KiB both ways: of ten readings a second 860 and 1,290 ms fit best.
        let pulse = |i: usize| {
            let (from, to) = (i as f64 * 100.0, i as f64 * 100.0 + 100.0);
            let pulses = (0..200).map(|n| f64::from(n) * 430.0);
            let within = |at: f64| (to.min(at + 30.0) - from.max(at)).max(0.0);
            pulses.map(|at| within(at) * 30.0).sum::<f64>()
        };
        let told = minute(pulse, |_| [0.9, 0.5]);
        let sent = told.per_memory.unwrap() * 1_000.0 * 1_024.0;
        assert!(told.beat > 0.3 && (sent - 450.0).abs() < 30.0, "{told:?}");
        // Noise is sent in no beats, and a beat that never rests in none that can be counted.
        let noisy = minute(|i| 900.0 * noise(i), |_| [0.9, 0.5]);
        assert_eq!(noisy.per_memory, None);
        let full = minute(|i| steps(i) + 400.0, |_| [0.9, 0.5]);
        assert_eq!(full.per_memory, None);
        let mut beat = Beat::default();
        burst(&mut beat, 0..600, steps);
        for memory_mib in [None, Some(0.0)] {
            assert_eq!(beat.told(60_000, memory_mib).unwrap().per_memory, None);
        }
    }

    #[test]
    fn the_memory_that_counts_is_that_of_the_burst() {
        let mut beat = Beat::default();
        burst(&mut beat, 0..600, steps);
        let whole = beat.told(60_000, HELD);
        beat.close(60_000, true, HELD);
        assert_eq!(beat.told(120_000, Some(1.0)), whole);
    }

    #[test]
    fn what_is_read_askew_does_not_set_exchanges_apart() {
        // Activity is told up to a pair of samples late, or soon.
        for late in [-2i64, -1, 1, 2] {
            for (period, busy) in [(5, 2), (7, 2), (8, 4), (10, 4)] {
                let round = |i: i64| i.rem_euclid(period) < busy;
                let told = minute(
                    |i| if round(i as i64) { 2_000.0 } else { 0.0 },
                    |i| {
                        let i = i as i64 - late;
                        let share = f64::from(u8::from(round(i)) + u8::from(round(i - 1))) / 2.0;
                        [0.8 * share, 0.45 * share]
                    },
                );
                assert!(told.apart.unwrap() < 0.35, "{late}, {busy} of {period}: {told:?}");
            }
        }
    }

    #[test]
    fn a_reading_that_failed_counts_with_the_next_and_after_a_hole_none_does() {
        let traffic = |skipped: fn(usize) -> bool, lost: fn(usize) -> bool| {
            let mut beat = Beat::default();
            let mut owed = 0.0;
            for i in (0..400).filter(|i| !skipped(*i)) {
                owed += 100.0;
                let reading = Exchange {
                    at_ms: i as u32 * 100,
                    kib: (!lost(i)).then(|| std::mem::take(&mut owed)),
                    activity: None,
                };
                beat.add(i as u64 * 100, &reading);
            }
            beat.traffic
        };
        let even = |all: &[Exchanged]| all.iter().all(|e| (e.rate - 1.0).abs() < 1e-6);
        assert!(even(&traffic(|_| false, |i| i % 7 == 3)));
        // Late by seven tenths of a step, and back in its place.
        let mut beat = Beat::default();
        let mut before = 0;
        for i in 0..400u32 {
            let at_ms = i * 100 + if i == 10 { 70 } else { 0 };
            let kib = Some(f64::from(at_ms - before));
            before = at_ms;
            let reading = Exchange {
                at_ms,
                kib,
                activity: None,
            };
            beat.add(at_ms.into(), &reading);
        }
        assert!(even(&beat.traffic) && beat.traffic.len() == 399);
        // One that was left out had counted.
        beat.leave_out();
        let next = |at_ms| Exchange {
            at_ms,
            kib: Some(100.0),
            activity: None,
        };
        beat.add(40_100, &next(40_100));
        beat.add(40_200, &next(40_200));
        assert!(even(&beat.traffic) && beat.traffic.len() == 400);
        // What was counted over a hole of eight tenths of a second is of nobody knows which time.
        let holed = traffic(|i| i % 50 > 42, |_| false);
        assert!(even(&holed) && holed.len() > 300, "{}", holed.len());
    }

    #[test]
    fn where_nobody_reads_activity_nothing_is_told_of_how_it_goes_with_exchanges() {
        let blind = minute(steps, |_| [f64::NAN; 2]);
        assert!(blind.beat > 0.5 && blind.apart.is_none(), "{blind:?}");
        let rests = minute(steps, |_| [0.0, 0.0]);
        assert!(rests.beat > 0.5 && rests.apart.is_none(), "{rests:?}");
        let still = minute(|_| 0.0, |_| [0.8, 0.4]);
        assert_eq!((still.beat, still.apart, still.per_memory), (0.0, None, None));
    }

    #[test]
    fn a_burst_over_the_edge_of_a_window_is_one() {
        let mut beat = Beat::default();
        burst(&mut beat, 200..650, steps);
        assert!(beats(&beat, 65_000).unwrap() > 0.5);
        let mut late = Beat::default();
        burst(&mut late, 550..1_150, steps);
        let whole = late.told(115_000, HELD).unwrap();
        late.close(120_000, true, HELD);
        assert_eq!(late.told(180_000, None), Some(whole));
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
        beat.close(60_000, true, HELD);
        let whole = beat.told(60_000, HELD);
        assert!(whole.unwrap().beat > 0.5);
        assert_eq!(beat.told(60_000 + STANDS_MS, HELD), whole);
        assert_eq!(beat.told(60_001 + STANDS_MS, HELD), None);
        let mut ended = beat.clone();
        ended.close(120_000, false, HELD);
        assert_eq!(ended.told(120_000, HELD), None);
        // Traffic that stands still is the latest that is known.
        burst(&mut beat, 3_000..3_600, |_| 500.0);
        assert_eq!(beats(&beat, 360_000), Some(0.0));
        beat.forget();
        assert_eq!(beat.told(360_000, HELD), None);
    }
}
