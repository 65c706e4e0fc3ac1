//! A remote attestation service of our own: results of the form and the claims that NVIDIA's gives (version 3), under a key that nobody trusts
//! unless told to.

use super::{Chip, Device, key, sign_fixed};
use data_encoding::BASE64URL_NOPAD;
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Map, Value, json};
use weighbridge::crypto::{PublicKey, sha256};
use weighbridge::hardware::nvidia::DeviceChain;

/// The service.
#[expect(missing_debug_implementations, reason = "it holds a private key")]
pub struct Service {
    key: KeyPair,
    /// When it issues results, in seconds since 1970.
    pub at: i64,
}

impl Service {
    /// A service that issues its results at a time.
    #[must_use]
    pub fn new(at: i64) -> Self {
        Self { key: key(), at }
    }

    /// Its set of keys.
    ///
    /// # Panics
    /// Where its key is not one of P-384.
    #[must_use]
    pub fn keys(&self) -> Value {
        let public = PublicKey::from_spki(&self.key.subject_public_key_info()).unwrap();
        let (x, y) = public.raw()[1..].split_at(48);
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let key = json!({"kty": "EC", "crv": "P-384", "use": "sig", "kid": "synthetic", "x": part(x), "y": part(y)});
        json!({"keys": [{"kty": "RSA", "kid": "another", "n": "AQ", "e": "AQAB"}, key]})
    }

    /// What it says of a device, all of it good.
    ///
    /// # Panics
    /// Where the device's chain cannot be read.
    #[must_use]
    pub fn claims(&self, device: &Device, nonce: [u8; 32]) -> Map<String, Value> {
        let chain = DeviceChain::parse(&device.chain).unwrap();
        let (leaf, rom) = (&chain.certificates()[0], &chain.certificates()[1]);
        let (prefix, parts, versions) = if device.chip == Chip::Ls10 {
            (
                "x-nvidia-switch",
                &["bios"][..],
                &[("bios", "96.10.73.00.01")][..],
            )
        } else {
            let versions = &[("driver", "580.65.06"), ("vbios", "96.00.9F.00.01")][..];
            ("x-nvidia-gpu", &["driver", "vbios"][..], versions)
        };
        let mut claims = self.times(nonce);
        let good = json!({"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "good", "x-nvidia-cert-revocation-reason": null});
        let mut set = |name: String, value: Value| claims.insert(name, value);
        set("ueid".to_owned(), json!(decimal(leaf.serial())));
        set("hwmodel".to_owned(), json!(rom.common_name()));
        set("oemid".to_owned(), json!("5703"));
        set("measres".to_owned(), json!("success"));
        set("dbgstat".to_owned(), json!("disabled"));
        set("secboot".to_owned(), json!(true));
        set(format!("{prefix}-arch-check"), json!(true));
        set(format!("{prefix}-vbios-index-no-conflict"), json!(true));
        for check in [
            "parsed",
            "signature-verified",
            "nonce-match",
            "cert-chain-fwid-match",
        ] {
            set(format!("{prefix}-attestation-report-{check}"), json!(true));
        }
        set(format!("{prefix}-attestation-report-cert-chain"), good.clone());
        for part in parts {
            for check in [
                "fetched",
                "schema-validated",
                "signature-verified",
                "version-match",
                "measurements-available",
            ] {
                set(format!("{prefix}-{part}-rim-{check}"), json!(true));
            }
            set(format!("{prefix}-{part}-rim-cert-chain"), good.clone());
        }
        for (part, version) in versions {
            set(format!("{prefix}-{part}-version"), json!(version));
        }
        claims
    }

    /// Claims of devices by their names, signed and bound together.
    #[must_use]
    pub fn result(&self, nonce: [u8; 32], devices: &[(&str, Map<String, Value>)]) -> Value {
        let (mut tokens, mut digests) = (Map::new(), Map::new());
        for (name, claims) in devices {
            let token = self.token(claims);
            let digest = sha256(token.as_bytes()).to_string();
            digests.insert((*name).to_owned(), json!(["DIGEST", ["SHA-256", digest]]));
            tokens.insert((*name).to_owned(), json!(token));
        }
        let mut overall = self.times(nonce);
        overall.insert("sub".to_owned(), json!("NVIDIA-PLATFORM-ATTESTATION"));
        overall.insert("x-nvidia-ver".to_owned(), json!("3.0"));
        overall.insert("x-nvidia-overall-att-result".to_owned(), json!(true));
        overall.insert("submods".to_owned(), Value::Object(digests));
        json!([["JWT", self.token(&overall)], tokens])
    }

    fn times(&self, nonce: [u8; 32]) -> Map<String, Value> {
        let claims = json!({
            "iss": "https://service.example",
            "iat": self.at,
            "nbf": self.at,
            "exp": self.at + 3600,
            "eat_nonce": data_encoding::HEXLOWER.encode(&nonce),
        });
        claims.as_object().cloned().unwrap_or_default()
    }

    fn token(&self, claims: &Map<String, Value>) -> String {
        let part = |text: String| BASE64URL_NOPAD.encode(text.as_bytes());
        let header = part(json!({"alg": "ES384", "kid": "synthetic"}).to_string());
        let signed = format!("{header}.{}", part(Value::Object(claims.clone()).to_string()));
        let signature = sign_fixed(&self.key.serialize_der(), signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

/// A big-endian number in decimal, as the service writes serial numbers.
fn decimal(bytes: &[u8]) -> String {
    // Decimal digits, the least first.
    let mut digits = vec![0u32];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit * 256;
            *digit = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits
        .iter()
        .rev()
        .filter_map(|d| char::from_digit(*d, 10))
        .collect()
}
