//! The trustworthiness vector of AR4SI (draft-ietf-rats-ar4si), and what it comes to.
//!
//! Decides: which value each claim gets. `docs/results.md` has the table. Four of the eight claims are judged; of the others (file system,
//! opaqueness of memory and storage, sourced data) a device's report says nothing, so that no claim is made.

use crate::hardware::Step;
use crate::hardware::nvidia::topology::Host;
use crate::hardware::nvidia::{Appraisal, Standing};

/// AR4SI values, §2.3.
mod value {
    /// No claim is made.
    pub(super) const NONE: i8 = 0;
    /// Recognised and not known to be compromised; genuine hardware.
    pub(super) const AFFIRMED: i8 = 2;
    /// Executables: those loaded at boot are recognised and approved.
    pub(super) const APPROVED_AT_BOOT: i8 = 3;
    /// Executables: some are not recognised.
    pub(super) const UNRECOGNISED_EXECUTABLES: i8 = 33;
    /// Configuration: elements that matter cannot be told.
    pub(super) const UNAVAILABLE_CONFIGURATION: i8 = 36;
    /// Recognised, and contraindicated.
    pub(super) const CONTRAINDICATED: i8 = 96;
    /// Not recognised, and it should be.
    pub(super) const UNRECOGNISED: i8 = 97;
    /// The evidence's cryptographic validation failed.
    pub(super) const INVALID: i8 = 99;
}

/// A tier of trust, the best last but one: where no claim is made, nothing is affirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Affirmed.
    Affirming,
    /// No claim.
    None,
    /// Something to look at.
    Warning,
    /// Not to be trusted.
    Contraindicated,
}

impl Tier {
    /// How EAR writes it in JSON.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Affirming => "affirming",
            Self::None => "none",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    /// The tier of a value of AR4SI.
    #[must_use]
    pub fn of(value: i8) -> Self {
        match value {
            -1..=1 => Self::None,
            -32..=31 => Self::Affirming,
            -96..=95 => Self::Warning,
            _ => Self::Contraindicated,
        }
    }
}

/// The claims that are judged here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Which device it is.
    pub instance_identity: i8,
    /// How it is set up.
    pub configuration: i8,
    /// What it runs.
    pub executables: i8,
    /// Whether it is genuine.
    pub hardware: i8,
}

impl Vector {
    const fn all(value: i8) -> Self {
        Self {
            instance_identity: value,
            configuration: value,
            executables: value,
            hardware: value,
        }
    }

    /// The claims by the names of AR4SI.
    #[must_use]
    pub fn claims(&self) -> [(&'static str, i8); 4] {
        [
            ("instance-identity", self.instance_identity),
            ("configuration", self.configuration),
            ("executables", self.executables),
            ("hardware", self.hardware),
        ]
    }

    /// The vector of one device.
    #[must_use]
    pub fn of_device(appraisal: &Appraisal) -> Self {
        let failed = |step: &Step| matches!(step, Step::Fail(_));
        // A replay is no evidence either.
        if failed(&appraisal.signature) || failed(&appraisal.nonce) {
            return Self::all(value::INVALID);
        }
        if failed(&appraisal.chain) {
            return Self {
                instance_identity: value::UNRECOGNISED,
                hardware: value::UNRECOGNISED,
                ..Self::all(value::NONE)
            };
        }
        if !appraisal.signature.passed() || !appraisal.chain.passed() {
            return Self::all(value::NONE);
        }
        Self {
            instance_identity: match appraisal.standing {
                Standing::Revoked => value::CONTRAINDICATED,
                Standing::Unknown => value::UNRECOGNISED,
                // The key that signed was made for other firmware than the report names.
                _ if failed(&appraisal.fwid) => value::CONTRAINDICATED,
                _ => value::AFFIRMED,
            },
            // No policy here approves of a configuration; one that the device signs and nobody can read is another matter.
            configuration: match appraisal.mode {
                Some("unknown") => value::UNAVAILABLE_CONFIGURATION,
                _ => value::NONE,
            },
            executables: match () {
                () if failed(&appraisal.fwid) || !appraisal.mismatches.is_empty() => {
                    value::UNRECOGNISED_EXECUTABLES
                }
                () if appraisal.rim.passed()
                    && appraisal.measurements.passed()
                    && appraisal.compared_whole()
                    && !failed(&appraisal.revocation) =>
                {
                    value::APPROVED_AT_BOOT
                }
                () => value::NONE,
            },
            hardware: match appraisal.standing {
                Standing::Good => value::AFFIRMED,
                Standing::Open => value::NONE,
                Standing::Unknown => value::UNRECOGNISED,
                Standing::Revoked => value::CONTRAINDICATED,
            },
        }
    }

    /// The vector of a host whose devices have these statuses.
    #[must_use]
    pub fn of_host(host: &Host, devices: &[Tier]) -> Self {
        let failed = |step: &Step| matches!(step, Step::Fail(_));
        if failed(&host.one_nonce) {
            return Self::all(value::INVALID);
        }
        let known = devices.iter().all(|t| *t <= Tier::None);
        Self {
            instance_identity: match () {
                () if failed(&host.distinct) || failed(&host.topology) => value::UNRECOGNISED,
                () if known && host.distinct.passed() && host.topology.passed() => value::AFFIRMED,
                () => value::NONE,
            },
            ..Self::all(value::NONE)
        }
    }

    /// The worst of the claims; affirming where device, hardware and executables are, and no step failed.
    #[must_use]
    pub fn status_of_device(&self, appraisal: &Appraisal) -> Tier {
        let failed = appraisal.steps().iter().any(|(_, s)| matches!(s, Step::Fail(_)));
        let needed = [self.instance_identity, self.executables, self.hardware];
        let affirmed = !failed && needed.iter().all(|v| Tier::of(*v) == Tier::Affirming);
        self.worst(affirmed)
    }

    /// The worst of the claims and of the devices; affirming where each device is, and the host is whole.
    #[must_use]
    pub fn status_of_host(&self, host: &Host, is_whole: bool, devices: &[Tier]) -> Tier {
        let failed = host.steps().iter().any(|(_, s)| matches!(s, Step::Fail(_)));
        let affirmed = is_whole && !failed && Tier::of(self.instance_identity) == Tier::Affirming;
        let devices = devices.iter().copied().max().unwrap_or(Tier::None);
        self.worst(affirmed).max(devices)
    }

    fn worst(&self, affirmed: bool) -> Tier {
        let least = if affirmed { Tier::Affirming } else { Tier::None };
        let tiers = self.claims().into_iter().map(|(_, v)| Tier::of(v));
        // Where nothing is claimed of one aspect, the others stand.
        tiers.filter(|t| *t > Tier::None).max().unwrap_or(least)
    }
}
