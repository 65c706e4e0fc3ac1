//! `key revoke` and `key rotate`: from when a key no longer counts, and which takes its place.
//!
//! Decides: which key is meant. What was filed before a revocation stands, by the ledger's time and not by what a signer wrote; what was filed
//! later by that key alone does not count. Does not establish who held the key in between.

use super::trust;
use crate::command::{CommandError, Session};
use crate::fleet::{Anchors, Licences};
use crate::recorder::{Act, ActKind, KeyRole};
use std::collections::BTreeMap;
use std::io::Write;
use weighbridge::crypto::PublicKey;
use weighbridge::id::Digest;
use weighbridge::licence::RevokedKey;
use weighbridge::time::UnixSeconds;

/// A key that this verifier knows.
struct Known {
    id: Digest,
    name: String,
    /// What it is trusted with.
    roles: Vec<KeyRole>,
    /// Licences that hear its statements.
    heard_by: Vec<String>,
}

impl Known {
    /// All keys that are trusted, or that a licence hears.
    fn all(anchors: &Anchors, licences: &Licences) -> Vec<Self> {
        let mut found: BTreeMap<Digest, Self> = BTreeMap::new();
        let mut at = |id: Digest, name: &str, role: Option<KeyRole>, licence: Option<&str>| {
            let known = found.entry(id).or_insert_with(|| Self {
                id,
                name: name.to_owned(),
                roles: Vec::new(),
                heard_by: Vec::new(),
            });
            known.roles.extend(role);
            known.heard_by.extend(licence.map(str::to_owned));
        };
        for role in KeyRole::ALL {
            for issuer in anchors.trusted_for(*role) {
                if let Ok(key) = issuer.public_key() {
                    at(key.id(), &issuer.name, Some(*role), None);
                }
            }
        }
        for licence in licences.counting.iter().map(|l| &l.licence) {
            for signer in &licence.signers {
                at(signer.key.id(), &signer.name, None, Some(&licence.licence_id));
            }
        }
        found.into_values().collect()
    }

    /// The one that is meant by a name or an id.
    fn meant(which: &str, anchors: &Anchors, licences: &Licences) -> Result<Self, CommandError> {
        let id = Digest::parse(which).ok();
        let is_meant = |known: &Self| match id {
            Some(id) => known.id == id,
            // Of a name that has had several keys those are meant that still count.
            None => known.name == which && anchors.revocation(&known.id).is_none(),
        };
        let mut found: Vec<Self> = Self::all(anchors, licences);
        found.retain(is_meant);
        match (found.pop(), found.is_empty()) {
            (Some(known), true) => Ok(known),
            (Some(last), false) => {
                let ids: Vec<String> = found.iter().map(|k| k.id.to_string()).collect();
                Err(refused(format!(
                    "{which} has several keys, so say which by its id: {}, {}",
                    ids.join(", "),
                    last.id
                )))
            }
            (None, _) => Err(refused(format!(
                "`{}` is neither the name nor the id of a key that is trusted or that a loaded licence hears; `weighbridge-verifier key list` shows those that are trusted",
                which
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(64)
                    .collect::<String>()
            ))),
        }
    }
}

fn refused(why: String) -> CommandError {
    CommandError::Refused { why }
}

impl Session {
    /// Says from when a key no longer counts; from now on, where no time is given.
    ///
    /// # Errors
    /// [`CommandError`]: no such key is known, it was revoked from then on already, or that time is still to come.
    pub async fn distrust(&self, which: &str, from: Option<UnixSeconds>) -> Result<RevokedKey, CommandError> {
        let (anchors, licences) = Licences::anchored(&*self.store, &self.config.state_dir).await?;
        let known = Known::meant(which, &anchors, &licences)?;
        let now = self.clock.now();
        if let Some(from) = from.filter(|from| *from > now) {
            return Err(refused(format!(
                "a key counts until it is revoked, so a revocation cannot count from {from}: the verifier's time is {now}; give that or an earlier time, or none"
            )));
        }
        // Times are whole seconds, and what is on file came before this act.
        let revoked = RevokedKey {
            key: known.id,
            name: known.name,
            from: from.unwrap_or_else(|| now.plus(1)),
            replaced_by: None,
        };
        if let Some(earlier) = anchors
            .revocation(&revoked.key)
            .filter(|r| r.from <= revoked.from)
        {
            return Err(refused(format!(
                "key {} of {} was revoked from {} on already; only an earlier time changes that",
                earlier.key, earlier.name, earlier.from
            )));
        }
        self.retire(&revoked, &[], &licences).await?;
        Ok(revoked)
    }

    /// Records a revocation, and before it the acts that belong to it; each counts once it is recorded.
    async fn retire(
        &self,
        revoked: &RevokedKey,
        trusted: &[(KeyRole, &PublicKey)],
        licences: &Licences,
    ) -> Result<(), CommandError> {
        // From the first trusted role on, the new key counts for something, and the old one for all.
        let half = |error, is_begun| match revoked.replaced_by.filter(|_| is_begun) {
            None => error,
            Some(new) => CommandError::HalfRotated {
                old: revoked.key,
                new,
                source: Box::new(error),
            },
        };
        for (nth, (role, key)) in trusted.iter().enumerate() {
            let act = trust(*role, &revoked.name, key, self.clock.now());
            let recorded = self.anchor(&act).await;
            recorded.map_err(|error| half(error, nth > 0))?;
            Anchors::change(&self.config.state_dir, |a| a.trust_for(*role, &revoked.name, key))?;
        }
        let mut act = Act::new(ActKind::Distrust, self.clock.now());
        act.key = Some(revoked.key);
        act.issuer = Some(revoked.name.clone());
        act.from = Some(revoked.from);
        let recorded = self.anchor(&act).await;
        recorded.map_err(|error| half(error, true))?;
        Anchors::change(&self.config.state_dir, |a| {
            a.revoke(revoked.clone());
            // Whoever had the key may have raised a serial beyond its owner's; those that still count are learnt again below.
            let doubtful = licences.counting.iter().filter(|l| l.loaded_at >= revoked.from);
            for loaded in doubtful.filter(|l| l.issuers.contains(&revoked.name)) {
                a.unlearn(&loaded.licence.licence_id);
            }
        })?;
        Licences::anchored(&*self.store, &self.config.state_dir).await?;
        Ok(())
    }

    pub(crate) async fn revoke_key(
        &self,
        which: &str,
        from: Option<UnixSeconds>,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let state_dir = &self.config.state_dir;
        let (_, before) = Licences::anchored(&*self.store, state_dir).await?;
        let revoked = self.distrust(which, from).await?;
        let (_, after) = Licences::anchored(&*self.store, state_dir).await?;
        writeln!(
            out,
            "key {} of {} is revoked: what was filed from {} on by it alone does not count; what was filed before stands",
            revoked.key, revoked.name, revoked.from
        )?;
        for lost in before.counting.iter().map(|l| &l.licence) {
            let mut stands = after.counting.iter().map(|l| &l.licence);
            match stands.find(|l| l.licence_id == lost.licence_id) {
                Some(same) if same.serial == lost.serial => {}
                Some(older) => writeln!(
                    out,
                    "licence {}: serial {} counts again, and no longer serial {}",
                    lost.licence_id, older.serial, lost.serial
                )?,
                None => writeln!(out, "licence {} no longer counts", lost.licence_id)?,
            }
        }
        Ok(())
    }

    pub(crate) async fn rotate_key(
        &self,
        which: &str,
        new: &PublicKey,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let (anchors, licences) = Licences::anchored(&*self.store, &self.config.state_dir).await?;
        let old = Known::meant(which, &anchors, &licences)?;
        if let Some(revoked) = anchors.revocation(&old.id) {
            return Err(refused(format!(
                "key {} of {} was revoked from {} on, so nothing takes its place: `key trust` trusts the new one",
                revoked.key, revoked.name, revoked.from
            )));
        }
        if old.roles.is_empty() {
            return Err(refused(format!(
                "key {} of {} is named by licence {} alone, and only its issuer can put another in its place, with a newer serial that names both; `key revoke` silences the old one from now on",
                old.id,
                old.name,
                old.heard_by.join(", ")
            )));
        }
        let taken = Known::all(&anchors, &licences)
            .into_iter()
            .find(|k| k.id == new.id());
        if let Some(taken) = taken.filter(|k| k.name != old.name || k.id == old.id) {
            return Err(refused(format!(
                "key {} is that of {} already: give a new one",
                taken.id, taken.name
            )));
        }
        if anchors.revocation(&new.id()).is_some() {
            return Err(refused(format!(
                "key {} was revoked itself: give another one",
                new.id()
            )));
        }
        let revoked = RevokedKey {
            key: old.id,
            name: old.name,
            from: self.clock.now().plus(1),
            replaced_by: Some(new.id()),
        };
        let trusted: Vec<_> = old.roles.iter().map(|role| (*role, new)).collect();
        self.retire(&revoked, &trusted, &licences).await?;
        let roles: Vec<&str> = old.roles.iter().map(|r| r.text()).collect();
        writeln!(
            out,
            "key {} takes the place of key {} of {} for {}; what the old one signed and was filed before {} stands",
            new.id(),
            old.id,
            revoked.name,
            roles.join(", "),
            revoked.from
        )?;
        if !old.heard_by.is_empty() {
            writeln!(
                out,
                "licence {} hears statements of the old key, and those that are filed from now on do not count: a newer serial must name the new one",
                old.heard_by.join(", ")
            )?;
        }
        if anchors.accreditations().iter().any(|a| a.key == old.id) {
            writeln!(
                out,
                "an accreditation names the old key: `weighbridge-verifier accreditation add` puts the new one on the list"
            )?;
        }
        Ok(())
    }
}
