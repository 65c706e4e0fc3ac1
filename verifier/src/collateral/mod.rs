//! What the verifier keeps to appraise devices with: reference manifests (RIM) and OCSP replies.
//!
//! Decides: what is kept, and which of it fits a device at a time. A manifest is kept only if it is authentic under the root that manifests are held
//! against; a reply if it can be read, since its signature is checked with the certificates at hand. Manifests are found by the product
//! and version that they sign, never by the name under which they came. What a source gave is used until something newer is there, whether or not the source
//! still answers, and its age is told. Trusts no source: everything is signed. Does not establish that a device is good: the appraisal does.

mod disk;
mod error;
mod export;
mod item;
mod listing;
mod live;
mod package;
mod refresh;
mod root;
mod state;
mod verb;

pub use error::{CollateralError, Refused};
pub use export::ExportError;
pub use item::{Held, Item, KeptReply, KeptRim, Kind, Note, Source};
pub use live::{Address, LiveError};
pub use refresh::{Failure, Refreshed, Stale};
pub use root::{Root, RootError, Roots};
pub use verb::CollateralCommand;
pub(crate) use verb::collateral;

use crate::cause::with_causes;
use disk::Disk;
use live::Live;
use refresh::Attempts;
use state::{Flaw, State};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weighbridge::appraisal::evidence::WantedCollateral;
use weighbridge::bounded::MAX_KEY_FILE;
use weighbridge::crypto::sha256;
use weighbridge::hardware::nvidia::{Rim, rim_id_fits};
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;
use weighbridge::x509::ocsp::Reply;
use weighbridge::x509::{Certificate, Links};

/// The longest manifest that is read, in bytes; real ones have some 25,000.
pub(crate) const MAX_RIM: usize = 1 << 20;
/// The longest reply that is read, in bytes; real ones have some 1,000.
pub(crate) const MAX_REPLY: usize = MAX_KEY_FILE;
/// The most manifests that are kept; NVIDIA has published some hundred.
const MAX_RIMS: usize = 1_024;
/// The most replies that are kept, four of each certificate of ten thousand devices and more.
const MAX_REPLIES: usize = 1 << 16;
/// The most names of one manifest.
const MAX_IDS: usize = 16;
/// The longest name that a package gives one; real ones have some 50 characters.
const MAX_ID: usize = 128;

/// What became of an item that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    New(Digest),
    /// The same bytes were held already.
    Known(Digest),
    /// Enough newer replies of its certificates are held, so it is not.
    Superseded(Digest),
}

impl Taken {
    /// SHA-256 of the item.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::New(digest) | Self::Known(digest) | Self::Superseded(digest) => *digest,
        }
    }
}

/// A file of the cache that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unusable {
    /// Its kind.
    pub kind: Kind,
    /// Its name: the SHA-256 that its content should have.
    pub sha256: Digest,
    /// Why not.
    pub why: String,
}

/// Everything that is kept.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Manifests.
    pub rims: Vec<KeptRim>,
    /// Replies.
    pub replies: Vec<KeptReply>,
    /// What cannot be used.
    pub unusable: Vec<Unusable>,
    /// Files beyond the most that are read.
    pub left_out: usize,
}

/// What the parts of the cache share.
#[derive(Debug)]
struct Shared {
    disk: Disk,
    root: Digest,
    links: Mutex<Links>,
    state: Mutex<State>,
    /// Held while what is on disk and what is held are brought together, so that neither is taken for the other's past.
    turn: Mutex<()>,
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    shared: Arc<Shared>,
    live: Live,
    attempts: Mutex<Attempts>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    /// Reads the cache of a state directory, and asks no service.
    ///
    /// # Errors
    /// [`CollateralError`]. A damaged item is no error: it is not used, and [`Cache::contents`] names it.
    pub fn open(state_dir: &Path, rim_root: Digest) -> Result<Self, CollateralError> {
        let shared = Shared {
            disk: Disk::open(state_dir)?,
            root: rim_root,
            links: Mutex::default(),
            state: Mutex::default(),
            turn: Mutex::default(),
        };
        shared.reread()?;
        Ok(Self {
            shared: Arc::new(shared),
            live: Live::default(),
            attempts: Mutex::default(),
        })
    }

    /// The same, asking these services for what is missing or due; an empty address is none.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn live(
        state_dir: &Path,
        rim_root: Digest,
        rim_url: &str,
        ocsp_url: &str,
    ) -> Result<Self, CollateralError> {
        let live = Live::new(rim_url, ocsp_url)?;
        Ok(Self {
            live,
            ..Self::open(state_dir, rim_root)?
        })
    }

    /// Looks for items that another process added or took away. It reads files: not for the thread that answers requests.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn reread(&self) -> Result<(), CollateralError> {
        self.shared.reread()
    }

    /// Keeps a manifest, if it is authentic and, where a name is given, published under that.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add_rim(
        &self,
        bytes: &[u8],
        id: Option<&str>,
        source: Source,
        now: UnixSeconds,
    ) -> Result<Taken, Refused> {
        self.shared.add_rim(bytes, id, source, now)
    }

    /// Keeps an item of a package, as [`Cache::add_rim`] and [`Cache::add_reply`] do. Of its note, which nobody signed, its names are kept where they
    /// fit, and its age where that makes the item older. That a service confirmed it is not: it would come before replies whose signatures were checked here.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add_packed(
        &self,
        kind: Kind,
        bytes: &[u8],
        note: &Note,
        now: UnixSeconds,
    ) -> Result<Taken, Refused> {
        let known_until = note.confirmed.or(note.fetched).unwrap_or(now);
        let came = known_until.min(now);
        match kind {
            Kind::Ocsp => self.shared.add_reply(bytes, Source::Package, came),
            Kind::Rim => {
                let rim = self.shared.verify(bytes)?;
                let fits = |id: &&String| {
                    let plain = id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_graphic());
                    plain && rim_id_fits(id, rim.product(), rim.version())
                };
                let ids: Vec<&str> = note.ids.iter().filter(fits).map(String::as_str).collect();
                self.shared.keep_rim(rim, bytes, &ids, Source::Package, came)
            }
        }
    }

    /// Keeps a reply, if it can be read. [`Source::Service`] says that its signature was checked, with the certificates that were asked for.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add_reply(&self, bytes: &[u8], source: Source, now: UnixSeconds) -> Result<Taken, Refused> {
        self.shared.add_reply(bytes, source, now)
    }

    /// What is held for a round's devices: the manifests of the names and chips, of each version those that hold at `at`, or all where none
    /// does; and for each certificate the newest reply that holds then, else the newest, and any that says that it was revoked for good.
    #[must_use]
    pub fn held_for(&self, wanted: &WantedCollateral, at: UnixSeconds) -> Held {
        let state = locked(&self.shared.state);
        let rims = state.rims_for(wanted, at);
        let mut found = BTreeSet::new();
        for (certificate, issuer) in pairs(wanted, &rims) {
            found.extend(state.replies_for(certificate, issuer, at));
        }
        let replies = found.iter().filter_map(|d| state.replies.get(d)).cloned();
        Held {
            replies: replies.collect(),
            rims,
        }
    }

    /// A number that changes whenever what is held does. What was appraised under one need not be appraised again under the same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        locked(&self.shared.state).generation
    }

    /// Everything that is held, and what cannot be used.
    #[must_use]
    pub fn contents(&self) -> Contents {
        locked(&self.shared.state).contents()
    }
}

/// The certificates of devices and of the signers of its manifests, each with its issuer's. Manifests share signers; each is named once.
fn pairs<'a>(wanted: &'a WantedCollateral, rims: &'a [KeptRim]) -> Vec<(&'a Certificate, &'a Certificate)> {
    let signers = rims.iter().filter_map(KeptRim::rim);
    let mut seen = BTreeSet::new();
    wanted
        .certificates
        .values()
        .map(|(certificate, issuer)| (certificate, issuer))
        .chain(signers.flat_map(Rim::revocable))
        .filter(|(certificate, _)| seen.insert(certificate.der()))
        .collect()
}

impl Shared {
    fn reread(&self) -> Result<(), CollateralError> {
        let _turn = locked(&self.turn);
        let (rims, more_rims) = self.disk.list(Kind::Rim, MAX_RIMS)?;
        let (replies, more_replies) = self.disk.list(Kind::Ocsp, MAX_REPLIES)?;
        {
            let mut state = locked(&self.state);
            state.left_out = more_rims.saturating_add(more_replies);
            state.keep_only(
                &rims.iter().copied().collect(),
                &replies.iter().copied().collect(),
            );
        }
        for digest in rims {
            if locked(&self.state).rims.contains_key(&digest) {
                // Another process may have learnt a name of it.
                let note = self.disk.note(Kind::Rim, &digest);
                locked(&self.state).note_rim(&digest, note);
                continue;
            }
            self.take_up(Kind::Rim, digest, |bytes| self.verify(bytes), State::put_rim);
        }
        for digest in replies {
            if !locked(&self.state).replies.contains_key(&digest) {
                self.take_up(Kind::Ocsp, digest, parse, State::put_reply);
            }
        }
        Ok(())
    }

    /// Takes up an item that stands on disk, or says why it cannot be used.
    fn take_up<T>(
        &self,
        kind: Kind,
        digest: Digest,
        read: impl FnOnce(&[u8]) -> Result<T, Refused>,
        put: impl FnOnce(&mut State, T, Note),
    ) {
        let hopeless = |flaw: &Flaw| !flaw.may_pass;
        if locked(&self.state)
            .unusable
            .get(&(kind, digest))
            .is_some_and(hopeless)
        {
            return;
        }
        let flaw = |why, may_pass| Flaw { why, may_pass };
        let found = match self.disk.read(kind, &digest) {
            Err(error) => Err(flaw(with_causes(&error), true)),
            Ok(stored) if sha256(&stored.bytes) != digest => {
                let why = "it is damaged: its content is not what its name says; remove it, and add it again";
                Err(flaw(why.to_owned(), true))
            }
            Ok(stored) => match read(&stored.bytes) {
                Ok(content) => Ok((content, stored.note)),
                Err(error) => Err(flaw(with_causes(&error), false)),
            },
        };
        let mut state = locked(&self.state);
        match found {
            Ok((content, note)) => put(&mut state, content, note),
            Err(flaw) => {
                state.unusable.insert((kind, digest), flaw);
            }
        }
    }

    fn verify(&self, bytes: &[u8]) -> Result<Rim, Refused> {
        Ok(Rim::verify(bytes, &self.root, &mut locked(&self.links))?)
    }

    fn add_rim(
        &self,
        bytes: &[u8],
        id: Option<&str>,
        source: Source,
        now: UnixSeconds,
    ) -> Result<Taken, Refused> {
        let rim = self.verify(bytes)?;
        if let Some(id) = id.filter(|id| !rim_id_fits(id, rim.product(), rim.version())) {
            return Err(Refused::Id {
                id: plain(id),
                product: plain(rim.product()),
                version: plain(rim.version()),
            });
        }
        let ids: Vec<&str> = id.into_iter().collect();
        self.keep_rim(rim, bytes, &ids, source, now)
    }

    /// Keeps a manifest that is authentic, under names that fit it.
    fn keep_rim(
        &self,
        rim: Rim,
        bytes: &[u8],
        ids: &[&str],
        source: Source,
        now: UnixSeconds,
    ) -> Result<Taken, Refused> {
        let digest = rim.digest();
        let _turn = locked(&self.turn);
        let known = {
            let state = locked(&self.state);
            let full = state.rims.len() >= MAX_RIMS;
            match state.rims.get(&digest) {
                None if full => return Err(Refused::Full { most: MAX_RIMS }),
                known => known.map(|k| k.note.clone()),
            }
        };
        let mut note = renewed(known.clone(), source, now);
        for id in ids {
            if note.ids.len() < MAX_IDS && !note.ids.iter().any(|i| i == id) {
                note.ids.push((*id).to_owned());
            }
        }
        match known {
            None => {
                self.disk.write(Kind::Rim, &digest, bytes, &note)?;
                locked(&self.state).put_rim(rim, note);
                Ok(Taken::New(digest))
            }
            Some(before) => {
                if before != note {
                    self.disk.write_note(Kind::Rim, &digest, &note)?;
                    locked(&self.state).note_rim(&digest, note);
                }
                Ok(Taken::Known(digest))
            }
        }
    }

    fn add_reply(&self, bytes: &[u8], source: Source, now: UnixSeconds) -> Result<Taken, Refused> {
        let reply = parse(bytes)?;
        let digest = reply.digest();
        let _turn = locked(&self.turn);
        let known = locked(&self.state).replies.get(&digest).map(|k| k.note.clone());
        let note = renewed(known.clone(), source, now);
        if let Some(before) = known {
            // That a responder repeats itself is not worth a write.
            if before.confirmed.is_none() && note.confirmed.is_some() {
                self.disk.write_note(Kind::Ocsp, &digest, &note)?;
            }
            locked(&self.state).note_reply(&digest, note);
            return Ok(Taken::Known(digest));
        }
        if locked(&self.state).has_better(&reply, &note) {
            return Ok(Taken::Superseded(digest));
        }
        self.disk.write(Kind::Ocsp, &digest, bytes, &note)?;
        let superseded = {
            let mut state = locked(&self.state);
            state.put_reply(reply, note);
            state.take_superseded(&digest)
        };
        for old in superseded {
            self.disk.remove(Kind::Ocsp, &old)?;
        }
        Ok(Taken::New(digest))
    }
}

fn parse(bytes: &[u8]) -> Result<Reply, Refused> {
    let reply = Reply::parse(bytes)?;
    if reply.claims().next().is_none() {
        return Err(Refused::Empty);
    }
    Ok(reply)
}

/// Texts of others, as they may stand in a line of ours.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .take(200)
        .collect::<String>()
        .replace(char::is_control, "\u{fffd}")
}

/// The note of an item that came now.
fn renewed(known: Option<Note>, source: Source, now: UnixSeconds) -> Note {
    let confirmed = matches!(source, Source::Service(_)).then_some(now);
    match known {
        Some(note) => Note {
            confirmed: confirmed.or(note.confirmed),
            ..note
        },
        None => Note {
            source,
            fetched: Some(now),
            confirmed,
            ids: Vec::new(),
        },
    }
}

/// The first ten digits of a digest, for names.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(10).collect()
}
