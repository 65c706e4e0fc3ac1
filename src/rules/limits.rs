//! Limits: the numbers that can fail a site, as a licence or a rule set writes them.

use crate::document::{Field, Section};
use crate::report::KeyProtection;
use crate::unit::{Operations, Ppm, Tpp};

/// Declares the limits, each once: its name, its type and how it is read.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $read:expr;)*) => {
        /// Limits under their names. One that is absent is not set here.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $name: Option<$ty>,)*
        }

        impl Limits {
            /// The names, in the order of the fields.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Whether the limit of this name is set.
            #[must_use]
            pub fn is_set(&self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name.is_some(),)*
                    _ => false,
                }
            }

            fn read_each(section: &mut Section<'_, '_>) -> Self {
                Self { $($name: section.optional(stringify!($name), $read),)* }
            }
        }
    };
}

limits! {
    /// `missing_after`: how long a device may stay unseen, in seconds (INV-02).
    missing_after: i64 = Field::span;
    /// `missing_escalates_after`: how long until its absence fails the site, in seconds (INV-02).
    missing_escalates_after: i64 = Field::span;
    /// `coverage_min`: least share of manifest devices that report (OPS-01).
    coverage_min: Ppm = Field::share;
    /// `observation_min`: least share of device time that samples cover (OPS-02).
    observation_min: Ppm = Field::share;
    /// `freshness_max`: greatest age of a node's newest report, in seconds (OPS-03); also the window of OPS-01.
    freshness_max: i64 = Field::span;
    /// `finding_window`: how long something that was seen once stays a finding, in seconds.
    finding_window: i64 = Field::span;
    /// `clock_tolerance`: how far a node's clock may be off, in seconds.
    clock_tolerance: i64 = Field::span;
    /// `memory_tolerance`: how far a device's memory may be from its model's nominal size, as a share (INV-06).
    memory_tolerance: Ppm = Field::share;
    /// `ops_limit`: operations that no model may be trained with (TRN-01, TRN-02).
    ops_limit: Operations = |f| f.large().map(Operations);
    /// `ops_window`: the time over which operations are summed, in seconds (TRN-01, TRN-02).
    ops_window: i64 = Field::span;
    /// `key_protection_min`: what must hold the node's key at least (SEC-04).
    key_protection_min: KeyProtection = |f| super::coded(f, KeyProtection::ALL, KeyProtection::text);
    /// `proof_max_age`: greatest age of the round in which a device proved its key, in seconds (INV-05, SEC-01, SEC-02).
    proof_max_age: i64 = Field::span;
    /// `device_tpp_below`: what each device's TPP must be below (CAP-07).
    device_tpp_below: Tpp = |f| f.integer(1..=u64::MAX).map(Tpp);
    /// `device_bandwidth_below`: what the bandwidth of each device's memory must be below, in gigabytes per second (CAP-07).
    device_bandwidth_below: u64 = |f| f.integer(1..=u64::MAX);
    /// `performance_tolerance`: by how much a device's highest clock and power limit may be above its model's, as a share (CAP-08).
    performance_tolerance: Ppm = Field::share;
    /// `activity_tolerance`: how far declared and measured shares of activity may lie apart (TRN-07).
    activity_tolerance: Ppm = Field::share;
    /// `idle_power_max`: how much of its model's power a device that was declared idle may draw, as a share (TRN-07).
    idle_power_max: Ppm = Field::share;
    /// `assessment_max_age`: how old an assessment of a site may be, in seconds (PHY-01, PHY-04, PER-01, SEC-07).
    assessment_max_age: i64 = Field::span;
    /// `ownership_max_age`: how old a disclosure of ownership may be, in seconds (SUP-01).
    ownership_max_age: i64 = Field::span;
    /// `records_kept_years`: for how many years records must be kept (REC-01).
    records_kept_years: u64 = |f| f.integer(1..=100);
}

impl Limits {
    /// Reads those that stand in a section.
    #[must_use]
    pub fn read(section: &mut Section<'_, '_>) -> Self {
        let limits = Self::read_each(section);
        if let (Some(after), Some(escalates)) = (limits.missing_after, limits.missing_escalates_after)
            && escalates < after
        {
            section.mistake_at(
                "missing_escalates_after",
                "`missing_escalates_after` is shorter than `missing_after`",
            );
        }
        limits
    }
}
