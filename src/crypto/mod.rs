//! Signing, digests and envelopes: the border to the cryptographic library.
//!
//! Decides: whether a signature over bytes is by a key. Trusts the keys that the caller hands in. Does not establish whose a
//! key is. `primitive` is the one file that names the library; everything else uses [`Signer`], [`PublicKey`] and
//! [`sha256`]. Every key carries its algorithm, so that others can follow; no algorithm is taken from a header.

pub mod cose;
pub mod dsse;
pub mod jws;
pub mod merkle;
mod pem;
mod primitive;

pub use pem::{PemError, pem_decode, pem_encode};
pub use primitive::{
    Algorithm, Entropy, KeyError, PublicKey, SecretKey, Sha256, SignError, Signer, VerifyError, hmac_sha256,
    sha1_name, sha256, sha384,
};
