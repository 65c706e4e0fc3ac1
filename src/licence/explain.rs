//! A licence in plain sentences, for those who must live by it.

use super::{AllowancePeriod, CataloguePin, ConfidentialTerm, Licence, LicensedSigner, OpsGroup, RuleSetPin};
use crate::unit::Grouped;

impl Licence {
    /// What the licence says, sentence by sentence, and what this version does not evaluate.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = self.sentences().join("\n");
        text.push('\n');
        text
    }

    fn sentences(&self) -> Vec<String> {
        let mut lines = vec![
            format!("Licence {}, serial {}.", self.licence_id, self.serial),
            format!("Issued by: {}", self.issuer),
            format!("Issued to: {}", self.consignee),
            match self.valid.to {
                Some(to) => format!(
                    "It holds from {} until just before {}; bare dates are days in {}.",
                    self.valid.from, to, self.zone
                ),
                None => format!("It holds from {}.", self.valid.from),
            },
            format!(
                "Limits that it leaves out come from the rule set {}.",
                self.ruleset_id
            ),
        ];
        lines.extend(self.ruleset.map(|pin| match pin {
            RuleSetPin::Digest(digest) => {
                format!("That must be the one with SHA-256 {digest}; with another, nothing can be told.")
            }
            RuleSetPin::Signed { key, least_version } => format!(
                "That must be one that key {key} signed, of version {least_version} or newer; with another, nothing can be told."
            ),
        }));
        for profile in &self.profiles {
            lines.push(format!("Conditions of the profile {profile} are asked too."));
        }
        if let Some(from) = self.manifest_from {
            lines.push(format!(
                "Its manifest, TPP and numbers of models hold from {from}; what was seen before is not judged by them \
                 (INV-01, CAP-01, CAP-02)."
            ));
        }
        for site in &self.sites {
            let devices = self.manifest(&site.id).count();
            lines.push(match &site.country {
                Some(country) => format!(
                    "Site {} lies in {country}; {devices} devices may stand there.",
                    site.id
                ),
                None => format!(
                    "Site {} is named without its country; {devices} devices may stand there.",
                    site.id
                ),
            });
        }
        if !self.countries_allowed.is_empty() {
            lines.push(format!(
                "Sites may lie in {} (LOC-01).",
                self.countries_allowed.join(", ")
            ));
        }
        if let Some(tpp) = self.licensed_tpp {
            lines.push(format!(
                "Accelerators of class 3A090.a at one site may add up to {tpp} TPP (CAP-01)."
            ));
        }
        match self.catalogue {
            Some(CataloguePin::Digest(digest)) => lines.push(format!(
                "Findings rest on the catalogue of accelerators with SHA-256 {digest}; with another, nothing can be told."
            )),
            Some(CataloguePin::Signed { key, least_serial }) => lines.push(format!(
                "Findings rest on a catalogue of accelerators that key {key} signed, of serial {least_serial} or newer; with another, \
                 nothing can be told."
            )),
            None => {}
        }
        for model in &self.models {
            lines.push(format!(
                "At most {} of model {} may stand at one site (CAP-02).",
                Grouped(u128::from(model.count)),
                model.catalogue_id
            ));
        }
        if let Some(t) = self.training {
            lines.push(format!(
                "At most {} TPP-hours may go into training within {} (TRN-04).",
                t.most,
                match t.period {
                    AllowancePeriod::Term => "its whole term".to_owned(),
                    calendar => format!("one calendar {calendar}"),
                }
            ));
        }
        lines.extend(self.signers.iter().map(LicensedSigner::sentence));
        lines.extend(self.limits.said().into_iter().map(|(_, says)| says));
        lines.extend(self.ops_group.map(|group| match group {
            OpsGroup::Node => "Each node counts as one group that computes together (TRN-02).".to_owned(),
            OpsGroup::Site => {
                "All devices of a site count as one group that computes together (TRN-02).".to_owned()
            }
        }));
        if self.reported_bounds_suffice {
            lines.push(
                "An upper bound on compute that rests on what drivers report suffices to keep a limit (TRN-02, TRN-04).".to_owned(),
            );
        }
        for a in &self.activity {
            let site = a
                .site
                .as_ref()
                .map_or_else(String::new, |s| format!(" at site {s}"));
            let mut shares: Vec<String> = Vec::new();
            shares.extend(
                a.busy_share
                    .map(|p| format!("{p} of device time was declared busy")),
            );
            shares.extend(
                a.training_share
                    .map(|p| format!("{p} of compute was declared training")),
            );
            lines.push(format!(
                "From {} until just before {}{site}, {} (TRN-07).",
                a.from,
                a.to,
                shares.join(" and ")
            ));
        }
        lines.extend(self.hardware());
        lines.push(format!(
            "Each node reports every {} s and keeps its windows for {} days.",
            self.report_seconds, self.windows_kept_days
        ));
        if self.trial {
            lines.push("This is a trial: every report and every finding says so.".to_owned());
        }
        lines.extend(self.own_sentences());
        for w in &self.waivers {
            lines.push(format!(
                "{} is waived until just before {}: {}.",
                w.condition, w.until, w.reason
            ));
        }
        lines.extend(self.not_evaluated());
        lines
    }

    /// What it asks of what devices sign.
    fn hardware(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let keyed = self.devices.iter().filter(|d| d.device_id.is_some()).count();
        if keyed > 0 {
            lines.push(format!(
                "The manifest names the key of {keyed} of {} devices; another key in their place fails the site (INV-05).",
                self.devices.len()
            ));
        }
        for (what, listed) in [
            ("Drivers", &self.driver_versions),
            ("The VBIOS", &self.vbios_versions),
        ] {
            if !listed.is_empty() {
                lines.push(format!(
                    "{what} may be of version {} and no other (SEC-01).",
                    listed.join(", ")
                ));
            }
        }
        lines.extend(self.confidential_compute.map(|term| match term {
            ConfidentialTerm::On => "Confidential computing must be on (SEC-02).".to_owned(),
            ConfidentialTerm::Off => "Confidential computing must be off (SEC-02).".to_owned(),
        }));
        lines
    }

    fn not_evaluated(&self) -> Vec<String> {
        let mut unread = Vec::new();
        if self.manifest_digest.is_some() {
            unread.push("`manifest_digest`");
        }
        unread
            .into_iter()
            .map(|key| format!("This version keeps {key} and does not evaluate it."))
            .collect()
    }
}
