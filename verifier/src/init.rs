//! `init`: makes a verifier: its keys, its database and the first leaf of its ledger. It keeps the address that it was given.

use crate::clock::Clock;
use crate::config::{ADDRESS, Address, Config};
use crate::identity::{self, Identity, IdentityError, write_new};
use crate::recorder::{NewLeaf, RecordError, Writer};
use crate::store::{SqliteStore, Store, StoreError};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use weighbridge::cbor;
use weighbridge::crypto::{self, Entropy, merkle};
use weighbridge::id::VerifierId;
use weighbridge::ledger::LeafKind;
use weighbridge::time::UnixSeconds;

weighbridge::record! {
    /// The body of a ledger's first leaf.
    pub struct Genesis {
        /// The verifier.
        0 => verifier: VerifierId,
        /// The ledger's origin.
        1 => origin: String,
        /// When it was made.
        2 => at: UnixSeconds,
    }
}

/// Why no verifier was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// Its keys could not be made or kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The database could not be made.
    #[error("the verifier's database could not be made")]
    Store(#[from] StoreError),
    /// The first leaf could not be written.
    #[error("the ledger could not be begun")]
    Ledger(#[from] RecordError),
    /// The address cannot be encoded.
    #[error("the verifier's address cannot be kept")]
    Address(#[from] toml::ser::Error),
    /// The state directory cannot be made.
    #[error("{directory} cannot be made", directory = directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A try that was cut short left files.
    #[error("{path} is left from an `init` that was cut short; nothing was signed with it, so remove it and try again", path = path.display())]
    Remains {
        /// One of the files.
        path: PathBuf,
    },
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The verifier's id.
    pub verifier: VerifierId,
    /// The ledger's origin.
    pub origin: String,
}

/// Makes a verifier in the state directory.
///
/// # Errors
/// [`InitError`]; an existing verifier is never overwritten.
pub async fn init(config: &Config, clock: Arc<dyn Clock>) -> Result<Made, InitError> {
    let directory = &config.state_dir;
    if identity::exists(directory)? {
        return Err(IdentityError::Exists {
            directory: directory.clone(),
        }
        .into());
    }
    prepare(directory)?;
    if let Some(path) = ["verifier.db", "ca.pem", "ledger.key", ADDRESS]
        .iter()
        .map(|f| directory.join(f))
        .find(|p| p.exists())
    {
        return Err(InitError::Remains { path });
    }
    let entropy = Entropy::system();
    let (identity, keys) = Identity::generate(&*clock, &entropy)?;
    let (verifier, origin) = (identity.id(), identity.ledger_key().origin.clone());
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::create(&config.database(), &origin, merkle::empty_root()).await?);
    let identity = Arc::new(identity);
    let mut writer = Writer::open(
        store,
        Arc::clone(&identity),
        entropy,
        Arc::clone(&clock),
        Duration::ZERO,
        directory,
        Box::new(|_| {}),
    )
    .await?;
    let at = clock.now();
    let body = cbor::encode(&Genesis {
        verifier,
        origin: origin.clone(),
        at,
    });
    writer
        .append_now(NewLeaf {
            kind: LeafKind::Genesis,
            digest: crypto::sha256(&body),
            node: None,
            place: None,
            continuity: None,
            round: None,
            given: None,
            at,
            body,
        })
        .await?;
    write_new(&directory.join(ADDRESS), Address::text(config)?.as_bytes(), 0o644)?;
    // Last, because where the CA's key is, there is a verifier.
    identity.save(&keys, directory)?;
    Ok(Made { verifier, origin })
}

/// Makes the state directory if need be, for this user alone.
fn prepare(directory: &Path) -> Result<(), InitError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| InitError::Directory {
            directory: directory.to_owned(),
            source,
        })
}
