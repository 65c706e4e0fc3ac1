//! Configuration: one file, and for each key an environment variable and a flag.
//!
//! Decides: what holds where a key is given more than once: the flag, then the environment, then the file, then the address that `init`
//! kept in the state directory, then the default. A key that is not known is an error that names the nearest one. Nothing here binds a port.

use clap::Args;
use serde::Serialize;
use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::document::{Document, Field, Section, stray_variable};
use zeroize::Zeroizing;

/// Where the configuration is looked for if none is named.
pub const DEFAULT_FILE: &str = "/etc/weighbridge/verifier.toml";

/// What the names of this program's environment variables begin with.
const PREFIX: &str = "WEIGHBRIDGE_VERIFIER_";

/// The environment variable that may hold a token's PIN. There is no flag for it: every user of a machine can read those.
pub(crate) const PIN: &str = "WEIGHBRIDGE_VERIFIER_PKCS11_PIN";

/// The file of the state directory that holds the verifier's address.
pub(crate) const ADDRESS: &str = "address.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// The file has mistakes.
    #[error("the configuration {path} is wrong: {mistakes}", path = path.display())]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// Each with its line, its cause and, where one is near, the right word.
        mistakes: String,
    },
    /// An environment variable is not known.
    #[error("{0}")]
    Variable(String),
}

macro_rules! keys {
    ($( $(#[$doc:meta])* $name:ident : $ty:ty = $default:expr, $env:literal, $value:literal; )*) => {
        /// The configuration that holds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config { $( $(#[$doc])* pub $name: $ty, )* }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $name: $default, )* }
            }
        }

        /// The configuration's keys as flags and environment variables.
        #[derive(Clone, Debug, Default, clap::Args)]
        pub struct Flags {
            /// The configuration file; by default /etc/weighbridge/verifier.toml, if there is one.
            #[arg(long, global = true, env = "WEIGHBRIDGE_VERIFIER_CONFIG", value_name = "FILE", help_heading = "Configuration")]
            pub config: Option<PathBuf>,
            $( $(#[$doc])* #[arg(long, global = true, env = $env, value_name = $value, help_heading = "Configuration")] pub $name: Option<$ty>, )*
        }

        #[derive(Debug, Default)]
        struct InFile { $( $name: Option<$ty>, )* }

        impl InFile {
            fn of(root: &mut Section<'_, '_>) -> Self {
                Self { $( $name: root.optional(stringify!($name), Value::of), )* }
            }
        }

        impl Flags {
            fn over(self, file: InFile, kept: Address) -> Config {
                let built_in = Config::default();
                let default = Config {
                    listen: kept.listen.unwrap_or(built_in.listen),
                    url: kept.url.unwrap_or(built_in.url),
                    ..built_in
                };
                Config { $( $name: self.$name.or(file.$name).unwrap_or(default.$name), )* }
            }
        }
    };
}

keys! {
    /// Where the keys, the ledger and the database are kept.
    state_dir: PathBuf = PathBuf::from("/var/lib/weighbridge/verifier"), "WEIGHBRIDGE_VERIFIER_STATE_DIR", "DIRECTORY";
    /// Address and port that agents connect to, 0.0.0.0:8443 for all interfaces; as given to `init`, else 127.0.0.1:8443.
    listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8443)), "WEIGHBRIDGE_VERIFIER_LISTEN", "ADDRESS";
    /// The verifier's address as agents reach it: it stands in tokens, and its host in the server's certificate;
    /// as given to `init`, else https://127.0.0.1:8443.
    url: String = "https://127.0.0.1:8443".to_owned(), "WEIGHBRIDGE_VERIFIER_URL", "URL";
    /// How long a report waits for others to be made durable with it, in milliseconds (5).
    linger_ms: u64 = 5, "WEIGHBRIDGE_VERIFIER_LINGER_MS", "MS";
    /// The most connections at a time, half of them for certified nodes alone; each idle one takes about 26 kB (20000).
    max_connections: u32 = 20_000, "WEIGHBRIDGE_VERIFIER_MAX_CONNECTIONS", "COUNT";
    /// How long a TLS handshake may take, in seconds (10).
    handshake_timeout_s: u64 = 10, "WEIGHBRIDGE_VERIFIER_HANDSHAKE_TIMEOUT_S", "SECONDS";
    /// How long a request's body may take to arrive, in seconds (60).
    request_timeout_s: u64 = 60, "WEIGHBRIDGE_VERIFIER_REQUEST_TIMEOUT_S", "SECONDS";
    /// How long a connection may stand idle, in seconds (1800: twice the longest report).
    idle_timeout_s: u64 = 1800, "WEIGHBRIDGE_VERIFIER_IDLE_TIMEOUT_S", "SECONDS";
    /// How long a node's certificate is valid, in days (30). Agents renew theirs, also after it expired.
    certificate_days: u32 = 30, "WEIGHBRIDGE_VERIFIER_CERTIFICATE_DAYS", "DAYS";
    /// How far ahead of the verifier's clock a node may date its request for a new certificate, in seconds (86400). One that is dated later is
    /// refused, since after it none with the right time would be taken.
    renewal_ahead_s: u32 = 86_400, "WEIGHBRIDGE_VERIFIER_RENEWAL_AHEAD_S", "SECONDS";
    /// How long the findings of all sites are left alone before they are looked at again, in seconds (300). Each that changed becomes a leaf of
    /// the ledger. An administrator's act and a new licence are looked at within seconds, and so is a report where there are no more than 1,024 nodes.
    findings_period_s: u64 = 300, "WEIGHBRIDGE_VERIFIER_FINDINGS_PERIOD_S", "SECONDS";
    /// A signed catalogue of accelerators that takes the place of the one that this program carries (none), as `statement sign` makes it. It is
    /// read again before each look at the findings. The signer's key needs `key trust --for catalogues`.
    catalogue: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_CATALOGUE", "FILE";
    /// A certificate in PEM whose key takes the place of NVIDIA's root of device chains (none). Results name its file.
    device_root: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_DEVICE_ROOT", "FILE";
    /// A certificate in PEM whose key takes the place of NVIDIA's root of reference manifests (none). Results name its file.
    rim_root: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_RIM_ROOT", "FILE";
    /// Where reference manifests are asked for, such as `https://rim.attestation.nvidia.com` (nowhere). Plain HTTP to a cache of the site
    /// will do, since they are signed.
    rim_url: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_RIM_URL", "URL";
    /// Where OCSP replies are asked for, such as `http://ocsp.ndis.nvidia.com` (nowhere).
    ocsp_url: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_OCSP_URL", "URL";
    /// How many rounds of hardware evidence each node is asked for in a day, on average, at times that it cannot tell in advance (1; 0 asks
    /// for none). A node's own rounds do not count among them.
    round_draws_per_day: u32 = 1, "WEIGHBRIDGE_VERIFIER_ROUND_DRAWS_PER_DAY", "COUNT";
    /// The library that speaks to the token which holds a key that documents are signed with (none), as it came with the token. It runs as a part of
    /// this program. A PKCS#11 URI may name another.
    pkcs11_module: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_PKCS11_MODULE", "FILE";
    /// A file that holds the PIN of that token (none: WEIGHBRIDGE_VERIFIER_PKCS11_PIN in the environment, else whoever sits at the terminal is asked).
    pkcs11_pin_file: Optional = Optional::default(), "WEIGHBRIDGE_VERIFIER_PKCS11_PIN_FILE", "FILE";
    /// Threads that serve requests (1: one carries some 9,000 reports a second).
    threads: u16 = 1, "WEIGHBRIDGE_VERIFIER_THREADS", "COUNT";
    /// What is logged, as a filter of tracing-subscriber (info).
    log: String = "info".to_owned(), "WEIGHBRIDGE_VERIFIER_LOG", "FILTER";
}

/// A text that may be empty, which stands for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optional(String);

impl Optional {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The text as the name of a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        (!self.0.is_empty()).then(|| Path::new(&self.0))
    }
}

impl FromStr for Optional {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// What a key of the file may hold.
trait Value: Sized {
    fn of(field: &Field<'_, '_>) -> Result<Self, String>;
}

impl Value for String {
    fn of(field: &Field<'_, '_>) -> Result<Self, String> {
        field.text()
    }
}

impl Value for Optional {
    fn of(field: &Field<'_, '_>) -> Result<Self, String> {
        field.text_or_empty().map(Self)
    }
}

impl Value for PathBuf {
    fn of(field: &Field<'_, '_>) -> Result<Self, String> {
        field.text().map(Self::from)
    }
}

impl Value for SocketAddr {
    fn of(field: &Field<'_, '_>) -> Result<Self, String> {
        let text = field.text()?;
        text.parse()
            .map_err(|_| format!("is `{text}`, and must be an address and a port such as 0.0.0.0:8443"))
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $( impl Value for $ty {
        fn of(field: &Field<'_, '_>) -> Result<Self, String> {
            let number = field.integer(0..=<$ty>::MAX.into())?;
            <$ty>::try_from(number).map_err(|e| e.to_string())
        }
    } )* };
}

whole_numbers!(u16, u32);

impl Value for u64 {
    fn of(field: &Field<'_, '_>) -> Result<Self, String> {
        field.integer(0..=Self::MAX)
    }
}

impl Config {
    /// Reads the file that the flags name, or the one in `/etc` if it is there, and lays the flags over it and it over the kept address.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let found: Vec<String> = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect();
        let known = variables();
        let known: Vec<&str> = known.iter().map(String::as_str).chain([PIN]).collect();
        if let Some(wrong) = stray_variable(PREFIX, found.iter().map(String::as_str), &known) {
            return Err(ConfigError::Variable(wrong));
        }
        let file = match &flags.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => InFile::default(),
        };
        let directory = flags.state_dir.as_ref().or(file.state_dir.as_ref());
        let kept = Address::read(&directory.cloned().unwrap_or_else(|| Self::default().state_dir))?;
        Ok(flags.over(file, kept))
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("verifier.db")
    }
}

/// Where the verifier is reached, as it was given to `init`. Commands that come later need not be told again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Address {
    url: Option<String>,
    listen: Option<SocketAddr>,
}

impl Address {
    /// The file's text.
    ///
    /// # Errors
    /// The encoder's.
    pub(crate) fn text(config: &Config) -> Result<String, toml::ser::Error> {
        let kept = toml::to_string(&Self {
            url: Some(config.url.clone()),
            listen: Some(config.listen),
        })?;
        Ok(format!(
            "# As given to `weighbridge-verifier init`. The configuration file, the environment and flags win over it.\n\n{kept}"
        ))
    }

    /// Nothing is kept before `init`, nor for a user who may not look.
    fn read(state_dir: &Path) -> Result<Self, ConfigError> {
        let path = state_dir.join(ADDRESS);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = text_of(&path)?;
        parse(&path, &text, |root| Self {
            url: root.optional("url", Value::of),
            listen: root.optional("listen", Value::of),
        })
    }
}

fn read(path: &Path) -> Result<InFile, ConfigError> {
    parse(path, &text_of(path)?, InFile::of)
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    File::open(path)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read_text(f, MAX_KEY_FILE))
        .map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })
}

fn parse<T>(path: &Path, text: &str, of: impl FnOnce(&mut Section<'_, '_>) -> T) -> Result<T, ConfigError> {
    let document = Document::open(text);
    let mut root = document.root();
    let read = of(&mut root);
    root.finish();
    document
        .finish(Some(read))
        .map_err(|found| ConfigError::Mistakes {
            path: path.to_owned(),
            mistakes: found.in_one_line(),
        })
}

/// A token's PIN, where the environment holds one.
pub(crate) fn pin() -> Option<Zeroizing<String>> {
    let (_, pin) = std::env::vars_os().find(|(name, _)| name == PIN)?;
    pin.into_string().ok().map(Zeroizing::new)
}

/// The environment variables of this program.
fn variables() -> Vec<String> {
    let flags = Flags::augment_args(clap::Command::new(""));
    let named = flags.get_arguments().filter_map(|a| a.get_env()?.to_str());
    named.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<InFile, ConfigError> {
        parse(Path::new("v.toml"), text, InFile::of)
    }

    #[test]
    fn every_mistake_is_named_with_its_line_its_cause_and_the_nearest_word() {
        let error = parsed("linger_ms = \"soon\"\nlistn = \"127.0.0.1:1\"\nthreads = 70000").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration v.toml is wrong: line 1: `linger_ms` must be an integer, and is a text; \
             line 2: `listn` is not a key: did you mean `listen`?; \
             line 3: `threads` is 70000, and must be 0 to 65535"
        );
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = || parsed("linger_ms = 7\nthreads = 4").unwrap();
        let flags = Flags {
            threads: Some(2),
            ..Flags::default()
        };
        let config = flags.over(file(), Address::default());
        assert_eq!(
            (config.linger_ms, config.threads, config.certificate_days),
            (7, 2, 30)
        );
    }

    #[test]
    fn the_address_that_init_kept_holds_until_file_or_flag_says_otherwise() {
        let state = tempfile::tempdir().unwrap();
        let load = |url: Option<&str>| {
            Config::load(Flags {
                config: Some(state.path().join("file.toml")),
                state_dir: Some(state.path().to_owned()),
                url: url.map(str::to_owned),
                ..Flags::default()
            })
            .unwrap()
        };
        let file = |text: &str| std::fs::write(state.path().join("file.toml"), text).unwrap();
        file("");
        assert_eq!(load(None).url, Config::default().url);
        let given = Config {
            url: "https://weighbridge.example:8443".to_owned(),
            listen: "0.0.0.0:9443".parse().unwrap(),
            ..Config::default()
        };
        std::fs::write(state.path().join(ADDRESS), Address::text(&given).unwrap()).unwrap();
        assert_eq!((load(None).url, load(None).listen), (given.url, given.listen));
        file("url = \"https://file.example\"");
        assert_eq!(load(None).url, "https://file.example");
        assert_eq!(load(Some("https://flag.example")).url, "https://flag.example");
    }

    #[test]
    fn the_file_that_is_installed_is_valid() {
        let installed = include_str!("../../packaging/verifier.toml");
        parsed(installed).unwrap();
        // Uncommented, every line that shows a default is valid too, and every key is shown.
        let keys: Vec<String> = variables()
            .iter()
            .map(|name| name.strip_prefix(PREFIX).unwrap().to_lowercase())
            .filter(|key| key != "config")
            .collect();
        let shown: Vec<&str> = installed
            .lines()
            .filter_map(|l| l.strip_prefix("# "))
            .filter(|l| keys.iter().any(|k| l.starts_with(&format!("{k} = "))))
            .collect();
        let read = parsed(&shown.join("\n")).unwrap();
        assert_eq!(Flags::default().over(read, Address::default()), Config::default());
        assert_eq!(shown.len(), keys.len());
    }
}
