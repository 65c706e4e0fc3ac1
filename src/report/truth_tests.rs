//! A device whose every hundredth of a second is known, sampled as the agent samples, with all that goes wrong: what it truly did
//! lies between the bounds of its reports.

use super::synthetic::{Site, inventory, sample};
use crate::telemetry::{Activity, DeviceSample, GapReason, LossReason, PipeCycles, Reading, Tick, TickKind};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;

/// The peak of the part in all meter tests, in millionths of a TPP-hour per nanosecond.
const PEAK_PER_NS: f64 = 15_832.0 * 1e6 / 3_600.0 / 1e9;

/// A slot of time in which nothing changes.
const SLOT_NS: u64 = 10_000_000;

/// The least power, and the energy of a second at peak, in watts: as the catalogue has them.
const IDLE_W: f64 = 50.0;
const PEAK_W: f64 = 15_832e12 * 4e-15;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// From 0 up to, not including, `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn share(&mut self) -> f64 {
        self.below(1_000_001) as f64 / 1e6
    }
}

/// What happens to readings in one run.
#[derive(Clone, Copy, Debug)]
struct Troubles {
    /// Whether the driver counts cycles.
    cycles: bool,
    /// One reading in so many is lost.
    lost: u64,
    /// One tick in so many is late.
    late: u64,
}

/// What pipes did, in nanoseconds of activity: HMMA, DFMA, FP32.
type Done = [f64; 3];

/// What kind of workload and of bad luck a run has.
#[derive(Clone, Copy, Debug)]
struct Regime {
    yields: u64,
    frugal: bool,
    idle: u64,
    /// The clock changes once in so many ticks.
    hold: u64,
    /// Activity, energy: lost in the second half of each so many ticks.
    outage: [u64; 2],
}

struct Device {
    chance: Chance,
    regime: Regime,
    now: u64,
    clock: u32,
    /// Shares of the pipes in this phase, and its end.
    phase: (Done, u64),
    yields: [f64; 2],
    extra_w: f64,
    /// Truth: compute in millionths of a TPP-hour, of tensor pipes and of all.
    tensor: f64,
    all: f64,
    /// Cumulative activity.
    done: Done,
    energy_mj: f64,
    /// What the counter shows.
    shown_mj: u64,
    elapsed_ns: f64,
}

impl Device {
    /// Lives for so long; the clock goes from what it is to `clock` and not beyond.
    fn live(&mut self, ns: u64, clock: u32) {
        let (low, high) = (self.clock.min(clock), self.clock.max(clock));
        let end = self.now + ns;
        while self.now < end {
            if self.now >= self.phase.1 {
                let length = (self.chance.below(5_000) + 1) * 1_000_000;
                let idle = self.chance.below(4) < self.regime.idle;
                let shares = match if idle { 0 } else { self.chance.below(6) } {
                    0 | 1 => [0.0; 3],
                    2 => [1.0, 0.0, 0.0],
                    3 => [0.0, 1.0, 0.0],
                    4 => [0.0, 0.0, 1.0],
                    _ => {
                        let hmma = self.chance.share();
                        [hmma, (1.0 - hmma) * self.chance.share(), self.chance.share()]
                    }
                };
                self.phase = (shares, self.now + length);
                let whole = match self.regime.yields {
                    0 => true,
                    1 => false,
                    _ => self.chance.one_in(2),
                };
                self.yields = if whole { [1.0, 1.0] } else { [0.45, 0.49] };
                self.extra_w = if self.regime.frugal || self.chance.one_in(2) {
                    0.0
                } else {
                    500.0 * self.chance.share()
                };
            }
            let slot = SLOT_NS
                .min(end - self.now)
                .min(self.phase.1.saturating_sub(self.now).max(1));
            let clock = match self.chance.below(3) {
                0 => low,
                1 => high,
                _ => low + u32::try_from(self.chance.below(u64::from(high - low) + 1)).unwrap(),
            };
            let f = f64::from(clock) / 1_830.0;
            let ns = slot as f64;
            let [hmma, dfma, fp32] = self.phase.0;
            let tensor = hmma * self.yields[0] * f.min(1.0) + dfma * 0.25 * self.yields[1] * f;
            let vector = fp32 * 0.125 * f;
            let all = (tensor + vector).min(1.0);
            self.tensor += tensor.min(1.0) * ns * PEAK_PER_NS;
            self.all += all * ns * PEAK_PER_NS;
            for (sum, share) in self.done.iter_mut().zip(self.phase.0) {
                *sum += share * ns;
            }
            self.elapsed_ns += ns;
            self.energy_mj += (IDLE_W + PEAK_W * all + self.extra_w) * ns / 1e6;
            // The counter is refreshed every tenth of a second.
            if self.now / 100_000_000 != (self.now + slot) / 100_000_000 {
                self.shown_mj = self.energy_mj as u64;
            }
            self.now += slot;
        }
        self.clock = clock;
    }
}

#[derive(Default)]
struct Told {
    lower: f64,
    upper: f64,
    reports: u32,
}

/// Runs one device for some reports. An error says which bound was wrong first, and by how much.
fn run(seed: u64, troubles: Troubles) -> Result<(), String> {
    let mut site = Site::new(1, 60);
    let mut chance = Chance(seed);
    let mut outage = || if chance.one_in(2) { 0 } else { 4 + chance.below(30) };
    let outage = [outage(), outage()];
    let regime = Regime {
        yields: chance.below(3),
        frugal: chance.one_in(2),
        idle: chance.below(4),
        hold: [1, 6, 12][chance.below(3) as usize],
        outage,
    };
    let mut d = Device {
        chance,
        regime,
        now: 0,
        clock: 1_830,
        phase: ([0.0; 3], 0),
        yields: [1.0; 2],
        extra_w: 0.0,
        tensor: 0.0,
        all: 0.0,
        done: [0.0; 3],
        energy_mj: 5e6,
        shown_mj: 5_000_000,
        elapsed_ns: 0.0,
    };
    let mut told = Told::default();
    let mut before = 0.0;
    // The pair that the sampler holds: when it was taken, and what had been done by then.
    let mut older: Option<(u64, Done)> = Some((0, [0.0; 3]));
    let mut counted_from = (0.0, [0.0; 3]);
    let mut report_end = 30 * SECOND + d.chance.below(60 * SECOND);
    for tick in 0..400 {
        let late = d.chance.one_in(troubles.late);
        let length = match (late, d.chance.below(4)) {
            (true, 0) => 10 * SECOND + d.chance.below(20 * SECOND),
            (true, _) => 1_510_000_000 + d.chance.below(4 * SECOND),
            (false, 0) => 600_000_000 + d.chance.below(880_000_000),
            (false, _) => 980_000_000 + d.chance.below(40_000_000),
        };
        let kind = d.chance.below(4);
        let clock = match if d.chance.one_in(d.regime.hold) { kind } else { 2 } {
            0 => 345,
            1 => 1_980,
            2 => d.clock,
            _ => 345 + u32::try_from(d.chance.below(1_636)).unwrap(),
        };
        if length > 3 * SECOND && d.chance.one_in(4) {
            // In a gap the clock may have been anything.
            d.live(length / 2, 1_980);
            d.live(length - length / 2, clock);
            if d.chance.one_in(2) {
                // The driver was loaded anew.
                d.energy_mj = 1_000.0 * d.chance.share();
                d.shown_mj = d.energy_mj as u64;
                counted_from = (d.elapsed_ns, d.done);
                older = None;
            }
            let (from, to) = (BootNanos(d.now - length), BootNanos(d.now));
            site.meter.push_gap(None, GapReason::HostSuspended, from, to);
        } else {
            d.live(length, clock);
        }
        let loses = |d: &mut Device| d.chance.one_in(troubles.lost);
        let lost = Reading::Lost(LossReason::Failed);
        let mut read = sample(0, d.now);
        read.sm_clock_mhz = if loses(&mut d) {
            Reading::Lost(LossReason::Failed)
        } else {
            Reading::Value(d.clock)
        };
        let out = |n: u64| n > 0 && (tick % n) * 2 >= n;
        read.energy_mj = if loses(&mut d) || out(d.regime.outage[1]) {
            Reading::Lost(LossReason::Failed)
        } else {
            Reading::Value(d.shown_mj)
        };
        read.power_mw = if loses(&mut d) {
            Reading::Lost(LossReason::Failed)
        } else {
            Reading::Value(300_000)
        };
        read.utilisation = Reading::Value(Ppm(d.chance.below(1_000_001) as u32));
        let dead = loses(&mut d) && d.chance.one_in(3);
        let share = |now: f64, then: f64, whole: f64| {
            Reading::Value(Ppm(((now - then) / whole * 1e6).round().min(1e6) as u32))
        };
        read.activity = if dead || loses(&mut d) || out(d.regime.outage[0]) {
            if d.chance.one_in(8) {
                older = None;
            }
            lost
        } else {
            let (at, done) = (d.now, d.done);
            let pair = older.replace((at, done)).map(|(since, then)| {
                let whole = (at - since) as f64;
                let one = |i: usize| share(done[i], then[i], whole);
                let zero = Reading::Value(Ppm(0));
                let either = |d: &mut Device, r: Reading<Ppm>| {
                    if d.chance.one_in(troubles.lost * 2) {
                        Reading::Lost(LossReason::Failed)
                    } else {
                        r
                    }
                };
                let any = share(done[0] + done[1], then[0] + then[1], whole);
                Activity {
                    interval_ns: at - since,
                    sm: Reading::Value(Ppm(1_000_000)),
                    tensor_any: either(&mut d, any),
                    dfma: either(&mut d, one(1)),
                    hmma: either(&mut d, one(0)),
                    imma: either(&mut d, zero),
                    dram: zero,
                    fp64: either(&mut d, zero),
                    fp32: either(&mut d, one(2)),
                    fp16: either(&mut d, zero),
                    integer: zero,
                }
            });
            pair.map_or(lost, Reading::Value)
        };
        if troubles.cycles {
            let since = |now: f64, then: f64| Reading::Value((now - then) as u64);
            let zero = Reading::Value(0);
            let (elapsed, done) = counted_from;
            read.cycles = if dead || loses(&mut d) || out(d.regime.outage[1]) {
                if d.chance.one_in(3) {
                    Reading::Unsupported
                } else {
                    Reading::Lost(LossReason::Failed)
                }
            } else {
                let instance = (d.chance.one_in(20)).then_some(1);
                Reading::Value(vec![PipeCycles {
                    instance,
                    part_ppb: 1_000_000_000,
                    elapsed: (d.elapsed_ns - elapsed) as u64,
                    sm: zero,
                    tensor_any: since(d.done[0] + d.done[1], done[0] + done[1]),
                    dfma: since(d.done[1], done[1]),
                    hmma: since(d.done[0], done[0]),
                    imma: zero,
                    fp64: zero,
                    fp32: since(d.done[2], done[2]),
                    fp16: zero,
                    integer: zero,
                }])
            };
        }
        if dead {
            read = DeviceSample {
                sm_clock_mhz: read.sm_clock_mhz,
                ..sample(0, d.now)
            };
        }
        let (at, kind) = (BootNanos(d.now), TickKind::Regular);
        site.meter.push_tick(&Tick {
            at,
            kind,
            devices: vec![read],
        });
        if d.chance.one_in(60) {
            site.meter.set_inventory(&inventory(at, 0..1));
        }
        if d.now >= report_end {
            let claims = site.finish(at).accelerators.remove(0);
            let compute = claims.delivered.compute.unwrap();
            let all = d.all - std::mem::replace(&mut before, d.all);
            let upper = compute.upper.0 as f64;
            // A last stretch of up to a tick and a half counts in the next report.
            let edge = 1.5e9 * PEAK_PER_NS + 2_000.0;
            if upper + edge < all {
                return Err(format!(
                    "seed {seed} {troubles:?} {regime:?}: one report's upper {upper} below truth {all} ({:+.3} s at peak; {})",
                    (all - upper) / PEAK_PER_NS / 1e9,
                    compute.bound
                ));
            }
            told.lower += compute.lower.0 as f64;
            told.upper += compute.upper.0 as f64;
            told.reports += 1;
            report_end = d.now + 30 * SECOND + d.chance.below(60 * SECOND);
            // Each report rounds once, and shares are told in parts per million.
            let slack = f64::from(told.reports) * 2.0 + 2_000.0;
            if told.lower > d.tensor + slack {
                return Err(format!(
                    "seed {seed} {troubles:?} {regime:?}: after {} reports lower {} above truth {} ({:+.3} s at peak)",
                    told.reports,
                    told.lower,
                    d.tensor,
                    (told.lower - d.tensor) / PEAK_PER_NS / 1e9
                ));
            }
            if told.upper + slack < d.all {
                return Err(format!(
                    "seed {seed} {troubles:?} {regime:?}: after {} reports upper {} below truth {} ({:+.3} s at peak; {})",
                    told.reports,
                    told.upper,
                    d.all,
                    (d.all - told.upper) / PEAK_PER_NS / 1e9,
                    compute.bound
                ));
            }
        } else if at >= site.meter.window_end() {
            site.close(at);
        }
    }
    Ok(())
}

#[test]
fn what_a_device_truly_did_lies_between_the_bounds_of_its_reports() {
    let mut wrong = Vec::new();
    for seed in 0..40 {
        for cycles in [false, true] {
            for (lost, late) in [(1_000_000, 1_000_000), (8, 1_000_000), (1_000_000, 20), (5, 15)] {
                if let Err(why) = run(seed, Troubles { cycles, lost, late }) {
                    wrong.push(why);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
