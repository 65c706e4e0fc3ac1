//! The catalogue of accelerators in use: the one that this program carries, or a signed one that the configuration names.
//!
//! Decides: which catalogue findings rest on. Trusts the keys that this verifier's administrator trusts to sign catalogues. Does not
//! establish that its figures are right: it names their sources.

use crate::config::Config;
use crate::fleet::{Anchors, AnchorsError};
use crate::recorder::KeyRole;
use std::fs::File;
use std::path::PathBuf;
use weighbridge::accelerator::{Catalogue, CatalogueError};
use weighbridge::bounded::{self, BoundedReadError, MAX_DOCUMENT};

/// Why there is no catalogue to go by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueInUseError {
    /// The one that this build carries is damaged.
    #[error("the catalogue of accelerators that this program carries is damaged; install it again")]
    Carried(#[source] CatalogueError),
    /// The anchors cannot be used.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// The file cannot be read.
    #[error("the catalogue {path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// Nobody may sign one.
    #[error(
        "the catalogue {path} cannot be used, for no key is trusted to sign catalogues yet; `weighbridge-verifier key trust FILE --as NAME --for catalogues` adds one",
        path = path.display()
    )]
    NoSigner {
        /// The file.
        path: PathBuf,
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
pub(crate) fn in_use(config: &Config) -> Result<Catalogue, CatalogueInUseError> {
    let Some(path) = config.catalogue.file() else {
        return Catalogue::embedded().map_err(CatalogueInUseError::Carried);
    };
    let path = path.to_owned();
    let keys = Anchors::read(&config.state_dir)?.keys_for(KeyRole::Catalogues);
    if keys.is_empty() {
        return Err(CatalogueInUseError::NoSigner { path });
    }
    let read = File::open(&path)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read_text(f, MAX_DOCUMENT));
    match read {
        Ok(envelope) => {
            Catalogue::open(&envelope, &keys).map_err(|source| CatalogueInUseError::Unusable { path, source })
        }
        Err(source) => Err(CatalogueInUseError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::with_causes;
    use weighbridge::accelerator::PAYLOAD_TYPE;
    use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer, dsse};
    use weighbridge::licence::RevokedKey;
    use weighbridge::time::UnixSeconds;

    const CARRIED: &str = include_str!("../../src/accelerator/catalogue.csv");

    #[test]
    fn a_catalogue_is_used_that_a_key_trusted_for_catalogues_signed_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        let key = || SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let (maker, supplier) = (key(), key());
        let carried = Catalogue::embedded().unwrap();
        let from = format!("serial {} ", carried.version().serial);
        let newer = CARRIED.replacen(&from, &format!("serial {} ", carried.version().serial + 1), 1);
        let file = state.join("catalogue.dsse");
        let config = |text: &str| Config {
            state_dir: state.to_owned(),
            catalogue: text.parse().unwrap(),
            ..Config::default()
        };
        let named = config(&file.display().to_string());
        let said = |text: &[u8]| {
            std::fs::write(&file, text).unwrap();
            in_use(&named).map_err(|e| with_causes(&e))
        };
        let envelope =
            |text: &str, key: &SecretKey| dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &[key]).unwrap();
        let good = envelope(&newer, &maker);

        assert_eq!(in_use(&config("")).unwrap().digest(), carried.digest());
        let error = said(good.as_bytes()).unwrap_err();
        assert!(
            error.contains("no key is trusted to sign catalogues yet"),
            "{error}"
        );
        // Whose licences are believed may not sign catalogues for that.
        let mut anchors = Anchors::default();
        anchors.trust("supplier", supplier.public_key());
        anchors.write(state).unwrap();
        assert!(
            said(good.as_bytes())
                .unwrap_err()
                .contains("no key is trusted to sign catalogues yet")
        );
        anchors.trust_for(KeyRole::Catalogues, "maker", maker.public_key());
        anchors.write(state).unwrap();

        let used = said(good.as_bytes()).unwrap();
        assert_eq!(used.signers(), [maker.public_key().id()]);
        assert_eq!(used.version().serial, carried.version().serial + 1);
        for (text, expected) in [
            (
                envelope(&newer, &supplier).into_bytes(),
                "not signed by a key that is trusted to sign catalogues",
            ),
            (
                newer.clone().into_bytes(),
                "not signed by a key that is trusted to sign catalogues",
            ),
            (
                envelope(&newer.replace("15832", "15833"), &maker).into_bytes(),
                "states a TPP of 15833",
            ),
            (
                envelope(&CARRIED.replace("989.5", "989.50"), &maker).into_bytes(),
                "a change needs a new serial",
            ),
            (vec![b'{', 0xff], "cannot be read"),
            (vec![b' '; MAX_DOCUMENT + 1], "cannot be read"),
        ] {
            let error = said(&text).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("catalogue.dsse"),
                "{expected}: {error}"
            );
        }
        std::fs::remove_file(&file).unwrap();
        assert!(
            in_use(&named).is_err(),
            "a catalogue that is gone is not passed over"
        );
        std::fs::write(&file, &good).unwrap();
        anchors.revoke(RevokedKey {
            key: maker.public_key().id(),
            name: "maker".to_owned(),
            from: UnixSeconds(0),
            replaced_by: None,
        });
        anchors.write(state).unwrap();
        assert!(in_use(&named).is_err(), "its signer is trusted no longer");
    }
}
