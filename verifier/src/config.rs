//! Configuration: one file, and for each key an environment variable and a flag.
//!
//! Decides: what holds where a key is given more than once: the flag, then the environment, then the file, then the address that `init`
//! kept in the state directory, then the default. A key that is not known is an error that names the nearest one. Nothing here binds a port.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};

/// Where the configuration is looked for if none is named.
pub const DEFAULT_FILE: &str = "/etc/weighbridge/verifier.toml";

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
    /// The file is not TOML, or a value is of the wrong type.
    #[error("the configuration {path} is not valid", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key is not known.
    #[error("the configuration {path} has a key `{key}` that is not known: did you mean `{nearest}`?", path = path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key found.
        key: String,
        /// The known key that is spelt most like it.
        nearest: &'static str,
    },
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

        #[derive(Debug, Default, Deserialize)]
        struct InFile { $( $name: Option<$ty>, )* }

        /// Every key of the file.
        const KEYS: &[&str] = &[$(stringify!($name)),*];

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
    /// The most connections at a time; each idle one takes about 26 kB (20000).
    max_connections: u32 = 20_000, "WEIGHBRIDGE_VERIFIER_MAX_CONNECTIONS", "COUNT";
    /// How long a TLS handshake may take, in seconds (10).
    handshake_timeout_s: u64 = 10, "WEIGHBRIDGE_VERIFIER_HANDSHAKE_TIMEOUT_S", "SECONDS";
    /// How long a request's body may take to arrive, in seconds (60).
    request_timeout_s: u64 = 60, "WEIGHBRIDGE_VERIFIER_REQUEST_TIMEOUT_S", "SECONDS";
    /// How long a connection may stand idle, in seconds (1800: twice the longest report).
    idle_timeout_s: u64 = 1800, "WEIGHBRIDGE_VERIFIER_IDLE_TIMEOUT_S", "SECONDS";
    /// How long a node's certificate is valid, in days (30). Agents renew theirs, also after it expired.
    certificate_days: u32 = 30, "WEIGHBRIDGE_VERIFIER_CERTIFICATE_DAYS", "DAYS";
    /// Threads that serve requests (1: one carries some 9,000 reports a second).
    threads: u16 = 1, "WEIGHBRIDGE_VERIFIER_THREADS", "COUNT";
    /// What is logged, as a filter of tracing-subscriber (info).
    log: String = "info".to_owned(), "WEIGHBRIDGE_VERIFIER_LOG", "FILTER";
}

impl Config {
    /// Reads the file that the flags name, or the one in `/etc` if it is there, and lays the flags over it and it over the kept address.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
        toml::from_str(&text_of(&path)?).map_err(|source| ConfigError::Form {
            path,
            source: Box::new(source),
        })
    }
}

fn read(path: &Path) -> Result<InFile, ConfigError> {
    parse(path, &text_of(path)?)
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

fn parse(path: &Path, text: &str) -> Result<InFile, ConfigError> {
    let form = |source| ConfigError::Form {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let table: toml::Table = toml::from_str(text).map_err(form)?;
    if let Some(key) = table.keys().find(|k| !KEYS.contains(&k.as_str())) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            key: key.chars().take(60).collect(),
            nearest: nearest(key),
        });
    }
    // From the text again, so that an error names its line.
    toml::from_str(text).map_err(form)
}

/// The known key that is the fewest edits away.
fn nearest(key: &str) -> &'static str {
    let short: String = key.chars().take(60).collect();
    KEYS.iter()
        .min_by_key(|known| edits(&short, known))
        .copied()
        .unwrap_or_default()
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (cb, above) in b.chars().zip(row.iter().skip(1)) {
            let replace = diagonal.saturating_add(usize::from(ca != cb));
            left = replace.min(left.saturating_add(1)).min(above.saturating_add(1));
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_names_the_nearest_one() {
        let error = parse(Path::new("v.toml"), "listn = \"127.0.0.1:1\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration v.toml has a key `listn` that is not known: did you mean `listen`?"
        );
        assert_eq!(nearest("lingerms"), "linger_ms");
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = || parse(Path::new("v.toml"), "linger_ms = 7\nthreads = 4").unwrap();
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
    fn a_value_of_the_wrong_type_is_an_error() {
        assert!(matches!(
            parse(Path::new("v.toml"), "linger_ms = \"soon\""),
            Err(ConfigError::Form { .. })
        ));
    }

    #[test]
    fn the_file_that_is_installed_is_valid() {
        let installed = include_str!("../../packaging/verifier.toml");
        parse(Path::new("verifier.toml"), installed).unwrap();
        // Uncommented, every line that shows a default is valid too, and every key is shown.
        let shown: Vec<&str> = installed
            .lines()
            .filter_map(|l| l.strip_prefix("# "))
            .filter(|l| KEYS.iter().any(|k| l.starts_with(&format!("{k} = "))))
            .collect();
        assert_eq!(
            Flags::default().over(
                parse(Path::new("verifier.toml"), &shown.join("\n")).unwrap(),
                Address::default()
            ),
            Config::default()
        );
        assert_eq!(shown.len(), KEYS.len());
    }
}
