//! Papers: the statements that a licence hears about a site.
//!
//! Decides: which statements count, and says why others do not. One counts where the licence names a key that signed it, in the role that it is given
//! in, for this site and time, until each of these keys has replaced it by one that has begun. Trusts the facts for which keys signed it. Does not
//! establish that what it says is true.

use super::case::Case;
use super::finding::{Verdict, few};
use crate::appraisal::{Grade, HeardStatement};
use crate::id::Digest;
use crate::statement::{Header, Independence, Role, Said, Statement};
use crate::time::{UnixSeconds, span};
use std::collections::BTreeSet;

/// The statements on file that concern the site under the licence.
#[derive(Debug)]
pub(super) struct Papers<'a> {
    /// Those that count, the newest first.
    heard: Vec<&'a HeardStatement>,
    /// Those that counted until their signers replaced them, the newest first.
    replaced: Vec<&'a HeardStatement>,
    /// Those that do not, and why.
    unheard: Vec<(&'a HeardStatement, String)>,
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
    /// When it was put on file: whatever it says of when it was written, nobody knew it before.
    pub(super) filed: UnixSeconds,
    /// Ids of the keys that signed it.
    signers: &'a [Digest],
}

impl<T> Clone for Paper<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Paper<'_, T> {}

impl<'a, T: Said> Paper<'a, T> {
    fn of(paper: &'a HeardStatement) -> Option<Self> {
        let statement: &Statement = &paper.statement;
        Some(Self {
            header: &statement.header,
            claims: T::of(&statement.claims)?,
            digest: statement.digest,
            filed: paper.filed,
            signers: &paper.signers,
        })
    }

    /// How a sentence names it.
    pub(super) fn label(&self) -> String {
        format!("{} {} of {}", T::KIND.title, self.header.id, self.header.issuer)
    }
}

impl<'a> Papers<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let site = &case.facts.site;
        let (mut by_signers, mut unheard) = (Vec::new(), Vec::new());
        let on_file = case.facts.statements.iter().map(|s| &**s);
        let on_file = on_file
            .filter(|s| s.concerns(site) && s.filed <= case.now)
            .filter(|s| s.statement.header.concerns_licence(&case.licence.licence_id));
        for paper in on_file {
            match case.licence.hears(&paper.statement.header, &paper.signers, site) {
                Ok(signers) => by_signers.push((paper, signers)),
                Err(why) => unheard.push((paper, why)),
            }
        }
        // Who replaces a statement must be the one who is heard for it, or anyone could silence anyone; and until what replaces it begins, it stands.
        let replaced: BTreeSet<(Digest, Digest)> = by_signers
            .iter()
            .filter(|(p, _)| p.statement.header.begins() <= case.now)
            .filter_map(|(p, signers)| Some((p.statement.header.supersedes?, signers)))
            .flat_map(|(old, signers)| signers.iter().map(move |key| (old, *key)))
            .collect();
        let stands = |(paper, signers): &(&'a HeardStatement, Vec<Digest>)| {
            let left = |key: &Digest| !replaced.contains(&(paper.statement.digest, *key));
            signers.iter().any(left)
        };
        let (heard, past): (Vec<_>, Vec<_>) = by_signers.into_iter().partition(stands);
        let newest_first = |some: Vec<(&'a HeardStatement, Vec<Digest>)>| {
            let mut papers: Vec<_> = some.into_iter().map(|(paper, _)| paper).collect();
            papers.sort_by_key(|p| (std::cmp::Reverse(p.statement.header.issued), p.statement.digest));
            papers.dedup_by_key(|p| p.statement.digest);
            papers
        };
        Self {
            heard: newest_first(heard),
            replaced: newest_first(past),
            unheard,
        }
    }

    /// All of one kind that ever counted, the newest first: to replace a statement unsays nothing.
    pub(super) fn ever<T: Said + 'a>(&self) -> impl Iterator<Item = Paper<'a, T>> + '_ {
        let mut papers: Vec<&'a HeardStatement> = self.heard.iter().chain(&self.replaced).copied().collect();
        papers.sort_by_key(|p| std::cmp::Reverse(p.statement.header.issued));
        papers.into_iter().filter_map(Paper::of)
    }

    /// Those of one kind, the newest first, whether they still hold or not.
    pub(super) fn all<T: Said + 'a>(&self) -> impl Iterator<Item = Paper<'a, T>> + '_ {
        self.heard.iter().filter_map(|paper| Paper::of(paper))
    }

    /// Header and identity of those of the kind of this name that hold at a time.
    pub(super) fn of_kind<'s>(
        &'s self,
        kind: &'s str,
        at: UnixSeconds,
    ) -> impl Iterator<Item = (&'a Header, Digest)> + 's {
        let heard = self.heard.iter().map(|paper| &paper.statement);
        heard
            .filter(move |s| s.kind().name == kind && s.holds(at))
            .map(|s| (&s.header, s.digest))
    }

    /// Who issued what holds at a time in a role, each once. A declaration of independence speaks for its issuer alone, and is not counted.
    pub(super) fn issuers_in(&self, role: Role, at: UnixSeconds) -> BTreeSet<&'a str> {
        let heard = self.heard.iter().map(|paper| &paper.statement);
        heard
            .filter(|s| s.header.role == role && s.holds(at) && s.kind().name != Independence::KIND.name)
            .map(|s| s.header.issuer.as_str())
            .collect()
    }

    /// Those of one kind that hold at a time, the newest first.
    pub(super) fn holding<T: Said + 'a>(&self, at: UnixSeconds) -> impl Iterator<Item = Paper<'a, T>> + '_ {
        let holding = self.heard.iter().filter(move |paper| paper.statement.holds(at));
        holding.filter_map(|paper| Paper::of(paper))
    }
}

impl<'a> Case<'a> {
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
        let (header, site) = (paper.header, &self.facts.site);
        let others = self.licence.signers.iter().filter(|s| {
            paper.signers.contains(&s.key.id())
                && s.name != header.issuer.as_str()
                && (s.sites.is_empty() || s.sites.contains(site))
                && s.valid.holds(header.issued.0)
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
