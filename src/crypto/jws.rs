//! JSON web signatures in compact form (RFC 7515) under a set of keys (RFC 7517).
//!
//! Decides: whether a token is signed by a key of a set. ES384 alone, for that is what NVIDIA's attestation service signs with; the header's
//! algorithm must be the key's, and is never chosen by. Writes tokens of its own too, with the algorithm of the key that signs. Trusts the set of keys: certificates in it (`x5c`) are not looked at, so
//! whose keys they are is for whoever hands them in.

use super::primitive::{Algorithm, SignError, Signer};
use super::{PublicKey, VerifyError};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The most keys of a set.
const MAX_KEYS: usize = 64;
/// How deep JSON in a token may be nested. serde_json itself stops at 128, which is far more than any token needs.
const MAX_DEPTH: usize = 8;
const ALGORITHM: &str = "ES384";

/// Signs claims as a token in compact form: with `EdDSA` (RFC 8037) or `ES256`, as the key is. Its `kid` is SHA-256 of the key, a hint and no more.
///
/// # Errors
/// [`SignError`].
pub fn sign(claims: &Value, key: &dyn Signer) -> Result<String, SignError> {
    let algorithm = match key.public_key().algorithm() {
        Algorithm::Ed25519 => "EdDSA",
        Algorithm::EcdsaP256 => "ES256",
        Algorithm::EcdsaP384 => ALGORITHM,
    };
    let header = json!({ "alg": algorithm, "typ": "JWT", "kid": key.public_key().id() });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}

/// Why a token cannot be read, or does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not three parts.
    #[error("not three parts in base64url, as a signed token has them")]
    Form,
    /// JSON in it.
    #[error("JSON that is not as it should be")]
    Json(#[from] serde_json::Error),
    /// Its nesting.
    #[error("JSON that is nested deeper than {MAX_DEPTH} levels")]
    Deep,
    /// Another algorithm.
    #[error("signed with `{0}`; `{ALGORITHM}` is what is verified here")]
    Algorithm(String),
    /// Extensions that must be understood.
    #[error("its header has extensions that must be understood (`crit`), and none is")]
    Critical,
    /// It says not which key.
    #[error("its header names no key (`kid`)")]
    Nameless,
    /// The key is not in the set.
    #[error("it is signed by the key `{0}`, which is not in the set")]
    NoKey(String),
    /// The signature.
    #[error("its signature does not hold")]
    Signature(#[from] VerifyError),
    /// Too many keys.
    #[error("{0} keys, more than are read")]
    TooManyKeys(usize),
    /// Two keys with one name.
    #[error("two keys are called `{0}`")]
    Twice(String),
    /// No key that can be used.
    #[error("no named key of P-384 is in the set")]
    NoUsableKey,
}

#[derive(Clone, Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// A token that was read. What it is worth, [`Jws::verify`] tells.
#[derive(Clone, Debug)]
pub struct Jws {
    signed: String,
    header: Header,
    claims: Map<String, Value>,
    signature: Vec<u8>,
}

impl Jws {
    /// Reads a token in compact form whose payload is a JSON object.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn parse(text: &str) -> Result<Self, JwsError> {
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Form)?;
        let decode = |part: &str| {
            BASE64URL_NOPAD
                .decode(part.as_bytes())
                .map_err(|_| JwsError::Form)
        };
        Ok(Self {
            header: read(&decode(header)?)?,
            claims: read(&decode(payload)?)?,
            signature: decode(signature)?,
            signed: signed.to_owned(),
        })
    }

    /// The claims in it.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Checks the signature under the key of the set that the header names.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn verify(&self, keys: &JwkSet) -> Result<(), JwsError> {
        if self.header.alg != ALGORITHM {
            return Err(JwsError::Algorithm(self.header.alg.chars().take(40).collect()));
        }
        if self.header.crit.is_some() {
            return Err(JwsError::Critical);
        }
        let name = self.header.kid.as_ref().ok_or(JwsError::Nameless)?;
        let (_, key) = keys
            .0
            .iter()
            .find(|(kid, _)| kid == name)
            .ok_or_else(|| JwsError::NoKey(name.chars().take(100).collect()))?;
        Ok(key.verify(self.signed.as_bytes(), &self.signature)?)
    }
}

/// The keys of a set that can be used here: named, and of P-384.
#[derive(Clone, Debug)]
pub struct JwkSet(Vec<(String, PublicKey)>);

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    x: String,
    y: String,
}

impl JwkSet {
    /// Reads a set of keys; keys of another kind are passed over.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn parse(json: &[u8]) -> Result<Self, JwsError> {
        let Keys { keys } = read(json)?;
        if keys.len() > MAX_KEYS {
            return Err(JwsError::TooManyKeys(keys.len()));
        }
        let mut found: Vec<(String, PublicKey)> = Vec::new();
        for key in keys {
            let is = |name: &str, value: &str| key.get(name).and_then(Value::as_str) == Some(value);
            let fits = is("kty", "EC") && is("crv", "P-384");
            let for_it = key.get("alg").is_none() || is("alg", ALGORITHM);
            if !fits || !for_it || key.get("kid").is_none() {
                continue;
            }
            let Jwk { kid, x, y } = serde_json::from_value(key)?;
            let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap_or_default();
            let key =
                PublicKey::from_p384_point(&decode(&x), &decode(&y)).map_err(|_| JwsError::NoUsableKey)?;
            if found.iter().any(|(known, _)| *known == kid) {
                return Err(JwsError::Twice(kid));
            }
            found.push((kid, key));
        }
        if found.is_empty() {
            return Err(JwsError::NoUsableKey);
        }
        Ok(Self(found))
    }
}

/// Reads JSON whose nesting is bounded.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, JwsError> {
    let value: Value = serde_json::from_slice(json)?;
    if is_deeper(&value, MAX_DEPTH) {
        return Err(JwsError::Deep);
    }
    Ok(serde_json::from_value(value)?)
}

fn is_deeper(value: &Value, most: usize) -> bool {
    let Some(below) = most.checked_sub(1) else {
        return matches!(value, Value::Array(_) | Value::Object(_));
    };
    match value {
        Value::Array(items) => items.iter().any(|v| is_deeper(v, below)),
        Value::Object(members) => members.values().any(|v| is_deeper(v, below)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", part(header), part(payload), part("signature"))
    }

    const ES384: &str = r#"{"alg":"ES384","kid":"a"}"#;

    /// RFC 7518 names no example key of P-384; this is the generator of the curve (SEC 2 §2.5.1).
    fn set() -> JwkSet {
        let hex =
            |text: &str| BASE64URL_NOPAD.encode(&data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap());
        let x = hex(
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        );
        let y = hex(
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        );
        let key = format!(r#"{{"kty":"EC","crv":"P-384","kid":"a","x":"{x}","y":"{y}"}}"#);
        let rsa = r#"{"kty":"RSA","kid":"b","n":"AQ","e":"AQ"}"#;
        JwkSet::parse(format!(r#"{{"keys":[{rsa},{key}]}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn no_algorithm_is_taken_from_the_header() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS384","kid":"a"}"#,
            r#"{"alg":"ES256","kid":"a"}"#,
        ] {
            let error = Jws::parse(&token(header, "{}"))
                .unwrap()
                .verify(&set())
                .unwrap_err();
            assert!(matches!(error, JwsError::Algorithm(_)), "{error}");
        }
        let why = |header: &str| {
            Jws::parse(&token(header, "{}"))
                .unwrap()
                .verify(&set())
                .unwrap_err()
        };
        assert!(matches!(why(r#"{"alg":"ES384","kid":"b"}"#), JwsError::NoKey(k) if k == "b"));
        assert!(matches!(why(r#"{"alg":"ES384"}"#), JwsError::Nameless));
        assert!(matches!(
            why(r#"{"alg":"ES384","kid":"a","crit":["exp"]}"#),
            JwsError::Critical
        ));
        assert!(matches!(why(ES384), JwsError::Signature(_)));
    }

    #[test]
    fn what_is_no_token_or_is_nested_too_deeply_is_not_read() {
        for text in ["", "a", "a.b", "a.b.c.d", "..", "e30=.e30.e30"] {
            assert!(Jws::parse(text).is_err(), "{text}");
        }
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Jws::parse(&token(ES384, &nested(MAX_DEPTH - 1))).is_ok());
        for depth in [MAX_DEPTH, 100, 100_000] {
            assert!(Jws::parse(&token(ES384, &nested(depth))).is_err(), "{depth}");
        }
        assert!(JwkSet::parse(br#"{"keys":[]}"#).is_err());
    }
}
