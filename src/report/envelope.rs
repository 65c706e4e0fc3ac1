//! Envelope, bundle and digest of a report.
//!
//! Bytes become an [`OpenedReport`] (well formed, closed schema, every submodule's digest agrees) and then a
//! [`VerifiedReport`] (signed by the key that was enrolled for the node it names). Only [`OpenedReport::verify`]
//! makes the latter.

use super::accelerator::{AcceleratorClaims, AcceleratorSubmodule};
use super::claims::{PROFILES, Submodules, TokenClaims};
use super::round::{EvidenceClaims, EvidenceSubmodule};
use crate::bounded::MAX_BUNDLE;
use crate::cbor::{self, Bytes, DecodeError, Decoder, Encoder, Wire};
use crate::crypto::{self, PublicKey, SignError, Signer, cose};
use crate::id::Digest;
use minicbor::data::Tag;

/// Tag of a detached EAT bundle (RFC 9711 section 5).
const TAG_BUNDLE: u64 = 602;
/// COSE algorithm identifier of SHA-256 (RFC 9054).
const COSE_SHA_256: i64 = -16;

/// Why bytes are not a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Larger than any honest report.
    #[error("the report is {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// Not the encoding of a report.
    #[error("the report is malformed")]
    Malformed(#[source] DecodeError),
    /// It holds a field that the schema does not know.
    #[error("the report holds a field that its schema does not know")]
    Field(#[source] DecodeError),
    /// It is of a profile that this build does not read.
    #[error("the report is of profile `{found}`, which this build does not read")]
    Profile {
        /// The profile it names, cut to 100 characters.
        found: String,
    },
    /// The claims of a submodule are not those whose digest the token carries.
    #[error("the claims of submodule {name} are missing, or are not those that were signed")]
    Submodule {
        /// Its name.
        name: String,
    },
    /// A submodule names a tenant by a place that the host's list does not have.
    #[error("the claims of submodule {name} name a tenant that the host's list does not hold")]
    Tenant {
        /// Its name.
        name: String,
    },
    /// The signature is not by the key that is enrolled for the node.
    #[error("the signature is not by the key that is enrolled for this node")]
    Signature,
}

impl EnvelopeError {
    fn from_decode(e: DecodeError) -> Self {
        match e {
            DecodeError::UnknownField { .. } => Self::Field(e),
            _ => Self::Malformed(e),
        }
    }

    /// What it is for the holder of `key`, who delivered `bytes`: a field that this key did not sign may be damage, and is not held
    /// against its holder.
    #[must_use]
    pub fn held_against(self, key: &PublicKey, bytes: &[u8]) -> Self {
        match self {
            Self::Field(e) if !cbor::decode_strict::<Bundle>(bytes).is_ok_and(|b| b.token.is_by(key)) => {
                Self::Malformed(e)
            }
            other => other,
        }
    }
}

/// A detached submodule digest (RFC 9711 section 4.2.18.2), always SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct SubmoduleDigest(pub Digest);

impl Wire for SubmoduleDigest {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        cbor::written(e.array(2));
        COSE_SHA_256.encode(e);
        self.0.encode(e);
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        cbor::expect_array(d, 2, what, "a detached submodule digest")?;
        if i64::decode(d, what)? != COSE_SHA_256 {
            return Err(cbor::shape(d, what, "a SHA-256 digest"));
        }
        Digest::decode(d, what).map(Self)
    }
}

/// The signed token: `COSE_Sign1` with a fixed protected header. Untrusted until verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The payload, still encoded.
    pub payload: Vec<u8>,
    /// ECDSA P-256 with SHA-256, r and s of 32 bytes each.
    pub signature: Vec<u8>,
}

impl Envelope {
    /// SHA-256 over the encoded array [protected header, payload]: what the next report of the chain and the ledger cite. The signature
    /// stays outside, because anyone can turn a valid ECDSA signature into another valid one.
    #[must_use]
    pub fn digest(&self) -> Digest {
        crypto::sha256(&cose::statement(cose::Content::Report, &self.payload))
    }

    fn is_by(&self, key: &PublicKey) -> bool {
        let signed = cose::to_be_signed(cose::Content::Report, &self.payload);
        key.verify(&signed, &self.signature).is_ok()
    }
}

impl Wire for Envelope {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        cose::encode_sign1(e, cose::Content::Report, &self.payload, &self.signature);
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let (payload, signature) = cose::decode_sign1(d, cose::Content::Report, what)?;
        Ok(Self { payload, signature })
    }
}

/// The token, and beside it the accelerators' claims and a round's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The token.
    pub token: Envelope,
    /// Detached claims-sets, each as (name, encoded claims). Some may be withheld.
    pub detached: Vec<(String, Bytes)>,
}

impl Wire for Bundle {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        cbor::written(e.tag(Tag::new(TAG_BUNDLE)));
        cbor::written(e.array(2));
        self.token.encode(e);
        let mut sorted: Vec<_> = self.detached.iter().collect();
        sorted.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
        cbor::written(e.map(u64::try_from(sorted.len()).unwrap_or(u64::MAX)));
        for (name, claims) in sorted {
            cbor::written(e.str(name));
            claims.encode(e);
        }
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        if !d.tag().is_ok_and(|t| t.as_u64() == TAG_BUNDLE) {
            return Err(cbor::shape(d, what, "a detached EAT bundle (tag 602)"));
        }
        cbor::expect_array(d, 2, what, "a token and its detached claims")?;
        let token = Envelope::decode(d, what)?;
        let Ok(Some(count)) = d.map() else {
            return Err(cbor::shape(d, what, "a map of detached claims"));
        };
        let most = Submodules::MAX_ACCELERATORS.saturating_add(Submodules::MAX_EVIDENCE);
        let limit = u64::try_from(most).unwrap_or(0);
        if count > limit {
            return Err(DecodeError::TooMany {
                what: "detached claims",
                found: count,
                limit,
            });
        }
        let mut detached: Vec<(String, Bytes)> = Vec::new();
        for _ in 0..count {
            let name = String::decode(d, what)?;
            if detached.iter().any(|(n, _)| *n == name) {
                return Err(cbor::shape(d, what, "a name that stands once"));
            }
            detached.push((name, Bytes::decode(d, what)?));
        }
        Ok(Self { token, detached })
    }
}

/// A report that is well formed. Nothing says yet who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedReport {
    /// The token's claims.
    pub claims: TokenClaims,
    /// The accelerators' claims, in the order of the token's digests; `None` where they were withheld.
    pub accelerators: Vec<Option<AcceleratorClaims>>,
    /// A round's answers, in the order of the token's digests; `None` where they were withheld.
    pub evidence: Vec<Option<EvidenceClaims>>,
    envelope: Envelope,
}

impl OpenedReport {
    /// Opens a bundle all of whose submodules are shown, as intake demands.
    ///
    /// # Errors
    /// [`EnvelopeError`], with a submodule that is missing named. The bytes are untrusted.
    pub fn open(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let opened = Self::open_disclosed(bytes)?;
        let withheld = |name| Err(EnvelopeError::Submodule { name });
        if let Some(i) = opened.accelerators.iter().position(Option::is_none) {
            return withheld(Submodules::name(i));
        }
        if let Some(i) = opened.evidence.iter().position(Option::is_none) {
            return withheld(Submodules::evidence_name(i));
        }
        Ok(opened)
    }

    /// Opens a bundle some of whose submodules may be withheld.
    ///
    /// # Errors
    /// [`EnvelopeError`]. The bytes are untrusted.
    pub fn open_disclosed(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(EnvelopeError::TooLarge {
                found: bytes.len(),
                limit: MAX_BUNDLE,
            });
        }
        let Bundle { token, detached } = cbor::decode_strict(bytes).map_err(EnvelopeError::from_decode)?;
        let profile = profile_of(&token.payload).map_err(EnvelopeError::from_decode)?;
        if !PROFILES.contains(&profile.as_str()) {
            return Err(EnvelopeError::Profile {
                found: profile.chars().take(100).collect(),
            });
        }
        let claims: TokenClaims = cbor::decode_strict(&token.payload).map_err(EnvelopeError::from_decode)?;
        if claims.report.round.is_none() && !claims.submods.evidence.is_empty() {
            return Err(EnvelopeError::Submodule {
                name: Submodules::evidence_name(0),
            });
        }
        let mut shown = detached;
        let accelerators = disclosed(
            &claims.submods.accelerators,
            Submodules::name,
            &mut shown,
            |m: AcceleratorSubmodule| m.accelerator,
        )?;
        let evidence = disclosed(
            &claims.submods.evidence,
            Submodules::evidence_name,
            &mut shown,
            |m: EvidenceSubmodule| m.evidence,
        )?;
        let listed = claims.submods.host.host.tenants.as_ref();
        let stray = |a: &Option<AcceleratorClaims>| {
            let shares = a.as_ref().and_then(|a| a.delivered.tenants.as_ref());
            shares.is_some_and(|shares| {
                shares
                    .iter()
                    .any(|s| listed.is_none_or(|l| l.get(s.place).is_none()))
            })
        };
        if let Some(i) = accelerators.iter().position(stray) {
            return Err(EnvelopeError::Tenant {
                name: Submodules::name(i),
            });
        }
        if let Some((name, _)) = shown.into_iter().next() {
            return Err(EnvelopeError::Submodule {
                name: name.chars().take(40).collect(),
            });
        }
        Ok(Self {
            claims,
            accelerators,
            evidence,
            envelope: token,
        })
    }

    /// The report's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.envelope.digest()
    }

    /// Checks the signature with the key that is enrolled for the node that the claims name. The caller has looked the
    /// key up by [`TokenClaims::node`]; the key, not a header, says which algorithm applies.
    ///
    /// # Errors
    /// [`EnvelopeError::Signature`].
    pub fn verify(self, key: &PublicKey) -> Result<VerifiedReport, EnvelopeError> {
        if !self.envelope.is_by(key) {
            return Err(EnvelopeError::Signature);
        }
        let digest = self.digest();
        Ok(VerifiedReport {
            claims: self.claims,
            accelerators: self.accelerators,
            evidence: self.evidence,
            digest,
        })
    }
}

/// A report that the enrolled key signed. It is authentic; whether it is true is for appraisal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReport {
    claims: TokenClaims,
    accelerators: Vec<Option<AcceleratorClaims>>,
    evidence: Vec<Option<EvidenceClaims>>,
    digest: Digest,
}

impl VerifiedReport {
    /// The token's claims.
    #[must_use]
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// The accelerators that were shown.
    pub fn accelerators(&self) -> impl Iterator<Item = &AcceleratorClaims> {
        self.accelerators.iter().flatten()
    }

    /// The answers of the round that it carries, as far as they were shown.
    pub fn evidence(&self) -> impl Iterator<Item = &EvidenceClaims> {
        self.evidence.iter().flatten()
    }

    /// The report's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Takes the detached claims-sets of one kind out of `shown`, each held against its digest.
fn disclosed<M: Wire, T>(
    digests: &[SubmoduleDigest],
    name: fn(usize) -> String,
    shown: &mut Vec<(String, Bytes)>,
    claims: fn(M) -> T,
) -> Result<Vec<Option<T>>, EnvelopeError> {
    // As many as the token's decoder lets through.
    let mut found = Vec::with_capacity(digests.len());
    for (i, digest) in digests.iter().enumerate() {
        let name = name(i);
        let Some(at) = shown.iter().position(|(n, _)| *n == name) else {
            found.push(None);
            continue;
        };
        let (_, bytes) = shown.swap_remove(at);
        if crypto::sha256(&bytes.0) != digest.0 {
            return Err(EnvelopeError::Submodule { name });
        }
        // Boxed on its way: a device's claims are a kilobyte and more, and each step would copy them.
        let module: Box<M> = cbor::decode_strict(&bytes.0).map_err(EnvelopeError::from_decode)?;
        found.push(Some(claims(*module)));
    }
    Ok(found)
}

/// Signs a report: takes the claims without the digests of accelerators and answers, fills these in, and returns the encoded bundle and
/// the report's digest.
///
/// # Errors
/// [`SignError`] where the key cannot sign.
pub fn sign(
    mut claims: TokenClaims,
    accelerators: Vec<AcceleratorClaims>,
    evidence: Vec<EvidenceClaims>,
    key: &dyn Signer,
) -> Result<(Vec<u8>, Digest), SignError> {
    let accelerators = accelerators.into_iter().enumerate().map(|(i, accelerator)| {
        let module = AcceleratorSubmodule { accelerator };
        (Submodules::name(i), Bytes(cbor::encode(&module)))
    });
    let evidence = evidence.into_iter().enumerate().map(|(i, evidence)| {
        let module = EvidenceSubmodule { evidence };
        (Submodules::evidence_name(i), Bytes(cbor::encode(&module)))
    });
    let (mut detached, evidence): (Vec<_>, Vec<_>) = (accelerators.collect(), evidence.collect());
    let digests = |modules: &[(String, Bytes)]| {
        let digest = |(_, bytes): &(String, Bytes)| SubmoduleDigest(crypto::sha256(&bytes.0));
        modules.iter().map(digest).collect()
    };
    claims.submods.accelerators = digests(&detached);
    claims.submods.evidence = digests(&evidence);
    detached.extend(evidence);
    let payload = cbor::encode(&claims);
    let signature = key.sign(&cose::to_be_signed(cose::Content::Report, &payload))?;
    let bundle = Bundle {
        token: Envelope { payload, signature },
        detached,
    };
    let digest = bundle.token.digest();
    Ok((cbor::encode(&bundle), digest))
}

/// Reads `eat_profile` alone, so that a report of another version is refused as such and not for its fields.
fn profile_of(payload: &[u8]) -> Result<String, DecodeError> {
    const EAT_PROFILE: i64 = 265;
    let mut d = Decoder::new(payload);
    let count = match d.map() {
        Ok(Some(n)) if n <= 64 => n,
        _ => return Err(cbor::shape(&d, "the claims", "a map of at most 64 claims")),
    };
    for _ in 0..count {
        let key = d
            .i64()
            .map_err(|_| cbor::shape(&d, "the claims", "an integer key"))?;
        if key == EAT_PROFILE {
            return String::decode(&mut d, "eat_profile");
        }
        d.skip().map_err(|_| cbor::shape(&d, "the claims", "a value"))?;
    }
    Err(DecodeError::MissingField {
        record: "TokenClaims",
        key: EAT_PROFILE,
    })
}
