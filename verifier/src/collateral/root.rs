//! The roots that devices and manifests are held against: those pinned in this program, or those that the configuration names instead.

use crate::cause::file_name;
use crate::config::Config;
use std::fs::File;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::hardware::nvidia::{DEVICE_ROOT, RIM_ROOT};
use weighbridge::id::Digest;
use weighbridge::x509::Certificate;

/// How a root that was not replaced is called.
const PINNED: &str = "pinned";

/// Why a root cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The file cannot be read.
    #[error("{path}, which should hold a root, cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// It holds something else.
    #[error("{path} is not one P-384 certificate in PEM, and cannot be a root", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
}

/// A root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// SHA-256 of its key.
    pub key: Digest,
    /// The name of the file that took the pinned one's place.
    file: Option<String>,
}

impl Root {
    /// The root in a file, if there is one; else the one that is pinned.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn read(file: Option<&Path>, pinned: Digest) -> Result<Self, RootError> {
        let Some(path) = file else {
            return Ok(Self {
                key: pinned,
                file: None,
            });
        };
        let bytes = File::open(path)
            .map_err(BoundedReadError::from)
            .and_then(|f| bounded::read(f, MAX_KEY_FILE))
            .map_err(|source| RootError::Read {
                path: path.to_owned(),
                source,
            })?;
        let read = Certificate::parse_pem_chain(&String::from_utf8_lossy(&bytes), 1).ok();
        let root = read.and_then(|c| c.into_iter().next());
        Ok(Self {
            key: root
                .ok_or_else(|| RootError::Form {
                    path: path.to_owned(),
                })?
                .key()
                .id(),
            file: Some(file_name(path)),
        })
    }

    /// Whether it is the one that this program carries.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.file.is_none()
    }

    /// `pinned`, or the name of the file that took the pinned one's place.
    #[must_use]
    pub fn from(&self) -> &str {
        self.file.as_deref().unwrap_or(PINNED)
    }
}

/// Both roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Of devices' chains.
    pub device: Root,
    /// Of manifests.
    pub rim: Root,
}

impl Roots {
    /// The roots that the configuration comes to.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn read(config: &Config) -> Result<Self, RootError> {
        Ok(Self {
            device: Root::read(config.device_root.file(), DEVICE_ROOT)?,
            rim: Root::read(config.rim_root.file(), RIM_ROOT)?,
        })
    }

    /// What whoever starts the verifier must know of them: nothing where both are pinned.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        [("devices", &self.device), ("reference manifests", &self.rim)]
            .into_iter()
            .filter(|(_, root)| !root.is_pinned())
            .map(|(of, root)| {
                format!(
                    "{of} are held against the root in {}, whose key is {}, and not against NVIDIA's",
                    root.from(),
                    root.key
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_the_place_of_a_pinned_root_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let issuer = include_str!("../../../src/x509/golden/issuer.pem");
        let path = dir.path().join("issuer.pem");
        std::fs::write(&path, issuer).unwrap();
        let config = Config {
            rim_root: path.to_str().unwrap().parse().unwrap(),
            ..Config::default()
        };
        let roots = Roots::read(&config).unwrap();
        let key = Certificate::parse_pem_chain(issuer, 1).unwrap()[0].key().id();
        assert_eq!((roots.rim.key, roots.rim.from()), (key, "issuer.pem"));
        assert_eq!((roots.device.key, roots.device.is_pinned()), (DEVICE_ROOT, true));
        let [warning] = roots.warnings().try_into().unwrap();
        assert!(
            warning.contains("issuer.pem") && warning.contains(&key.to_string()),
            "{warning}"
        );
        assert!(Roots::read(&Config::default()).unwrap().warnings().is_empty());

        std::fs::write(&path, "no root").unwrap();
        assert!(matches!(Roots::read(&config), Err(RootError::Form { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Roots::read(&config), Err(RootError::Read { .. })));
    }
}
