//! Whatever befalls a device or its counters, no amount is negative, invented, or outside its bounds.

use super::synthetic::{Site, inventory, sample};
use crate::id::DeviceUuid;
use crate::report::AcceleratorClaims;
use crate::telemetry::{
    Activity, DeviceSample, GapReason, Inventory, LossReason, MigInstance, Reading, Tick, TickKind,
};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// TPP of the part in all meter tests, in millionths of a TPP-hour per nanosecond, times 1e12.
const PEAK_PER_NS: f64 = 15_832.0 * 1e6 / 3_600.0 / 1e9;

/// What happens next on a host with one device.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes, and a sample is taken; whether its activity and its counters can be read.
    Tick {
        ms: u64,
        tensor: u32,
        clock: u32,
        watts: u64,
        bytes: u64,
        reads: bool,
        counts: bool,
    },
    /// The driver was loaded anew, which takes seconds: counters begin near zero.
    Reset,
    /// Another card stands in its place, whose counters are about to run over the end of their 64 bits.
    Wrap,
    /// The host sleeps; boot time goes on.
    Suspend { s: u64 },
    /// The boot clock is read again, a little earlier: two threads, or a virtual machine that moved.
    StepBack { ms: u64 },
    /// Another card stands in its place.
    Replace,
    /// It is cut into instances, or made whole again.
    Redivide,
    /// A report ends.
    Report,
}

fn event() -> impl Strategy<Value = Event> {
    let tick = (
        200u64..4_000,
        0u32..=1_000_000,
        345u32..=1_980,
        50u64..750,
        0u64..1 << 34,
        0u32..8,
    )
        .prop_map(|(ms, tensor, clock, watts, bytes, luck)| Event::Tick {
            ms,
            tensor,
            clock,
            watts,
            bytes,
            reads: luck != 0,
            counts: luck != 1,
        });
    prop_oneof![
        20 => tick,
        1 => Just(Event::Reset),
        1 => Just(Event::Wrap),
        1 => (1u64..400).prop_map(|s| Event::Suspend { s }),
        1 => (1u64..3_000).prop_map(|ms| Event::StepBack { ms }),
        1 => Just(Event::Replace),
        1 => Just(Event::Redivide),
        3 => Just(Event::Report),
    ]
}

/// What a device truly did, and what its reports say of it.
#[derive(Default)]
struct Ledger {
    tensor: f64,
    millijoules: f64,
    bytes: f64,
    lower: u128,
    counter: u128,
    upper: u128,
    unconditional: u128,
    energy: u64,
    links: u64,
}

struct Host {
    site: Site,
    now: BootNanos,
    card: u8,
    divided: bool,
    energy: u64,
    link: u64,
    clock: u32,
    ledgers: BTreeMap<DeviceUuid, Ledger>,
}

impl Host {
    fn inventory(&self) -> Inventory {
        let mut now = inventory(self.now, 0..1);
        now.devices[0].uuid = DeviceUuid([self.card; 16]);
        now.devices[0].mig = self.divided.then(|| vec![MigInstance { slices: 1, count: 7 }]);
        now
    }

    fn ledger(&mut self) -> &mut Ledger {
        self.ledgers.entry(DeviceUuid([self.card; 16])).or_default()
    }

    fn live(&mut self, event: &Event) {
        match *event {
            Event::Tick {
                ms,
                tensor,
                clock,
                watts,
                bytes,
                reads,
                counts,
            } => {
                self.now = self.now.plus(ms * 1_000_000);
                // The clock went from the one to the other somehow: take the mean. A busy pipe does three quarters of what is counted.
                let mean = f64::from(clock + self.clock) / 2.0;
                let did = f64::from(tensor) / 1e6 * (mean / 1_830.0).min(1.0) * 0.75;
                let (spent, ns) = (watts * ms, (ms * 1_000_000) as f64);
                let ledger = self.ledger();
                ledger.tensor += did * ns * PEAK_PER_NS;
                ledger.millijoules += spent as f64;
                ledger.bytes += bytes as f64;
                self.clock = clock;
                self.energy = self.energy.wrapping_add(spent);
                self.link = self.link.wrapping_add(bytes);
                let share = |ppm| Reading::Value(Ppm(ppm));
                let activity = Activity {
                    interval_ns: ms * 1_000_000,
                    sm: share(tensor),
                    tensor_any: share(tensor),
                    dfma: share(0),
                    hmma: share(tensor),
                    imma: share(0),
                    dram: share(0),
                    fp64: share(0),
                    fp32: share(0),
                    fp16: share(0),
                    integer: share(0),
                };
                let lost = Reading::Lost(LossReason::Failed);
                let counter = |value| {
                    if counts {
                        Reading::Value(value)
                    } else {
                        Reading::Lost(LossReason::Failed)
                    }
                };
                let read = DeviceSample {
                    sm_clock_mhz: Reading::Value(clock),
                    power_mw: Reading::Value(u32::try_from(watts).unwrap() * 1_000),
                    utilisation: share(tensor),
                    energy_mj: counter(self.energy),
                    nvlink_tx_bytes: counter(self.link),
                    nvlink_rx_bytes: counter(self.link),
                    activity: if reads { Reading::Value(activity) } else { lost },
                    ..sample(0, self.now.0)
                };
                let (at, kind) = (self.now, TickKind::Regular);
                self.site.meter.push_tick(&Tick {
                    at,
                    kind,
                    devices: vec![read],
                });
            }
            Event::Reset => {
                self.now = self.now.plus(2 * SECOND);
                (self.energy, self.link) = (3, 5);
            }
            Event::Suspend { s } => {
                let from = self.now;
                self.now = self.now.plus(s * SECOND);
                self.site
                    .meter
                    .push_gap(None, GapReason::HostSuspended, from, self.now);
            }
            Event::StepBack { ms } => {
                let earlier = BootNanos(self.now.0.saturating_sub(ms * 1_000_000));
                let read = DeviceSample {
                    energy_mj: Reading::Value(self.energy),
                    sm_clock_mhz: Reading::Value(self.clock),
                    ..sample(0, earlier.0)
                };
                self.site.meter.push_tick(&Tick {
                    at: earlier,
                    kind: TickKind::Regular,
                    devices: vec![read],
                });
            }
            Event::Replace | Event::Wrap => {
                self.card += 1;
                (self.energy, self.link) = match event {
                    Event::Wrap => (u64::MAX - 500_000, u64::MAX - (1 << 34)),
                    _ => (u64::from(self.card) * 1_000_003, 17),
                };
                let now = self.inventory();
                self.site.meter.set_inventory(&now);
            }
            Event::Redivide => {
                self.divided = !self.divided;
                let now = self.inventory();
                self.site.meter.set_inventory(&now);
            }
            Event::Report => self.report(),
        }
    }

    fn report(&mut self) {
        if self.now <= self.site.meter.start() {
            return;
        }
        for claims in self.site.finish(self.now).accelerators {
            let ledger = self.ledgers.entry(claims.identity.uuid).or_default();
            ledger.book(&claims);
        }
    }
}

impl Ledger {
    fn book(&mut self, claims: &AcceleratorClaims) {
        let delivered = &claims.delivered;
        let compute = delivered.compute.as_ref().unwrap();
        assert!(compute.lower <= compute.counter, "{compute:?}");
        assert!(compute.counter <= compute.upper, "{compute:?}");
        assert!(compute.upper <= compute.upper_unconditional, "{compute:?}");
        self.lower += compute.lower.0;
        self.counter += compute.counter.0;
        self.upper += compute.upper.0;
        self.unconditional += compute.upper_unconditional.0;
        self.energy += delivered.measured.energy_mj.value().copied().unwrap_or(0);
        self.links += delivered.measured.nvlink.value().map_or(0, |t| t.tx);
        let training = delivered.training.as_ref().unwrap();
        assert!(
            training.lower <= training.upper && training.upper <= training.upper_unconditional,
            "{training:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_mishap_makes_an_amount_negative_invented_or_inverted(events in prop::collection::vec(event(), 1..120)) {
        let mut host = Host {
            site: Site::new(1, 60),
            now: BootNanos(0),
            card: 1,
            divided: false,
            energy: 77_000,
            link: 123,
            clock: 1_830,
            ledgers: BTreeMap::new(),
        };
        for event in &events {
            host.live(event);
        }
        host.report();
        for (uuid, ledger) in &host.ledgers {
            // Roundings of one millionth for each sample.
            let slack = events.len() as f64 + 1.0;
            prop_assert!(ledger.lower as f64 <= ledger.tensor + slack, "{uuid:?}: {} of {}", ledger.lower, ledger.tensor);
            prop_assert!(ledger.tensor <= ledger.upper as f64 + slack, "{uuid:?}: {} of {}", ledger.upper, ledger.tensor);
            prop_assert!(ledger.counter as f64 <= ledger.tensor / 0.75 + slack, "{uuid:?}: {}", ledger.counter);
            prop_assert!(ledger.energy as f64 <= ledger.millijoules + 1.0, "{uuid:?}: {} of {} mJ", ledger.energy, ledger.millijoules);
            prop_assert!(ledger.links as f64 <= ledger.bytes + 1.0, "{uuid:?}: {} of {} bytes", ledger.links, ledger.bytes);
        }
    }
}
