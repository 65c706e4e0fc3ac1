//! What the reporter is told from outside the devices: the readings of power meters, and what they have against the devices.

use super::Reporter;
use crate::draft::Draft;
use crate::meters::{MeterConfig, Tally, Told};
use weighbridge::telemetry::PowerMeter;

impl Reporter {
    /// From now on, reports list these meters, in this order. One that gives no reading is listed with none.
    pub fn set_meters(&mut self, meters: &[MeterConfig]) {
        let tally = |meter: &MeterConfig| Tally::new(meter.kind, meter.every_s);
        self.meters = meters.iter().take(PowerMeter::MOST).map(tally).collect();
    }

    /// Takes what came of a question to a meter. Where no reading came, the time is not covered.
    pub fn meter(&mut self, told: &Told) {
        if let (Ok(mw), Some(tally)) = (&told.read, self.meters.get_mut(told.meter)) {
            tally.push(told.at, *mw);
        }
    }

    /// Holds the meters of a report against the energy of its devices.
    pub(super) fn hold_outside(&self, draft: &mut Draft) {
        let length_ms = draft.time.end.since(draft.time.start).div_euclid(1_000_000);
        let host = &mut draft.host;
        let found = self
            .meter
            .against_outside(&host.meters, &draft.accelerators, length_ms);
        host.observations.extend(found);
        // In the order of their kinds, as all are listed.
        host.observations.sort_by_key(|o| o.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Node, inventory, run, tick};
    use crate::meters::{MeterConfig, MeterTrust, ShapeError, Told};
    use weighbridge::accounting::ObservationKind;
    use weighbridge::id::Digest;
    use weighbridge::telemetry::{
        HostLinks, HostTraffic, LinkCounters, LinkKind, LossReason, MeterKind, Reading, Traffic,
    };
    use weighbridge::time::{BootNanos, SECOND};

    #[test]
    fn meters_are_summed_over_a_report_and_one_that_fails_costs_nothing_else() {
        let node = Node::new();
        let spool = node.spool();
        let mut reporter = node.reporter(&spool, 0.0);
        let meter = |kind| MeterConfig {
            kind,
            url: "https://meter.invalid/Power".parse().unwrap(),
            trust: MeterTrust::Pinned(Digest([0; 32])),
            credentials: None,
            every_s: 10,
        };
        reporter.set_meters(&[meter(MeterKind::Bmc), meter(MeterKind::Pdu)]);
        reporter.frame(&inventory(), node.now(0.1)).unwrap();
        for second in 1..302 {
            if second % 10 == 0 {
                let at = BootNanos(second * SECOND);
                let read = Ok(4_000_000 + second * 1_000);
                reporter.meter(&Told { meter: 0, at, read });
                let read = Err(ShapeError::NotJson.into());
                reporter.meter(&Told { meter: 1, at, read });
            }
            let second = second as f64;
            reporter.frame(&tick(second), node.now(second + 0.01)).unwrap();
        }
        let reports = node.reports(&spool);
        let [bmc, pdu] = &reports[0].claims().submods.host.host.meters[..] else {
            panic!("two meters are configured");
        };
        assert_eq!(
            (bmc.kind, bmc.readings, bmc.covered_ms),
            (MeterKind::Bmc, 30, 290_000)
        );
        assert_eq!((bmc.lowest_mw, bmc.highest_mw), (4_010_000, 4_300_000));
        assert_eq!(bmc.energy_mj, 290 * 4_155_000);
        assert_eq!((pdu.kind, pdu.readings, pdu.energy_mj), (MeterKind::Pdu, 0, 0));
        assert!(reports[0].accelerators().next().is_some());
    }

    #[test]
    fn a_meter_that_reads_less_than_the_devices_took_is_observed() {
        // One device takes 400 W.
        for (watts, seen) in [(395, false), (700, false), (200, true)] {
            let node = Node::new();
            let spool = node.spool();
            let mut reporter = node.reporter(&spool, 0.0);
            reporter.set_meters(&[MeterConfig {
                kind: MeterKind::Bmc,
                url: "https://meter.invalid/Power".parse().unwrap(),
                trust: MeterTrust::Pinned(Digest([0; 32])),
                credentials: None,
                every_s: 10,
            }]);
            reporter.frame(&inventory(), node.now(0.1)).unwrap();
            for second in 1..302 {
                if second % 10 == 0 {
                    let (at, read) = (BootNanos(second * SECOND), Ok(watts * 1_000));
                    reporter.meter(&Told { meter: 0, at, read });
                }
                let second = second as f64;
                reporter.frame(&tick(second), node.now(second + 0.01)).unwrap();
            }
            let reports = node.reports(&spool);
            let observations = &reports[0].claims().submods.host.host.observations;
            let found = observations
                .iter()
                .find(|o| o.kind == ObservationKind::MeterAgainstDevices);
            assert_eq!(found.is_some(), seen, "{watts} W: {observations:?}");
            assert!(found.is_none_or(|o| o.windows == 1 && (400_000..550_000).contains(&o.size)));
        }
    }

    #[test]
    fn the_links_gain_what_they_carried_in_the_reports_time() {
        let node = Node::new();
        let spool = node.spool();
        let mut reporter = node.reporter(&spool, 0.0);
        reporter.frame(&inventory(), node.now(0.1)).unwrap();
        for second in 1..302u64 {
            // The card is reset once; what it carried in that second is not known.
            let carried = if second < 100 { second } else { second - 100 };
            let links = HostLinks {
                at: BootNanos(second * SECOND),
                whole: true,
                links: vec![LinkCounters {
                    kind: LinkKind::Infiniband,
                    function: "0000:1a:00.0".to_owned(),
                    link: "mlx5_0/1".to_owned(),
                    tx_bytes: Reading::Value(carried * 50_000_000_000),
                    rx_bytes: Reading::Value(carried),
                }],
            };
            let now = node.now(second as f64);
            reporter.frame(&links.into(), now).unwrap();
            reporter.frame(&tick(second as f64), now).unwrap();
        }
        run(&node, &mut reporter, 302..610);
        let reports = node.reports(&spool);
        let traffic = |n: usize| reports[n].claims().submods.host.host.traffic.clone();
        let carried = Traffic {
            tx: 298 * 50_000_000_000,
            rx: 298,
        };
        assert_eq!(
            traffic(0),
            HostTraffic {
                infiniband: Reading::Value(carried),
                ethernet: Reading::Unsupported,
            }
        );
        // Nothing was read after the first second of the second.
        assert_eq!(traffic(1).infiniband.value().map(|t| t.rx), Some(1));
        let Reading::Lost(LossReason::Failed) = reporter.links.finish().infiniband else {
            panic!("no list came in the third");
        };
    }
}
