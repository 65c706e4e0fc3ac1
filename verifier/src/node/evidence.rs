//! What a node's devices have signed, for people and for machines.
//!
//! Decides: which grade the identity of its devices stands at, from the last round that was appraised. The rest is told as the appraisal found it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use weighbridge::appraisal::evidence::{
    AppraisedDevice, AppraisedRound, Check, CheckName, CheckOutcome, LastRound, NodeEvidence, RoundStanding,
};
use weighbridge::appraisal::{Grade, NodeRecord};
use weighbridge::id::Digest;
use weighbridge::report::Attester;
use weighbridge::time::UnixSeconds;

/// The most devices that are named for one check; machines read them all.
const NAMED: usize = 3;

/// The time between the last two rounds that stood good, and how many devices proved themselves in both.
struct Bracket {
    from: UnixSeconds,
    to: UnixSeconds,
    devices: usize,
}

impl Bracket {
    /// `None` where there are no two rounds of one boot.
    fn of(evidence: &NodeEvidence) -> Option<Self> {
        let [.., first, second] = evidence.rounds.as_slice() else {
            return None;
        };
        let one_boot = first.boot == second.boot && first.ended < second.covers_to;
        let (from, to) = (first.ended, second.covers_to);
        let both = second
            .proved
            .iter()
            .filter(|uuid| evidence.bracketed(uuid).contains(&(from, to)));
        one_boot.then(|| Self {
            from,
            to,
            devices: both.count(),
        })
    }
}

/// Identity, firmware and mode of the node's devices are known at this grade; of telemetry it says nothing.
fn grade(round: Option<&AppraisedRound>) -> Grade {
    let all = |r: &&AppraisedRound| !r.devices.is_empty() && r.devices.iter().all(AppraisedDevice::is_proved);
    round
        .filter(all)
        .map_or(Grade::DriverReported, |_| Grade::DeviceSigned)
}

/// For machines.
pub(super) fn described(record: &NodeRecord) -> Result<Value, serde_json::Error> {
    let evidence = &record.evidence;
    let newest = evidence.newest.as_ref();
    let mut appraised = serde_json::to_value(newest)?;
    let listed = appraised.get_mut("devices").and_then(Value::as_array_mut);
    let devices = newest.into_iter().flat_map(|n| &n.devices);
    for (value, device) in listed.into_iter().flatten().zip(devices) {
        if let Some(object) = value.as_object_mut() {
            object.insert("proved".to_owned(), json!(device.is_proved()));
        }
    }
    let bracketed = Bracket::of(evidence);
    Ok(json!({
        "grade": grade(newest),
        "last_round": record.facts.round,
        "appraised": appraised,
        "bracketed": bracketed.map(|b| json!({ "from": b.from, "to": b.to, "devices": b.devices })),
        "rounds": evidence.rounds.len(),
    }))
}

/// For people.
pub(super) fn in_words(record: &NodeRecord, out: &mut dyn Write) -> std::io::Result<()> {
    let newest = record.evidence.newest.as_ref();
    let mut line = |name: &str, value: &str| writeln!(out, "{}", format!("{name:<12} {value}").trim_end());
    match &record.facts.round {
        None => line(
            "last round",
            "none: no report has carried hardware evidence, so its devices are driver-reported",
        )?,
        Some(last) => {
            line(
                "last round",
                &format!("received {} in report {}", last.received, short(&last.report)),
            )?;
            line("", &format!("it {}", last.standing))?;
            line("", &gave(last))?;
            if last.standing == RoundStanding::Good
                && last.signed > 0
                && newest.is_none_or(|n| n.report != last.report && n.received <= last.received)
                && !record.evidence.rounds.iter().any(|r| r.report == last.report)
            {
                line("", "it has not been appraised yet")?;
            }
        }
    }
    let Some(round) = newest else {
        if record.facts.round.is_some() {
            line("proved", "no device, so all are driver-reported")?;
        }
        return Ok(());
    };
    let proved = round.devices.iter().filter(|d| d.is_proved()).count();
    let of = round.devices.len();
    let which = match &record.facts.round {
        Some(last) if last.report == round.report => String::new(),
        _ => format!(" in the round received {}", round.received),
    };
    line(
        "proved",
        &format!("{proved} of {of} devices{which}, appraised as of {}", round.at),
    )?;
    line(
        "",
        match (grade(newest), proved) {
            (Grade::DeviceSigned, _) => "identity, firmware and mode of its devices are device-signed",
            (_, 0) => "its devices are driver-reported",
            _ => "identity, firmware and mode of these are device-signed, the others are driver-reported",
        },
    )?;
    match Bracket::of(&record.evidence) {
        Some(b) => line(
            "bracketed",
            &format!(
                "{} to {}, the time between the last two rounds, for {} of {of} devices",
                b.from, b.to, b.devices
            ),
        )?,
        None => line(
            "bracketed",
            "nothing: that takes two rounds of one boot, one after the other",
        )?,
    }
    for device in &round.devices {
        writeln!(out, " {}", about(device))?;
    }
    for (check, devices) in grouped(round) {
        writeln!(
            out,
            " {}: {}, {devices}: {}",
            check.outcome,
            check.name,
            plain(&check.why)
        )?;
    }
    writeln!(
        out,
        "What passed shows which device and firmware answered. Nothing here shows that telemetry is true, or in which host a device stands."
    )
}

/// How many devices gave evidence, and why the others gave none.
fn gave(last: &LastRound) -> String {
    let mut parts = vec![match last.signed {
        0 => "no device gave evidence".to_owned(),
        n => format!("{n} devices gave evidence"),
    }];
    parts.extend(
        last.none
            .iter()
            .map(|n| format!("{} gave none: {}", n.count, n.why)),
    );
    parts.join("; ")
}

/// One device in one line.
fn about(device: &AppraisedDevice) -> String {
    let said = |what: &str, value: &Option<String>| value.as_ref().map(|v| format!("{what}{}", plain(v)));
    let word = if device.is_proved() {
        "proved"
    } else {
        "not proved"
    };
    let parts = [
        Some(word.to_owned()),
        device.identity.map(|i| format!("identity {}", short(&i))),
        said("", &device.arch),
        said("mode ", &device.mode),
        said("driver ", &device.driver),
        said("VBIOS or BIOS ", &device.vbios),
        device.none.map(|why| why.text().to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}: {}", name(device), parts.join(", "))
}

/// What did not pass, and of which devices: what failed first.
fn grouped(round: &AppraisedRound) -> Vec<(Check, String)> {
    let mut found: BTreeMap<(CheckOutcome, CheckName, &str), Vec<String>> = BTreeMap::new();
    let of = round.devices.iter().filter(|d| d.none.is_none());
    let all = of.clone().count();
    for device in of {
        for check in &device.checks {
            let key = (check.outcome, check.name, check.why.as_str());
            found.entry(key).or_default().push(name(device));
        }
    }
    for check in &round.host {
        let key = (check.outcome, check.name, check.why.as_str());
        found.entry(key).or_default();
    }
    let devices = |names: Vec<String>| match names.len() {
        0 => "host".to_owned(),
        n if n == all && n > 1 => "all devices".to_owned(),
        n if n > NAMED => format!(
            "{} and {} more",
            names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "),
            n.saturating_sub(NAMED)
        ),
        _ => names.join(", "),
    };
    found
        .into_iter()
        .filter(|((outcome, ..), _)| *outcome != CheckOutcome::Pass)
        .map(|((outcome, name, why), names)| {
            let why = why.to_owned();
            (Check { name, outcome, why }, devices(names))
        })
        .collect()
}

fn name(device: &AppraisedDevice) -> String {
    match (device.attester, device.device) {
        (_, Some(uuid)) => uuid.nvml(),
        (Attester::Switch, None) => "switch".to_owned(),
        (Attester::Gpu, None) => "a device without a name".to_owned(),
    }
}

/// Enough of a digest to tell it from others; machines read it whole.
fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

/// A device's word: nothing in it may act on a terminal, or look like a line of ours.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
