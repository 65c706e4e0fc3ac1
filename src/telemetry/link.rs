//! The host's network links: their counters, and what they gained in a report's time.
//!
//! Decides: which counters are one port's, so that nothing is counted twice; that a counter that falls was reset and
//! adds nothing; that a link which appears adds nothing for its past. Trusts the sampler for what it read. Does not
//! establish whom the bytes went to. The names of links never leave the node: only sums come out.

use super::{HostTraffic, LossReason, Reading, Traffic};
use crate::time::BootNanos;
use std::collections::BTreeMap;

crate::code! {
    /// What a pair of counters counts.
    pub enum LinkKind {
        /// An InfiniBand port.
        Infiniband = 0 => "infiniband",
        /// RDMA over an Ethernet port. Cards differ in whether the interface of the same port counts these bytes too.
        RdmaOverEthernet = 1 => "RDMA over Ethernet",
        /// A network interface.
        Ethernet = 2 => "ethernet",
    }
}

crate::record! {
    /// The counters of one link at one instant, cumulative.
    pub struct LinkCounters {
        /// What they count.
        0 => kind: LinkKind,
        /// The function on the bus that the link belongs to, by the kernel's name: it joins the two faces of one port.
        1 => function: String,
        /// The link, by the kernel's name.
        2 => link: String,
        /// Bytes sent.
        3 => tx_bytes: Reading<u64>,
        /// Bytes received.
        4 => rx_bytes: Reading<u64>,
    }
}

crate::record! {
    /// The links of the host at one instant. It never leaves the node.
    pub struct HostLinks {
        /// When.
        0 => at: BootNanos,
        /// Whether the list is whole; where it is not, what it lacks is not known.
        1 => whole: bool,
        /// The links, at most [`HostLinks::MOST`].
        2 => links: Vec<LinkCounters>,
    }
}

impl HostLinks {
    /// The most links that one host is believed to have; a list that would be longer is not whole.
    pub const MOST: usize = 256;
}

/// Which link.
type Key = (LinkKind, String, String);

/// One link, as long as it is there.
#[derive(Clone, Debug)]
struct Link {
    tx: Counter,
    rx: Counter,
    present: bool,
}

/// One counter: its last value, what it gained since the report began, and how its readings went.
#[derive(Clone, Debug)]
struct Counter {
    last: Option<u64>,
    gained: Reading<u64>,
}

impl Counter {
    const NEW: Self = Self {
        last: None,
        gained: Reading::Unsupported,
    };

    fn take(&mut self, reading: &Reading<u64>) {
        match reading {
            Reading::Value(now) => {
                let before = self.last.replace(*now).unwrap_or(*now);
                // A counter that fell started anew: what it lost is not known, so nothing is added.
                let gain = now.checked_sub(before).unwrap_or(0);
                let so_far = self.gained.value().copied().unwrap_or(0);
                self.gained = Reading::Value(so_far.saturating_add(gain));
            }
            // A reading that was lost between two others costs nothing, since the counter goes on.
            other if self.gained.value().is_none() => self.gained = *other,
            _ => {}
        }
    }
}

/// Follows the links of a host. Holds two counters for each link, whatever the length of the run.
#[derive(Clone, Debug, Default)]
pub struct LinkTrack {
    links: BTreeMap<Key, Link>,
    /// Whether a list came since the report began.
    listed: bool,
    /// Whether every list since was whole, and every link in it was followed.
    lacking: bool,
}

impl LinkTrack {
    /// Takes a list of the host's links.
    pub fn push(&mut self, seen: &HostLinks) {
        self.listed = true;
        self.lacking |= !seen.whole;
        for link in self.links.values_mut() {
            link.present = false;
        }
        for counters in &seen.links {
            let key = (counters.kind, counters.function.clone(), counters.link.clone());
            let known = self.links.contains_key(&key);
            // Links that came and went are kept until the report ends; a host does not have many.
            if !known && self.links.len() >= HostLinks::MOST {
                self.lacking = true;
                continue;
            }
            let link = self.links.entry(key).or_insert(Link {
                tx: Counter::NEW,
                rx: Counter::NEW,
                present: true,
            });
            link.present = true;
            link.tx.take(&counters.tx_bytes);
            link.rx.take(&counters.rx_bytes);
        }
        // One that is gone may come back as another card: what it counts then is not a continuation.
        if seen.whole {
            for link in self.links.values_mut().filter(|link| !link.present) {
                link.tx.last = None;
                link.rx.last = None;
            }
        }
    }

    /// What all links gained since the report began. The next report begins here.
    ///
    /// A kind of which the host has no link is unsupported; a kind of which one link could not be read in all that time
    /// is lost, since a sum without it would be too low.
    pub fn finish(&mut self) -> HostTraffic {
        let (mut infiniband, mut ports) = (Sum::default(), BTreeMap::<&str, [Sum; 2]>::new());
        for ((kind, function, _), link) in &self.links {
            let gained = || (link.tx.gained, link.rx.gained);
            let [rdma, interface] = match kind {
                LinkKind::Infiniband => {
                    infiniband.add(gained());
                    continue;
                }
                _ => ports.entry(function.as_str()).or_default(),
            };
            match kind {
                LinkKind::RdmaOverEthernet => rdma.add(gained()),
                _ => interface.add(gained()),
            }
        }
        let mut ethernet = Sum::default();
        for [rdma, interface] in ports.into_values() {
            ethernet.add(larger(rdma, interface));
        }
        let told = HostTraffic {
            infiniband: infiniband.total(),
            ethernet: ethernet.total(),
        };
        let whole = self.listed && !self.lacking;
        self.listed = false;
        self.lacking = false;
        self.links.retain(|_, link| link.present);
        for link in self.links.values_mut() {
            // A link that is not read again is lost, not idle.
            link.tx.gained = Reading::Lost(LossReason::Failed);
            link.rx.gained = Reading::Lost(LossReason::Failed);
        }
        if whole {
            return told;
        }
        HostTraffic {
            infiniband: Reading::Lost(LossReason::Failed),
            ethernet: Reading::Lost(LossReason::Failed),
        }
    }
}

/// The two faces of the ports of one function: the larger in each direction. Most cards count RDMA beside the
/// interface and some in both; the larger of the two never counts a byte twice, and leaves out the lesser part at most.
fn larger(rdma: Sum, interface: Sum) -> (Reading<u64>, Reading<u64>) {
    let of = |a: Option<Reading<u64>>, b: Option<Reading<u64>>| match (a, b) {
        (Some(Reading::Value(a)), Some(Reading::Value(b))) => Reading::Value(a.max(b)),
        // RDMA that the card does not count leaves the interface; nothing else replaces a lost reading.
        (None | Some(Reading::Unsupported), Some(b)) => b,
        (Some(a), None) => a,
        (Some(Reading::Lost(why)), _) | (_, Some(Reading::Lost(why))) => Reading::Lost(why),
        (a, b) => a.or(b).unwrap_or(Reading::Unsupported),
    };
    (of(rdma.tx, interface.tx), of(rdma.rx, interface.rx))
}

/// A sum over links; `None` where there was none.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    tx: Option<Reading<u64>>,
    rx: Option<Reading<u64>>,
}

impl Sum {
    fn add(&mut self, (tx, rx): (Reading<u64>, Reading<u64>)) {
        let plus = |sum: Option<Reading<u64>>, more: Reading<u64>| match (sum, more) {
            (None, more) => more,
            (Some(Reading::Value(sum)), Reading::Value(more)) => Reading::Value(sum.saturating_add(more)),
            // The worst of them is how the sum stands.
            (Some(Reading::Lost(why)), _) | (_, Reading::Lost(why)) => Reading::Lost(why),
            _ => Reading::Unsupported,
        };
        self.tx = Some(plus(self.tx, tx));
        self.rx = Some(plus(self.rx, rx));
    }

    fn total(self) -> Reading<Traffic> {
        match (self.tx, self.rx) {
            (Some(Reading::Value(tx)), Some(Reading::Value(rx))) => Reading::Value(Traffic { tx, rx }),
            (Some(Reading::Lost(why)), _) | (_, Some(Reading::Lost(why))) => Reading::Lost(why),
            _ => Reading::Unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(kind: LinkKind, name: &str, tx: u64, rx: u64) -> LinkCounters {
        LinkCounters {
            kind,
            // `ib0` and `eth0` are the two faces of one port.
            function: format!("0000:0{}:00.0", name.chars().last().unwrap()),
            link: name.to_owned(),
            tx_bytes: Reading::Value(tx),
            rx_bytes: Reading::Value(rx),
        }
    }

    fn seen(links: &[LinkCounters]) -> HostLinks {
        HostLinks {
            at: BootNanos(0),
            whole: true,
            links: links.to_vec(),
        }
    }

    fn bytes(tx: u64, rx: u64) -> Reading<Traffic> {
        Reading::Value(Traffic { tx, rx })
    }

    use LinkKind::{Ethernet, Infiniband, RdmaOverEthernet};

    #[test]
    fn a_report_holds_what_was_gained_in_its_time_over_all_ports() {
        let mut track = LinkTrack::default();
        track.push(&seen(&[
            link(Infiniband, "ib0", 1_000, 50),
            link(Ethernet, "eth5", 7, 7),
        ]));
        track.push(&seen(&[
            link(Infiniband, "ib0", 1_500, 60),
            link(Ethernet, "eth5", 9, 8),
        ]));
        // One that appears later adds nothing for its past.
        let three = [
            link(Infiniband, "ib0", 1_600, 60),
            link(Infiniband, "ib1", 9_000_000, 9),
            link(Ethernet, "eth5", 9, 8),
        ];
        track.push(&seen(&three));
        let first = track.finish();
        assert_eq!((first.infiniband, first.ethernet), (bytes(600, 10), bytes(2, 1)));
        let mut next = three;
        next[1] = link(Infiniband, "ib1", 9_000_011, 10);
        track.push(&seen(&next));
        let second = track.finish();
        assert_eq!((second.infiniband, second.ethernet), (bytes(11, 1), bytes(0, 0)));
    }

    #[test]
    fn a_counter_that_falls_was_reset_and_a_link_that_went_begins_anew() {
        let mut track = LinkTrack::default();
        for tx in [100, 150, 30, 40] {
            track.push(&seen(&[link(Ethernet, "eth0", tx, 0)]));
        }
        assert_eq!(track.finish().ethernet, bytes(60, 0));
        track.push(&seen(&[]));
        assert_eq!(track.finish().ethernet, Reading::Lost(LossReason::Failed));
        track.push(&seen(&[link(Ethernet, "eth0", 5_000, 0)]));
        assert_eq!(track.finish().ethernet, bytes(0, 0));
        track.push(&seen(&[]));
        track.push(&seen(&[link(Ethernet, "eth0", 9_000, 0)]));
        track.push(&seen(&[link(Ethernet, "eth0", 9_001, 0)]));
        assert_eq!(track.finish().ethernet, bytes(1, 0));
    }

    #[test]
    fn a_port_with_two_faces_counts_once() {
        let mut track = LinkTrack::default();
        let faces = |rdma, net| {
            [
                link(RdmaOverEthernet, "ib0", rdma, 0),
                link(Ethernet, "eth0", net, 0),
            ]
        };
        track.push(&seen(&faces(0, 0)));
        track.push(&seen(&faces(1_000, 20)));
        assert_eq!(track.finish().ethernet, bytes(1_000, 0));
        // A card whose interface counts RDMA too.
        track.push(&seen(&faces(2_000, 1_100)));
        assert_eq!(track.finish().ethernet, bytes(1_080, 0));
        // RDMA without a counter leaves the interface; no InfiniBand is none.
        let mut silent = faces(0, 1_101);
        silent[0].tx_bytes = Reading::Unsupported;
        silent[0].rx_bytes = Reading::Unsupported;
        track.push(&seen(&silent));
        let told = track.finish();
        assert_eq!(
            (told.infiniband, told.ethernet),
            (Reading::Unsupported, bytes(1, 0))
        );
    }

    #[test]
    fn what_was_not_read_is_lost_and_not_nothing() {
        let lost = Reading::Lost(LossReason::Failed);
        let mut track = LinkTrack::default();
        assert_eq!(track.finish().ethernet, lost);
        let denied = Reading::Lost(LossReason::NoPermission);
        let mut links = [link(Ethernet, "eth0", 1, 1), link(Ethernet, "eth1", 1, 1)];
        links[1].rx_bytes = denied;
        track.push(&seen(&links));
        assert_eq!(track.finish().ethernet, Reading::Lost(LossReason::NoPermission));
        // Read once in the report's time, it is known.
        links[1].rx_bytes = Reading::Value(1);
        track.push(&seen(&links));
        links[1].rx_bytes = denied;
        track.push(&seen(&links));
        assert_eq!(track.finish().ethernet, bytes(0, 0));
        track.push(&HostLinks {
            whole: false,
            ..seen(&links[..1])
        });
        assert_eq!(track.finish().ethernet, lost);
        let crowd: Vec<_> = (0..=HostLinks::MOST)
            .map(|n| link(Ethernet, &format!("eth{n}"), 0, 0))
            .collect();
        track.push(&seen(&crowd));
        assert_eq!(track.finish().ethernet, lost);
    }

    proptest! {
        #[test]
        fn however_reports_are_cut_no_byte_is_invented(
            steps in prop::collection::vec((0usize..3, 0u64..1_000, prop::bool::weighted(0.1), prop::bool::weighted(0.1)), 1..80),
        ) {
            let mut counters = [0u64; 3];
            let mut truth = 0u64;
            let mut told = 0u64;
            let mut resets = false;
            let mut track = LinkTrack::default();
            let all = |counters: &[u64; 3]| {
                let named = counters.iter().enumerate();
                let links: Vec<_> = named.map(|(n, tx)| link(Infiniband, &format!("ib{n}"), *tx, 0)).collect();
                seen(&links)
            };
            track.push(&all(&counters));
            for (which, gain, reset, ends) in steps {
                // A counter may start anew and count on before it is read.
                counters[which] = if reset { gain } else { counters[which] + gain };
                truth += gain;
                resets |= reset;
                track.push(&all(&counters));
                if ends {
                    told += track.finish().infiniband.value().map_or(0, |t| t.tx);
                }
            }
            told += track.finish().infiniband.value().map_or(0, |t| t.tx);
            prop_assert!(told <= truth);
            prop_assert!(told == truth || resets);
        }
    }
}
