//! The verifier's own keys: the CA that admits nodes, and the key that signs the ledger.
//!
//! Decides: who this verifier is. Its id is SHA-256 of the CA's public key, the value that an enrolment token pins. Trusts the files in
//! its state directory, which no other user can read. The server's certificate is made anew at each start and lives in memory only.

use crate::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::crypto::{self, Algorithm, Entropy, KeyError, PemError, PublicKey, SecretKey, Signer};
use weighbridge::id::{NodeId, VerifierId};
use weighbridge::ledger::LedgerKey;
use zeroize::Zeroizing;

const CA_KEY: &str = "ca.key";
const CA_CERTIFICATE: &str = "ca.pem";
const LEDGER_KEY: &str = "ledger.key";
/// The labels of the two halves of a key, in PEM.
pub(crate) const PRIVATE: &str = "PRIVATE KEY";
pub(crate) const PUBLIC: &str = "PUBLIC KEY";
/// The CA is pinned by its key, so its certificate may live long; a new CA is a new verifier.
const CA_DAYS: i64 = 30 * 365;
/// The server's certificate is renewed when half of this is over.
pub(crate) const SERVER_DAYS: i64 = 90;

/// Why the verifier's keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Nothing was initialised there.
    #[error("{directory} holds no verifier: run `weighbridge-verifier init` first", directory = directory.display())]
    Missing {
        /// The state directory.
        directory: PathBuf,
    },
    /// There is one already.
    #[error("{directory} holds a verifier already; a second `init` would orphan its nodes, so it is refused", directory = directory.display())]
    Exists {
        /// The state directory.
        directory: PathBuf,
    },
    /// The file system does not say whether something was initialised there.
    #[error("{path} cannot be looked for; run this as the user whose directory it is", path = path.display())]
    Hidden {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file holds one half of a key where the other is wanted.
    #[error("{path} holds the {found} half of a key, and the {wanted} half is wanted: give the other file; `key new FILE` puts the private half into FILE and the public half into FILE.pub", path = path.display())]
    OtherHalf {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold what it should; give another file, or restore it from a backup", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is missing.
        #[source]
        source: PemError,
    },
    /// A key is not usable.
    #[error("a key cannot be used")]
    Key(#[from] KeyError),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// The clock is outside the years that a certificate can name.
    #[error("the clock is outside the years that a certificate can name; set it")]
    Time,
}

/// The verifier's keys.
pub struct Identity {
    id: VerifierId,
    ca: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    ledger: SecretKey,
    ledger_key: LedgerKey,
    entropy: Entropy,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity of verifier {}", self.id)
    }
}

impl Identity {
    /// Makes new keys. They are not kept until [`Identity::save`].
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn generate(clock: &dyn Clock, entropy: &Entropy) -> Result<(Self, NewKeys), IdentityError> {
        let ca_key = SecretKey::generate(Algorithm::EcdsaP256, entropy)?;
        let ledger = SecretKey::generate(Algorithm::Ed25519, entropy)?;
        let id = VerifierId(ca_key.public_key().id().0);
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("Weighbridge verifier {}", short(&id)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity(&mut params, clock, CA_DAYS)?;
        let pair = key_pair(&ca_key)?;
        let ca = params.self_signed(&pair)?.der().clone();
        let keys = NewKeys {
            ca: Zeroizing::new(ca_key.pkcs8().to_vec()),
            ledger: Zeroizing::new(ledger.pkcs8().to_vec()),
        };
        Ok((Self::assemble(ca, pair, ledger, entropy)?, keys))
    }

    /// Reads the keys that `init` made.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(directory: &Path, entropy: &Entropy) -> Result<Self, IdentityError> {
        demand(directory)?;
        let ca_key = SecretKey::from_pkcs8(&read_pem(&directory.join(CA_KEY), PRIVATE)?, entropy)?;
        let ledger = SecretKey::from_pkcs8(&read_pem(&directory.join(LEDGER_KEY), PRIVATE)?, entropy)?;
        let ca = read_pem(&directory.join(CA_CERTIFICATE), "CERTIFICATE")?;
        Self::assemble(
            CertificateDer::from(ca.to_vec()),
            key_pair(&ca_key)?,
            ledger,
            entropy,
        )
    }

    fn assemble(
        ca: CertificateDer<'static>,
        pair: KeyPair,
        ledger: SecretKey,
        entropy: &Entropy,
    ) -> Result<Self, IdentityError> {
        let id = VerifierId(crypto::sha256(&rcgen::PublicKeyData::subject_public_key_info(&pair)).0);
        let ledger_key = LedgerKey {
            origin: format!("weighbridge/{}", short(&id)),
            key: ledger.public_key().clone(),
        };
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&ca, pair)?,
            id,
            ca,
            ledger,
            ledger_key,
            entropy: entropy.clone(),
        })
    }

    /// The verifier's id.
    #[must_use]
    pub fn id(&self) -> VerifierId {
        self.id
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// The ledger's name and public key.
    #[must_use]
    pub fn ledger_key(&self) -> &LedgerKey {
        &self.ledger_key
    }

    /// The key that signs checkpoints and refusals.
    #[must_use]
    pub fn ledger_signer(&self) -> &dyn Signer {
        &self.ledger
    }

    /// A secret that only this verifier can compute, for one purpose.
    pub(crate) fn secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let domain = format!("weighbridge/{purpose}/v1\0");
        Zeroizing::new(crypto::hmac_sha256(self.ledger.pkcs8(), domain.as_bytes()).0)
    }

    /// A certificate for a node's report key. Nothing of the node's request but its key goes in.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn certify_node(
        &self,
        node: &NodeId,
        key: &PublicKey,
        days: u32,
        clock: &dyn Clock,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&node.to_string());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(self.serial()?);
        validity(&mut params, clock, i64::from(days))?;
        let subject = rcgen::SubjectPublicKeyInfo::from_der(key.spki())?;
        Ok(params.signed_by(&subject, &self.issuer)?.der().clone())
    }

    /// A new key and certificate for the server, for the hosts that agents may name.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn certify_server(
        &self,
        hosts: &[String],
        clock: &dyn Clock,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), IdentityError> {
        let key = SecretKey::generate(Algorithm::EcdsaP256, &self.entropy)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Weighbridge verifier");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(self.serial()?);
        validity(&mut params, clock, SERVER_DAYS)?;
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into()?),
            });
        }
        let certificate = params.signed_by(&key_pair(&key)?, &self.issuer)?.der().clone();
        Ok((certificate, PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()).into()))
    }

    /// 16 random bytes; the first bit is clear, for a serial number is positive.
    fn serial(&self) -> Result<SerialNumber, KeyError> {
        let mut bytes: [u8; 16] = self.entropy.draw()?;
        if let Some(first) = bytes.first_mut() {
            *first = (*first & 0x7f) | 0x40;
        }
        Ok(SerialNumber::from_slice(&bytes))
    }

    /// Keeps new keys in the state directory. The CA's key is written last: where it is, everything is.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn save(&self, keys: &NewKeys, directory: &Path) -> Result<(), IdentityError> {
        let certificate = crypto::pem_encode("CERTIFICATE", &self.ca);
        write_new(&directory.join(CA_CERTIFICATE), certificate.as_bytes(), 0o644)?;
        let ledger = Zeroizing::new(crypto::pem_encode(PRIVATE, &keys.ledger));
        write_new(&directory.join(LEDGER_KEY), ledger.as_bytes(), 0o600)?;
        let ca = Zeroizing::new(crypto::pem_encode(PRIVATE, &keys.ca));
        write_new(&directory.join(CA_KEY), ca.as_bytes(), 0o600)?;
        File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(|source| IdentityError::Write {
                path: directory.to_owned(),
                source,
            })
    }
}

/// The private keys of a new verifier, on their way to the state directory.
pub struct NewKeys {
    ca: Zeroizing<Vec<u8>>,
    ledger: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKeys(..)")
    }
}

/// Whether the directory holds a verifier.
///
/// # Errors
/// [`IdentityError::Hidden`] where that cannot be told.
pub fn exists(directory: &Path) -> Result<bool, IdentityError> {
    let path = directory.join(CA_KEY);
    path.try_exists()
        .map_err(|source| IdentityError::Hidden { path, source })
}

/// Demands that the directory holds a verifier.
///
/// # Errors
/// [`IdentityError::Missing`], and as [`exists`].
fn demand(directory: &Path) -> Result<(), IdentityError> {
    if exists(directory)? {
        return Ok(());
    }
    Err(IdentityError::Missing {
        directory: directory.to_owned(),
    })
}

/// The host in a URL, without port and brackets.
#[must_use]
pub fn host_of(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then(|| host.to_owned())
}

/// Writes a new file with this mode, to the disk.
///
/// # Errors
/// [`IdentityError::Write`], also where the file exists.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut f| {
            f.write_all(bytes)?;
            f.sync_all()
        })
        .map_err(|source| IdentityError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Writes a file whole or not at all, over one that stands there.
///
/// # Errors
/// What the file system says.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut draft = OsString::from(path);
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    File::create(&draft)
        .and_then(|mut f| {
            f.write_all(bytes)?;
            f.sync_all()
        })
        .and_then(|()| std::fs::rename(&draft, path))
        .and_then(|()| File::open(directory)?.sync_all())
}

/// Reads one PEM block from a file.
///
/// # Errors
/// [`IdentityError`].
pub fn read_pem(path: &Path, label: &str) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let text = File::open(path)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read_text(f, MAX_KEY_FILE))
        .map(Zeroizing::new)
        .map_err(|source| IdentityError::Read {
            path: path.to_owned(),
            source,
        })?;
    let holds = |half| crypto::pem_decode(half, &text).is_ok();
    crypto::pem_decode(label, &text)
        .map(Zeroizing::new)
        .map_err(|source| {
            let path = path.to_owned();
            let (found, wanted) = match label {
                PUBLIC if holds(PRIVATE) => ("private", "public"),
                PRIVATE if holds(PUBLIC) => ("public", "private"),
                _ => return IdentityError::Pem { path, source },
            };
            IdentityError::OtherHalf { path, found, wanted }
        })
}

/// The first 16 digits of an id, for names.
fn short(id: &VerifierId) -> String {
    id.to_string().chars().take(16).collect()
}

fn common_name(name: &str) -> DistinguishedName {
    let mut out = DistinguishedName::new();
    out.push(DnType::CommonName, name);
    out
}

fn key_pair(key: &SecretKey) -> Result<KeyPair, rcgen::Error> {
    KeyPair::try_from(key.pkcs8())
}

/// From an hour ago, because clocks differ, for so many days.
fn validity(params: &mut CertificateParams, clock: &dyn Clock, days: i64) -> Result<(), IdentityError> {
    let now = OffsetDateTime::from_unix_timestamp(clock.now().0).map_err(|_| IdentityError::Time)?;
    params.not_before = now.checked_sub(Duration::HOUR).ok_or(IdentityError::Time)?;
    params.not_after = now.checked_add(Duration::days(days)).ok_or(IdentityError::Time)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found_in_each_of_its_forms() {
        for (url, host) in [
            ("https://weighbridge.example:8443/x", Some("weighbridge.example")),
            ("https://10.0.0.1", Some("10.0.0.1")),
            ("https://[::1]:8443", Some("::1")),
            ("http://weighbridge.example", None),
            ("https://", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }

    #[test]
    fn a_directory_that_may_not_be_looked_into_is_not_said_to_be_empty() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            demand(directory.path()),
            Err(IdentityError::Missing { .. })
        ));
        let closed = directory.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Root may look anywhere; to it, a file in the directory's place is what hides the answer.
        let hidden = if std::fs::read_dir(&closed).is_err() {
            closed
        } else {
            let file = directory.path().join("file");
            std::fs::write(&file, "").unwrap();
            file
        };
        let error = demand(&hidden).unwrap_err();
        let line = crate::cause::with_causes(&error);
        assert!(matches!(error, IdentityError::Hidden { .. }), "{line}");
        assert!(line.contains("ca.key") && line.contains("(os error"), "{line}");
    }

    #[test]
    fn saved_keys_are_private_and_open_as_the_same_verifier() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let entropy = Entropy::system();
        let (made, keys) = Identity::generate(&crate::clock::HostClock, &entropy).unwrap();
        made.save(&keys, directory.path()).unwrap();
        let opened = Identity::open(directory.path(), &entropy).unwrap();
        assert_eq!(opened.id(), made.id());
        assert_eq!(opened.ledger_key(), made.ledger_key());
        for file in [CA_KEY, LEDGER_KEY] {
            let mode = std::fs::metadata(directory.path().join(file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
