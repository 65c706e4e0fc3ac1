//! Limits: the numbers that can fail a site, as a licence or a rule set writes them.

use crate::document::{Field, Section};
use crate::report::KeyProtection;
use crate::time::span;
use crate::unit::{Grouped, Operations, Ppm, Tpp};

/// Declares the limits, each once: its name, its type, how it is read, and the sentence in which a licence says it.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $read:expr, $says:expr;)*) => {
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

            /// Each limit that is set, with its name, in a sentence.
            #[must_use]
            pub fn said(&self) -> Vec<(&'static str, String)> {
                let mut lines = Vec::new();
                $(lines.extend(self.$name.map(|value| (stringify!($name), sentence::<$ty>($says)(value))));)*
                lines
            }

            /// Takes from another what is not set here.
            #[must_use]
            pub fn or(self, other: &Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }

            fn read_each(section: &mut Section<'_, '_>) -> Self {
                Self { $($name: section.optional(stringify!($name), $read),)* }
            }
        }
    };
}

/// Says of which type a sentence's number is.
fn sentence<T>(says: fn(T) -> String) -> fn(T) -> String {
    says
}

fn tpp(field: &Field<'_, '_>) -> Result<Tpp, String> {
    field.integer(1..=u64::MAX).map(Tpp)
}

fn number(field: &Field<'_, '_>) -> Result<u64, String> {
    field.integer(1..=u64::MAX)
}

/// A multiple in words: 1.3 for 1,300,000 millionths.
fn times(multiple: Ppm) -> String {
    let (whole, rest) = (multiple.0 / 1_000_000, multiple.0 % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    format!("{} times", text.trim_end_matches('0').trim_end_matches('.'))
}

limits! {
    /// `missing_after`: how long a device may stay unseen, in seconds (INV-02).
    missing_after: i64 = Field::span, |s| format!("A device may stay unseen for {} (INV-02).", span(s));
    /// `missing_escalates_after`: how long until its absence fails the site, in seconds (INV-02).
    missing_escalates_after: i64 = Field::span, |s| format!("After {} unseen, the site fails (INV-02).", span(s));
    /// `transfer_notice`: how long before a device moves to another country this must have been told, in seconds (INV-04).
    transfer_notice: i64 = Field::span, |s| format!("A move to another country must be told {} before (INV-04).", span(s));
    /// `sample_confidence`: how sure a sample that is looked at on site must be (INV-07).
    sample_confidence: Ppm = Field::share, |p| format!("A sample that is looked at on site must be {p} sure to find what it looks for (INV-07).");
    /// `sample_defect_max`: the share of wrong devices that such a sample must find (INV-07).
    sample_defect_max: Ppm = Field::share, |p| format!("It looks for {p} of wrong devices or more (INV-07).");
    /// `coverage_min`: least share of manifest devices that report (OPS-01).
    coverage_min: Ppm = Field::share, |p| format!("At least {p} of the devices on the manifest must report (OPS-01).");
    /// `observation_min`: least share of device time that samples cover (OPS-02).
    observation_min: Ppm = Field::share, |p| format!("At least {p} of device time must be covered by samples (OPS-02).");
    /// `freshness_max`: greatest age of a node's newest report, in seconds (OPS-03); also the window of OPS-01.
    freshness_max: i64 = Field::span, |s| format!("The newest report of a node may be {} old (OPS-03).", span(s));
    /// `time_bracket_max`: how wide the time may be into which something outside the node brackets a report, in seconds (OPS-04).
    time_bracket_max: i64 = Field::span, |s| format!("The time of a report must be bounded from outside to within {} (OPS-04).", span(s));
    /// `finding_window`: how long something that was seen once stays a finding, in seconds.
    finding_window: i64 = Field::span, |s| format!("What was seen once stays a finding for {}.", span(s));
    /// `clock_tolerance`: how far a node's clock may be off, in seconds.
    clock_tolerance: i64 = Field::span, |s| format!("A node's clock may be off by {}.", span(s));
    /// `memory_tolerance`: how far a device's memory may be from its model's nominal size, as a share (INV-06).
    memory_tolerance: Ppm = Field::share, |p| format!("A device's memory may be {p} from its model's (INV-06).");
    /// `ops_limit`: operations that no model may be trained with (TRN-01, TRN-02).
    ops_limit: Operations = |f| f.large().map(Operations), |o| format!("No model may be trained with {} operations or more (TRN-01, TRN-02).", Grouped(o.0));
    /// `ops_window`: the time over which operations are summed, in seconds (TRN-01, TRN-02).
    ops_window: i64 = Field::span, |s| format!("Operations are summed over {}.", span(s));
    /// `declared_group_devices`: from how many devices on that train together their tenant must declare it (TRN-05).
    declared_group_devices: u64 = number, |n| format!("A group of {} devices or more that trains must be declared (TRN-05).", Grouped(n.into()));
    /// `declared_group_after`: from how long on, in seconds (TRN-05).
    declared_group_after: i64 = Field::span, |s| format!("That is so once it has trained for {} (TRN-05).", span(s));
    /// `fine_tuning_share_max`: the share of a model's original operations that fine-tuning may add (TRN-08).
    fine_tuning_share_max: Ppm = Field::share, |p| format!("Fine-tuning may add {p} of a model's original operations (TRN-08).");
    /// `fine_tuning_ops_max`: operations that fine-tuning may add, where that is more (TRN-08).
    fine_tuning_ops_max: Operations = |f| f.large().map(Operations), |o| format!("Or {} operations, where that is more (TRN-08).", Grouped(o.0));
    /// `kyc_max_age`: how long ago a tenant may last have been looked into, in seconds (TEN-01).
    kyc_max_age: i64 = Field::span, |s| format!("A tenant must have been looked into within {} (TEN-01).", span(s));
    /// `screening_max_age`: how old the list may be against which parties were screened, in seconds (TEN-03).
    screening_max_age: i64 = Field::span, |s| format!("Parties must have been screened against a list no older than {} (TEN-03).", span(s));
    /// `control_share_min`: from which share on an owner decides, alone by where it lies (TEN-02), or with others that are listed (TEN-03).
    control_share_min: Ppm = Field::share, |p| format!("An owner of {p} or more counts as deciding (TEN-02, TEN-03).");
    /// `attribution_min`: least share of busy device time that is attributed to tenants (TEN-06).
    attribution_min: Ppm = Field::share, |p| format!("At least {p} of busy device time must be attributed to tenants (TEN-06).");
    /// `key_protection_min`: what must hold the node's key at least (SEC-04).
    key_protection_min: KeyProtection = |f| super::coded(f, KeyProtection::ALL, KeyProtection::text), |k| match k {
        KeyProtection::Tpm => "A node's key must be held by a TPM (SEC-04).".to_owned(),
        KeyProtection::File => "A node's key may lie in a file (SEC-04).".to_owned(),
    };
    /// `proof_max_age`: greatest age of the round in which a device proved its key, in seconds (INV-05, SEC-01, SEC-02).
    proof_max_age: i64 = Field::span, |s| format!("A device must have proved its key within {} (INV-05).", span(s));
    /// `device_tpp_below`: what each device's TPP must be below (CAP-07).
    device_tpp_below: Tpp = tpp, |t| format!("The TPP of each device must be below {t} (CAP-07).");
    /// `device_bandwidth_below`: what the bandwidth of each device's memory must be below, in gigabytes per second (CAP-07).
    device_bandwidth_below: u64 = number, |b| format!("The bandwidth of each device's memory must be below {} GB/s (CAP-07).", Grouped(b.into()));
    /// `performance_tolerance`: by how much a device's highest clock and power limit may be above its model's, as a share (CAP-08); and how far what it showed
    /// when it was tried may be from it (INV-08).
    performance_tolerance: Ppm = Field::share, |p| format!("A device's clock and power limit may be {p} above its model's (CAP-08).");
    /// `consignee_tpp_per_year`: most TPP that one ultimate consignee may receive in a calendar year (CAP-03).
    consignee_tpp_per_year: Tpp = tpp, |t| format!("One ultimate consignee may receive a TPP of {t} in a calendar year (CAP-03).");
    /// `country_share_max`: most share of the owner's computing power that may stand in one Tier 2 country (CAP-04).
    country_share_max: Ppm = Field::share, |p| format!("At most {p} of the owner's computing power may stand in any one Tier 2 country (CAP-04).");
    /// `outside_tier_1_max`: most share of it that may stand outside Tier 1 (CAP-05).
    outside_tier_1_max: Ppm = Field::share, |p| format!("At most {p} of it may stand outside Tier 1 (CAP-05).");
    /// `home_share_min`: least share of it that an owner with headquarters in the United States keeps there (CAP-05).
    home_share_min: Ppm = Field::share, |p| format!("An owner with headquarters in the United States keeps at least {p} of it there (CAP-05).");
    /// `country_tpp_max`: most TPP that stands in the country of the site, of what this supplier shipped there: its own share of the country's cap (CAP-06).
    country_tpp_max: Tpp = tpp, |t| format!("The supplier's own share of the country's cap is a TPP of {t} (CAP-06).");
    /// `domain_devices_max`: most devices that may be joined into one scale-up domain (CAP-09).
    domain_devices_max: u64 = number, |n| format!("At most {} devices may be joined into one scale-up domain (CAP-09).", Grouped(n.into()));
    /// `landmarks_min`: fewest landmarks to which delays must be measured (LOC-02).
    landmarks_min: u64 = number, |n| format!("Delays must be measured to {n} landmarks or more (LOC-02).");
    /// `location_max_age`: how long ago the place of a device may last have been checked, in seconds (LOC-04).
    location_max_age: i64 = Field::span, |s| format!("The place of a device must have been checked within {} (LOC-04).", span(s));
    /// `power_reserve_min`: how many times the power of all devices a site must be rated for at least (PHY-02).
    power_reserve_min: Ppm = Field::multiple, |m| format!("A site must be rated for {} the power of its devices or more (PHY-02).", times(m));
    /// `power_surplus_max`: how many times the energy of the devices a meter outside them may read at most (PHY-03), and the power of all devices a site may be
    /// rated for at most (PHY-02).
    power_surplus_max: Ppm = Field::multiple, |m| format!("It may be rated for, and a meter may read, {} what its devices draw at most (PHY-02, PHY-03).", times(m));
    /// `activity_tolerance`: how far declared and measured shares of activity may lie apart (TRN-07).
    activity_tolerance: Ppm = Field::share, |p| format!("Declared and measured activity may lie {p} apart (TRN-07).");
    /// `idle_power_max`: how much of its model's power a device that was declared idle may draw, as a share (TRN-07).
    idle_power_max: Ppm = Field::share, |p| format!("A device declared idle may draw {p} of its model's power (TRN-07).");
    /// `assessment_max_age`: how old an assessment of a site may be, in seconds (PHY-01, PHY-04, PER-01, SEC-07, SEC-08, INV-07).
    assessment_max_age: i64 = Field::span, |s| format!("An assessment of a site may be {} old (PHY-01, PHY-04, PER-01, SEC-07).", span(s));
    /// `ownership_max_age`: how old a disclosure of ownership may be, in seconds (SUP-01).
    ownership_max_age: i64 = Field::span, |s| format!("A disclosure of ownership may be {} old (SUP-01).", span(s));
    /// `ownership_notice`: within which time a change of ownership must be disclosed, in seconds (SUP-01).
    ownership_notice: i64 = Field::span, |s| format!("A change of ownership must be disclosed within {} (SUP-01).", span(s));
    /// `records_kept_years`: for how many years records must be kept (REC-01).
    records_kept_years: u64 = |f| f.integer(1..=100), |n| format!("Records must be kept for {n} years (REC-01).");
    /// `periodic_report_every`: how long ago the last periodic report may have been delivered, in seconds (REC-02).
    periodic_report_every: i64 = Field::span, |s| format!("A periodic report must be delivered every {} (REC-02).", span(s));
    /// `review_max_age`: how long ago a site may last have been reviewed, in seconds (REC-03).
    review_max_age: i64 = Field::span, |s| format!("A site must have been reviewed within {} (REC-03).", span(s));
    /// `flag_max_age`: how long a red flag may stay unresolved, in seconds (REC-04).
    flag_max_age: i64 = Field::span, |s| format!("A red flag must be resolved within {} (REC-04).", span(s));
    /// `order_rise_max`: how many times what a customer bought before October 2022 it may have bought since without a flag (REC-04, FLG-02).
    order_rise_max: Ppm = Field::multiple, |m| format!("Having bought {} as much since October 2022 as before is a red flag (REC-04).", times(m));
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
