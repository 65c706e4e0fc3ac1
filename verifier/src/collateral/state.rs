//! What is held, in memory.
//!
//! Decides: which replies of a certificate are shown and which make room for others. It reads no file and asks nobody.

use super::{Contents, Item, KeptReply, KeptRim, Kind, MAX_REPLIES, Note, Unusable, plain, short};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weighbridge::appraisal::evidence::WantedCollateral;
use weighbridge::hardware::nvidia::{Presented, Rim, rim_id_fits};
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;
use weighbridge::x509::Certificate;
use weighbridge::x509::ocsp::{self, Claim, Reply, Status};

/// How many replies of one certificate are kept, for reports that come late. One that says that it was revoked for good stays, however many
/// come after it.
const REPLIES_EACH: usize = 4;

/// A reply among those of one certificate. One whose signature was checked, for a service gave it in answer to a question, comes after any that
/// only says of itself when it was made: a made-up one cannot push it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    checked: bool,
    from: UnixSeconds,
    reply: Digest,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) why: String,
    /// Whether it may be read again with another result: where it could not be read, or was damaged.
    pub(super) may_pass: bool,
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rims: BTreeMap<Digest, KeptRim>,
    pub(super) replies: BTreeMap<Digest, KeptReply>,
    /// Replies by the names of the certificates that they speak of, the best last.
    about: BTreeMap<Digest, BTreeSet<Place>>,
    pub(super) unusable: BTreeMap<(Kind, Digest), Flaw>,
    pub(super) left_out: usize,
    pub(super) generation: u64,
}

/// Whether a claim is one that no later reply takes back.
fn is_final(claim: &Claim<'_>) -> bool {
    matches!(claim.status, Status::Revoked { .. }) && !claim.status.is_hold()
}

fn is_checked(note: &Note) -> bool {
    note.confirmed.is_some()
}

impl State {
    pub(super) fn put_rim(&mut self, rim: Rim, note: Note) {
        let digest = rim.digest();
        let name = format!(
            "manifest {} {} ({})",
            rim.product(),
            rim.version(),
            short(&digest)
        );
        let presented = Arc::new(Presented {
            name: plain(&name),
            digest,
            content: Ok(rim),
        });
        self.rims.insert(digest, Item { presented, note });
        self.changed(Kind::Rim, digest);
    }

    pub(super) fn put_reply(&mut self, reply: Reply, note: Note) {
        let digest = reply.digest();
        self.place(&reply, is_checked(&note));
        let presented = Arc::new(Presented {
            name: format!("OCSP reply ({})", short(&digest)),
            digest,
            content: Ok(reply),
        });
        self.replies.insert(digest, Item { presented, note });
        self.changed(Kind::Ocsp, digest);
    }

    fn place(&mut self, reply: &Reply, checked: bool) {
        for claim in reply.claims() {
            let all = self.about.entry(claim.name).or_default();
            all.insert(Place {
                checked,
                from: claim.from,
                reply: reply.digest(),
            });
        }
    }

    fn changed(&mut self, kind: Kind, digest: Digest) {
        self.unusable.remove(&(kind, digest));
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn note_rim(&mut self, digest: &Digest, note: Note) {
        if let Some(kept) = self.rims.get_mut(digest) {
            kept.note = note;
        }
    }

    pub(super) fn note_reply(&mut self, digest: &Digest, note: Note) {
        let Some(kept) = self.replies.get_mut(digest) else {
            return;
        };
        let (before, now) = (is_checked(&kept.note), is_checked(&note));
        kept.note = note;
        let presented = Arc::clone(&kept.presented);
        if let (true, Ok(reply)) = (before != now, &presented.content) {
            self.displace(reply);
            self.place(reply, now);
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Forgets what no longer stands on disk.
    pub(super) fn keep_only(&mut self, rims: &BTreeSet<Digest>, replies: &BTreeSet<Digest>) {
        let before = self.rims.len();
        self.rims.retain(|digest, _| rims.contains(digest));
        if before != self.rims.len() {
            self.generation = self.generation.wrapping_add(1);
        }
        let gone = self.replies.keys().filter(|digest| !replies.contains(digest));
        for digest in gone.copied().collect::<Vec<_>>() {
            self.forget(&digest);
        }
        self.unusable.retain(|(kind, digest), _| match kind {
            Kind::Rim => rims.contains(digest),
            Kind::Ocsp => replies.contains(digest),
        });
    }

    /// Manifests of the wanted names and chips: of one version those whose signers hold at the time, and all where none does. An old issue does not
    /// stand in the way of a new one when its signer's certificate expires.
    pub(super) fn rims_for(&self, wanted: &WantedCollateral, at: UnixSeconds) -> Vec<KeptRim> {
        let names = |r: &Rim| {
            let mut all = wanted.rims.iter();
            all.any(|(id, product)| product == r.product() && rim_id_fits(id, r.product(), r.version()))
        };
        let fits = |kept: &&KeptRim| kept.rim().is_some_and(names);
        let all: Vec<&KeptRim> = self.rims.values().filter(fits).collect();
        let part = |kept: &KeptRim| {
            let rim = kept.rim()?;
            Some((rim.product().to_owned(), rim.version().to_ascii_uppercase()))
        };
        let holds = |kept: &KeptRim| kept.rim().is_some_and(|r| r.holds_at(at).is_ok());
        let held: BTreeSet<_> = all.iter().filter(|k| holds(k)).map(|k| part(k)).collect();
        all.into_iter()
            .filter(|k| holds(k) || !held.contains(&part(k)))
            .cloned()
            .collect()
    }

    /// Replies to show of a certificate: the newest that holds at the time, of those that were checked and of the others; where none holds,
    /// the last; and each that says that it was revoked for good.
    pub(super) fn replies_for(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        at: UnixSeconds,
    ) -> Vec<Digest> {
        let names = ocsp::names(certificate, issuer);
        let mut all: Vec<Place> = self.places(&names).collect();
        all.sort_unstable();
        let claims = |place: &Place| self.claims(&place.reply).filter(|c| names.contains(&c.name));
        let holds = |place: &&Place| claims(place).any(|c| (c.from..=c.to.unwrap_or(c.from)).contains(&at));
        let newest = |checked: bool| all.iter().rev().filter(|p| p.checked == checked).find(holds);
        let mut shown: Vec<&Place> = [newest(true), newest(false)].into_iter().flatten().collect();
        if shown.is_empty() {
            shown.extend(all.last());
        }
        shown.extend(all.iter().filter(|p| claims(p).any(|c| is_final(&c))));
        shown.into_iter().map(|p| p.reply).collect()
    }

    /// When the newest reply of a certificate was made, and when it is to be asked for again: never where it was revoked for good. Only what was
    /// checked counts.
    pub(super) fn newest(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
    ) -> Option<(UnixSeconds, Option<UnixSeconds>)> {
        let names = ocsp::names(certificate, issuer);
        let checked: Vec<Claim<'_>> = self
            .places(&names)
            .filter(|p| p.checked)
            .flat_map(|p| self.claims(&p.reply))
            .filter(|c| names.contains(&c.name))
            .collect();
        if let Some(revoked) = checked.iter().find(|c| is_final(c)) {
            return Some((revoked.from, None));
        }
        let newest = checked.iter().max_by_key(|c| (c.from, c.to))?;
        let to = newest.to.unwrap_or(newest.from);
        Some((newest.from, Some(newest.from.plus(to.since(newest.from) / 2))))
    }

    fn places(&self, names: &[Digest]) -> impl Iterator<Item = Place> {
        let all = names.iter().filter_map(|name| self.about.get(name));
        all.flatten().copied()
    }

    fn claims<'a>(&'a self, digest: &Digest) -> impl Iterator<Item = Claim<'a>> + use<'a> {
        let reply = self.replies.get(digest).and_then(KeptReply::reply);
        reply.into_iter().flat_map(Reply::claims)
    }

    /// Whether as many better replies of each of its certificates are held as are kept.
    pub(super) fn has_better(&self, reply: &Reply, note: &Note) -> bool {
        reply.claims().all(|claim| {
            let place = Place {
                checked: is_checked(note),
                from: claim.from,
                reply: reply.digest(),
            };
            let better = self.about.get(&claim.name).map(|all| all.range(place..));
            !is_final(&claim) && better.is_some_and(|b| b.take(REPLIES_EACH).count() == REPLIES_EACH)
        })
    }

    /// Takes out the replies that are not among the best of any certificate, after one more came; where there are too many still, the
    /// oldest that say nothing final. What was final stays in any case.
    pub(super) fn take_superseded(&mut self, new: &Digest) -> BTreeSet<Digest> {
        let mut out = BTreeSet::new();
        for claim in self.claims(new) {
            let all = self.about.get(&claim.name).into_iter().flatten();
            let old = all.rev().skip(REPLIES_EACH).map(|p| p.reply);
            out.extend(old.filter(|d| self.is_superseded(d)));
        }
        let excess = self
            .replies
            .len()
            .saturating_sub(out.len())
            .saturating_sub(MAX_REPLIES);
        if excess > 0 {
            let mut all: Vec<Place> = self.about.values().flatten().copied().collect();
            all.sort_unstable();
            let open = |d: &Digest| d != new && !out.contains(d) && !self.claims(d).any(|c| is_final(&c));
            let oldest: Vec<Digest> = all.iter().map(|p| p.reply).filter(open).take(excess).collect();
            out.extend(oldest);
        }
        for digest in &out {
            self.forget(digest);
        }
        out
    }

    fn is_superseded(&self, digest: &Digest) -> bool {
        self.claims(digest).all(|claim| {
            let all = self.about.get(&claim.name).into_iter().flatten();
            !is_final(&claim) && !all.rev().take(REPLIES_EACH).any(|p| p.reply == *digest)
        })
    }

    fn forget(&mut self, digest: &Digest) {
        let Some(kept) = self.replies.remove(digest) else {
            return;
        };
        if let Some(reply) = kept.reply() {
            self.displace(reply);
        }
        self.generation = self.generation.wrapping_add(1);
    }

    fn displace(&mut self, reply: &Reply) {
        for claim in reply.claims() {
            if let Some(all) = self.about.get_mut(&claim.name) {
                all.retain(|place| place.reply != reply.digest());
                if all.is_empty() {
                    self.about.remove(&claim.name);
                }
            }
        }
    }

    /// Everything that is held, and what cannot be used.
    pub(super) fn contents(&self) -> Contents {
        let unusable = self.unusable.iter();
        Contents {
            rims: self.rims.values().cloned().collect(),
            replies: self.replies.values().cloned().collect(),
            unusable: unusable
                .map(|((kind, sha256), flaw)| Unusable {
                    kind: *kind,
                    sha256: *sha256,
                    why: flaw.why.clone(),
                })
                .collect(),
            left_out: self.left_out,
        }
    }
}
