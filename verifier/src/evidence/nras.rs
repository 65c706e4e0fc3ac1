//! A result of NVIDIA's remote attestation service beside our own appraisal.

use super::{Setting, TermsArguments, name, read, read_chain, read_reply, read_rim};
use crate::command::{CommandError, Format, Outcome};
use crate::config::Config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use weighbridge::bounded::{MAX_BUNDLE, MAX_KEY_FILE};
use weighbridge::crypto::jws::JwkSet;
use weighbridge::hardware::Step;
use weighbridge::hardware::nvidia::nras::{Checked, NrasResult, Outcome as Compared, Row, Vouched, compare};
use weighbridge::hardware::nvidia::{Appraisal, Collateral, DeviceChain, MAX_REPORT, Presented, appraise};
use weighbridge::time::UnixSeconds;
use weighbridge::x509::{CertificateError, Links};

/// What `evidence nras` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct NrasArguments {
    /// The result, as the service answered it.
    result: PathBuf,
    /// The service's keys (JWKS), from where you trust them to be its own; certificates in them are not looked at.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// A report that the result speaks of; may be given often, each with its chain.
    #[arg(long = "report", value_name = "FILE")]
    reports: Vec<PathBuf>,
    /// The certificate chain in PEM of a report, in the order of the reports.
    #[arg(long = "chain", value_name = "FILE")]
    chains: Vec<PathBuf>,
    /// A reference manifest for our own appraisal; may be given often.
    #[arg(long = "rim", value_name = "FILE")]
    rims: Vec<PathBuf>,
    /// An OCSP reply in DER for our own appraisal; may be given often.
    #[arg(long = "ocsp", value_name = "FILE")]
    replies: Vec<PathBuf>,
    /// Time, nonce and roots.
    #[command(flatten)]
    terms: TermsArguments,
}

/// A report of ours.
struct Own {
    name: String,
    chain: Presented<DeviceChain, CertificateError>,
    appraisal: Appraisal,
}

impl Own {
    fn serial(&self) -> Option<&[u8]> {
        let chain = self.chain.content.as_ref().ok()?;
        chain.certificates().first().map(|c| c.serial())
    }
}

/// What is shown of a device.
struct Device<'a> {
    vouched: Vouched,
    own: Option<&'a Own>,
    rows: Vec<Row>,
}

/// Checks a result, and compares it with reports.
pub(super) fn nras(
    arguments: NrasArguments,
    config: &Config,
    now: UnixSeconds,
    out: &mut dyn Write,
) -> Outcome {
    if arguments.reports.len() != arguments.chains.len() {
        return Err(CommandError::Argument {
            what: "--report",
            why: "each report needs its --chain, and each chain its --report",
        });
    }
    let own = appraised(&arguments, config, now)?;
    let NrasArguments {
        result: path,
        jwks,
        terms,
        ..
    } = arguments;
    let setting = Setting::new(terms, None, config, now)?;
    let result = NrasResult::read(&read(&path, MAX_BUNDLE)?).map_err(|source| CommandError::Nras {
        path: path.clone(),
        source,
    })?;
    let keys = match &jwks {
        None => None,
        Some(path) => {
            let keys = JwkSet::parse(&read(path, MAX_KEY_FILE)?);
            Some(keys.map_err(|source| CommandError::Jwks {
                path: path.clone(),
                source,
            })?)
        }
    };
    let checked = result.check(keys.as_ref(), setting.terms.nonce, setting.terms.at);
    let mut left: Vec<&Own> = own.iter().collect();
    let mut devices = Vec::new();
    for vouched in result.devices() {
        let at = left
            .iter()
            .position(|o| o.serial().is_some_and(|s| vouched.is_of(s)));
        let own = at.map(|at| left.remove(at));
        let rows = own.map_or_else(Vec::new, |o| compare(&vouched, &o.appraisal, o.serial()));
        devices.push(Device { vouched, own, rows });
    }
    let good = holds(&checked, &devices, setting.terms.nonce.is_some()) && left.is_empty();
    let strangers: Vec<&str> = left.iter().map(|o| o.name.as_str()).collect();
    let keys_from = jwks.as_deref().map(name);
    match setting.format {
        Format::Json => {
            let why: BTreeMap<_, _> = checked
                .steps()
                .into_iter()
                .filter_map(|(n, s)| Some((n, s.why()?)))
                .collect();
            let mut found = serde_json::to_value(&checked)?;
            let devices = devices.iter().map(machine).collect::<Result<Vec<_>, _>>()?;
            let more = json!({
                "file": name(&path),
                "issuer": result.issuer(),
                "why": why,
                "devices": devices,
                "strangers": strangers,
                "keys_from": keys_from,
                "at": setting.terms.at,
                "root": setting.terms.root,
                "root_from": setting.root_from,
                "rim_root": setting.rim_root,
                "rim_root_from": setting.rim_root_from,
                "holds": good,
            });
            if let (Value::Object(found), Value::Object(more)) = (&mut found, more) {
                found.extend(more);
            }
            writeln!(out, "{found:#}")?;
        }
        Format::Text => {
            let issuer = result.issuer().unwrap_or("nobody who is named");
            writeln!(out, "{}: issued by {issuer}", name(&path))?;
            lines(&checked.steps(), out)?;
            for device in &devices {
                person(device, out)?;
            }
            for stranger in &strangers {
                writeln!(out, "{stranger}: the result does not speak of this device")?;
            }
            writeln!(
                out,
                "at {}, keys {}: {}",
                setting.terms.at,
                keys_from.as_deref().unwrap_or("none"),
                if good {
                    "what had to be checked holds"
                } else {
                    "something failed or differs, or what had to be checked was not"
                }
            )?;
            writeln!(
                out,
                "It shows what the service says. What that rests on, only the evidence itself shows."
            )?;
        }
    }
    Ok(good)
}

/// Appraises the reports, each with the manifests that are for it.
fn appraised(arguments: &NrasArguments, config: &Config, now: UnixSeconds) -> Result<Vec<Own>, CommandError> {
    let setting = Setting::new(arguments.terms.clone(), None, config, now)?;
    let mut links = Links::default();
    let rims = arguments
        .rims
        .iter()
        .map(|path| read_rim(path, &setting, &mut links))
        .collect::<Result<Vec<_>, _>>()?;
    let replies = arguments
        .replies
        .iter()
        .map(|path| read_reply(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut own = Vec::new();
    for (report, chain) in arguments.reports.iter().zip(&arguments.chains) {
        let (bytes, chain) = (read(report, MAX_REPORT)?, read_chain(chain)?);
        let bare = appraise(&bytes, &chain, &Collateral::default(), &setting.terms, &mut links);
        let collateral = Collateral {
            // A manifest that cannot be read counts against every device; one for another device against none.
            rims: rims
                .iter()
                .filter(|r| r.content.as_ref().is_ok_and(|r| bare.part_of(r).is_some()) || r.content.is_err())
                .collect(),
            replies: replies.iter().collect(),
        };
        own.push(Own {
            name: name(report),
            appraisal: appraise(&bytes, &chain, &collateral, &setting.terms, &mut links),
            chain,
        });
    }
    Ok(own)
}

/// Whether a result holds: all of it was checked and passed, the service found each report signed by a device, fresh and as published, and nothing
/// in it failed or differs from what we found.
fn holds(checked: &Checked, devices: &[Device<'_>], nonce_given: bool) -> bool {
    let steps = checked.steps();
    let mut needed = steps.iter().filter(|(n, _)| *n != "nonce" || nonce_given);
    let failed = |step: &Step| matches!(step, Step::Fail(_));
    needed.all(|(_, s)| s.passed())
        && !failed(&checked.nonce)
        && devices.iter().all(|d| {
            let said = &d.vouched;
            let needed = [&said.signature, &said.chain, &said.nonce, &said.measurements];
            needed.iter().all(|s| s.passed())
                && said.steps().iter().all(|(_, s)| !failed(s))
                && d.rows.iter().all(|r| r.outcome != Compared::Differ)
        })
}

fn machine(device: &Device<'_>) -> Result<Value, CommandError> {
    let mut value = serde_json::to_value(&device.vouched)?;
    if let Some(object) = value.as_object_mut() {
        let report = device.own.map(|o| o.appraisal.report);
        object.insert("report".to_owned(), json!(report));
        object.insert(
            "device_id".to_owned(),
            json!(device.own.map(|o| o.appraisal.device_id)),
        );
        object.insert("compared".to_owned(), json!(device.rows));
    }
    Ok(value)
}

fn person(device: &Device<'_>, out: &mut dyn Write) -> Result<(), CommandError> {
    let vouched = &device.vouched;
    let about = [&vouched.product, &vouched.driver, &vouched.vbios];
    let about: Vec<&str> = about.into_iter().flatten().map(String::as_str).collect();
    writeln!(out, "{}: {}", vouched.name, about.join(", "))?;
    lines(&vouched.steps(), out)?;
    let Some(own) = device.own else {
        writeln!(out, " compared with no report of ours")?;
        return Ok(());
    };
    writeln!(out, " compared with our appraisal of {}:", own.name)?;
    for row in &device.rows {
        let none = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        let detail = match row.outcome {
            Compared::Differ => format!("NRAS says {}, we say {}", none(&row.nras), none(&row.ours)),
            _ => String::new(),
        };
        let line = format!(" {:<19} {:<13} {detail}", row.outcome.text(), row.claim);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn lines(steps: &[(&str, &Step)], out: &mut dyn Write) -> Result<(), CommandError> {
    for (step, outcome) in steps {
        let why = outcome.why().unwrap_or_default();
        let line = format!(" {:<12} {step:<13} {why}", outcome.word());
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
