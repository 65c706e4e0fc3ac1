//! `evidence`: appraises what devices sign, from files alone.
//!
//! Decides: what must have been checked for a piece of evidence to hold. A step that failed never holds; what must pass is the default of the verb,
//! what was given to be checked, and what `--require` names. Trusts the pinned roots, or those that the command line names instead; the
//! result says which. It needs no verifier and no network, but for `collateral`, which fills and shows what a verifier keeps.

mod device;
mod host;
mod item;
mod nras;
mod standard;

use crate::cause::file_name as name;
use crate::collateral::{CollateralCommand, MAX_RIM, Root, collateral};
use crate::command::{CommandError, Format, Outcome};
use crate::config::Config;
pub use nras::NrasArguments;
pub use standard::ResultFormat;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::hardware::Step;
use weighbridge::hardware::nvidia::{
    Appraisal, Collateral, DEVICE_ROOT, DeviceChain, MAX_REPORT, Presented, RIM_ROOT, Rim, RimError, Terms,
    appraise,
};
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;
use weighbridge::x509::ocsp::{OcspError, Reply};
use weighbridge::x509::{CertificateError, Links};

/// What about evidence.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum EvidenceCommand {
    /// Appraise one report of a GPU or an NVSwitch.
    ///
    /// Signature and chain must pass, the firmware's identity where the report names one, and whatever is given to check against. A step that was
    /// not checked never counts as passed. The exit status is 0 where this holds, 1 where it does not, and 2 where a file cannot be read or an
    /// argument is wrong.
    Gpu {
        /// The report, as the driver returned it.
        report: PathBuf,
        /// Its certificate chain in PEM, the firmware's certificate first.
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// A reference manifest of its driver, VBIOS or BIOS; may be given often.
        #[arg(long = "rim", value_name = "FILE")]
        rims: Vec<PathBuf>,
        /// An OCSP reply in DER; may be given often.
        #[arg(long = "ocsp", value_name = "FILE")]
        replies: Vec<PathBuf>,
        /// Time, nonce and roots.
        #[command(flatten)]
        terms: TermsArguments<ResultFormat>,
        /// What must have been checked, besides what is given.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
        require: Vec<Requirement>,
    },
    /// Appraise all reports of one host, and whether its devices name each other.
    ///
    /// The directory holds reports as NAME.bin beside NAME.chain.pem, or JSON as nvattest writes it; manifests (*.xml) and OCSP replies (*.der)
    /// in it are used for the devices that they fit. What is damaged is named, and fails the host; what is not used is named too.
    Host {
        /// The directory.
        dir: PathBuf,
        /// Time, nonce and roots.
        #[command(flatten)]
        terms: TermsArguments<ResultFormat>,
        /// What must have been checked for every device, besides what is given.
        #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
        require: Vec<Requirement>,
    },
    /// Check one reference manifest.
    Rim {
        /// The manifest.
        file: PathBuf,
        /// Time and root.
        #[command(flatten)]
        terms: ItemArguments,
    },
    /// Check one certificate chain of a device.
    Chain {
        /// The chain in PEM, the firmware's certificate first.
        file: PathBuf,
        /// Time and root.
        #[command(flatten)]
        terms: ItemArguments,
    },
    /// Check a result of NVIDIA's remote attestation service, and hold it against our own appraisal.
    ///
    /// The result is the JSON that NRAS answers, version 3 of its claims. It holds where it is whole, in time, signed by a key of --jwks, and accepts
    /// the evidence; without --jwks the signature is not checked, and the exit status is 1. With reports, each claim is said to agree, to
    /// differ, or not to be checked on either side; one that differs fails.
    Nras(NrasArguments),
    /// Fill and show what the verifier keeps to appraise devices with: reference manifests and OCSP replies.
    #[command(subcommand)]
    Collateral(CollateralCommand),
}

/// Time, nonce and roots, and in which format the result is shown. The root of manifests is the configuration's.
#[derive(Clone, Debug, clap::Args)]
pub struct TermsArguments<F = Format>
where
    F: clap::ValueEnum + Default + Send + Sync + 'static,
{
    /// The nonce that was given, 64 hexadecimal digits.
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// Time and root.
    #[command(flatten)]
    item: ItemArguments<F>,
}

/// The same for what answers no nonce: a manifest or a chain by itself.
#[derive(Clone, Debug, clap::Args)]
pub struct ItemArguments<F = Format>
where
    F: clap::ValueEnum + Default + Send + Sync + 'static,
{
    /// The time at which everything must hold, in RFC 3339 [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// A certificate in PEM whose key takes the place of the pinned root: of manifests for `rim`, of devices elsewhere. In place of that of
    /// manifests elsewhere stands --rim-root.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    format: F,
}

impl TermsArguments<ResultFormat> {
    /// The format, and the rest as other verbs have it.
    fn split(self) -> (ResultFormat, TermsArguments) {
        let Self {
            nonce,
            item: ItemArguments { at, root, format },
        } = self;
        let item = ItemArguments {
            at,
            root,
            format: format.plain(),
        };
        (format, TermsArguments { nonce, item })
    }
}

impl From<ItemArguments> for TermsArguments {
    fn from(item: ItemArguments) -> Self {
        Self { nonce: None, item }
    }
}

/// A step that must have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Requirement {
    /// The signature.
    Signature,
    /// The chain.
    Chain,
    /// The firmware's identity.
    Fwid,
    /// The nonce.
    Nonce,
    /// Manifests for all parts of the device: driver and VBIOS of a GPU, BIOS of a switch.
    Rim,
    /// The measurements, of all parts of the device.
    Measurements,
    /// That no certificate was revoked.
    Revocation,
    /// Of a host: that its GPUs and switches name exactly each other.
    Topology,
}

/// What the arguments and the configuration come to.
#[derive(Debug)]
struct Setting {
    terms: Terms,
    rim_root: Digest,
    format: Format,
    /// `pinned`, or the file that took the place of the pinned root: of devices, and of manifests.
    root_from: String,
    rim_root_from: String,
}

impl Setting {
    /// `rim_root` is a file of its own for the root of manifests, in place of the configuration's.
    fn new(
        arguments: TermsArguments,
        rim_root: Option<&Path>,
        config: &Config,
        now: UnixSeconds,
    ) -> Result<Self, CommandError> {
        let wrong = |what, why| CommandError::Argument { what, why };
        let nonce = arguments
            .nonce
            .map(|text| Digest::parse(&text).map(|d| d.0))
            .transpose()
            .map_err(|_| wrong("--nonce", "it is not 64 hexadecimal digits"))?;
        let item = arguments.item;
        let at = item
            .at
            .map(|text| UnixSeconds::parse(&text))
            .transpose()
            .map_err(|_| wrong("--at", "it is not a time such as 2026-11-25T21:00:00Z"))?
            .unwrap_or(now);
        let device = item.root.as_deref().or_else(|| config.device_root.file());
        let root = Root::read(device, DEVICE_ROOT)?;
        let rim_root = Root::read(rim_root.or_else(|| config.rim_root.file()), RIM_ROOT)?;
        Ok(Self {
            terms: Terms {
                at,
                nonce,
                root: root.key,
            },
            rim_root: rim_root.key,
            format: item.format,
            root_from: root.from().to_owned(),
            rim_root_from: rim_root.from().to_owned(),
        })
    }
}

/// Carries out the command.
///
/// # Errors
/// [`CommandError`] where a file cannot be read within its bound, or an argument is wrong.
pub(crate) fn evidence(
    command: EvidenceCommand,
    config: &Config,
    now: UnixSeconds,
    out: &mut dyn Write,
) -> Outcome {
    match command {
        EvidenceCommand::Gpu {
            report,
            chain,
            rims,
            replies,
            terms,
            require,
        } => {
            let (format, terms) = terms.split();
            let setting = Setting::new(terms, None, config, now)?;
            if require.contains(&Requirement::Topology) {
                return Err(CommandError::Argument {
                    what: "--require",
                    why: "topology is that of a whole host, see `evidence host`",
                });
            }
            let mut links = Links::default();
            let bytes = read(&report, MAX_REPORT)?;
            let chain = read_chain(&chain)?;
            let rims: Vec<_> = rims
                .iter()
                .map(|path| read_rim(path, &setting, &mut links))
                .collect::<Result<_, _>>()?;
            let replies: Vec<_> = replies
                .iter()
                .map(|path| read_reply(path))
                .collect::<Result<_, _>>()?;
            let collateral = Collateral {
                rims: rims.iter().collect(),
                replies: replies.iter().collect(),
            };
            let appraisal = appraise(&bytes, &chain, &collateral, &setting.terms, &mut links);
            let good = holds(&appraisal, &collateral, &setting.terms, &require);
            let name = name(&report);
            match format.standard() {
                None => device::show(&name, &appraisal, good, &setting, out)?,
                Some(standard) => {
                    let shown = (name.as_str(), bytes.as_slice(), &chain, &appraisal);
                    standard.show(now, &[shown], None, out)?;
                }
            }
            Ok(good)
        }
        EvidenceCommand::Host { dir, terms, require } => {
            let (format, terms) = terms.split();
            let setting = Setting::new(terms, None, config, now)?;
            host::host(&dir, &setting, &require, format, now, out)
        }
        EvidenceCommand::Rim { file, mut terms } => {
            let root = terms.root.take();
            item::rim(
                &name(&file),
                &read(&file, MAX_RIM)?,
                &Setting::new(terms.into(), root.as_deref(), config, now)?,
                out,
            )
        }
        EvidenceCommand::Chain { file, terms } => {
            let setting = Setting::new(terms.into(), None, config, now)?;
            item::chain(&read_chain(&file)?, &setting, out)
        }
        EvidenceCommand::Nras(arguments) => nras::nras(arguments, config, now, out),
        EvidenceCommand::Collateral(command) => collateral(command, config, now, out),
    }
}

/// Whether evidence holds: nothing failed, and what had to be checked passed.
///
/// Signature and chain must pass, and the firmware's identity where the report names one; what was given on the command line, too; and
/// what is required by name, manifests then for every part of the device.
fn holds(appraisal: &Appraisal, collateral: &Collateral<'_>, terms: &Terms, require: &[Requirement]) -> bool {
    let manifests = !collateral.rims.is_empty();
    let failed = appraisal.steps().iter().any(|(_, s)| matches!(s, Step::Fail(_)));
    let passed = |required: bool, step: &Step| !required || step.passed();
    let named = |requirement| require.contains(&requirement);
    let whole = named(Requirement::Rim) || named(Requirement::Measurements);
    !failed
        && appraisal.signature.passed()
        && appraisal.chain.passed()
        && passed(named(Requirement::Fwid), &appraisal.fwid)
        && passed(
            named(Requirement::Nonce) || terms.nonce.is_some(),
            &appraisal.nonce,
        )
        && passed(named(Requirement::Rim) || manifests, &appraisal.rim)
        && passed(
            named(Requirement::Measurements) || manifests,
            &appraisal.measurements,
        )
        && passed(
            named(Requirement::Revocation) || !collateral.replies.is_empty(),
            &appraisal.revocation,
        )
        && (!whole || appraisal.compared_whole())
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, CommandError> {
    File::open(path)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read(f, most))
        .map_err(|source| CommandError::Read {
            path: path.to_owned(),
            source,
        })
}

fn read_rim(
    path: &Path,
    setting: &Setting,
    links: &mut Links,
) -> Result<Presented<Rim, RimError>, CommandError> {
    let read = |b: &[u8]| Rim::verify(b, &setting.rim_root, links);
    Ok(Presented::read(&name(path), &self::read(path, MAX_RIM)?, read))
}

fn read_reply(path: &Path) -> Result<Presented<Reply, OcspError>, CommandError> {
    Ok(Presented::read(
        &name(path),
        &read(path, MAX_KEY_FILE)?,
        Reply::parse,
    ))
}

fn read_chain(path: &Path) -> Result<Presented<DeviceChain, CertificateError>, CommandError> {
    Ok(presented_chain(&name(path), &read(path, MAX_KEY_FILE)?))
}

fn presented_chain(name: &str, bytes: &[u8]) -> Presented<DeviceChain, CertificateError> {
    Presented::read(name, bytes, |b| DeviceChain::parse(&String::from_utf8_lossy(b)))
}
