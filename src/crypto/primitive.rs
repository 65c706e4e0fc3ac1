//! The one file that names `ring`.

use crate::id::Digest;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_FIXED, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use ring::{digest, hmac, rand::SecureRandom, rand::SystemRandom};
use zeroize::Zeroizing;

/// The system's source of random bytes. It is made once at the edge of a program and handed down as an argument.
#[derive(Clone, Debug)]
pub struct Entropy(SystemRandom);

impl Entropy {
    /// The operating system's source.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that makes it; everything else takes it as an argument"
    )]
    pub fn system() -> Self {
        Self(SystemRandom::new())
    }

    /// Draws `N` random bytes.
    ///
    /// # Errors
    /// [`KeyError::NoEntropy`] where the system gives none.
    pub fn draw<const N: usize>(&self) -> Result<[u8; N], KeyError> {
        let mut out = [0u8; N];
        self.0.fill(&mut out).map_err(|_| KeyError::NoEntropy)?;
        Ok(out)
    }
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    to_digest(&digest::digest(&digest::SHA256, bytes))
}

/// SHA-384 of `bytes`: what devices and their vendor digest with.
#[must_use]
pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    fixed(&digest::digest(&digest::SHA384, bytes))
}

/// SHA-1 of `bytes`. It names keys and certificates in OCSP replies (RFC 6960 §4.1.1); nothing rests on its strength.
#[must_use]
pub fn sha1_name(bytes: &[u8]) -> [u8; 20] {
    fixed(&digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes))
}

fn fixed<const N: usize>(d: &digest::Digest) -> [u8; N] {
    let mut out = [0u8; N];
    for (to, from) in out.iter_mut().zip(d.as_ref()) {
        *to = *from;
    }
    out
}

fn to_digest(d: &digest::Digest) -> Digest {
    Digest(fixed(d))
}

/// SHA-256 over several pieces.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(..)")
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(self) -> Digest {
        to_digest(&self.0.finish())
    }
}

/// HMAC-SHA-256 of `message` under `key`.
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Digest {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut out = [0u8; 32];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    Digest(out)
}

/// A signature algorithm that a key is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (COSE ES256): nodes, because TPMs hold it.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384 (COSE ES384): devices. Verified only.
    EcdsaP384,
    /// Ed25519: documents and ledger checkpoints.
    Ed25519,
}

/// SubjectPublicKeyInfo up to the key itself, for each algorithm (RFC 5480, RFC 8410), and the key's length.
const SPKI_FORMS: [(Algorithm, &[u8], usize); 3] = [
    (
        Algorithm::EcdsaP256,
        &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ],
        65,
    ),
    (
        Algorithm::EcdsaP384,
        &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
            0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
        ],
        97,
    ),
    (
        Algorithm::Ed25519,
        &[
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ],
        32,
    ),
];

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the SubjectPublicKeyInfo of an algorithm that is used here.
    #[error("not a public key of P-256, P-384 or Ed25519 in SubjectPublicKeyInfo form")]
    NotSpki,
    /// Not a private key that is used here.
    #[error("not a private key of P-256 or Ed25519 in PKCS#8 form")]
    NotPkcs8,
    /// Private keys of this algorithm are not made here.
    #[error("no key of this algorithm can be made here")]
    NotMade,
    /// The system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    NoEntropy,
}

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold for this key and these bytes")]
pub struct VerifyError;

/// A key that cannot sign now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key cannot sign: {reason}")]
pub struct SignError {
    /// What hinders it.
    pub reason: String,
}

/// A public key with its algorithm.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
    key_at: usize,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.id())
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// [`KeyError::NotSpki`].
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        SPKI_FORMS
            .iter()
            .find(|(_, prefix, len)| {
                spki.starts_with(prefix) && spki.len() == prefix.len().saturating_add(*len)
            })
            .map(|(algorithm, prefix, _)| Self {
                algorithm: *algorithm,
                spki: spki.to_vec(),
                key_at: prefix.len(),
            })
            .ok_or(KeyError::NotSpki)
    }

    /// The key without its wrapping, as [`Self::raw`] gives it and tokens show it. Whether a point is on its curve, the first verification tells.
    ///
    /// # Errors
    /// [`KeyError::NotSpki`] where the length is another algorithm's.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Result<Self, KeyError> {
        let (_, prefix, _) = SPKI_FORMS
            .iter()
            .find(|(a, ..)| *a == algorithm)
            .ok_or(KeyError::NotSpki)?;
        Self::from_spki(&[prefix, raw].concat())
    }

    /// The key at a point of P-384, given by its coordinates as a JWK has them (RFC 7518 §6.2.1). Whether the point is on the curve, the first
    /// verification tells.
    ///
    /// # Errors
    /// [`KeyError::NotSpki`] unless both have 48 bytes.
    pub fn from_p384_point(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 48 || y.len() != 48 {
            return Err(KeyError::NotSpki);
        }
        Self::from_raw(Algorithm::EcdsaP384, &[&[4], x, y].concat())
    }

    /// The algorithm that the key is pinned to.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key without its wrapping: an uncompressed point, or the 32 bytes of Ed25519.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        self.spki.get(self.key_at..).unwrap_or(&[])
    }

    /// The key's identity: SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> Digest {
        sha256(&self.spki)
    }

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        let algorithm: &dyn ring::signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::EcdsaP384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, self.raw())
            .verify(message, signature)
            .map_err(|_| VerifyError)
    }

    /// Checks a `signature` that is written as X.509 writes it: for ECDSA a DER sequence of two integers (RFC 3279 §2.2.3).
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        let algorithm: &dyn ring::signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
            Algorithm::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, self.raw())
            .verify(message, signature)
            .map_err(|_| VerifyError)
    }
}

/// Something that signs: a key in a file, a token, a TPM.
pub trait Signer: Send + Sync + std::fmt::Debug {
    /// The public key.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message`.
    ///
    /// # Errors
    /// [`SignError`] where the key cannot be reached.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key in memory.
pub struct SecretKey {
    pair: Pair,
    public: PublicKey,
    entropy: Entropy,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey of {:?}", self.public)
    }
}

impl SecretKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::NotMade`] for an algorithm that is only verified here, [`KeyError::NoEntropy`].
    pub fn generate(algorithm: Algorithm, entropy: &Entropy) -> Result<Self, KeyError> {
        let document = match algorithm {
            Algorithm::EcdsaP256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &entropy.0)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&entropy.0),
            Algorithm::EcdsaP384 => return Err(KeyError::NotMade),
        }
        .map_err(|_| KeyError::NoEntropy)?;
        Self::from_pkcs8(document.as_ref(), entropy)
    }

    /// Reads a key in PKCS#8 form.
    ///
    /// # Errors
    /// [`KeyError::NotPkcs8`].
    pub fn from_pkcs8(pkcs8: &[u8], entropy: &Entropy) -> Result<Self, KeyError> {
        let (pair, public) = if let Ok(pair) =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &entropy.0)
        {
            let public = PublicKey::from_raw(Algorithm::EcdsaP256, pair.public_key().as_ref())?;
            (Pair::P256(pair), public)
        } else {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| KeyError::NotPkcs8)?;
            let public = PublicKey::from_raw(Algorithm::Ed25519, pair.public_key().as_ref())?;
            (Pair::Ed25519(pair), public)
        };
        Ok(Self {
            pair,
            public,
            entropy: entropy.clone(),
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    /// The key in PKCS#8 form, for the file that holds it.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::P256(pair) => pair
                .sign(&self.entropy.0, message)
                .map(|s| s.as_ref().to_vec())
                .map_err(|_| SignError {
                    reason: "the operating system gives no random bytes".to_owned(),
                }),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_what_its_public_half_verifies_and_nothing_else() {
        let entropy = Entropy::system();
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            let key = SecretKey::generate(algorithm, &entropy).unwrap();
            let again = SecretKey::from_pkcs8(key.pkcs8(), &entropy).unwrap();
            let public = PublicKey::from_spki(again.public_key().spki()).unwrap();
            let signature = key.sign(b"weight").unwrap();
            assert_eq!(public.verify(b"weight", &signature), Ok(()));
            assert_eq!(public.verify(b"height", &signature), Err(VerifyError));
            assert_eq!(public.algorithm(), algorithm);
        }
    }

    #[test]
    fn a_digest_is_that_of_the_standard() {
        assert_eq!(
            sha256(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let mut pieces = Sha256::default();
        pieces.update(b"a").update(b"bc");
        assert_eq!(pieces.finish(), sha256(b"abc"));
    }

    #[test]
    fn a_truncated_public_key_is_refused() {
        let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let spki = key.public_key().spki();
        assert_eq!(
            PublicKey::from_spki(&spki[..spki.len() - 1]),
            Err(KeyError::NotSpki)
        );
    }
}
