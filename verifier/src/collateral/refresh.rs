//! What is asked for, and when.
//!
//! Decides: what is due. A manifest that is held is used at once, and asked for again after a day, since NVIDIA issues some anew under one
//! name; a reply is asked for again when half of its validity is over. One question for an item is under way at a time; after a failure the next waits longer each
//! time, and that a service has none is remembered for a while. What is held stays in use whatever a service answers.

use super::live::{FetchError, Service};
use super::{Cache, KeptRim, Kind, Refused, Shared, Source, Taken, locked, pairs};
use crate::cause::with_causes;
use std::collections::BTreeMap;
use std::sync::Arc;
use weighbridge::appraisal::evidence::WantedCollateral;
use weighbridge::hardware::nvidia::{Rim, rim_id_fits};
use weighbridge::id::Digest;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use weighbridge::x509::Certificate;
use weighbridge::x509::ocsp;

/// How old a manifest may be before it is asked for again, in seconds.
const RIM_AGE: i64 = DAY_SECONDS;
/// How long a service that gave a reply is not asked for it again, in seconds: it may keep replies itself, and give the same one.
const PAUSE: i64 = 300;
/// How long after a first failure the next question waits, in seconds; it doubles with each.
const FIRST_WAIT: i64 = 30;
/// The longest wait, in seconds, and how long it is remembered that a service has none.
const LONGEST_WAIT: i64 = 3_600;
/// How far a responder's clock may be ahead, in seconds.
const AHEAD: i64 = 300;
/// The most items whose questions are remembered.
const MOST: usize = 1 << 17;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Rim(String),
    Reply(Digest),
}

/// How the questions for an item, or to a service, went.
#[derive(Debug, Default)]
struct Attempt {
    asking: bool,
    not_before: UnixSeconds,
    failures: u32,
    why: Option<String>,
}

impl Attempt {
    /// Whether the next question has to wait. A clock that was set back does not make it wait for ever.
    fn waits(&self, now: UnixSeconds) -> bool {
        (1..=LONGEST_WAIT).contains(&self.not_before.since(now))
    }

    fn failed(&mut self, why: String, now: UnixSeconds) {
        let wait = FIRST_WAIT
            .checked_shl(self.failures.min(10))
            .unwrap_or(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.plus(wait.min(LONGEST_WAIT));
        self.why = Some(why);
    }

    fn succeeded(&mut self, pause: i64, now: UnixSeconds) {
        self.failures = 0;
        self.not_before = now.plus(pause);
        self.why = None;
    }
}

/// How questions went. It is forgotten when the verifier stops.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    items: BTreeMap<Key, Attempt>,
    sources: BTreeMap<Kind, Attempt>,
}

/// Ends a question, also one that was given up.
struct Asking<'a> {
    cache: &'a Cache,
    key: Key,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = locked(&self.cache.attempts).items.get_mut(&self.key) {
            attempt.asking = false;
        }
    }
}

/// A question that brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For what kind of item.
    pub kind: Kind,
    /// For which: the name of a manifest, or of a certificate.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What was asked for, and came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// SHA-256 of what is new.
    pub new: Vec<Digest>,
    /// How many items a service gave as they were held.
    pub confirmed: usize,
    /// Questions that brought nothing.
    pub failed: Vec<Failure>,
    /// How many items are due and were not asked for: a question for them is under way, or waits after a failure.
    pub waiting: usize,
}

/// Something that a service was to give, and has not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its kind.
    pub kind: Kind,
    /// The name of a manifest, or of a certificate.
    pub what: String,
    /// Age of what is held instead, in seconds; `None` where nothing is, or only replies that a person added.
    pub age: Option<i64>,
    /// Why there is nothing newer.
    pub why: String,
}

/// Why an answer is not kept.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the answer of {origin} was not taken")]
    Refused {
        origin: String,
        #[source]
        source: Refused,
    },
    #[error("the answer of {origin} speaks of another certificate")]
    Other { origin: String },
    #[error("the answer was not looked at to its end")]
    Ended(#[from] tokio::task::JoinError),
}

impl AnswerError {
    fn is_negative(&self) -> bool {
        match self {
            Self::Fetch(error) => error.is_negative(),
            Self::Refused { source, .. } => matches!(source, Refused::Reply(ocsp::OcspError::Unanswered(_))),
            _ => false,
        }
    }
}

impl Cache {
    /// Asks the services for what is wanted and missing or due, one after another. Without services it asks for nothing.
    pub async fn refresh(&self, wanted: &WantedCollateral, now: UnixSeconds) -> Refreshed {
        let mut done = Refreshed::default();
        if let Some(service) = &self.live.rim {
            for id in wanted.rims.keys() {
                if !self.rim_is_due(id, now) {
                    continue;
                }
                let key = Key::Rim(id.clone());
                self.question(key, id, now, &mut done, async || {
                    self.ask_rim(service, id, now).await
                })
                .await;
            }
        }
        if let Some(service) = &self.live.ocsp {
            // Manifests that came just now have signers, too.
            let rims = self.held_for(wanted, now).rims;
            for (certificate, issuer) in pairs(wanted, &rims) {
                if !self.reply_is_due(certificate, issuer, now) {
                    continue;
                }
                let key = key_of(certificate, issuer);
                let what = certificate.common_name();
                self.question(key, what, now, &mut done, async || {
                    self.ask_reply(service, certificate, issuer, now).await
                })
                .await;
            }
        }
        done
    }

    /// What of the wanted is missing or due, and why the services have not given it. What is held is used all the same; its age tells how
    /// much it is worth. Empty where no service is configured.
    #[must_use]
    pub fn stale(&self, wanted: &WantedCollateral, now: UnixSeconds) -> Vec<Stale> {
        let mut found = Vec::new();
        let rims = self.held_for(wanted, now).rims;
        if self.live.rim.is_some() {
            for (id, product) in wanted.rims.iter().filter(|(id, _)| self.rim_is_due(id, now)) {
                let is = |r: &Rim| r.product() == product && rim_id_fits(id, product, r.version());
                let of_name = |kept: &&KeptRim| kept.rim().is_some_and(is);
                found.push(Stale {
                    kind: Kind::Rim,
                    what: super::plain(id),
                    age: rims.iter().filter(of_name).filter_map(|k| k.age(now)).min(),
                    why: self.why(&Key::Rim(id.clone()), Kind::Rim),
                });
            }
        }
        if self.live.ocsp.is_some() {
            for (certificate, issuer) in pairs(wanted, &rims) {
                if !self.reply_is_due(certificate, issuer, now) {
                    continue;
                }
                let newest = locked(&self.shared.state).newest(certificate, issuer);
                found.push(Stale {
                    kind: Kind::Ocsp,
                    what: certificate.common_name().to_owned(),
                    age: newest.map(|(from, _)| now.since(from)),
                    why: self.why(&key_of(certificate, issuer), Kind::Ocsp),
                });
            }
        }
        found
    }

    fn why(&self, key: &Key, kind: Kind) -> String {
        let attempts = locked(&self.attempts);
        let of_item = attempts.items.get(key).and_then(|a| a.why.clone());
        of_item
            .or_else(|| attempts.sources.get(&kind).and_then(|a| a.why.clone()))
            .unwrap_or_else(|| "it was not asked for yet".to_owned())
    }

    fn rim_is_due(&self, id: &str, now: UnixSeconds) -> bool {
        let state = locked(&self.shared.state);
        let given = state.rims.values().filter(|k| k.note.ids.iter().any(|i| i == id));
        let last = given.filter_map(|k| k.note.confirmed).max();
        last.is_none_or(|last| now.since(last) >= RIM_AGE)
    }

    fn reply_is_due(&self, certificate: &Certificate, issuer: &Certificate, now: UnixSeconds) -> bool {
        match locked(&self.shared.state).newest(certificate, issuer) {
            None => true,
            Some((_, due)) => due.is_some_and(|due| now >= due),
        }
    }

    /// Asks one question, unless one for the same item is under way or has to wait.
    async fn question(
        &self,
        key: Key,
        what: &str,
        now: UnixSeconds,
        done: &mut Refreshed,
        ask: impl AsyncFnOnce() -> Result<Taken, AnswerError>,
    ) {
        let kind = match key {
            Key::Rim(_) => Kind::Rim,
            Key::Reply(_) => Kind::Ocsp,
        };
        let Some(asking) = self.begin(key, kind, now) else {
            done.waiting = done.waiting.saturating_add(1);
            return;
        };
        let answer = ask().await;
        self.end(&asking.key, kind, &answer, now);
        match answer {
            Ok(Taken::New(digest)) => done.new.push(digest),
            Ok(Taken::Known(_) | Taken::Superseded(_)) => done.confirmed = done.confirmed.saturating_add(1),
            Err(error) => {
                let failure = Failure {
                    kind,
                    what: super::plain(what),
                    why: with_causes(&error),
                };
                tracing::warn!(kind = kind.text(), what = %failure.what, why = %failure.why, "what a device is appraised with could not be renewed");
                done.failed.push(failure);
            }
        }
    }

    fn begin(&self, key: Key, kind: Kind, now: UnixSeconds) -> Option<Asking<'_>> {
        let mut attempts = locked(&self.attempts);
        if attempts.sources.get(&kind).is_some_and(|a| a.waits(now)) {
            return None;
        }
        if attempts.items.len() >= MOST {
            attempts.items.retain(|_, a| a.asking || a.waits(now));
        }
        if attempts.items.len() >= MOST && !attempts.items.contains_key(&key) {
            return None;
        }
        let attempt = attempts.items.entry(key.clone()).or_default();
        if attempt.asking || attempt.waits(now) {
            return None;
        }
        attempt.asking = true;
        Some(Asking { cache: self, key })
    }

    fn end(&self, key: &Key, kind: Kind, answer: &Result<Taken, AnswerError>, now: UnixSeconds) {
        let mut attempts = locked(&self.attempts);
        let source = attempts.sources.entry(kind).or_default();
        match answer {
            Err(AnswerError::Fetch(error)) if error.is_of_source() => source.failed(with_causes(error), now),
            _ => source.succeeded(0, now),
        }
        let Some(attempt) = attempts.items.get_mut(key) else {
            return;
        };
        match answer {
            Ok(_) => attempt.succeeded(PAUSE, now),
            Err(error) => {
                attempt.failed(with_causes(error), now);
                if error.is_negative() {
                    attempt.not_before = now.plus(LONGEST_WAIT);
                }
            }
        }
    }

    async fn ask_rim(&self, service: &Service, id: &str, now: UnixSeconds) -> Result<Taken, AnswerError> {
        let bytes = service.rim(id).await?;
        let (shared, source, id) = (Arc::clone(&self.shared), from(service), id.to_owned());
        // It takes some signatures and a write to the disk, for which no request should wait.
        let taken = tokio::task::spawn_blocking(move || shared.add_rim(&bytes, Some(&id), source, now));
        taken.await?.map_err(|source| refused(service, source))
    }

    async fn ask_reply(
        &self,
        service: &Service,
        certificate: &Certificate,
        issuer: &Certificate,
        now: UnixSeconds,
    ) -> Result<Taken, AnswerError> {
        let bytes = service.reply(ocsp::request(certificate, issuer)).await?;
        let (shared, source) = (Arc::clone(&self.shared), from(service));
        let (certificate, issuer) = (certificate.clone(), issuer.clone());
        let taken = tokio::task::spawn_blocking(move || {
            match is_answer(&shared, &bytes, &certificate, &issuer, now) {
                Ok(true) => shared.add_reply(&bytes, source, now).map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            }
        });
        match taken.await? {
            Ok(Some(taken)) => Ok(taken),
            Ok(None) => Err(AnswerError::Other {
                origin: service.address.origin().to_owned(),
            }),
            Err(source) => Err(refused(service, source)),
        }
    }
}

/// Whether a reply is the signed answer to a question, and of now. Whoever stands between could push out with made-up ones what is held.
fn is_answer(
    shared: &Shared,
    bytes: &[u8],
    certificate: &Certificate,
    issuer: &Certificate,
    now: UnixSeconds,
) -> Result<bool, Refused> {
    let reply = super::parse(bytes)?;
    let names = ocsp::names(certificate, issuer);
    let made = reply
        .claims()
        .filter(|c| names.contains(&c.name))
        .map(|c| c.from)
        .max();
    let at = made
        .filter(|m| (0..=AHEAD).contains(&m.since(now)))
        .unwrap_or(now);
    let status = reply.status(certificate, issuer, at, None, &mut locked(&shared.links))?;
    Ok(status.is_some())
}

fn from(service: &Service) -> Source {
    Source::Service(service.address.origin().to_owned())
}

fn refused(service: &Service, source: Refused) -> AnswerError {
    AnswerError::Refused {
        origin: service.address.origin().to_owned(),
        source,
    }
}

/// A certificate has a name for each hash; the last is that of the question.
fn key_of(certificate: &Certificate, issuer: &Certificate) -> Key {
    let [.., name] = ocsp::names(certificate, issuer);
    Key::Reply(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_after_a_failure_doubles_up_to_an_hour_and_ends_with_an_answer() {
        let mut attempt = Attempt::default();
        let start = UnixSeconds(1_700_000_000);
        assert!(!attempt.waits(start));
        let mut waits = Vec::new();
        for _ in 0..9 {
            attempt.failed("away".to_owned(), start);
            waits.push(attempt.not_before.since(start));
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert!(attempt.waits(start.plus(3_599)) && !attempt.waits(start.plus(3_600)));
        // A clock that was set back by a day does not silence it for that day.
        assert!(!attempt.waits(start.plus(-DAY_SECONDS)));
        attempt.succeeded(0, start);
        assert!(!attempt.waits(start) && attempt.failures == 0);
    }
}
