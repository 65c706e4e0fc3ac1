//! Waivers: what the issuer of a licence, or an agency, lets pass for a time.
//!
//! Decides: by the licence's own `[[waivers]]`, else by a waiver that the licence hears. Only suppliers and agencies may give one; nobody waives
//! what is asked of itself. What was found is kept in the sentence.

use super::case::Case;
use super::finding::{Outcome, Verdict};
use crate::statement::{Role, WaiverStatement};

impl Case<'_> {
    /// A verdict that a condition does not hold or cannot be told, waived where someone may and does.
    pub(super) fn waived(&self, condition: &str, mut verdict: Verdict) -> Verdict {
        let (by, digest) = if let Some(waiver) = self.licence.waiver(condition, self.now) {
            let reason = &waiver.reason;
            (format!("until just before {}: {reason}", waiver.until), None)
        } else {
            let mut heard = self.papers().holding::<WaiverStatement>(self.now);
            let Some(paper) = heard.find(|p| {
                p.claims.condition.as_str() == condition
                    && self.now < p.claims.until.0
                    && matches!(p.header.role, Role::Supplier | Role::Authority)
                    && p.header
                        .licence
                        .as_ref()
                        .is_some_and(|l| l.as_str() == self.licence.licence_id)
            }) else {
                return verdict;
            };
            // It waives no longer than it holds.
            let until = paper.claims.until.0.min(paper.header.valid_to.0);
            let reason = paper.claims.reason.as_str().replace('\n', " ");
            let by = format!("by the {} until just before {until}: {reason}", paper.label());
            (by, Some(paper.digest))
        };
        verdict.sentence = format!("{} ({}); waived {by}", verdict.sentence, verdict.outcome);
        verdict.outcome = Outcome::Waived;
        verdict.evidence(digest)
    }
}
