//! OCSP requests and replies (RFC 6960), written and checked without a network.
//!
//! Decides: how a responder is asked, what an issuer, or a responder that it delegated, said of a certificate, and whether that holds at a given time. Trusts the
//! issuer's certificate that the caller hands in. Does not establish anything about other certificates, nor about other times.

use super::der::{Der, DerError, encode, tag};
use super::{Certificate, Links, PathError};
use crate::crypto::{sha1_name, sha256, sha384};
use crate::id::Digest;
use crate::time::UnixSeconds;

/// The longest reply that is read, in bytes; real ones have about 1,000.
const MAX_REPLY: usize = 64 << 10;
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2.
const NONCE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
/// ecdsa-with-SHA384 as an algorithm identifier without parameters.
const ECDSA_SHA384: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03,
];
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// `certificateHold` (RFC 5280 §5.3.1).
const HOLD: u8 = 6;

/// What an issuer says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked since a time, for a reason of RFC 5280 §5.3.1 if one is given.
    Revoked {
        /// Since when.
        since: UnixSeconds,
        /// The code of the reason.
        reason: Option<u8>,
    },
    /// The responder does not know it.
    Unknown,
}

impl Status {
    /// Whether it is suspended, which can be taken back, rather than revoked for good.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        matches!(
            self,
            Self::Revoked {
                reason: Some(HOLD),
                ..
            }
        )
    }
}

/// A request for the status of one certificate, in DER. It names the certificate by SHA-384, as NVIDIA's verifiers do; its responder answers
/// SHA-1 too. It carries no nonce: what bounds a reply that is kept is the time that it names.
#[must_use]
pub fn request(certificate: &Certificate, issuer: &Certificate) -> Vec<u8> {
    let sequence = |pieces: &[&[u8]]| encode(tag::SEQUENCE, pieces);
    let octets = |bytes: &[u8]| encode(tag::OCTET_STRING, &[bytes]);
    let id = sequence(&[
        &sequence(&[&encode(tag::OID, &[SHA384]), &encode(tag::NULL, &[])]),
        &octets(&sha384(issuer.subject())),
        &octets(&sha384(issuer.key().raw())),
        &encode(tag::INTEGER, &[certificate.serial()]),
    ]);
    // OCSPRequest { tbsRequest { requestList { Request { reqCert } } } }
    (0..4).fold(id, |inside, _| sequence(&[&inside]))
}

/// The names that replies may call a certificate of this issuer by, one for each hash that a responder may use.
#[must_use]
pub fn names(certificate: &Certificate, issuer: &Certificate) -> [Digest; 3] {
    [SHA1, SHA256, SHA384].map(|hash| {
        let hashed = |bytes: &[u8]| hashed(hash, bytes).unwrap_or_default();
        let (name, key) = (hashed(issuer.subject()), hashed(issuer.key().raw()));
        self::name(hash, &name, &key, certificate.serial())
    })
}

/// What a reply claims of one certificate. Whether its issuer says so, [`Reply::status`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Which certificate, as one of [`names`].
    pub name: Digest,
    /// The certificate's serial number, as it is encoded.
    pub serial: &'a [u8],
    /// What is claimed.
    pub status: Status,
    /// `thisUpdate`.
    pub from: UnixSeconds,
    /// `nextUpdate`, where it names one.
    pub to: Option<UnixSeconds>,
}

/// Why a reply cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspError {
    /// The structure.
    #[error("not an OCSP reply")]
    Form(#[from] DerError),
    /// The responder had no answer.
    #[error("the responder gave no answer (status {0})")]
    Unanswered(u8),
    /// Nobody who may sign it did.
    #[error("no responder of `{issuer}` is among the certificates of the reply")]
    Responder {
        /// The issuer.
        issuer: String,
    },
    /// The responder's certificate.
    #[error("the responder's certificate does not hold")]
    Path(#[from] PathError),
    /// The signature.
    #[error("the signature on the reply is not that of its responder")]
    Signature,
    /// The time.
    #[error("the reply holds from {from} to {to}, not at {at}")]
    Time {
        /// `thisUpdate`.
        from: UnixSeconds,
        /// `nextUpdate`; the same where the reply names none, for then it says nothing of later times.
        to: UnixSeconds,
        /// The time asked for.
        at: UnixSeconds,
    },
    /// The nonce.
    #[error("the reply does not carry the nonce that was asked with")]
    Nonce,
}

/// What a reply says of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Single {
    hash: Vec<u8>,
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
    serial: Vec<u8>,
    status: Status,
    from: UnixSeconds,
    to: Option<UnixSeconds>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ResponderId {
    Name(Vec<u8>),
    Key(Vec<u8>),
}

/// A reply that was read. Who signed it, [`Reply::status`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    digest: Digest,
    signed: Vec<u8>,
    signature: Vec<u8>,
    responder: ResponderId,
    singles: Vec<Single>,
    nonce: Option<Vec<u8>>,
    certificates: Vec<Certificate>,
}

impl Reply {
    /// Reads a reply, and nothing after it.
    ///
    /// # Errors
    /// [`OcspError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OcspError> {
        if bytes.len() > MAX_REPLY {
            return Err(OcspError::Form(DerError { left: bytes.len() }));
        }
        let mut outer = Der::new(bytes);
        let mut reply = outer.inside(tag::SEQUENCE)?;
        outer.finish()?;
        match reply.body(tag::ENUMERATED)? {
            [0] => {}
            [other] => return Err(OcspError::Unanswered(*other)),
            _ => return Err(OcspError::Form(DerError { left: 0 })),
        }
        let mut explicit = reply.inside(tag::constructed(0))?;
        reply.finish()?;
        let mut typed = explicit.inside(tag::SEQUENCE)?;
        explicit.finish()?;
        if typed.body(tag::OID)? != BASIC {
            return Err(OcspError::Form(DerError { left: 0 }));
        }
        let basic = typed.body(tag::OCTET_STRING)?;
        typed.finish()?;
        Self::basic(sha256(bytes), basic)
    }

    fn basic(digest: Digest, bytes: &[u8]) -> Result<Self, OcspError> {
        let mut outer = Der::new(bytes);
        let mut basic = outer.inside(tag::SEQUENCE)?;
        outer.finish()?;
        let signed = basic.value(tag::SEQUENCE)?;
        if basic.value(tag::SEQUENCE)?.whole != ECDSA_SHA384 {
            return Err(OcspError::Form(DerError { left: 0 }));
        }
        let [0, signature @ ..] = basic.body(tag::BIT_STRING)? else {
            return Err(OcspError::Form(DerError { left: 0 }));
        };
        let mut certificates = Vec::new();
        if let Some(list) = basic.optional(tag::constructed(0))? {
            let mut list = Der::new(list.body);
            let mut each = list.inside(tag::SEQUENCE)?;
            list.finish()?;
            while !each.is_empty() {
                // One that cannot be used here is no responder; whether another is, the signature tells.
                certificates.extend(Certificate::parse(each.value(tag::SEQUENCE)?.whole));
            }
        }
        basic.finish()?;

        let mut data = Der::new(signed.body);
        data.optional(tag::constructed(0))?;
        let id = data.any()?;
        let responder = match id.tag {
            by_name if by_name == tag::constructed(1) => ResponderId::Name(id.body.to_vec()),
            by_key if by_key == tag::constructed(2) => {
                ResponderId::Key(Der::new(id.body).body(tag::OCTET_STRING)?.to_vec())
            }
            _ => return Err(OcspError::Form(DerError { left: 0 })),
        };
        data.time()?;
        let mut each = data.inside(tag::SEQUENCE)?;
        let mut singles = Vec::new();
        while !each.is_empty() {
            singles.push(single(each.inside(tag::SEQUENCE)?)?);
        }
        let nonce = match data.optional(tag::constructed(1))? {
            Some(extensions) => nonce(Der::new(extensions.body))?,
            None => None,
        };
        data.finish()?;
        Ok(Self {
            digest,
            signed: signed.whole.to_vec(),
            signature: signature.to_vec(),
            responder,
            singles,
            nonce,
            certificates,
        })
    }

    /// SHA-256 of the bytes that were read.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether anything that it says counts at a time: it is in time, or it says that a certificate is revoked for good since then.
    #[must_use]
    pub fn counts_at(&self, at: UnixSeconds) -> bool {
        self.singles.iter().any(|s| {
            let in_time = (s.from..=s.to.unwrap_or(s.from)).contains(&at);
            in_time || matches!(s.status, Status::Revoked { since, .. } if since <= at && !s.status.is_hold())
        })
    }

    /// What it claims, in its order.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        self.singles.iter().map(|s| Claim {
            name: name(&s.hash, &s.issuer_name, &s.issuer_key, &s.serial),
            serial: &s.serial,
            status: s.status,
            from: s.from,
            to: s.to,
        })
    }

    /// Whether it speaks of a certificate of this issuer.
    #[must_use]
    pub fn speaks_of(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        self.about(certificate, issuer).next().is_some()
    }

    fn about(&self, certificate: &Certificate, issuer: &Certificate) -> impl Iterator<Item = &Single> {
        self.singles.iter().filter(|s| {
            s.serial == certificate.serial()
                && hashed(&s.hash, issuer.subject()).is_some_and(|h| h == s.issuer_name)
                && hashed(&s.hash, issuer.key().raw()).is_some_and(|h| h == s.issuer_key)
        })
    }

    /// What the reply says of a certificate at a time. `None` where it does not speak of it. Signed by the issuer itself, or by a
    /// responder that the issuer certified for it (RFC 6960 §4.2.2.2). `nonce`, where one was asked with, must be in it. Where it says
    /// more than one thing of the certificate, the worst counts. A revocation for good counts from its own time on, whenever it was said: a
    /// reply from before it was known does not undo it.
    ///
    /// # Errors
    /// [`OcspError`].
    pub fn status(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        at: UnixSeconds,
        nonce: Option<&[u8]>,
        links: &mut Links,
    ) -> Result<Option<Status>, OcspError> {
        if !self.speaks_of(certificate, issuer) {
            return Ok(None);
        }
        let responder = std::iter::once(issuer)
            .chain(&self.certificates)
            .find(|c| self.is_responder(c))
            .ok_or_else(|| OcspError::Responder {
                issuer: issuer.common_name().to_owned(),
            })?;
        if responder.key() != issuer.key() {
            links.verify(responder, issuer, 0)?;
            responder.holds_at(at)?;
            if !responder.signs_ocsp() {
                return Err(OcspError::Responder {
                    issuer: issuer.common_name().to_owned(),
                });
            }
        }
        responder
            .key()
            .verify_der(&self.signed, &self.signature)
            .map_err(|_| OcspError::Signature)?;
        if nonce.is_some_and(|n| self.nonce.as_deref() != Some(n)) {
            return Err(OcspError::Nonce);
        }
        let for_good = |s: &&Single| {
            matches!(s.status, Status::Revoked { since, .. } if since <= at) && !s.status.is_hold()
        };
        if let Some(revoked) = self.about(certificate, issuer).find(for_good) {
            return Ok(Some(revoked.status));
        }
        let mut worst = Status::Good;
        for single in self.about(certificate, issuer) {
            let to = single.to.unwrap_or(single.from);
            if !(single.from..=to).contains(&at) {
                return Err(OcspError::Time {
                    from: single.from,
                    to,
                    at,
                });
            }
            if !matches!(worst, Status::Revoked { .. }) && single.status != Status::Good {
                worst = single.status;
            }
        }
        Ok(Some(worst))
    }

    fn is_responder(&self, certificate: &Certificate) -> bool {
        match &self.responder {
            ResponderId::Name(name) => certificate.subject() == name,
            ResponderId::Key(hash) => sha1_name(certificate.key().raw()).as_slice() == hash,
        }
    }
}

/// A certificate's name in replies, short and of one length.
fn name(hash: &[u8], issuer_name: &[u8], issuer_key: &[u8], serial: &[u8]) -> Digest {
    let octets = |bytes: &[u8]| encode(tag::OCTET_STRING, &[bytes]);
    sha256(&[hash, issuer_name, issuer_key, serial].map(octets).concat())
}

fn hashed(hash: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    match hash {
        SHA1 => Some(sha1_name(bytes).to_vec()),
        SHA256 => Some(sha256(bytes).0.to_vec()),
        SHA384 => Some(sha384(bytes).to_vec()),
        _ => None,
    }
}

/// One `SingleResponse`.
fn single(mut der: Der<'_>) -> Result<Single, OcspError> {
    let mut id = der.inside(tag::SEQUENCE)?;
    let hash = id.inside(tag::SEQUENCE)?.body(tag::OID)?.to_vec();
    let issuer_name = id.body(tag::OCTET_STRING)?.to_vec();
    let issuer_key = id.body(tag::OCTET_STRING)?.to_vec();
    let serial = id.body(tag::INTEGER)?.to_vec();
    id.finish()?;
    let status = der.any()?;
    let status = match status.tag {
        good if good == tag::context(0) && status.body.is_empty() => Status::Good,
        revoked if revoked == tag::constructed(1) => {
            let mut info = Der::new(status.body);
            let since = info.time()?;
            let reason = match info.optional(tag::constructed(0))? {
                Some(explicit) => Der::new(explicit.body).body(tag::ENUMERATED)?.first().copied(),
                None => None,
            };
            info.finish()?;
            Status::Revoked { since, reason }
        }
        unknown if unknown == tag::context(2) => Status::Unknown,
        _ => return Err(OcspError::Form(DerError { left: 0 })),
    };
    let from = der.time()?;
    let to = match der.optional(tag::constructed(0))? {
        Some(explicit) => Some(Der::new(explicit.body).time()?),
        None => None,
    };
    der.optional(tag::constructed(1))?;
    der.finish()?;
    Ok(Single {
        hash,
        issuer_name,
        issuer_key,
        serial,
        status,
        from,
        to,
    })
}

/// The nonce among a reply's extensions. Its value is an octet string (RFC 8954 §2.1).
fn nonce(mut explicit: Der<'_>) -> Result<Option<Vec<u8>>, OcspError> {
    let mut each = explicit.inside(tag::SEQUENCE)?;
    explicit.finish()?;
    let mut found = None;
    while !each.is_empty() {
        let mut extension = each.inside(tag::SEQUENCE)?;
        let oid = extension.body(tag::OID)?;
        extension.optional(0x01)?;
        let value = extension.body(tag::OCTET_STRING)?;
        if oid == NONCE {
            let inner = Der::new(value).body(tag::OCTET_STRING).unwrap_or(value);
            found = Some(inner.to_vec());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_one_that_another_implementation_writes() {
        let read = |text: &str| Certificate::parse_pem_chain(text, 1).unwrap().remove(0);
        let issuer = read(include_str!("golden/issuer.pem"));
        let certificate = read(include_str!("golden/certificate.pem"));
        let written = data_encoding::HEXLOWER.encode(&request(&certificate, &issuer));
        // OpenSSL 3.0: ocsp -sha384 -issuer issuer.pem -cert certificate.pem -no_nonce -reqout
        assert_eq!(written, include_str!("golden/request.hex").trim());
    }
}
