//! `COSE_Sign1` (RFC 9052 section 4.2) in one fixed form.
//!
//! The protected header holds the algorithm (always ES256) and the type of the content, and nothing else; the unprotected
//! header is empty. So a statement has one encoding, up to its signature. Tests hold it against an independent
//! implementation.

use crate::cbor::{self, DecodeError, Decoder, Encoder};
use minicbor::data::Tag;

const TAG_CWT: u64 = 61;
const TAG_SIGN1: u64 = 18;
const HEADER_ALG: u8 = 1;
/// `typ` (RFC 9596).
const HEADER_TYP: u8 = 16;
const ALG_ES256: i8 = -7;

/// What an envelope holds; the media type stands in its protected header, so that no envelope passes for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A report.
    Report,
    /// A request by an enrolled node (renewal of its certificate).
    Request,
}

impl Content {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Report => "application/eat+cwt",
            Self::Request => "application/vnd.weighbridge.request+cose",
        }
    }

    fn protected(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let mut e = Encoder::new(&mut out);
        cbor::written(e.map(2));
        cbor::written(e.u8(HEADER_ALG));
        cbor::written(e.i8(ALG_ES256));
        cbor::written(e.u8(HEADER_TYP));
        cbor::written(e.str(self.media_type()));
        out
    }
}

/// The bytes that are signed: the `Sig_structure` of RFC 9052 section 4.4 without external data.
#[must_use]
pub fn to_be_signed(content: Content, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len().saturating_add(64));
    let mut e = Encoder::new(&mut out);
    cbor::written(e.array(4));
    cbor::written(e.str("Signature1"));
    cbor::written(e.bytes(&content.protected()));
    cbor::written(e.bytes(&[]));
    cbor::written(e.bytes(payload));
    out
}

/// The encoded array [protected header, payload]: what a statement's digest is taken over.
#[must_use]
pub fn statement(content: Content, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len().saturating_add(64));
    let mut e = Encoder::new(&mut out);
    cbor::written(e.array(2));
    cbor::written(e.bytes(&content.protected()));
    cbor::written(e.bytes(payload));
    out
}

/// Appends `61(18([protected, {}, payload, signature]))`.
pub fn encode_sign1(e: &mut Encoder<&mut Vec<u8>>, content: Content, payload: &[u8], signature: &[u8]) {
    cbor::written(e.tag(Tag::new(TAG_CWT)));
    cbor::written(e.tag(Tag::new(TAG_SIGN1)));
    cbor::written(e.array(4));
    cbor::written(e.bytes(&content.protected()));
    cbor::written(e.map(0));
    cbor::written(e.bytes(payload));
    cbor::written(e.bytes(signature));
}

/// Reads what [`encode_sign1`] writes: payload and signature.
///
/// # Errors
/// [`DecodeError::Shape`] for any other form. The bytes are untrusted, and the signature is not checked here.
pub fn decode_sign1(
    d: &mut Decoder<'_>,
    content: Content,
    what: &'static str,
) -> Result<(Vec<u8>, Vec<u8>), DecodeError> {
    for tag in [TAG_CWT, TAG_SIGN1] {
        if !d.tag().is_ok_and(|t| t.as_u64() == tag) {
            return Err(cbor::shape(
                d,
                what,
                "a tagged COSE_Sign1 in a CWT (tags 61 and 18)",
            ));
        }
    }
    cbor::expect_array(d, 4, what, "the four parts of COSE_Sign1")?;
    if !d.bytes().is_ok_and(|found| found == content.protected()) {
        return Err(cbor::shape(
            d,
            what,
            "the protected header {1: -7, 16: the media type}",
        ));
    }
    if !matches!(d.map(), Ok(Some(0))) {
        return Err(cbor::shape(d, what, "an empty unprotected header"));
    }
    let payload = d.bytes().map_err(|_| cbor::shape(d, what, "a payload"))?.to_vec();
    let signature = d.bytes().map_err(|_| cbor::shape(d, what, "a signature"))?;
    if signature.len() != 64 {
        return Err(cbor::shape(d, what, "an ES256 signature of 64 bytes"));
    }
    Ok((payload, signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Algorithm, Entropy, SecretKey, Signer};
    use coset::{CborSerializable, TaggedCborSerializable};

    #[test]
    fn an_independent_implementation_reads_and_verifies_it() {
        let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
        let signature = key.sign(&to_be_signed(Content::Report, b"payload")).unwrap();
        let mut bytes = Vec::new();
        encode_sign1(
            &mut Encoder::new(&mut bytes),
            Content::Report,
            b"payload",
            &signature,
        );
        // coset knows tag 18; tag 61 (two bytes) is the CWT's own.
        let read = coset::CoseSign1::from_tagged_slice(&bytes[2..]).unwrap();
        assert_eq!(read.payload.as_deref(), Some(&b"payload"[..]));
        read.verify_signature(b"", |sig, data| {
            assert_eq!(data, to_be_signed(Content::Report, b"payload"));
            key.public_key().verify(data, sig)
        })
        .unwrap();
        assert!(read.unprotected.to_vec().unwrap() == [0xa0]);
    }

    #[test]
    fn an_envelope_of_another_kind_is_refused() {
        let mut bytes = Vec::new();
        encode_sign1(&mut Encoder::new(&mut bytes), Content::Request, b"x", &[0; 64]);
        let mut d = Decoder::new(&bytes);
        assert!(decode_sign1(&mut d, Content::Report, "a report").is_err());
    }
}
