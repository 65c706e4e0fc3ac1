//! Results of NVIDIA's remote attestation service (NRAS), version 3 of its claims, read as what they are: what somebody else vouches for.
//!
//! Decides: whether a result is whole (each device's token is the one whose digest the overall token carries), in time, for one nonce, and signed by
//! a key of a set; and what it says in the words that this library uses. Trusts the set of keys that is handed in. Does not
//! establish that the service looked at the evidence, nor what NVIDIA's word is worth: where a report is at hand, [`compare()`] holds the
//! result against our own appraisal of it.
//!
//! The form, `[["JWT", overall], {name: token}]`, was read from NVIDIA's attestation SDK (Apache-2.0) and held against published results. It
//! is no conformant detached bundle of RFC 9711: the nonce is in hexadecimal, `ueid` is the serial number of the firmware's
//! certificate in decimal, `oemid` and `measres` are texts.

mod compare;
mod vouched;

pub use compare::{Outcome, Row, compare};
pub use vouched::{Vouched, VouchedKind};

use crate::crypto::jws::{JwkSet, Jws, JwsError};
use crate::crypto::sha256;
use crate::hardware::{Step, told};
use crate::id::Digest;
use crate::time::UnixSeconds;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the claims that is read.
const VERSION: &str = "3.0";
/// The most devices of one result.
const MAX_DEVICES: usize = 256;
/// The longest name of a device in it.
const MAX_NAME: usize = 40;
/// The longest name of an issuer, which is an address.
const MAX_ISSUER: usize = 200;

/// Why a result cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NrasError {
    /// The outer form.
    #[error("not a result as NRAS writes it: [[\"JWT\", token], {{name: token}}]")]
    Form(#[from] serde_json::Error),
    /// The kind of the outer token.
    #[error("the overall token is not called `JWT`")]
    Kind,
    /// The number.
    #[error("{0} devices, more than are read")]
    TooMany(usize),
    /// The overall token.
    #[error("the overall token")]
    Overall(#[source] JwsError),
    /// A device's token.
    #[error("the token of `{0}`")]
    Device(String, #[source] JwsError),
    /// A device's name.
    #[error("the name of a device is empty, longer than {MAX_NAME} characters, or not in plain ASCII")]
    Name,
    /// Another version.
    #[error("claims of version `{0}`; version {VERSION} is read")]
    Version(String),
    /// The digests in the overall token.
    #[error("the overall token carries no SHA-256 for `{0}`")]
    Digest(String),
}

/// A result that was read. What it is worth, [`NrasResult::check`] tells.
#[derive(Clone, Debug)]
pub struct NrasResult {
    overall: Jws,
    devices: BTreeMap<String, (Digest, Jws)>,
    digests: BTreeMap<String, Digest>,
}

/// What a result as a whole comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Each device's token is the one that the overall token names, and none is missing.
    pub digests: Step,
    /// Every token is signed by a key of the set.
    pub signature: Step,
    /// Every token holds at the time.
    pub time: Step,
    /// All tokens speak of one nonce, and it is the one that was given.
    pub nonce: Step,
    /// The service's own verdict.
    pub verdict: Step,
}

impl Checked {
    /// The steps by name.
    #[must_use]
    pub fn steps(&self) -> [(&'static str, &Step); 5] {
        [
            ("digests", &self.digests),
            ("signature", &self.signature),
            ("time", &self.time),
            ("nonce", &self.nonce),
            ("verdict", &self.verdict),
        ]
    }
}

impl NrasResult {
    /// Reads a result.
    ///
    /// # Errors
    /// [`NrasError`].
    pub fn read(json: &[u8]) -> Result<Self, NrasError> {
        let ((kind, overall), tokens): ((String, String), BTreeMap<String, String>) =
            serde_json::from_slice(json)?;
        if kind != "JWT" {
            return Err(NrasError::Kind);
        }
        if tokens.len() > MAX_DEVICES {
            return Err(NrasError::TooMany(tokens.len()));
        }
        let overall = Jws::parse(&overall).map_err(NrasError::Overall)?;
        let version = text(overall.claims(), "x-nvidia-ver").unwrap_or("none");
        if version != VERSION {
            return Err(NrasError::Version(version.chars().take(MAX_NAME).collect()));
        }
        let mut devices = BTreeMap::new();
        for (name, token) in tokens {
            named(&name)?;
            let digest = sha256(token.as_bytes());
            let jws = Jws::parse(&token).map_err(|e| NrasError::Device(name.clone(), e))?;
            devices.insert(name, (digest, jws));
        }
        let mut digests = BTreeMap::new();
        let empty = Map::new();
        let submods = overall.claims().get("submods").and_then(Value::as_object);
        let submods = submods.unwrap_or(&empty);
        if submods.len() > MAX_DEVICES {
            return Err(NrasError::TooMany(submods.len()));
        }
        for (name, value) in submods {
            named(name)?;
            let digest = digest(value).ok_or_else(|| NrasError::Digest(name.clone()))?;
            digests.insert(name.clone(), digest);
        }
        Ok(Self {
            overall,
            devices,
            digests,
        })
    }

    /// Checks the result as a whole: against a set of keys and a nonce, where they are given, and at a time.
    #[must_use]
    pub fn check(&self, keys: Option<&JwkSet>, nonce: Option<[u8; 32]>, at: UnixSeconds) -> Checked {
        Checked {
            digests: self.whole(),
            signature: match keys {
                None => Step::NotChecked("no set of keys was given to check with".to_owned()),
                Some(keys) => self.each(|jws| jws.verify(keys).map_err(|e| told(&e))),
            },
            time: self.each(|jws| in_time(jws.claims(), at)),
            nonce: self.one_nonce(nonce),
            verdict: match self.overall.claims().get("x-nvidia-overall-att-result") {
                Some(Value::Bool(true)) => Step::Pass,
                Some(Value::Bool(false)) => Step::Fail("the service did not accept the evidence".to_owned()),
                _ => Step::NotChecked("the overall token carries no verdict".to_owned()),
            },
        }
    }

    /// What the service says of each device.
    #[must_use]
    pub fn devices(&self) -> Vec<Vouched> {
        let read = |(name, (_, jws)): (&String, &(Digest, Jws))| Vouched::read(name, jws.claims());
        self.devices.iter().map(read).collect()
    }

    /// Who issued it, as it says, where that is a plain text.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        let issuer = text(self.overall.claims(), "iss")?;
        let plain = issuer.len() <= MAX_ISSUER && issuer.chars().all(|c| c.is_ascii_graphic());
        plain.then_some(issuer)
    }

    fn whole(&self) -> Step {
        let mut wrong = Vec::new();
        for (name, (digest, _)) in &self.devices {
            match self.digests.get(name) {
                None => wrong.push(format!("the overall token does not speak of `{name}`")),
                Some(named) if named != digest => {
                    wrong.push(format!(
                        "the token of `{name}` is not the one that the overall token names"
                    ));
                }
                Some(_) => {}
            }
        }
        let missing = self.digests.keys().filter(|n| !self.devices.contains_key(*n));
        wrong.extend(missing.map(|name| format!("the token of `{name}` is missing")));
        match (self.devices.is_empty(), wrong.is_empty()) {
            (true, true) => Step::Fail("it speaks of no device".to_owned()),
            (_, true) => Step::Pass,
            (_, false) => Step::Fail(wrong.join("; ")),
        }
    }

    /// Every token with its name, the overall one first.
    fn tokens(&self) -> impl Iterator<Item = (&str, &Jws)> {
        let devices = self.devices.iter().map(|(name, (_, jws))| (name.as_str(), jws));
        std::iter::once(("overall", &self.overall)).chain(devices)
    }

    fn each(&self, check: impl Fn(&Jws) -> Result<(), String>) -> Step {
        let wrong = self
            .tokens()
            .filter_map(|(name, jws)| Some(format!("{name}: {}", check(jws).err()?)));
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() {
            Step::Pass
        } else {
            Step::Fail(wrong.join("; "))
        }
    }

    fn one_nonce(&self, given: Option<[u8; 32]>) -> Step {
        let said: BTreeSet<_> = self.tokens().map(|(_, jws)| nonce(jws.claims())).collect();
        let mut said = said.into_iter();
        match (said.next().flatten(), said.next(), given) {
            (_, Some(_), _) => Step::Fail("its tokens speak of different nonces".to_owned()),
            (None, ..) => Step::Fail("a token carries no nonce of 32 bytes".to_owned()),
            (Some(_), None, None) => Step::NotChecked("no nonce was given to compare with".to_owned()),
            (Some(said), None, Some(given)) if said.0 == given => Step::Pass,
            (Some(said), None, Some(_)) => Step::Fail(format!("it is for the nonce {said}")),
        }
    }
}

/// A name stands in results and on terminals.
fn named(name: &str) -> Result<(), NrasError> {
    let plain = name.chars().all(|c| c.is_ascii_graphic());
    let fits = !name.is_empty() && name.len() <= MAX_NAME && plain;
    fits.then_some(()).ok_or(NrasError::Name)
}

/// `["DIGEST", ["SHA-256", hexadecimal]]`.
fn digest(value: &Value) -> Option<Digest> {
    let [Value::String(kind), Value::Array(digest)] = value.as_array()?.as_slice() else {
        return None;
    };
    let [Value::String(algorithm), Value::String(hex)] = digest.as_slice() else {
        return None;
    };
    let known = kind == "DIGEST" && algorithm == "SHA-256";
    Digest::parse(hex).ok().filter(|_| known)
}

fn in_time(claims: &Map<String, Value>, at: UnixSeconds) -> Result<(), String> {
    let time = |name: &str| claims.get(name).and_then(Value::as_i64).map(UnixSeconds);
    let from = time("nbf").or_else(|| time("iat"));
    let (Some(from), Some(until)) = (from, time("exp")) else {
        return Err("it does not say from when until when it holds".to_owned());
    };
    if from <= at && at < until {
        Ok(())
    } else {
        Err(format!("it holds from {from} until {until}, not at {at}"))
    }
}

fn nonce(claims: &Map<String, Value>) -> Option<Digest> {
    Digest::parse(text(claims, "eat_nonce")?).ok()
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

#[cfg(test)]
#[path = "nras_tests.rs"]
mod nras_tests;
