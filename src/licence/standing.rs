//! What the checker holds of signers beside the licence: keys that it revoked, and accreditations on its own list.
//!
//! Decides: whether what a key signed counts when it was filed, and which accreditation lets an assessor speak. Comes from the checker's own
//! anchors, never from a licence, an operator or a package: the same anchors give the same verdict. Does not establish who holds a key, nor
//! that an accreditation body stands behind an entry: whoever keeps the list looked.

use crate::id::Digest;
use crate::statement::{AreaExamined, Claims, SecurityArea, Standard, Statement};
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};

/// A key that the checker revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedKey {
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub key: Digest,
    /// Whose it was.
    pub name: String,
    /// What was filed at this time or later does not count.
    pub from: UnixSeconds,
    /// The key that took its place, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Digest>,
}

/// An accreditation on the checker's list. Lists that are empty bound nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accreditation {
    /// Its number, as statements name it.
    pub number: String,
    /// Who holds it.
    pub holder: String,
    /// The key that speaks under it.
    pub key: Digest,
    /// Areas of security that it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<SecurityArea>,
    /// Standards that it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standards: Vec<Standard>,
    /// Sites that it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    /// From when it holds.
    pub valid_from: UnixSeconds,
    /// The first second after it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<UnixSeconds>,
    /// From when it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<UnixSeconds>,
}

/// What the checker holds of signers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Keys that it revoked.
    pub revoked: Vec<RevokedKey>,
    /// Its list of accreditations. Where it is empty, the licence alone says who is accredited.
    pub accreditations: Vec<Accreditation>,
}

impl Standing {
    /// The revocation of a key.
    #[must_use]
    pub fn revocation(&self, key: &Digest) -> Option<&RevokedKey> {
        self.revoked.iter().find(|r| r.key == *key)
    }

    /// Why what a key signed does not count, filed at this time, if so; the answer follows a document's name in a sentence.
    #[must_use]
    pub fn silenced(&self, key: &Digest, filed: UnixSeconds) -> Option<String> {
        let revoked = self.revocation(key).filter(|r| filed >= r.from)?;
        Some(format!(
            "was filed on {filed}, and the key of {} was revoked by the checker from {} on",
            revoked.name, revoked.from
        ))
    }

    /// Whether a key of this holder is accredited for a site, for what was issued and filed at these times, or the list is empty.
    pub(super) fn accredits(
        &self,
        key: &Digest,
        holder: &str,
        (issued, filed): (UnixSeconds, UnixSeconds),
        site: &str,
    ) -> bool {
        let mut own = self
            .accreditations
            .iter()
            .filter(|a| a.key == *key && a.holder == holder);
        self.accreditations.is_empty() || own.any(|a| a.elsewhere(issued, filed, site).is_none())
    }

    /// The accreditation under which a key speaks in this statement about a site; absent where the list is empty.
    ///
    /// # Errors
    /// Why none lets it; this follows the statement's name in a sentence.
    pub(super) fn accreditation(
        &self,
        key: &Digest,
        statement: &Statement,
        filed: UnixSeconds,
        site: &str,
    ) -> Result<Option<&Accreditation>, String> {
        if self.accreditations.is_empty() {
            return Ok(None);
        }
        let Some(number) = &statement.header.accreditation else {
            return Err(
                "names no accreditation, and the checker hears assessors on its list alone".to_owned(),
            );
        };
        let mut why = format!("names accreditation {number}, which is not on the checker's list");
        for listed in self.accreditations.iter().filter(|a| a.number == number.as_str()) {
            match listed.bars(key, statement, filed, site) {
                None => return Ok(Some(listed)),
                Some(reason) => {
                    why = format!("names accreditation {number}, which on the checker's list {reason}");
                }
            }
        }
        Err(why)
    }
}

impl Accreditation {
    /// When it ends.
    #[must_use]
    pub fn end(&self) -> Option<UnixSeconds> {
        [self.valid_to, self.withdrawn].into_iter().flatten().min()
    }

    /// Whether it covers what an attestation says of an area.
    #[must_use]
    pub fn covers(&self, examined: &AreaExamined) -> bool {
        (self.areas.is_empty() || self.areas.contains(&examined.area))
            && (self.standards.is_empty() || self.standards.contains(&examined.standard))
    }

    /// What it covers, in words that follow `covers`.
    #[must_use]
    pub fn scope(&self) -> String {
        let areas: Vec<&str> = self.areas.iter().map(|a| a.text()).collect();
        let standards: Vec<&str> = self.standards.iter().map(|s| s.text()).collect();
        let (areas, standards) = (areas.join(", "), standards.join(", "));
        match (areas.is_empty(), standards.is_empty()) {
            (true, true) => "every area".to_owned(),
            (false, true) => format!("{areas} only"),
            (true, false) => format!("{standards} only"),
            (false, false) => format!("{areas} against {standards} only"),
        }
    }

    fn bars(&self, key: &Digest, statement: &Statement, filed: UnixSeconds, site: &str) -> Option<String> {
        let header = &statement.header;
        if self.key != *key {
            return Some("belongs to another key".to_owned());
        }
        if header.issuer.as_str() != self.holder {
            return Some(format!("is that of {}", self.holder));
        }
        if let Some(why) = self.elsewhere(header.issued.0, filed, site) {
            return Some(why);
        }
        let covered = match &statement.claims {
            Claims::SecurityAttestation(said) => said.areas.iter().any(|a| self.covers(a)),
            Claims::AssessorFinding(said) => area_of(said.condition.as_str())
                .is_none_or(|area| self.areas.is_empty() || self.areas.contains(&area)),
            _ => true,
        };
        (!covered).then(|| format!("covers {}", self.scope()))
    }

    /// Why it does not cover a site, or what was issued and filed at these times.
    fn elsewhere(&self, issued: UnixSeconds, filed: UnixSeconds, site: &str) -> Option<String> {
        if !self.sites.is_empty() && self.sites.iter().all(|s| s != site) {
            return Some(format!("covers site {} only", self.sites.join(", ")));
        }
        if issued < self.valid_from {
            return Some(format!("holds from {} on, after it was issued", self.valid_from));
        }
        // What is filed after the end may have been dated back.
        if let Some(end) = self.end().filter(|end| issued.max(filed) >= *end) {
            return Some(format!("ended on {end}, before it was on file"));
        }
        None
    }
}

/// The area of security to which a condition belongs. What assessors say of the others, such as samples and records, every accreditation covers.
fn area_of(condition: &str) -> Option<SecurityArea> {
    Some(match condition {
        // Deliveries are part of the supply chain.
        "PHY-04" => SecurityArea::SupplyChain,
        c if c.starts_with("PHY-") => SecurityArea::Physical,
        c if c.starts_with("SEC-") => SecurityArea::Cyber,
        c if c.starts_with("PER-") => SecurityArea::Personnel,
        _ => return None,
    })
}
