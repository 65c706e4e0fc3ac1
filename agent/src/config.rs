//! Configuration: one TOML file, an environment variable and a flag for each key. The one place where the environment is read.
//!
//! Decides: what the agent was told, and that a key nobody knows is an error that names the nearest known one. A flag stands
//! above its environment variable, that above the file, the file above the default. Trusts the operator. Does not establish that
//! what is configured is allowed: a library that is configured, for one, is named as such in every report.

use crate::devices::dcgm::{Endpoint, NotHere};
use crate::meters::{self, MeterConfig};
use crate::sampler::{self, EnvironmentError, SamplerOptions, SupervisorOptions};
use crate::spool::Acceptance;
use clap::Args;
use std::fs::File;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::document::{Document, Field, stray_variable};
use weighbridge::telemetry::PowerMeter;

/// Where the file lies where no other is named.
const DEFAULT_FILE: &str = "/etc/weighbridge/agent.toml";
/// What the names of this program's environment variables begin with.
const PREFIX: &str = "WEIGHBRIDGE_AGENT_";
/// The longest time from one round of evidence to the next.
const HOURS_OF_A_YEAR: u32 = 8_760;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read")]
    Read {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoundedReadError,
    },
    /// The file has mistakes.
    #[error("the configuration {path} is wrong: {mistakes}")]
    Mistakes {
        /// It.
        path: PathBuf,
        /// Each with its line, its cause and, where one is near, the right word.
        mistakes: String,
    },
    /// An environment variable is not known.
    #[error("{0}")]
    Variable(String),
    /// The log filter cannot be read.
    #[error("`log` is no filter: {reason}")]
    Log {
        /// Why.
        reason: String,
    },
    /// The host engine is not on this machine.
    #[error("`dcgm` cannot be used: {0}")]
    HostEngine(#[from] NotHere),
    /// A value is outside its bounds.
    #[error("`{key}` is {found}, but must lie within {bounds}")]
    Bounds {
        /// The key.
        key: &'static str,
        /// What stands there.
        found: u64,
        /// What is allowed.
        bounds: &'static str,
    },
}

/// What may be set, by flag, environment variable or file; an empty place means the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Settings {
    /// Where the key, the report chain and what is not yet receipted are kept [default: /var/lib/weighbridge/agent]
    #[arg(long, global = true, value_name = "DIR", env = "WEIGHBRIDGE_AGENT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Path of the NVML library file to load instead of the system's; every report says so [default: the system's]
    #[arg(
        long = "nvml",
        global = true,
        value_name = "FILE",
        env = "WEIGHBRIDGE_AGENT_NVML_PATH"
    )]
    pub nvml_path: Option<PathBuf>,
    /// Where the kernel's device tree is mounted [default: /sys]
    #[arg(long, global = true, value_name = "DIR", env = "WEIGHBRIDGE_AGENT_SYSFS_ROOT")]
    pub sysfs_root: Option<PathBuf>,
    /// A DCGM host engine that runs on this machine, to read the pipes of GPUs before Hopper from: unix:///PATH or 127.0.0.1:PORT [default: none is asked]
    #[arg(long, global = true, value_name = "ADDRESS", env = "WEIGHBRIDGE_AGENT_DCGM")]
    pub dcgm: Option<String>,
    /// Path of DCGM's client library to load instead of the system's; beside the system's own NVML none but the system's is loaded [default: the system's]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WEIGHBRIDGE_AGENT_DCGM_LIBRARY"
    )]
    pub dcgm_library: Option<PathBuf>,
    /// HTTP proxy to reach the verifier through, by CONNECT [default: HTTPS_PROXY of the environment, heeding NO_PROXY]
    #[arg(long, global = true, value_name = "URL", env = "WEIGHBRIDGE_AGENT_PROXY")]
    pub proxy: Option<String>,
    /// Most disk that reports and windows may take, in mebibytes; the oldest receipted go first [default: 1024]
    #[arg(
        long,
        global = true,
        value_name = "MIB",
        env = "WEIGHBRIDGE_AGENT_SPOOL_MAX_MIB"
    )]
    pub spool_max_mib: Option<u64>,
    /// Shortest report that the operator accepts, in seconds (60 to 900) [default: 60]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "WEIGHBRIDGE_AGENT_REPORT_SECONDS_MIN"
    )]
    pub report_seconds_min: Option<u32>,
    /// Longest report that the operator accepts, in seconds (60 to 900) [default: 900]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "WEIGHBRIDGE_AGENT_REPORT_SECONDS_MAX"
    )]
    pub report_seconds_max: Option<u32>,
    /// Whether a verifier may ask for a trial, with reports of 1 to 59 seconds [default: false]
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        env = "WEIGHBRIDGE_AGENT_ALLOW_TRIAL"
    )]
    pub allow_trial: Option<bool>,
    /// Time from burst to burst, in seconds; 0 takes none [default: 600]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "WEIGHBRIDGE_AGENT_BURST_EVERY_SECONDS"
    )]
    pub burst_every_seconds: Option<u32>,
    /// Length of a burst of ten samples a second, in seconds [default: 60]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "WEIGHBRIDGE_AGENT_BURST_SECONDS"
    )]
    pub burst_seconds: Option<u32>,
    /// Time from one round of hardware evidence to the next, in hours, at most 8760; 0 holds one after each start and when the verifier draws one [default: 24]
    #[arg(
        long,
        global = true,
        value_name = "HOURS",
        env = "WEIGHBRIDGE_AGENT_EVIDENCE_PERIOD_H"
    )]
    pub evidence_period_h: Option<u32>,
    /// Signed catalogue of accelerators to go by instead of the one that was built in; needs catalogue_key [default: none]
    #[arg(long, global = true, value_name = "FILE", env = "WEIGHBRIDGE_AGENT_CATALOGUE")]
    pub catalogue: Option<PathBuf>,
    /// Public key, in PEM, of who signs the catalogue [default: none]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WEIGHBRIDGE_AGENT_CATALOGUE_KEY"
    )]
    pub catalogue_key: Option<PathBuf>,
    /// Key under which tenants' names become pseudonyms: 32 random bytes, or 64 hexadecimal digits; the same on all nodes of a site [default: one of this node's own]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WEIGHBRIDGE_AGENT_TENANT_KEY"
    )]
    pub tenant_key: Option<PathBuf>,
    /// Environment variables, by name, that the sampler's process inherits; no other reaches the driver's library [default: none; with an NVML library of your own, all but LD_* and GLIBC_*]
    #[arg(
        long,
        global = true,
        value_name = "NAMES",
        value_delimiter = ',',
        env = "WEIGHBRIDGE_AGENT_SAMPLER_ENVIRONMENT"
    )]
    pub sampler_environment: Option<Vec<String>>,
    /// What is logged to standard error: error, warn, info, debug, or a filter by module [default: info]
    #[arg(long, global = true, value_name = "FILTER", env = "WEIGHBRIDGE_AGENT_LOG")]
    pub log: Option<String>,
    /// Power meters outside the devices. They stand in the file alone: a list of tables has no flag.
    #[arg(skip)]
    pub meters: Option<Vec<MeterConfig>>,
}

impl Settings {
    /// These, and where one is empty that of `below`.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            state_dir: self.state_dir.or(below.state_dir),
            nvml_path: self.nvml_path.or(below.nvml_path),
            sysfs_root: self.sysfs_root.or(below.sysfs_root),
            dcgm: self.dcgm.or(below.dcgm),
            dcgm_library: self.dcgm_library.or(below.dcgm_library),
            proxy: self.proxy.or(below.proxy),
            spool_max_mib: self.spool_max_mib.or(below.spool_max_mib),
            report_seconds_min: self.report_seconds_min.or(below.report_seconds_min),
            report_seconds_max: self.report_seconds_max.or(below.report_seconds_max),
            allow_trial: self.allow_trial.or(below.allow_trial),
            burst_every_seconds: self.burst_every_seconds.or(below.burst_every_seconds),
            burst_seconds: self.burst_seconds.or(below.burst_seconds),
            evidence_period_h: self.evidence_period_h.or(below.evidence_period_h),
            catalogue: self.catalogue.or(below.catalogue),
            catalogue_key: self.catalogue_key.or(below.catalogue_key),
            tenant_key: self.tenant_key.or(below.tenant_key),
            sampler_environment: self.sampler_environment.or(below.sampler_environment),
            log: self.log.or(below.log),
            meters: self.meters.or(below.meters),
        }
    }

    /// Reads a file's text; `path` is for the message.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let document = Document::open(text);
        let mut root = document.root();
        let settings = Self {
            state_dir: root.optional("state_dir", place),
            nvml_path: root.optional("nvml_path", place),
            sysfs_root: root.optional("sysfs_root", place),
            dcgm: root.optional("dcgm", Field::text),
            dcgm_library: root.optional("dcgm_library", place),
            proxy: root.optional("proxy", Field::text),
            spool_max_mib: root.optional("spool_max_mib", |f| f.integer(0..=u64::MAX)),
            report_seconds_min: root.optional("report_seconds_min", seconds),
            report_seconds_max: root.optional("report_seconds_max", seconds),
            allow_trial: root.optional("allow_trial", Field::flag),
            burst_every_seconds: root.optional("burst_every_seconds", seconds),
            burst_seconds: root.optional("burst_seconds", seconds),
            evidence_period_h: root.optional("evidence_period_h", number),
            catalogue: root.optional("catalogue", place),
            catalogue_key: root.optional("catalogue_key", place),
            tenant_key: root.optional("tenant_key", place),
            sampler_environment: root.optional("sampler_environment", |f| f.list(Field::text)),
            log: root.optional("log", Field::text),
            meters: Some(root.tables("meter", meters::read)).filter(|found| !found.is_empty()),
        };
        if settings
            .meters
            .as_ref()
            .is_some_and(|m| m.len() > PowerMeter::MOST)
        {
            let most = PowerMeter::MOST;
            root.mistake_at(
                "meter",
                format!("`meter` stands more than {most} times, and a report lists no more"),
            );
        }
        root.finish();
        document
            .finish(Some(settings))
            .map_err(|found| ConfigError::Mistakes {
                path: path.to_owned(),
                mistakes: found.in_one_line(),
            })
    }
}

fn place(field: &Field<'_, '_>) -> Result<PathBuf, String> {
    field.text().map(PathBuf::from)
}

fn seconds(field: &Field<'_, '_>) -> Result<u32, String> {
    number(field)
}

fn number(field: &Field<'_, '_>) -> Result<u32, String> {
    let count = field.integer(0..=u32::MAX.into())?;
    u32::try_from(count).map_err(|e| e.to_string())
}

/// The environment variables of this program.
fn variables() -> Vec<String> {
    let settings = Settings::augment_args(clap::Command::new(""));
    let named = settings.get_arguments().filter_map(|a| a.get_env()?.to_str());
    named
        .map(str::to_owned)
        .chain([format!("{PREFIX}CONFIG")])
        .collect()
}

impl Config {
    /// How the sampler's process is started.
    ///
    /// # Errors
    /// [`EnvironmentError`] where a variable is configured that must not reach it.
    pub fn supervisor(&self) -> Result<SupervisorOptions, EnvironmentError> {
        let sampler = SamplerOptions {
            nvml: self.nvml_path.as_ref().map(|p| p.to_string_lossy().into_owned()),
            sysfs: self.sysfs_root.to_string_lossy().into_owned(),
            burst_period_s: self.burst_every_seconds,
            burst_length_s: self.burst_seconds,
            dcgm: self.dcgm.as_ref().map(Endpoint::to_string),
            dcgm_library: self
                .dcgm_library
                .as_ref()
                .map(|p| p.to_string_lossy().into_owned()),
            ..SamplerOptions::default()
        };
        // The system's own library gets nothing that could steer it. One that the operator chose gets the operator's environment; every
        // report says that it is not the system's.
        let environment = match (&self.sampler_environment, &self.nvml_path) {
            (Some(names), _) => sampler::allowed_environment(names)?,
            (None, None) => Vec::new(),
            (None, Some(_)) => sampler::inherited_environment(),
        };
        Ok(SupervisorOptions::new(sampler, environment))
    }

    /// What a verifier may ask for.
    #[must_use]
    pub fn acceptance(&self) -> Acceptance {
        Acceptance {
            shortest: self.report_seconds_min,
            longest: self.report_seconds_max,
            trial: self.allow_trial,
        }
    }
}

/// How a proxy is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its URL.
    pub url: String,
    /// Hosts that are reached without it, as in `NO_PROXY`.
    pub except: String,
}

impl Proxy {
    /// What a sentence says of the way through it: its address, without the credentials in it.
    pub(crate) fn said(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let host = rest.rsplit('@').next().unwrap_or_default().trim_end_matches('/');
        let unless = if self.except.is_empty() {
            ""
        } else {
            " (or without it, where NO_PROXY names the verifier)"
        };
        format!(" through the proxy {scheme}://{host}{unless}")
    }
}

/// What the agent goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// State directory.
    pub state_dir: PathBuf,
    /// NVML library, where it is not the system's.
    pub nvml_path: Option<PathBuf>,
    /// Root of sysfs.
    pub sysfs_root: PathBuf,
    /// DCGM host engine to ask, if any.
    pub dcgm: Option<Endpoint>,
    /// DCGM's client library, where it is not the system's.
    pub dcgm_library: Option<PathBuf>,
    /// Proxy.
    pub proxy: Option<Proxy>,
    /// Bound on the spool, in bytes.
    pub spool_max_bytes: u64,
    /// Shortest report accepted, in seconds.
    pub report_seconds_min: u32,
    /// Longest report accepted, in seconds.
    pub report_seconds_max: u32,
    /// Whether a trial is accepted.
    pub allow_trial: bool,
    /// Time from burst to burst, in seconds; 0 for none.
    pub burst_every_seconds: u32,
    /// Length of a burst, in seconds.
    pub burst_seconds: u32,
    /// Time from one round of evidence to the next, in hours; 0 for none but after a start and when one is drawn.
    pub evidence_period_h: u32,
    /// Signed catalogue of accelerators, where it is not the one that was built in.
    pub catalogue: Option<PathBuf>,
    /// Public key of who signs it.
    pub catalogue_key: Option<PathBuf>,
    /// Key under which tenants' names become pseudonyms, where it is not this node's own.
    pub tenant_key: Option<PathBuf>,
    /// Names of the environment variables that the sampler inherits.
    pub sampler_environment: Option<Vec<String>>,
    /// Log filter.
    pub log: String,
    /// Power meters outside the devices.
    pub meters: Vec<MeterConfig>,
}

impl Config {
    /// Reads the file at `named`, or the default one if it is there, lays `flags` over it, and resolves.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(named: Option<&Path>, flags: Settings) -> Result<Self, ConfigError> {
        let found: Vec<String> = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect();
        let known = variables();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        if let Some(wrong) = stray_variable(PREFIX, found.iter().map(String::as_str), &known) {
            return Err(ConfigError::Variable(wrong));
        }
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
        let below = match File::open(path) {
            Ok(file) => {
                let text = bounded::read_text(file, MAX_KEY_FILE).map_err(|source| ConfigError::Read {
                    path: path.to_owned(),
                    source,
                })?;
                Settings::parse(&text, path)?
            }
            Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => Settings::default(),
            Err(e) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source: e.into(),
                });
            }
        };
        Self::resolve(flags.over(below), proxy_of_environment())
    }

    /// Fills in defaults and checks bounds.
    ///
    /// # Errors
    /// [`ConfigError::Bounds`], [`ConfigError::HostEngine`].
    pub fn resolve(settings: Settings, environment: Option<Proxy>) -> Result<Self, ConfigError> {
        let (shortest, longest) = (
            settings.report_seconds_min.unwrap_or(60),
            settings.report_seconds_max.unwrap_or(900),
        );
        for (key, found, bounds, holds) in [
            (
                "report_seconds_max",
                longest,
                "60 and 900",
                (60..=900).contains(&longest),
            ),
            (
                "report_seconds_min",
                shortest,
                "60 and report_seconds_max",
                (60..=longest).contains(&shortest),
            ),
        ] {
            if !holds {
                return Err(ConfigError::Bounds {
                    key,
                    found: found.into(),
                    bounds,
                });
            }
        }
        let mib = settings.spool_max_mib.unwrap_or(1024);
        if !(8..=1_048_576).contains(&mib) {
            return Err(ConfigError::Bounds {
                key: "spool_max_mib",
                found: mib,
                bounds: "8 and 1048576",
            });
        }
        let hours = settings.evidence_period_h.unwrap_or(24);
        if hours > HOURS_OF_A_YEAR {
            return Err(ConfigError::Bounds {
                key: "evidence_period_h",
                found: hours.into(),
                bounds: "0 and 8760",
            });
        }
        let dcgm = settings.dcgm.filter(|address| !address.is_empty());
        let dcgm = dcgm.map(|address| Endpoint::parse(&address)).transpose()?;
        let explicit = settings.proxy.filter(|url| !url.is_empty()).map(|url| Proxy {
            url,
            except: String::new(),
        });
        Ok(Self {
            state_dir: settings
                .state_dir
                .unwrap_or_else(|| "/var/lib/weighbridge/agent".into()),
            nvml_path: settings.nvml_path,
            sysfs_root: settings.sysfs_root.unwrap_or_else(|| "/sys".into()),
            dcgm,
            dcgm_library: settings.dcgm_library,
            proxy: explicit.or(environment),
            spool_max_bytes: mib.saturating_mul(1 << 20),
            report_seconds_min: shortest,
            report_seconds_max: longest,
            allow_trial: settings.allow_trial.unwrap_or(false),
            burst_every_seconds: settings.burst_every_seconds.unwrap_or(600),
            burst_seconds: settings.burst_seconds.unwrap_or(60),
            evidence_period_h: hours,
            catalogue: settings.catalogue,
            catalogue_key: settings.catalogue_key,
            tenant_key: settings.tenant_key,
            sampler_environment: settings.sampler_environment,
            log: settings.log.unwrap_or_else(|| "info".to_owned()),
            meters: settings.meters.unwrap_or_default(),
        })
    }
}

/// The proxy that the environment names, as every other program on the host understands it.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment enters here and nowhere else"
)]
fn proxy_of_environment() -> Option<Proxy> {
    let read = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|v| !v.is_empty())
    };
    Some(Proxy {
        url: read(["HTTPS_PROXY", "https_proxy"])?,
        // A verifier on the same machine is never behind a proxy.
        except: ["localhost,127.0.0.1,::1".to_owned()]
            .into_iter()
            .chain(read(["NO_PROXY", "no_proxy"]))
            .collect::<Vec<_>>()
            .join(","),
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
