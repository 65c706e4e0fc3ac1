//! A checkpoint: origin, size and root, signed as a note (C2SP `signed-note`, `tlog-checkpoint`).

use crate::crypto::{Algorithm, PublicKey, Sha256, SignError, Signer};
use crate::id::Digest;
use data_encoding::BASE64;

/// The longest checkpoint that is read, in bytes: a few cosignatures fit.
const MAX_NOTE: usize = 4096;
/// The signature type of Ed25519 in a note's key id.
const TYPE_ED25519: u8 = 1;

/// Why a checkpoint is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not a checkpoint in the form of a signed note.
    #[error("not a checkpoint: {0}")]
    Form(&'static str),
    /// Of another ledger.
    #[error("the checkpoint is of ledger `{found}`, not `{expected}`")]
    Origin {
        /// The origin expected.
        expected: String,
        /// The origin found, cut to 100 characters.
        found: String,
    },
    /// Not signed by the ledger's key.
    #[error("the checkpoint is not signed by the ledger's key")]
    Signature,
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Ledger keys are Ed25519.
    #[error("a ledger's key must be Ed25519")]
    Algorithm,
}

/// A ledger's name and public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerKey {
    /// Its origin: a name without spaces or line breaks, which is the key's name too.
    pub origin: String,
    /// Its key.
    pub key: PublicKey,
}

impl LedgerKey {
    /// The four bytes that a note's signature line begins with.
    fn hint(&self) -> Result<[u8; 4], CheckpointError> {
        if self.key.algorithm() != Algorithm::Ed25519 {
            return Err(CheckpointError::Algorithm);
        }
        let mut h = Sha256::default();
        h.update(self.origin.as_bytes())
            .update(&[b'\n', TYPE_ED25519])
            .update(self.key.raw());
        let Digest([a, b, c, d, ..]) = h.finish();
        Ok([a, b, c, d])
    }
}

/// Size and root of a ledger at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's origin.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed.
    fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64.encode(&self.root.0)
        )
    }

    /// Signs the checkpoint as a note.
    ///
    /// # Errors
    /// [`CheckpointError`] where the key cannot sign or is of another algorithm.
    pub fn sign(&self, signer: &dyn Signer) -> Result<String, CheckpointError> {
        let key = LedgerKey {
            origin: self.origin.clone(),
            key: signer.public_key().clone(),
        };
        let body = self.body();
        let mut blob = key.hint()?.to_vec();
        blob.extend(signer.sign(body.as_bytes())?);
        Ok(format!(
            "{body}\n\u{2014} {} {}\n",
            self.origin,
            BASE64.encode(&blob)
        ))
    }

    /// Reads a note and demands the signature of `ledger`. Other signatures (of witnesses) are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`]. The text is untrusted.
    pub fn open(note: &str, ledger: &LedgerKey) -> Result<Self, CheckpointError> {
        if note.len() > MAX_NOTE {
            return Err(CheckpointError::Form("longer than 4,096 bytes"));
        }
        let (text, signatures) = note
            .split_once("\n\n")
            .ok_or(CheckpointError::Form("no signatures"))?;
        let body = format!("{text}\n");
        let mut lines = text.split('\n');
        let origin = lines.next().unwrap_or_default();
        if origin != ledger.origin {
            return Err(CheckpointError::Origin {
                expected: ledger.origin.clone(),
                found: origin.chars().take(100).collect(),
            });
        }
        let size = lines
            .next()
            .filter(|s| *s == "0" || !s.starts_with('0'))
            .filter(|s| s.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|s| s.parse().ok())
            .ok_or(CheckpointError::Form("the second line is not a size"))?;
        let root = lines
            .next()
            .and_then(|s| BASE64.decode(s.as_bytes()).ok())
            .and_then(|b| <[u8; 32]>::try_from(b).ok())
            .map(Digest)
            .ok_or(CheckpointError::Form("the third line is not a root in base64"))?;
        if lines.next().is_some() {
            return Err(CheckpointError::Form("extension lines are not used here"));
        }
        let hint = ledger.hint()?;
        let signed = signatures
            .lines()
            .filter_map(|line| line.strip_prefix("\u{2014} "))
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| *name == ledger.origin)
            .filter_map(|(_, blob)| BASE64.decode(blob.as_bytes()).ok())
            .any(|blob| {
                blob.strip_prefix(&hint)
                    .is_some_and(|sig| ledger.key.verify(body.as_bytes(), sig).is_ok())
            });
        if !signed {
            return Err(CheckpointError::Signature);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Entropy, SecretKey};

    #[test]
    fn a_note_opens_with_its_own_key_and_no_other() {
        let signer = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let other = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let checkpoint = Checkpoint {
            origin: "weighbridge/abc".into(),
            size: 7,
            root: Digest([9; 32]),
        };
        let note = checkpoint.sign(&signer).unwrap();
        let key = |k: &SecretKey| LedgerKey {
            origin: "weighbridge/abc".into(),
            key: k.public_key().clone(),
        };
        assert_eq!(Checkpoint::open(&note, &key(&signer)), Ok(checkpoint));
        assert_eq!(
            Checkpoint::open(&note, &key(&other)),
            Err(CheckpointError::Signature)
        );
        assert_eq!(
            Checkpoint::open(&note.replace("\n7\n", "\n8\n"), &key(&signer)),
            Err(CheckpointError::Signature)
        );
        assert!(matches!(
            Checkpoint::open("x\n1\n\n", &key(&signer)),
            Err(CheckpointError::Origin { .. })
        ));
    }
}
