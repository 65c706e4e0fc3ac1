//! All devices of one host, each alone and all together.

use super::device::{closing, machine, person};
use super::standard::ResultFormat;
use super::{Requirement, Setting, holds, name, presented_chain, read, read_chain, read_reply, read_rim};
use crate::cause::with_causes;
use crate::command::{CommandError, Format, Outcome};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::appraisal::ear::Together;
use weighbridge::bounded::{BoundedReadError, MAX_BUNDLE};
use weighbridge::hardware::Step;
use weighbridge::hardware::nvidia::consensus::outliers;
use weighbridge::hardware::nvidia::topology::{self, Member};
use weighbridge::hardware::nvidia::{
    Appraisal, Collateral, DeviceChain, EnvelopeError, Evidence, MAX_REPORT, Presented, Report, Rim,
    RimError, appraise,
};
use weighbridge::time::UnixSeconds;
use weighbridge::x509::ocsp::{OcspError, Reply};
use weighbridge::x509::{CertificateError, Links};

/// The most files of one host that are looked at.
const MAX_FILES: usize = 1_024;
/// The most devices of one host; the largest that is built has some hundred.
const MAX_DEVICES: usize = 256;

/// One report with its chain.
struct Device {
    name: String,
    report: Vec<u8>,
    chain: Presented<DeviceChain, CertificateError>,
}

/// What a directory holds.
#[derive(Default)]
struct Found {
    devices: Vec<Device>,
    rims: Vec<Presented<Rim, RimError>>,
    replies: Vec<Presented<Reply, OcspError>>,
    ignored: Vec<String>,
    /// Files that are of a kind that is read, and cannot be.
    broken: Vec<String>,
}

/// Appraises every device in a directory, and the host that they make.
pub(super) fn host(
    dir: &Path,
    setting: &Setting,
    require: &[Requirement],
    format: ResultFormat,
    now: UnixSeconds,
    out: &mut dyn Write,
) -> Outcome {
    let mut links = Links::default();
    let Found {
        devices,
        rims,
        replies,
        mut ignored,
        mut broken,
    } = find(dir, setting, &mut links)?;
    if devices.is_empty() && broken.is_empty() {
        return Err(CommandError::Argument {
            what: "the directory",
            why: "it holds no report (NAME.bin beside NAME.chain.pem, or JSON as nvattest writes it)",
        });
    }
    let (mut good, mut results, mut members) = (true, Vec::new(), Vec::new());
    let mut used = BTreeSet::new();
    for device in &devices {
        let bare = Collateral::default();
        let first = appraise(&device.report, &device.chain, &bare, &setting.terms, &mut links);
        let fitting = Collateral {
            rims: rims.iter().filter(|r| fits(r, &first)).collect(),
            replies: replies.iter().filter(|r| r.content.is_ok()).collect(),
        };
        used.extend(fitting.rims.iter().map(|r| r.digest));
        let appraisal = appraise(
            &device.report,
            &device.chain,
            &fitting,
            &setting.terms,
            &mut links,
        );
        let holds = holds(&appraisal, &fitting, &setting.terms, require);
        good &= holds;
        let known = device
            .chain
            .content
            .as_ref()
            .ok()
            .and_then(|c| {
                let identity = c.verify(&setting.terms.root, setting.terms.at, &mut links).ok()?;
                Some((identity, c.arch()?))
            })
            .filter(|_| appraisal.signature.passed() && appraisal.chain.passed());
        if let (Some((identity, arch)), Ok(report)) = (known, Report::parse(&device.report)) {
            members.push(Member {
                name: device.name.clone(),
                identity,
                arch,
                report,
            });
        }
        results.push((device, appraisal, holds));
    }
    let joined = topology::host(&members);
    good &= joined.steps().iter().all(|(_, s)| !matches!(s, Step::Fail(_)));
    good &= !require.contains(&Requirement::Topology) || joined.topology.passed();
    let cannot = |name: &str, error: &dyn std::error::Error| format!("{name}: {}", with_causes(error));
    broken.extend(
        rims.iter()
            .filter_map(|r| Some(cannot(&r.name, r.content.as_ref().err()?))),
    );
    broken.extend(
        replies
            .iter()
            .filter_map(|r| Some(cannot(&r.name, r.content.as_ref().err()?))),
    );
    let unused = rims
        .iter()
        .filter(|r| r.content.is_ok() && !used.contains(&r.digest));
    ignored.extend(unused.map(|r| r.name.clone()));
    good &= broken.is_empty();
    if let Some(standard) = format.standard() {
        let shown: Vec<_> = results
            .iter()
            .map(|(d, appraisal, _)| (d.name.as_str(), d.report.as_slice(), &d.chain, appraisal))
            .collect();
        let together = Together {
            host: &joined,
            is_whole: broken.is_empty(),
        };
        standard.show(now, &shown, Some(together), out)?;
        return Ok(good);
    }
    let odd = outliers(&members);
    match setting.format {
        Format::Json => {
            let devices = results
                .iter()
                .map(|(device, appraisal, holds)| machine(&device.name, appraisal, *holds, setting))
                .collect::<Result<Vec<Value>, _>>()?;
            let why: BTreeMap<_, _> = joined
                .steps()
                .into_iter()
                .filter_map(|(n, s)| Some((n, s.why()?)))
                .collect();
            let found = json!({
                "devices": devices,
                "host": joined,
                "why": why,
                "outliers": odd,
                "unusable": broken,
                "ignored": ignored,
                "at": setting.terms.at,
                "root": setting.terms.root,
                "root_from": setting.root_from,
                "rim_root": setting.rim_root,
                "rim_root_from": setting.rim_root_from,
                "holds": good,
            });
            writeln!(out, "{found:#}")?;
        }
        Format::Text => {
            for (device, appraisal, _) in &results {
                person(&device.name, appraisal, out)?;
                writeln!(out)?;
            }
            writeln!(
                out,
                "host of {} devices, {} of them authentic",
                devices.len(),
                members.len()
            )?;
            for (step, outcome) in joined.steps() {
                let why = outcome.why().unwrap_or_default();
                writeln!(
                    out,
                    "{}",
                    format!(" {:<12} {step:<13} {why}", outcome.word()).trim_end()
                )?;
            }
            for one in &odd {
                let indices: Vec<_> = one.indices.iter().map(u8::to_string).collect();
                writeln!(
                    out,
                    " {} measures {} otherwise than most of its {} peers: a hint, no proof",
                    one.name,
                    indices.join(", "),
                    one.peers
                )?;
            }
            for why in &broken {
                writeln!(out, " {why}")?;
            }
            if !ignored.is_empty() {
                writeln!(out, " not used: {}", ignored.join(", "))?;
            }
            closing(good, setting, out)?;
        }
    }
    Ok(good)
}

/// Whether a manifest is for what the device says of itself.
fn fits(rim: &Presented<Rim, RimError>, device: &Appraisal) -> bool {
    rim.content.as_ref().is_ok_and(|r| device.part_of(r).is_some())
}

/// Reads what a directory holds. Files of other kinds are named, and so are those that cannot be read; nothing else is made of them.
fn find(dir: &Path, setting: &Setting, links: &mut Links) -> Result<Found, CommandError> {
    let unreadable = |source: std::io::Error| CommandError::Read {
        path: dir.to_owned(),
        source: BoundedReadError::Io(source),
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)
        .map_err(unreadable)?
        .take(MAX_FILES.saturating_add(1))
    {
        paths.push(entry.map_err(unreadable)?.path());
    }
    if paths.len() > MAX_FILES {
        return Err(CommandError::Argument {
            what: "the directory",
            why: "it holds more files than those of one host",
        });
    }
    paths.sort();
    let mut found = Found::default();
    for path in &paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("bin") => found.devices.push(Device {
                name: name(path),
                report: read(path, MAX_REPORT)?,
                chain: read_chain(&path.with_extension("chain.pem"))?,
            }),
            Some("json") => envelope(path, &mut found)?,
            Some("xml") => found.rims.push(read_rim(path, setting, links)?),
            Some("der") => found.replies.push(read_reply(path)?),
            Some("pem") if belongs(path, &paths) => {}
            _ => found.ignored.push(name(path)),
        }
        if found.devices.len() > MAX_DEVICES {
            return Err(CommandError::Argument {
                what: "the directory",
                why: "it holds more reports than those of one host",
            });
        }
    }
    Ok(found)
}

/// Whether a chain's report stands beside it.
fn belongs(path: &Path, all: &[PathBuf]) -> bool {
    let text = path.to_string_lossy();
    let report = text
        .strip_suffix(".chain.pem")
        .map(|stem| PathBuf::from(format!("{stem}.bin")));
    report.is_some_and(|r| all.contains(&r))
}

/// Takes the devices of an envelope; JSON of another kind is not used.
fn envelope(path: &Path, found: &mut Found) -> Result<(), CommandError> {
    let all = match Evidence::read(&read(path, MAX_BUNDLE)?) {
        Ok(all) => all,
        Err(EnvelopeError::Other) => {
            found.ignored.push(name(path));
            return Ok(());
        }
        // A device whose evidence is damaged is not a device less.
        Err(error) => {
            found
                .broken
                .push(format!("{}: {}", name(path), with_causes(&error)));
            return Ok(());
        }
    };
    for (i, evidence) in all.into_iter().enumerate() {
        let label = format!("{}[{i}]", name(path));
        found.devices.push(Device {
            chain: presented_chain(&format!("{label} certificate"), evidence.chain.as_bytes()),
            report: evidence.report,
            name: label,
        });
    }
    Ok(())
}
