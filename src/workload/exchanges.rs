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
    reason = "signal arithmetic on f64, which saturates and never traps; counts lie below a bound that is checked"
)]

use super::rhythm::Timed;
use super::row::{Row, mean, variation};
use super::series::{AT_REST, KIB_PER_MIB, MAX_BURST};

/// A rhythm up to here is what noise and requests have, in so many readings as are looked at.
const OF_NOISE: f64 = 0.3;

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
pub(super) struct Exchanged {
    /// When the second was, in milliseconds since the burst began.
    pub(super) since_ms: u32,
    /// Kibibytes per millisecond.
    pub(super) rate: f32,
    /// Activity of SMs and of tensor pipes over the pair of samples that ended there; not a number where none did.
    pub(super) activity: [f32; 2],
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

/// Traffic that stands still has no beat.
pub(super) fn told(traffic: &[Exchanged], memory_mib: Option<f64>) -> Told {
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
