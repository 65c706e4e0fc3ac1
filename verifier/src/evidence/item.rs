//! One manifest, and one chain, by themselves.

use super::Setting;
use crate::cause::with_causes;
use crate::command::{Format, Outcome};
use serde_json::json;
use std::io::Write;
use weighbridge::crypto::sha256;
use weighbridge::hardware::nvidia::{DeviceChain, Presented, Rim, RimError};
use weighbridge::x509::{CertificateError, Links};

/// Checks a manifest: digest, signature, chain, and whether its signers held at the time.
pub(super) fn rim(name: &str, bytes: &[u8], setting: &Setting, out: &mut dyn Write) -> Outcome {
    let verified = Rim::verify(bytes, &setting.rim_root, &mut Links::default());
    let at = setting.terms.at;
    let why = match &verified {
        Err(error) => Some(with_causes(error)),
        Ok(rim) => rim.holds_at(at).err().map(|e| format!("authentic, but {e}")),
    };
    let good = why.is_none();
    let word = if good { "pass" } else { "fail" };
    let (signature, chain) = match &verified {
        Ok(_) if good => ("pass", "pass"),
        Ok(_) | Err(RimError::Path(_)) => ("pass", "fail"),
        Err(_) => ("fail", "not checked"),
    };
    let rim = verified.as_ref().ok();
    match setting.format {
        Format::Json => {
            let signers = rim.map(|r| {
                r.signers()
                    .iter()
                    .map(|c| c.common_name().to_owned())
                    .collect::<Vec<_>>()
            });
            let found = json!({
                "file": name,
                "sha256": sha256(bytes),
                "rim": word,
                "signature": signature,
                "chain": chain,
                "product": rim.map(Rim::product),
                "version": rim.map(Rim::version),
                "demands": rim.map(|r| r.measurements().len()),
                "signers": signers,
                "why": why,
                "root": setting.rim_root,
                "root_from": setting.rim_root_from,
                "at": at,
                "holds": good,
            });
            writeln!(out, "{found:#}")?;
        }
        Format::Text => {
            if let Some(rim) = rim {
                let demands = rim.measurements().len();
                writeln!(
                    out,
                    "{name}: {} {}, {demands} measurements demanded",
                    rim.product(),
                    rim.version()
                )?;
            }
            let line = format!(
                "{word}  {} at {at}",
                why.unwrap_or_else(|| "authentic, its signers held".to_owned())
            );
            writeln!(out, "{line}")?;
            writeln!(out, "root {} ({})", setting.rim_root, setting.rim_root_from)?;
        }
    }
    Ok(good)
}

/// Checks a device's chain.
pub(super) fn chain(
    presented: &Presented<DeviceChain, CertificateError>,
    setting: &Setting,
    out: &mut dyn Write,
) -> Outcome {
    let mut links = Links::default();
    let chain = presented.content.as_ref().ok();
    let verified = presented
        .content
        .as_ref()
        .map_err(|e| with_causes(e))
        .and_then(|c| {
            c.verify(&setting.terms.root, setting.terms.at, &mut links)
                .map_err(|e| with_causes(&e))
        });
    let good = verified.is_ok();
    let word = if good { "pass" } else { "fail" };
    let device = verified.as_ref().ok();
    let names: Vec<_> = chain.map_or_else(Vec::new, |c| {
        c.certificates()
            .iter()
            .map(|c| c.common_name().to_owned())
            .collect()
    });
    match setting.format {
        Format::Json => {
            let found = json!({
                "file": presented.name,
                "sha256": presented.digest,
                "chain": word,
                "arch": chain.and_then(DeviceChain::arch),
                "device_id": device.map(|d| d.key),
                "pdi": device.map(|d| d.pdi),
                "certificates": names,
                "why": verified.as_ref().err(),
                "root": setting.terms.root,
                "root_from": setting.root_from,
                "at": setting.terms.at,
                "holds": good,
            });
            writeln!(out, "{found:#}")?;
        }
        Format::Text => {
            for name in &names {
                writeln!(out, "  {name}")?;
            }
            match &verified {
                Ok(d) => writeln!(
                    out,
                    "pass  device {}, which switches and driver call {}",
                    d.key, d.pdi
                )?,
                Err(why) => writeln!(out, "fail  {why}")?,
            }
            writeln!(
                out,
                "at {}, root {} ({})",
                setting.terms.at, setting.terms.root, setting.root_from
            )?;
        }
    }
    Ok(good)
}
