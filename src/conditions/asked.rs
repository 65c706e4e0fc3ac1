//! Which conditions are asked at all, and what would settle one that nothing settles.

use super::Condition;
use super::case::Case;
use super::finding::Verdict;
use crate::appraisal::Grade;
use crate::statement::Kind;

impl Case<'_> {
    /// Whether a condition is asked: it belongs to every licence, or the licence or its rule set names one of its profiles, or the licence sets
    /// one of its limits.
    pub(super) fn is_asked(&self, condition: &Condition) -> bool {
        let named = || {
            self.licence
                .profiles
                .iter()
                .chain(self.rules.iter().flat_map(|r| &r.profiles))
        };
        condition.profiles.is_empty()
            || named().any(|p| condition.profiles.contains(p))
            || condition
                .limits
                .iter()
                .any(|name| self.licence.limits.is_set(name))
    }

    /// The verdict of a condition that is not asked.
    pub(super) fn not_asked(&self, condition: &Condition) -> Verdict {
        let profiles: Vec<&str> = condition.profiles.iter().map(|p| p.text()).collect();
        let sentence = format!(
            "belongs to the profile {}, which neither the licence nor its rule set names",
            profiles.join(" or ")
        );
        Verdict::not_applicable("profile-not-named", sentence)
            .grade(Grade::Declared)
            .evidence([self.licence.digest])
    }

    /// The verdict where nothing settles a condition: `cannot tell`, and which statements would settle it.
    pub(super) fn unsettled(&self, condition: &str) -> Verdict {
        let kinds: Vec<&str> = Kind::ALL
            .iter()
            .filter(|k| k.settles.contains(&condition))
            .map(|k| k.title)
            .collect();
        let site = &self.facts.site;
        let sentence = match kinds.as_slice() {
            [] => format!("nothing that this version measures or reads settles it for site {site}"),
            some => format!(
                "nothing on file about site {site} settles it; of these a statement that the licence hears would: {}",
                some.join(", ")
            ),
        };
        Verdict::cannot_tell("unsettled", sentence).grade(Grade::Declared)
    }
}
