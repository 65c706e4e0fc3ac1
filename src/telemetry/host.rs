//! What was measured of the host as a whole: its network links, and the meters that others built.

use super::{Reading, Traffic};

crate::record! {
    /// Bytes over the host's own network links in a report's time, all ports together, from 64-bit counters.
    pub struct HostTraffic {
        /// InfiniBand ports.
        0 => infiniband: Reading<Traffic>,
        /// Network cards. A port that carries RDMA over Ethernet counts here, once.
        1 => ethernet: Reading<Traffic>,
    }
}

impl HostTraffic {
    /// Nothing was looked at.
    pub const UNTOLD: Self = Self {
        infiniband: Reading::Unsupported,
        ethernet: Reading::Unsupported,
    };
}

crate::code! {
    /// What measures power from outside the devices.
    pub enum MeterKind {
        /// The host's baseboard management controller.
        Bmc = 0 => "bmc",
        /// A power distribution unit in the rack.
        Pdu = 1 => "pdu",
    }
}

crate::record! {
    /// What an outside meter read in a report's time. Its address, name and serial number stay on the node.
    pub struct PowerMeter {
        /// What it is.
        0 => kind: MeterKind,
        /// The integral of its readings over the time they cover, in millijoules. A gap is not filled in.
        1 => energy_mj: u64,
        /// That time, in milliseconds.
        2 => covered_ms: u32,
        /// Readings taken.
        3 => readings: u32,
        /// The lowest of them, in milliwatts.
        4 => lowest_mw: u64,
        /// The highest of them, in milliwatts.
        5 => highest_mw: u64,
    }
}

impl PowerMeter {
    /// The most meters that one report lists.
    pub const MOST: usize = 8;
}
