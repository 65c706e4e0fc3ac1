//! PKCS#11 URIs (RFC 7512): which token, which key in it.
//!
//! Decides: what a URI names. An attribute that is not known here is refused, since what it would narrow down could be another key.

use super::pkcs11::TokenError;
use std::path::PathBuf;
use weighbridge::document::nearest;

/// The scheme.
pub(super) const SCHEME: &str = "pkcs11:";

/// The attributes of the path that are known here.
const PATH: &[&str] = &["token", "manufacturer", "model", "serial", "object", "id", "type"];
/// Those of the query.
const QUERY: &[&str] = &["module-path", "pin-source"];

/// What a URI names. What is left out may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) token: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) object: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
    /// The file of the module that speaks to the token.
    pub(super) module: Option<PathBuf>,
    /// The file that holds the PIN.
    pub(super) pin: Option<PathBuf>,
}

impl Uri {
    /// Reads one.
    ///
    /// # Errors
    /// [`TokenError::Uri`].
    pub(super) fn parse(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut found = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        let attributes = path
            .split(';')
            .map(|a| (a, PATH))
            .chain(query.split('&').map(|a| (a, QUERY)));
        for (attribute, known) in attributes.filter(|(a, _)| !a.is_empty()) {
            let Some((name, value)) = attribute.split_once('=') else {
                return Err(wrong(format!("`{attribute}` has no value")));
            };
            if seen.contains(&name) {
                return Err(wrong(format!("`{name}` stands there twice")));
            }
            seen.push(name);
            found.take(name, value, known)?;
        }
        if found.object.is_none() && found.id.is_none() {
            return Err(wrong(
                "it names no key: give `object=`, the key's label, or `id=`".to_owned(),
            ));
        }
        Ok(found)
    }

    fn take(&mut self, name: &str, value: &str, known: &[&str]) -> Result<(), TokenError> {
        // A PIN on the command line is one that every user of the machine can read.
        if name == "pin-value" {
            return Err(wrong(
                "a PIN does not belong there, where others see it: give `pin-source=`, a file that holds it"
                    .to_owned(),
            ));
        }
        if !known.contains(&name) {
            let hint = match nearest(name, known.iter().copied()) {
                Some(right) => format!("did you mean `{right}`?"),
                None => format!("known here are {}", known.join(", ")),
            };
            return Err(wrong(format!("`{name}` is no attribute of it: {hint}")));
        }
        let bytes = decoded(value)
            .ok_or_else(|| wrong(format!("the value of `{name}` is not encoded as it must be")))?;
        let text = || {
            String::from_utf8(bytes.clone()).map_err(|_| wrong(format!("the value of `{name}` is not UTF-8")))
        };
        match name {
            "token" => self.token = Some(text()?),
            "manufacturer" => self.manufacturer = Some(text()?),
            "model" => self.model = Some(text()?),
            "serial" => self.serial = Some(text()?),
            "object" => self.object = Some(bytes),
            "id" => self.id = Some(bytes),
            "module-path" => self.module = Some(text()?.into()),
            "pin-source" => {
                let text = text()?;
                self.pin = Some(text.strip_prefix("file:").unwrap_or(&text).into());
            }
            "type" if bytes == b"private" || bytes == b"public" => {}
            _ => {
                return Err(wrong(
                    "`type` must be `private`: other objects sign nothing".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

fn wrong(why: String) -> TokenError {
    TokenError::Uri { why }
}

/// Percent-decoding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_token_and_a_key() {
        let uri = Uri::parse(
            "pkcs11:token=The%20desk;object=signer;id=%00%ff;type=private?pin-source=file:/run/pin&module-path=/usr/lib/m.so",
        )
        .unwrap();
        assert_eq!(uri.token.as_deref(), Some("The desk"));
        assert_eq!(uri.object.as_deref(), Some(&b"signer"[..]));
        assert_eq!(uri.id.as_deref(), Some(&[0, 255][..]));
        assert_eq!(uri.pin, Some(PathBuf::from("/run/pin")));
        assert_eq!(uri.module, Some(PathBuf::from("/usr/lib/m.so")));
    }

    #[test]
    fn what_a_uri_may_not_hold_is_named() {
        for (text, why) in [
            ("pkcs11:token=desk", "it names no key"),
            ("pkcs11:object=a?pin-value=1234", "a PIN does not belong there"),
            ("pkcs11:object=a;pin-value=1234", "a PIN does not belong there"),
            ("pkcs11:objet=a", "did you mean `object`?"),
            ("pkcs11:object=a;slot-id=1", "`slot-id` is no attribute of it"),
            ("pkcs11:object=a;object=b", "stands there twice"),
            ("pkcs11:object=%4", "is not encoded as it must be"),
            ("pkcs11:object=%zz", "is not encoded as it must be"),
            ("pkcs11:token=%ff;object=a", "is not UTF-8"),
            ("pkcs11:object=a;type=cert", "must be `private`"),
            ("pkcs11:object", "has no value"),
        ] {
            let told = Uri::parse(text).unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
