//! What is kept: manifests and replies, each with where it came from and when.

use super::{MAX_REPLY, MAX_RIM};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;
use weighbridge::appraisal::evidence::HeldCollateral;
use weighbridge::hardware::nvidia::{Presented, Rim, RimError};
use weighbridge::time::UnixSeconds;
use weighbridge::x509::ocsp::{OcspError, Reply};

/// A kind of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A reference manifest.
    Rim,
    /// An OCSP reply.
    Ocsp,
}

impl Kind {
    /// How it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Rim => "rim",
            Self::Ocsp => "ocsp",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Rim => "xml",
            Self::Ocsp => "der",
        }
    }

    pub(super) fn most(self) -> usize {
        match self {
            Self::Rim => MAX_RIM,
            Self::Ocsp => MAX_REPLY,
        }
    }
}

/// Where an item came from. All that it says is signed, so this is for people, not for trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Its note was lost, or was written by another version.
    #[default]
    Unknown,
    /// A file that a person named.
    Directory,
    /// An archive that another verifier wrote, or that evidence was carried in.
    Package,
    /// A service: scheme, host and port of its address, and nothing else of it.
    Service(String),
}

impl Source {
    /// Which kind it is of, in one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Directory => "directory",
            Self::Package => "package",
            Self::Service(_) => "service",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Service(origin) => origin,
            other => other.kind(),
        })
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Ok(match text.as_str() {
            "directory" => Self::Directory,
            "package" => Self::Package,
            origin if origin.starts_with("http://") || origin.starts_with("https://") => {
                Self::Service(text.replace(char::is_control, "\u{fffd}"))
            }
            _ => Self::Unknown,
        })
    }
}

/// What is known of an item beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Where it came from first.
    pub source: Source,
    /// When it came; of a package, when who packed it last had it. `None` where that was lost.
    pub fetched: Option<UnixSeconds>,
    /// When a service last gave the same bytes.
    pub confirmed: Option<UnixSeconds>,
    /// Of a manifest: the names under which it was given.
    #[serde(default)]
    pub ids: Vec<String>,
}

/// An item. Its content was read once and is shared.
#[derive(Debug)]
pub struct Item<T, E> {
    /// The item as an appraisal takes it.
    pub presented: Arc<Presented<T, E>>,
    /// What is known of it.
    pub note: Note,
}

impl<T, E> Clone for Item<T, E> {
    fn clone(&self) -> Self {
        Self {
            presented: Arc::clone(&self.presented),
            note: self.note.clone(),
        }
    }
}

/// A manifest that is kept: authentic, under the root that manifests are held against.
pub type KeptRim = Item<Rim, RimError>;
/// A reply that is kept. Whether its signature holds, the appraisal says.
pub type KeptReply = Item<Reply, OcspError>;

impl KeptRim {
    /// The manifest; always there, for only one that could be read is kept.
    #[must_use]
    pub fn rim(&self) -> Option<&Rim> {
        self.presented.content.as_ref().ok()
    }

    /// Seconds since a service last gave it, or since it came; `None` where neither is known.
    #[must_use]
    pub fn age(&self, now: UnixSeconds) -> Option<i64> {
        Some(now.since(self.note.confirmed.or(self.note.fetched)?))
    }
}

impl KeptReply {
    /// The reply; always there, for only one that could be read is kept.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        self.presented.content.as_ref().ok()
    }

    /// Seconds since the responder said the oldest thing in it (`thisUpdate`).
    #[must_use]
    pub fn age(&self, now: UnixSeconds) -> Option<i64> {
        Some(now.since(self.reply()?.claims().map(|c| c.from).min()?))
    }
}

/// What is held of what was wanted.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Manifests of the names and the chips; of one name all issues.
    pub rims: Vec<KeptRim>,
    /// For each certificate, those of devices and those of the manifests' signers, the reply that speaks of the time.
    pub replies: Vec<KeptReply>,
}

impl Held {
    /// As the appraisal of a round takes it.
    #[must_use]
    pub fn collateral(&self) -> HeldCollateral<'_> {
        HeldCollateral {
            rims: self.rims.iter().map(|i| &*i.presented).collect(),
            replies: self.replies.iter().map(|i| &*i.presented).collect(),
        }
    }

    /// Age of the oldest manifest and of the oldest reply, in seconds; `None` where there is none, or none whose age is known.
    #[must_use]
    pub fn oldest(&self, now: UnixSeconds) -> (Option<i64>, Option<i64>) {
        (
            self.rims.iter().filter_map(|i| i.age(now)).max(),
            self.replies.iter().filter_map(|i| i.age(now)).max(),
        )
    }
}
