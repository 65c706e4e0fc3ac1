//! Limits: the numbers that can fail a site, as a licence or a rule set writes them.

use crate::document::{Field, Section};
use crate::report::KeyProtection;
use crate::unit::{Operations, Ppm, Tpp};

/// Limits under their names. One that is absent is not set here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `missing_after`: how long a device may stay unseen, in seconds (INV-02).
    pub missing_after: Option<i64>,
    /// `missing_escalates_after`: how long until its absence fails the site, in seconds (INV-02).
    pub missing_escalates_after: Option<i64>,
    /// `coverage_min`: least share of manifest devices that report (OPS-01).
    pub coverage_min: Option<Ppm>,
    /// `observation_min`: least share of device time that samples cover (OPS-02).
    pub observation_min: Option<Ppm>,
    /// `freshness_max`: greatest age of a node's newest report, in seconds (OPS-03); also the window of OPS-01.
    pub freshness_max: Option<i64>,
    /// `finding_window`: how long something that was seen once stays a finding, in seconds.
    pub finding_window: Option<i64>,
    /// `clock_tolerance`: how far a node's clock may be off, in seconds.
    pub clock_tolerance: Option<i64>,
    /// `memory_tolerance`: how far a device's memory may be from its model's nominal size, as a share (INV-06).
    pub memory_tolerance: Option<Ppm>,
    /// `ops_limit`: operations that no model may be trained with (TRN-01, TRN-02).
    pub ops_limit: Option<Operations>,
    /// `ops_window`: the time over which operations are summed, in seconds (TRN-01, TRN-02).
    pub ops_window: Option<i64>,
    /// `key_protection_min`: what must hold the node's key at least (SEC-04).
    pub key_protection_min: Option<KeyProtection>,
    /// `proof_max_age`: greatest age of the round in which a device proved its key, in seconds (INV-05, SEC-01, SEC-02).
    pub proof_max_age: Option<i64>,
    /// `device_tpp_below`: what each device's TPP must be below (CAP-07).
    pub device_tpp_below: Option<Tpp>,
    /// `device_bandwidth_below`: what the bandwidth of each device's memory must be below, in gigabytes per second (CAP-07).
    pub device_bandwidth_below: Option<u64>,
    /// `performance_tolerance`: by how much a device's highest clock and power limit may be above its model's, as a share (CAP-08).
    pub performance_tolerance: Option<Ppm>,
    /// `activity_tolerance`: how far declared and measured shares of activity may lie apart (TRN-07).
    pub activity_tolerance: Option<Ppm>,
    /// `idle_power_max`: how much of its model's power a device that was declared idle may draw, as a share (TRN-07).
    pub idle_power_max: Option<Ppm>,
}

impl Limits {
    /// The names, in the order of the fields.
    pub const NAMES: &'static [&'static str] = &[
        "missing_after",
        "missing_escalates_after",
        "coverage_min",
        "observation_min",
        "freshness_max",
        "finding_window",
        "clock_tolerance",
        "memory_tolerance",
        "ops_limit",
        "ops_window",
        "key_protection_min",
        "proof_max_age",
        "device_tpp_below",
        "device_bandwidth_below",
        "performance_tolerance",
        "activity_tolerance",
        "idle_power_max",
    ];

    /// Reads those that stand in a section.
    #[must_use]
    pub fn read(section: &mut Section<'_, '_>) -> Self {
        let limits = Self {
            missing_after: section.optional("missing_after", Field::span),
            missing_escalates_after: section.optional("missing_escalates_after", Field::span),
            coverage_min: section.optional("coverage_min", Field::share),
            observation_min: section.optional("observation_min", Field::share),
            freshness_max: section.optional("freshness_max", Field::span),
            finding_window: section.optional("finding_window", Field::span),
            clock_tolerance: section.optional("clock_tolerance", Field::span),
            memory_tolerance: section.optional("memory_tolerance", Field::share),
            ops_limit: section.optional("ops_limit", Field::large).map(Operations),
            ops_window: section.optional("ops_window", Field::span),
            key_protection_min: section.optional("key_protection_min", |f| {
                super::coded(f, KeyProtection::ALL, KeyProtection::text)
            }),
            proof_max_age: section.optional("proof_max_age", Field::span),
            device_tpp_below: section
                .optional("device_tpp_below", |f| f.integer(1..=u64::MAX))
                .map(Tpp),
            device_bandwidth_below: section.optional("device_bandwidth_below", |f| f.integer(1..=u64::MAX)),
            performance_tolerance: section.optional("performance_tolerance", Field::share),
            activity_tolerance: section.optional("activity_tolerance", Field::share),
            idle_power_max: section.optional("idle_power_max", Field::share),
        };
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

    /// Whether the limit of this name is set.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        match name {
            "missing_after" => self.missing_after.is_some(),
            "missing_escalates_after" => self.missing_escalates_after.is_some(),
            "coverage_min" => self.coverage_min.is_some(),
            "observation_min" => self.observation_min.is_some(),
            "freshness_max" => self.freshness_max.is_some(),
            "finding_window" => self.finding_window.is_some(),
            "clock_tolerance" => self.clock_tolerance.is_some(),
            "memory_tolerance" => self.memory_tolerance.is_some(),
            "ops_limit" => self.ops_limit.is_some(),
            "ops_window" => self.ops_window.is_some(),
            "key_protection_min" => self.key_protection_min.is_some(),
            "proof_max_age" => self.proof_max_age.is_some(),
            "device_tpp_below" => self.device_tpp_below.is_some(),
            "device_bandwidth_below" => self.device_bandwidth_below.is_some(),
            "performance_tolerance" => self.performance_tolerance.is_some(),
            "activity_tolerance" => self.activity_tolerance.is_some(),
            "idle_power_max" => self.idle_power_max.is_some(),
            _ => false,
        }
    }
}
