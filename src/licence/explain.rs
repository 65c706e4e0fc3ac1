//! A licence in plain sentences, for those who must live by it.

use super::{AllowancePeriod, CataloguePin, ConfidentialTerm, Licence, LicensedSigner, OpsGroup};
use crate::report::KeyProtection;
use crate::rules::Limits;
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
        lines.extend(limit_sentences(&self.limits));
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
        if self.training_share_max.is_some() {
            unread.push("`training_share_max` (TRN-03)");
        }
        if !self.evidence_required.is_empty() {
            unread.push("`evidence_required` (EVI-01)");
        }
        if !self.remote_access_countries.is_empty() {
            unread.push("`remote_access_countries` (TEN-05)");
        }
        if self.manifest_digest.is_some() {
            unread.push("`manifest_digest`");
        }
        if self.profiles.iter().any(|p| p != "all") {
            unread.push("`profiles` other than all");
        }
        unread
            .into_iter()
            .map(|key| format!("This version keeps {key} and does not evaluate it."))
            .collect()
    }
}

fn limit_sentences(limits: &Limits) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |text: Option<String>| lines.extend(text);
    say(limits
        .missing_after
        .map(|s| format!("A device may stay unseen for {} (INV-02).", crate::time::span(s))));
    say(limits
        .missing_escalates_after
        .map(|s| format!("After {} unseen, the site fails (INV-02).", crate::time::span(s))));
    say(limits
        .coverage_min
        .map(|p| format!("At least {p} of the devices on the manifest must report (OPS-01).")));
    say(limits
        .observation_min
        .map(|p| format!("At least {p} of device time must be covered by samples (OPS-02).")));
    say(limits.freshness_max.map(|s| {
        format!(
            "The newest report of a node may be {} old (OPS-03).",
            crate::time::span(s)
        )
    }));
    say(limits
        .finding_window
        .map(|s| format!("What was seen once stays a finding for {}.", crate::time::span(s))));
    say(limits
        .clock_tolerance
        .map(|s| format!("A node's clock may be off by {}.", crate::time::span(s))));
    say(limits
        .memory_tolerance
        .map(|p| format!("A device's memory may be {p} from its model's (INV-06).")));
    say(limits.ops_limit.map(|o| {
        format!(
            "No model may be trained with {} operations or more (TRN-01, TRN-02).",
            Grouped(o.0)
        )
    }));
    say(limits
        .ops_window
        .map(|s| format!("Operations are summed over {}.", crate::time::span(s))));
    say(limits.key_protection_min.map(|k| match k {
        KeyProtection::Tpm => "A node's key must be held by a TPM (SEC-04).".to_owned(),
        KeyProtection::File => "A node's key may lie in a file (SEC-04).".to_owned(),
    }));
    say(limits
        .device_tpp_below
        .map(|t| format!("The TPP of each device must be below {t} (CAP-07).")));
    say(limits.device_bandwidth_below.map(|b| {
        format!(
            "The bandwidth of each device's memory must be below {} GB/s (CAP-07).",
            Grouped(u128::from(b))
        )
    }));
    say(limits
        .performance_tolerance
        .map(|p| format!("A device's clock and power limit may be {p} above its model's (CAP-08).")));
    say(limits
        .activity_tolerance
        .map(|p| format!("Declared and measured activity may lie {p} apart (TRN-07).")));
    say(limits
        .idle_power_max
        .map(|p| format!("A device declared idle may draw {p} of its model's power (TRN-07).")));
    say(limits.assessment_max_age.map(|s| {
        format!(
            "An assessment of a site may be {} old (PHY-01, PHY-04, PER-01, SEC-07).",
            crate::time::span(s)
        )
    }));
    say(limits.ownership_max_age.map(|s| {
        format!(
            "A disclosure of ownership may be {} old (SUP-01).",
            crate::time::span(s)
        )
    }));
    say(limits
        .records_kept_years
        .map(|n| format!("Records must be kept for {n} years (REC-01).")));
    say(limits.proof_max_age.map(|s| {
        format!(
            "A device must have proved its key within {} (INV-05).",
            crate::time::span(s)
        )
    }));
    lines
}
