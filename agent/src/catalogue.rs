//! The catalogue of accelerators in use: the one that this program carries, or a signed one that the operator configured.
//!
//! Decides: by which figures this node's compute is told. Trusts the one key that the operator configured. Does not establish that a
//! verifier goes by the same catalogue: every report names this one by its SHA-256.

use crate::config::Config;
use std::fs::File;
use std::path::{Path, PathBuf};
use weighbridge::accelerator::{Catalogue, CatalogueError};
use weighbridge::bounded::{self, BoundedReadError, MAX_DOCUMENT, MAX_KEY_FILE};
use weighbridge::crypto::{KeyError, PemError, PublicKey, pem_decode};

/// Why there is no catalogue to go by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueInUseError {
    /// The one that was built in.
    #[error("the catalogue of accelerators that was built in is damaged; reinstall the agent")]
    Carried(#[source] CatalogueError),
    /// One of two keys of the configuration is missing.
    #[error("`catalogue` and `catalogue_key` belong together, and `{missing}` is missing")]
    Alone {
        /// Which.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("{path} of `{key}` cannot be read", path = path.display())]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// The key's file holds none.
    #[error("{path} of `catalogue_key` holds no public key: name the FILE.pub that `weighbridge-verifier key new` makes", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PemError,
    },
    /// What the file holds is no key that is known.
    #[error("{path} of `catalogue_key` holds a key that cannot be used", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: KeyError,
    },
    /// It is not one to go by.
    #[error("the catalogue {path} cannot be used", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CatalogueError,
    },
}

/// Reads the catalogue that holds here.
///
/// # Errors
/// [`CatalogueInUseError`]. One that is configured and cannot be used is never passed over for the carried one.
pub fn in_use(config: &Config) -> Result<Catalogue, CatalogueInUseError> {
    let (file, key) = match (&config.catalogue, &config.catalogue_key) {
        (Some(file), Some(key)) => (file, key),
        (None, None) => return Catalogue::embedded().map_err(CatalogueInUseError::Carried),
        (Some(_), None) => {
            return Err(CatalogueInUseError::Alone {
                missing: "catalogue_key",
            });
        }
        (None, Some(_)) => return Err(CatalogueInUseError::Alone { missing: "catalogue" }),
    };
    let pem = read("catalogue_key", key, MAX_KEY_FILE)?;
    let spki = pem_decode("PUBLIC KEY", &pem).map_err(|source| CatalogueInUseError::Pem {
        path: key.clone(),
        source,
    })?;
    let signer = PublicKey::from_spki(&spki).map_err(|source| CatalogueInUseError::Key {
        path: key.clone(),
        source,
    })?;
    let envelope = read("catalogue", file, MAX_DOCUMENT)?;
    Catalogue::open(&envelope, &[signer]).map_err(|source| CatalogueInUseError::Unusable {
        path: file.clone(),
        source,
    })
}

fn read(key: &'static str, path: &Path, limit: usize) -> Result<String, CatalogueInUseError> {
    File::open(path)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read_text(f, limit))
        .map_err(|source| CatalogueInUseError::Read {
            key,
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::sentence::Sentence;
    use weighbridge::accelerator::PAYLOAD_TYPE;
    use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer, dsse, pem_encode};

    const CARRIED: &str = include_str!("../../src/accelerator/catalogue.csv");

    #[test]
    fn a_configured_catalogue_holds_under_the_configured_key_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let make = || SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let (maker, stranger) = (make(), make());
        let carried = Catalogue::embedded().unwrap();
        let serial = carried.version().serial;
        let newer = CARRIED.replacen(
            &format!("serial {serial} "),
            &format!("serial {} ", serial + 1),
            1,
        );
        let sign = |text: &str, key: &SecretKey| dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &[key]).unwrap();
        std::fs::write(
            path("key.pub"),
            pem_encode("PUBLIC KEY", maker.public_key().spki()),
        )
        .unwrap();
        std::fs::write(path("key"), pem_encode("PRIVATE KEY", maker.pkcs8())).unwrap();
        std::fs::write(path("odd.pub"), pem_encode("PUBLIC KEY", b"no key")).unwrap();
        std::fs::write(path("good"), sign(&newer, &maker)).unwrap();
        std::fs::write(path("strange"), sign(&newer, &stranger)).unwrap();
        std::fs::write(path("changed"), sign(&CARRIED.replace("989.5", "989.50"), &maker)).unwrap();
        std::fs::write(path("wrong"), sign(&newer.replace("15832", "15833"), &maker)).unwrap();
        std::fs::write(path("binary"), [b'{', 0xff]).unwrap();
        std::fs::write(path("huge"), vec![b' '; MAX_DOCUMENT + 1]).unwrap();
        let found = |file: Option<&str>, key: Option<&str>| {
            let settings = Settings {
                catalogue: file.map(path),
                catalogue_key: key.map(path),
                ..Settings::default()
            };
            in_use(&Config::resolve(settings, None).unwrap()).map_err(|e| Sentence(&e).to_string())
        };
        assert_eq!(found(None, None).unwrap().digest(), carried.digest());
        let used = found(Some("good"), Some("key.pub")).unwrap();
        assert_eq!(used.version().serial, serial + 1);
        assert_eq!(used.digest(), weighbridge::crypto::sha256(newer.as_bytes()));
        for (file, key, expected) in [
            (Some("good"), None, "`catalogue_key` is missing"),
            (None, Some("key.pub"), "`catalogue` is missing"),
            (Some("good"), Some("key"), "holds no public key"),
            (Some("good"), Some("odd.pub"), "holds a key that cannot be used"),
            (Some("good"), Some("nowhere"), "of `catalogue_key` cannot be read"),
            (Some("nowhere"), Some("key.pub"), "of `catalogue` cannot be read"),
            (Some("binary"), Some("key.pub"), "of `catalogue` cannot be read"),
            (Some("huge"), Some("key.pub"), "of `catalogue` cannot be read"),
            (
                Some("strange"),
                Some("key.pub"),
                "it is not signed by a key that is trusted",
            ),
            (Some("changed"), Some("key.pub"), "a change needs a new serial"),
            (Some("wrong"), Some("key.pub"), "states a TPP of 15833"),
        ] {
            let said = found(file, key).unwrap_err();
            assert!(
                said.contains(expected) && said.lines().count() == 1,
                "{expected}: {said}"
            );
        }
    }
}
