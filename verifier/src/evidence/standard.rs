//! Results and evidence in the forms that other programs read.
//!
//! Decides: which form is printed. The exit status is that of the appraisal, whatever the form.

use crate::command::{CommandError, Format};
use std::io::Write;
use weighbridge::appraisal::ear::{self, Issue, Profile, Together};
use weighbridge::hardware::nvidia::{Appraisal, DeviceChain, Presented, UcsError, ucs};
use weighbridge::time::UnixSeconds;
use weighbridge::x509::CertificateError;

/// In which form a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ResultFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: every step with its reason.
    Json,
    /// An EAT attestation result (EAR) with the trustworthiness vector of AR4SI, not signed.
    Ear,
    /// The same with the profile and the names of Project Veraison.
    EarVeraison,
    /// What is known of each device in the claims of RFC 9711, not signed.
    Eat,
    /// The evidence itself, as Veraison's endpoint takes it (application/eat-ucs+json); of GPUs only.
    Ucs,
}

/// A form that others defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    Ear(Profile),
    Eat,
    Ucs,
}

/// A device by its name for a person, its report and its chain, and what they come to.
pub(super) type Shown<'a> = (
    &'a str,
    &'a [u8],
    &'a Presented<DeviceChain, CertificateError>,
    &'a Appraisal,
);

impl ResultFormat {
    /// As far as it is one of ours.
    pub(super) fn plain(self) -> Format {
        match self {
            Self::Text => Format::Text,
            _ => Format::Json,
        }
    }

    /// As far as it is one of others.
    pub(super) fn standard(self) -> Option<Standard> {
        match self {
            Self::Text | Self::Json => None,
            Self::Ear => Some(Standard::Ear(Profile::Ietf)),
            Self::EarVeraison => Some(Standard::Ear(Profile::Veraison)),
            Self::Eat => Some(Standard::Eat),
            Self::Ucs => Some(Standard::Ucs),
        }
    }
}

impl Standard {
    /// Prints devices, or the host that they make.
    pub(super) fn show(
        self,
        now: UnixSeconds,
        devices: &[Shown<'_>],
        together: Option<Together<'_>>,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let labels = ear::labels(devices.iter().map(|(.., appraisal)| *appraisal));
        let named: Vec<_> = labels
            .into_iter()
            .zip(devices.iter().map(|(.., appraisal)| *appraisal))
            .collect();
        let value = match self {
            Self::Ear(profile) => {
                let issue = Issue {
                    profile,
                    at: now,
                    developer: env!("CARGO_PKG_AUTHORS"),
                    build: concat!("weighbridge-verifier ", env!("CARGO_PKG_VERSION")),
                };
                ear::ear(&issue, &named, together)
            }
            Self::Eat if together.is_some() => ear::claims_of_host(&named, now),
            Self::Eat => named
                .first()
                .map_or_else(Default::default, |(_, appraisal)| ear::claims(appraisal, now)),
            Self::Ucs => evidence(devices, together.is_some())?,
        };
        writeln!(out, "{value:#}")?;
        Ok(())
    }
}

/// The evidence of the GPUs. Switches of a host are left out, which is said: Veraison has no place for them.
fn evidence(devices: &[Shown<'_>], is_host: bool) -> Result<serde_json::Value, UcsError> {
    let (switches, gpus): (Vec<Shown<'_>>, Vec<Shown<'_>>) = devices
        .iter()
        .copied()
        .partition(|(.., appraisal)| is_host && appraisal.is_switch());
    if !switches.is_empty() {
        tracing::warn!(
            switches = switches.len(),
            "switches are left out: Veraison takes the evidence of GPUs only"
        );
    }
    let gpus = gpus.into_iter();
    ucs(gpus.map(|(name, report, chain, _)| (name, report, chain.content.as_ref().ok())))
}
