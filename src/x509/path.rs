//! Paths: which certificate was issued by the holder of which other, up to a key that is pinned (RFC 5280 §6).
//!
//! Decides: whether each link holds, and where the path ends. Trusts only the pinned key. Does not establish that a certificate was not
//! revoked, nor that it holds at a time: [`Certificate::holds_at`] does.

use super::Certificate;
use crate::crypto::sha256;
use crate::id::Digest;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// Why a path does not lead where it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// How many certificates there are.
    #[error("the chain has {found} certificates where {expected} are expected")]
    Length {
        /// As demanded.
        expected: usize,
        /// As found.
        found: usize,
    },
    /// The names.
    #[error("`{subject}` names another issuer than `{issuer}`")]
    Issuer {
        /// The certificate.
        subject: String,
        /// The one after it.
        issuer: String,
    },
    /// An issuer that may not issue.
    #[error("`{issuer}` may not issue certificates: {why}")]
    Authority {
        /// The issuer.
        issuer: String,
        /// What it lacks.
        why: &'static str,
    },
    /// The signature.
    #[error("the signature on `{subject}` is not that of `{issuer}`")]
    Signature {
        /// The certificate.
        subject: String,
        /// The one after it.
        issuer: String,
    },
    /// The root.
    #[error("the chain ends in `{subject}` with key {found}, not with the pinned root {pinned}")]
    Root {
        /// The last certificate.
        subject: String,
        /// SHA-256 of its key.
        found: Digest,
        /// SHA-256 of the key that is pinned.
        pinned: Digest,
    },
    /// The time.
    #[error("`{subject}` holds from {from} to {to}, not at {at}")]
    Time {
        /// The certificate.
        subject: String,
        /// Its first second.
        from: UnixSeconds,
        /// Its last second.
        to: UnixSeconds,
        /// The time asked for.
        at: UnixSeconds,
    },
}

/// Remembers which certificates were issued by which keys, so that what many chains share is verified once.
#[derive(Clone, Debug, Default)]
pub struct Links {
    verified: BTreeSet<Digest>,
}

impl Links {
    /// The most links that are remembered; a fleet of ten thousand devices has some twenty thousand.
    const MOST: usize = 1 << 17;

    /// How many links are remembered, each of them one verified signature.
    #[must_use]
    pub fn count(&self) -> usize {
        self.verified.len()
    }

    /// Checks that `issuer`, which stands `below` certificates above the end of its path, issued `certificate`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn verify(
        &mut self,
        certificate: &Certificate,
        issuer: &Certificate,
        below: usize,
    ) -> Result<(), PathError> {
        let subject = || certificate.common_name.clone();
        let by = || issuer.common_name.clone();
        if certificate.issuer != issuer.subject {
            return Err(PathError::Issuer {
                subject: subject(),
                issuer: by(),
            });
        }
        let allowed = issuer
            .path_length
            .is_none_or(|most| usize::try_from(most).is_ok_and(|most| below <= most));
        let lacks = match () {
            () if !issuer.is_ca => Some("its basic constraints do not make it an authority"),
            () if !issuer.signs_certificates => Some("its key usage lacks keyCertSign"),
            () if !allowed => Some("its path length is passed"),
            () => None,
        };
        if let Some(why) = lacks {
            return Err(PathError::Authority { issuer: by(), why });
        }
        let link = sha256(&[issuer.key.spki(), certificate.der.as_slice()].concat());
        if self.verified.contains(&link) {
            return Ok(());
        }
        issuer
            .key
            .verify_der(&certificate.signed, &certificate.signature)
            .map_err(|_| PathError::Signature {
                subject: subject(),
                issuer: by(),
            })?;
        if self.verified.len() >= Self::MOST {
            self.verified.clear();
        }
        self.verified.insert(link);
        Ok(())
    }

    /// Checks a path, its end first and its root last: every link, and that the root's key is the pinned one (SHA-256 of its
    /// SubjectPublicKeyInfo). A name proves nothing: a root that only looks like the pinned one is refused.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn verify_path(&mut self, path: &[Certificate], root: &Digest) -> Result<(), PathError> {
        let Some(last) = path.last() else {
            return Err(PathError::Length {
                expected: 1,
                found: 0,
            });
        };
        if last.key.id() != *root {
            return Err(PathError::Root {
                subject: last.common_name.clone(),
                found: last.key.id(),
                pinned: *root,
            });
        }
        for (below, pair) in path.windows(2).enumerate() {
            if let [certificate, issuer] = pair {
                self.verify(certificate, issuer, below)?;
            }
        }
        // The root issued itself, and such a certificate counts in no path length (RFC 5280 §4.2.1.9).
        self.verify(last, last, path.len().saturating_sub(2))
    }
}
