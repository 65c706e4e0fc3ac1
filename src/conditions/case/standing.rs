//! Standing: what the licence lists, what others list beside it, and whether it holds with its rules and its catalogue.

use super::super::manifest::Manifest;
use super::Case;
use crate::appraisal::DeviceFacts;
use crate::licence::{CataloguePin, Licence, LicensedDevice, RowMatch, RuleSetPin};
use crate::rules::RuleSet;
use crate::telemetry::AcceleratorIdentity;
use crate::time::UnixSeconds;

impl<'a> Case<'a> {
    /// Rows of the manifest that name this UUID or this serial number, whatever their site, with their place in it.
    pub(in crate::conditions) fn candidates(
        &self,
        identity: &AcceleratorIdentity,
    ) -> impl Iterator<Item = (usize, &'a LicensedDevice)> {
        self.manifest.candidates(identity)
    }

    /// The row of this site's manifest that a device answers to.
    pub(in crate::conditions) fn row_of(
        &self,
        identity: &AcceleratorIdentity,
    ) -> Option<(usize, &'a LicensedDevice)> {
        self.candidates(identity)
            .find(|(_, row)| row.compare(identity) == RowMatch::Same && self.is_here(row))
    }

    /// Whether another licence answers for a device: it lists the device for this site, this one does not, and it held when
    /// the device was last heard.
    pub(in crate::conditions) fn is_beside(&self, device: &DeviceFacts) -> bool {
        let identity = &device.identity;
        let held = |licence: &Licence| device.last_heard().is_some_and(|t| licence.valid.holds(t));
        let lists = |manifest: &Manifest<'_>| {
            let mut rows = manifest.candidates(identity);
            rows.any(|(_, row)| row.compare(identity) == RowMatch::Same && self.is_here(row))
        };
        let mut beside = self.beside.iter();
        beside.any(|(licence, manifest)| held(licence) && lists(manifest)) && !lists(&self.manifest)
    }

    /// Another licence that names the site and holds now, by its id.
    pub(in crate::conditions) fn other_licence(&self) -> Option<&'a str> {
        let holding = self.beside.iter().find(|(l, _)| l.valid.holds(self.now));
        holding.map(|(l, _)| l.licence_id.as_str())
    }

    /// Whether the other licences that name the site hold now as they did at an earlier time, and all the time since.
    pub(in crate::conditions) fn same_licences_since(&self, earlier: UnixSeconds) -> bool {
        let passed = |t: UnixSeconds| earlier < t && t <= self.now;
        let mut terms = self.beside.iter().map(|(licence, _)| licence.valid);
        !terms.any(|valid| passed(valid.from) || valid.to.is_some_and(passed))
    }

    /// Whether a row allows its device to stand at this site.
    pub(in crate::conditions) fn is_here(&self, row: &LicensedDevice) -> bool {
        row.site.as_deref().is_none_or(|s| s == self.facts.site)
    }

    /// This site's rows, with their place in the manifest.
    pub(in crate::conditions) fn rows(&self) -> impl Iterator<Item = (usize, &'a LicensedDevice)> + '_ {
        let devices = &self.licence.devices;
        devices.iter().enumerate().filter(|(_, row)| self.is_here(row))
    }

    /// Why no condition can be met at all under this licence, if so.
    pub(in crate::conditions) fn void(&self) -> Option<String> {
        if self.now < self.licence.valid.from {
            return Some(format!("the licence holds only from {}", self.licence.valid.from));
        }
        if let Some(from) = self.licence.manifest_from.filter(|t| self.now < *t) {
            return Some(format!("the manifest holds only from {from}"));
        }
        if !self.licence.valid.holds(self.now) {
            let to = self.licence.valid.to.unwrap_or(self.licence.valid.from);
            return Some(format!("the licence ended before {to}"));
        }
        if self.licence.site(self.facts.site).is_none() {
            return Some(format!("the licence does not name site {}", self.facts.site));
        }
        if let Some(why) = self.other_catalogue() {
            return Some(why);
        }
        match self.rules {
            Some(rules) => rules.over(self.now),
            None => Some(self.other_rules()),
        }
    }

    /// How the rule set given is not the one that the licence names, or why there is none.
    fn other_rules(&self) -> String {
        let (given, id) = (self.given, &self.licence.ruleset_id);
        if let Some(why) = &given.absent {
            return why.clone();
        }
        match self.licence.ruleset.filter(|_| given.id == *id) {
            None => format!("the rule set given is not {id}, which the licence names"),
            Some(RuleSetPin::Digest(digest)) => format!(
                "the rule set given is {}, and the licence pins the one with SHA-256 {digest}",
                given.label()
            ),
            Some(RuleSetPin::Signed { key, least_version }) => format!(
                "the rule set given is {}, and the licence pins one that key {key} signed, of version {least_version} or newer",
                given.label()
            ),
        }
    }

    /// What a finding names as its rule set.
    pub(in crate::conditions) fn rules_label(&self) -> String {
        self.rules
            .map_or_else(|| self.licence.ruleset_id.clone(), RuleSet::label)
    }

    /// Why nothing at all can be told with the catalogue given, if so: it is not the one that the licence pins.
    pub(in crate::conditions) fn other_catalogue(&self) -> Option<String> {
        let pin = self.licence.catalogue.filter(|pin| !pin.allows(self.catalogue))?;
        let pinned = match pin {
            CataloguePin::Digest(digest) => format!("the licence pins the one with SHA-256 {digest}"),
            CataloguePin::Signed { key, least_serial } => {
                format!("the licence pins one that key {key} signed, of serial {least_serial} or newer")
            }
        };
        Some(format!(
            "the figures are those of {}, and {pinned}",
            self.catalogue.label()
        ))
    }
}
