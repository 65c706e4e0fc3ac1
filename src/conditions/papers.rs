//! Papers: the statements that a licence hears about a site.
//!
//! Decides: which statements count, and says why others do not. One counts where the licence names a key that signed it, in the role that it is given
//! in, for this site and time, and the checker neither revoked that key before it was filed nor keeps a list of accreditations that lacks its own, until each of
//! these keys has replaced it by one that has begun. Trusts the facts for which keys signed it and when it was filed. Does not establish that what it says
//! is true.

use super::case::Case;
use super::finding::{Verdict, few};
use crate::appraisal::{Grade, HeardStatement};
use crate::id::Digest;
use crate::licence::{Accreditation, HeardAs};
use crate::statement::{AreaExamined, Header, Independence, Role, Said};
use crate::time::{UnixSeconds, span};
use std::collections::BTreeSet;

/// The statements on file that concern the site under the licence.
#[derive(Debug)]
pub(super) struct Papers<'a> {
    /// Those that count, the newest first.
    heard: Vec<Heard<'a>>,
    /// Those that counted until their signers replaced them, the newest first.
    replaced: Vec<Heard<'a>>,
    /// Those that do not, and why.
    unheard: Vec<(&'a HeardStatement, String)>,
}

/// A statement that counts.
#[derive(Debug)]
struct Heard<'a> {
    on_file: &'a HeardStatement,
    /// The keys for which it counts, and of one that was not replaced by all of them those that stand by it.
    by: Vec<Digest>,
    /// What the checker's list lets its issuer speak of. Its keys are all that issuer's.
    accreditation: Option<&'a Accreditation>,
}

impl Heard<'_> {
    /// By what it counts as new: of what bears one date the last that was filed is the newest. What was filed late stays as old as it says.
    fn age(&self) -> (UnixSeconds, UnixSeconds) {
        let HeardStatement { statement, filed, .. } = self.on_file;
        (statement.header.issued.0.min(*filed), *filed)
    }
}

/// Statements, each once, the newest first. The same may have been filed for one signer and again for another; the first time is when it was said,
/// and it counts for both.
fn newest_first(mut papers: Vec<Heard<'_>>) -> Vec<Heard<'_>> {
    papers.sort_by_key(|p| (p.on_file.statement.digest, p.on_file.filed));
    papers.dedup_by(|next, kept| {
        let same = next.on_file.statement.digest == kept.on_file.statement.digest;
        if same {
            kept.by.append(&mut next.by);
        }
        same
    });
    papers.sort_by_key(|p| (std::cmp::Reverse(p.age()), p.on_file.statement.digest));
    papers
}

/// A statement of one kind that counts.
#[derive(Debug)]
pub(super) struct Paper<'a, T> {
    /// What every statement says.
    pub(super) header: &'a Header,
    /// What it says.
    pub(super) claims: &'a T,
    /// Its identity.
    pub(super) digest: Digest,
    /// When it was put on file. Where the order of events matters this is when it was said: `issued` is its signer's word, and may be dated back.
    pub(super) filed: UnixSeconds,
    /// Ids of the keys that signed it.
    signers: &'a [Digest],
    accreditation: Option<&'a Accreditation>,
}

impl<T> Clone for Paper<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Paper<'_, T> {}

impl<'a, T: Said> Paper<'a, T> {
    fn of(heard: &Heard<'a>) -> Option<Self> {
        let HeardStatement { statement, filed, .. } = heard.on_file;
        Some(Self {
            header: &statement.header,
            claims: T::of(&statement.claims)?,
            digest: statement.digest,
            filed: *filed,
            signers: &heard.on_file.signers,
            accreditation: heard.accreditation,
        })
    }

    /// Why its issuer is not heard about an area that it speaks of, if so; the answer follows its name in a sentence.
    pub(super) fn beyond(&self, examined: &AreaExamined) -> Option<String> {
        let listed = self.accreditation.filter(|a| !a.covers(examined))?;
        Some(format!(
            "speaks of more than its issuer is accredited for: on the checker's list, {} covers {}",
            listed.number,
            listed.scope()
        ))
    }

    /// How a sentence names it.
    pub(super) fn label(&self) -> String {
        format!("{} {} of {}", T::KIND.title, self.header.id, self.header.issuer)
    }
}

impl<'a> Papers<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let site = case.facts.site;
        let (mut said, mut unheard) = (Vec::new(), Vec::new());
        let on_file = case
            .on_file()
            .filter(|s| s.concerns(site) && s.filed <= case.now)
            .filter(|s| s.statement.header.concerns_licence(&case.licence.licence_id));
        for paper in on_file {
            match case.hears(paper) {
                Ok(by) => said.push(Heard {
                    on_file: paper,
                    accreditation: by.first().and_then(|k| k.accreditation),
                    by: by.iter().map(|k| k.key).collect(),
                }),
                Err(why) => unheard.push((paper, why)),
            }
        }
        // Who replaces a statement must be the one who is heard for it, or anyone could silence anyone; and until what replaces it begins, it stands.
        let replaced: BTreeSet<(Digest, Digest)> = said
            .iter()
            .filter(|p| p.on_file.statement.header.begins() <= case.now)
            .filter_map(|p| Some((p.on_file.statement.header.supersedes?, &p.by)))
            .flat_map(|(old, by)| by.iter().map(move |key| (old, *key)))
            .collect();
        let stands = |paper: &Heard<'_>| {
            let left = |key: &Digest| !replaced.contains(&(paper.on_file.statement.digest, *key));
            paper.by.iter().any(left)
        };
        let (mut heard, past): (Vec<_>, Vec<_>) = said.into_iter().partition(stands);
        for paper in &mut heard {
            let digest = paper.on_file.statement.digest;
            paper.by.retain(|key| !replaced.contains(&(digest, *key)));
        }
        Self {
            heard: newest_first(heard),
            replaced: newest_first(past),
            unheard,
        }
    }

    /// All of one kind that ever counted, the newest first: to replace a statement unsays nothing.
    pub(super) fn ever<T: Said + 'a>(&self) -> impl Iterator<Item = Paper<'a, T>> + '_ {
        let mut papers: Vec<&Heard<'a>> = self.heard.iter().chain(&self.replaced).collect();
        papers.sort_by_key(|p| std::cmp::Reverse(p.age()));
        papers.into_iter().filter_map(Paper::of)
    }

    /// The keys that stand by a statement: those for which it counts, and that did not replace it.
    pub(super) fn keys(&self, digest: &Digest) -> BTreeSet<Digest> {
        let same = self
            .heard
            .iter()
            .filter(|p| p.on_file.statement.digest == *digest);
        same.flat_map(|p| &p.by).copied().collect()
    }

    /// Those of one kind, the newest first, whether they still hold or not.
    pub(super) fn all<T: Said + 'a>(&self) -> impl Iterator<Item = Paper<'a, T>> + '_ {
        self.heard.iter().filter_map(Paper::of)
    }

    /// Header and identity of those of the kind of this name that hold at a time.
    pub(super) fn of_kind<'s>(
        &'s self,
        kind: &'s str,
        at: UnixSeconds,
    ) -> impl Iterator<Item = (&'a Header, Digest)> + 's {
        let heard = self.heard.iter().map(|paper| &paper.on_file.statement);
        heard
            .filter(move |s| s.kind().name == kind && s.holds(at))
            .map(|s| (&s.header, s.digest))
    }

    /// Who issued what holds at a time in a role, each once. A declaration of independence speaks for its issuer alone, and is not counted.
    pub(super) fn issuers_in(&self, role: Role, at: UnixSeconds) -> BTreeSet<&'a str> {
        let heard = self.heard.iter().map(|paper| &paper.on_file.statement);
        heard
            .filter(|s| s.header.role == role && s.holds(at) && s.kind().name != Independence::KIND.name)
            .map(|s| s.header.issuer.as_str())
            .collect()
    }

    /// Those of one kind that hold at a time, the newest first.
    pub(super) fn holding<T: Said + 'a>(&self, at: UnixSeconds) -> impl Iterator<Item = Paper<'a, T>> + '_ {
        let holding = self
            .heard
            .iter()
            .filter(move |paper| paper.on_file.statement.holds(at));
        holding.filter_map(Paper::of)
    }
}

impl<'a> Case<'a> {
    /// The keys for which the licence hears a statement about the site.
    ///
    /// # Errors
    /// Why it hears none; this follows the statement's name in a sentence.
    pub(super) fn hears(&self, paper: &HeardStatement) -> Result<Vec<HeardAs<'a>>, String> {
        let facts = self.facts;
        // Where no document sets a tolerance, there is none.
        let tolerance = self.term(|l| l.clock_tolerance).map_or(0, |t| t.value);
        self.licence.hears(
            (&paper.statement, &paper.signers),
            (paper.filed, tolerance),
            facts.site,
            facts.standing,
        )
    }

    /// Statements of one kind that hold now, the newest first; where there is none, why nothing can be told, and what would settle it.
    pub(super) fn papers_of<T: Said + 'a>(&self) -> Result<Vec<Paper<'a, T>>, Box<Verdict>> {
        let holding: Vec<_> = self.papers().holding::<T>(self.now).collect();
        if !holding.is_empty() {
            return Ok(holding);
        }
        let (title, site) = (T::KIND.title, &self.facts.site);
        let roles: Vec<&str> = T::KIND.roles.iter().map(|r| r.text()).collect();
        let settle = format!(
            "one signed by its {} whom the licence hears would settle it",
            roles.join(" or ")
        );
        let past: Vec<Paper<'a, T>> = self.papers().all().collect();
        let missing = |message, sentence| Verdict::cannot_tell(message, sentence).grade(Grade::Declared);
        if let Some(last) = past.first() {
            let when = match last.header.valid_to.0 <= self.now {
                true => format!("expired on {}", last.header.valid_to.0),
                false => "does not hold yet".to_owned(),
            };
            let verdict = missing("expired", format!("the {} {when}; {settle}", last.label()));
            return Err(Box::new(verdict.evidence([last.digest])));
        }
        let unheard = self
            .papers()
            .unheard
            .iter()
            .filter(|(p, _)| T::of(&p.statement.claims).is_some());
        let (digests, whys): (Vec<Digest>, Vec<String>) = unheard
            .map(|(p, why)| (p.statement.digest, format!("{} {why}", p.statement.header.id)))
            .unzip();
        if !whys.is_empty() {
            let sentence = format!("no {title} about site {site} is heard: {}; {settle}", few(&whys));
            return Err(Box::new(missing("not-heard", sentence).evidence(digests)));
        }
        let sentence = format!("no {title} about site {site} is on file; {settle}");
        Err(Box::new(missing("no-statement", sentence)))
    }

    /// In which roles a statement is vouched for: the one that it is given in, and those of other parties whose keys signed it too and whom the
    /// licence hears about this site.
    pub(super) fn voices<T>(&self, paper: &Paper<'_, T>) -> BTreeSet<Role> {
        let (header, facts) = (paper.header, self.facts);
        let others = self.licence.signers.iter().filter(|s| {
            paper.signers.contains(&s.key.id())
                && s.name != header.issuer.as_str()
                && s.seconds(header, paper.filed, facts.site, facts.standing)
        });
        others.map(|s| s.role).chain([header.role]).collect()
    }

    /// Of each issuer the newest statement of a kind that holds now.
    pub(super) fn newest_of_each<T: Said + 'a>(&self) -> Vec<Paper<'a, T>> {
        let mut issuers = BTreeSet::new();
        let holding = self.papers().holding::<T>(self.now);
        holding
            .filter(|p| issuers.insert(p.header.issuer.as_str()))
            .collect()
    }

    /// How a sentence says that what a statement tells of was examined longer ago than a limit allows.
    pub(super) fn too_old(&self, header: &Header, limit: i64) -> Option<String> {
        let age = self.now.since(header.examined());
        (age > limit).then(|| format!("is {} old, and may be {} old at most", span(age), span(limit)))
    }
}
