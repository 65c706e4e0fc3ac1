//! What does not fit: an inconsistency between quantities that physics ties together.

crate::code! {
    /// Which quantities do not fit.
    pub enum ObservationKind {
        /// The energy counter and the integral of power.
        EnergyAgainstPower = 0 => "energy against power",
        /// Power, and what the activity of the pipes and of memory takes.
        PowerAgainstActivity = 1 => "power against activity",
        /// Bytes that the devices of a host sent to each other, and bytes that they received.
        LinkAgainstLink = 2 => "links against each other",
        /// The driver says that the device idles, and its pipes are busy.
        IdleWhileActive = 3 => "idle while active",
        /// A reading that always moves stands still.
        Still = 4 => "reading stands still",
        /// The die's temperature, and the power that warms it.
        TemperatureAgainstPower = 5 => "temperature against power",
        /// A stretch of readings that was seen before.
        Repeated = 6 => "readings repeat",
        /// Power above the limit that is enforced.
        PowerAboveLimit = 7 => "power above limit",
        /// Time in which a kernel was resident, and the activity of the pipes.
        UtilisationAgainstActivity = 8 => "utilisation against activity",
        /// A clock above the highest that the driver states.
        ClockAboveHighest = 9 => "clock above highest",
        /// A counter that only grows became smaller.
        CounterDecreased = 10 => "counter decreased",
        /// Meters outside, and the energy of all devices, which is more than they read.
        MeterAgainstDevices = 11 => "meter against devices",
        /// A pipe, and the SMs that it lies in.
        PipeAgainstSm = 12 => "pipe against SM",
        /// One quantity moved, and none of those that go with it: against the windows before, or against devices that do the same work.
        MovedAlone = 13 => "one moved alone",
        /// All quantities moved in one proportion, which power at rest rules out.
        InProportion = 14 => "all in one proportion",
        /// What the driver says holds the clock back, and power or temperature.
        ClockEventAgainstPower = 15 => "clock event against power",
    }
}

crate::record! {
    /// One inconsistency in a report's time. It is stated, never corrected, and by itself it fails nobody.
    pub struct Observation {
        /// Which quantities.
        0 => kind: ObservationKind,
        /// How far they lie apart, the largest seen, in parts per million of the larger.
        1 => size: u32,
        /// In how many windows.
        2 => windows: u32,
    }
}

impl Observation {
    /// The most that one device, or one host, lists: each kind once.
    pub const MOST: usize = 16;
}
