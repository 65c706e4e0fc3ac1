//! A host as its devices sign it: which GPUs and which switches are joined to each other.
//!
//! Decides: whether the GPUs and switches that were presented are exactly those that name each other, each once, all in answer to one nonce. A
//! device is named by its boot ROM's certificate, and switches and links name it by the end of that certificate's serial number, so no list of
//! references is needed. Trusts only members whose signature and chain hold. Does not establish in which room the host stands.

use super::chain::{Arch, DeviceIdentity};
use super::opaque::Pdi;
use super::spdm::Report;
use crate::hardware::Step;
use std::collections::{BTreeMap, BTreeSet};

/// A device whose report is authentic.
#[derive(Clone, Debug)]
pub struct Member {
    /// How a person calls it.
    pub name: String,
    /// Whose boot ROM.
    pub identity: DeviceIdentity,
    /// Family of its chip, as its chain names it.
    pub arch: Arch,
    /// What it signed.
    pub report: Report,
}

/// What a host's evidence comes to beside that of its members.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// No device was presented twice.
    pub distinct: Step,
    /// All answer the same nonce.
    pub one_nonce: Step,
    /// All GPUs run one driver and are used in one mode.
    pub alike: Step,
    /// GPUs and switches name exactly each other.
    pub topology: Step,
}

impl Host {
    /// The steps by name.
    #[must_use]
    pub fn steps(&self) -> [(&'static str, &Step); 4] {
        [
            ("distinct", &self.distinct),
            ("one_nonce", &self.one_nonce),
            ("alike", &self.alike),
            ("topology", &self.topology),
        ]
    }
}

fn judged(wrong: Vec<String>) -> Step {
    if wrong.is_empty() {
        Step::Pass
    } else {
        Step::Fail(wrong.join("; "))
    }
}

/// Joins the members of one host.
#[must_use]
pub fn host(members: &[Member]) -> Host {
    if members.is_empty() {
        let none = || Step::NotChecked("no device's report is authentic".to_owned());
        return Host {
            distinct: none(),
            one_nonce: none(),
            alike: none(),
            topology: none(),
        };
    }
    Host {
        distinct: distinct(members),
        one_nonce: odd_ones(members.iter(), "answers the nonce", |m| {
            data_encoding::HEXLOWER.encode(&m.report.nonce)
        }),
        alike: odd_ones(gpus(members), "is used as", |m| {
            let said = &m.report.opaque;
            format!(
                "{} under driver {}",
                said.mode(),
                said.driver().unwrap_or("unknown")
            )
        }),
        topology: joined(members),
    }
}

fn gpus(members: &[Member]) -> impl Iterator<Item = &Member> {
    members.iter().filter(|m| !m.report.opaque.is_switch())
}

fn switches(members: &[Member]) -> impl Iterator<Item = &Member> {
    members.iter().filter(|m| m.report.opaque.is_switch())
}

fn distinct(members: &[Member]) -> Step {
    let mut first: BTreeMap<DeviceIdentity, &str> = BTreeMap::new();
    let mut wrong = Vec::new();
    for member in members {
        match first.get(&member.identity) {
            Some(before) => wrong.push(format!("{} is the same device as {before}", member.name)),
            None => {
                first.insert(member.identity, &member.name);
            }
        }
    }
    judged(wrong)
}

/// Names those that differ from what most of them say.
fn odd_ones<'a>(
    members: impl Iterator<Item = &'a Member>,
    verb: &str,
    of: impl Fn(&Member) -> String,
) -> Step {
    let said: Vec<_> = members.map(|m| (m, of(m))).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, value) in &said {
        let count = counts.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    let Some((most, _)) = counts.iter().max_by_key(|(_, n)| **n) else {
        return Step::NotChecked("no GPU is among the devices".to_owned());
    };
    let odd = said.iter().filter(|(_, value)| value != most);
    judged(
        odd.map(|(m, value)| format!("{} {verb} {value}, unlike others: {most}", m.name))
            .collect(),
    )
}

/// What is named on one side and was not presented on the other, and the reverse.
fn joined(members: &[Member]) -> Step {
    let listed: Vec<_> = gpus(members)
        .filter_map(|m| {
            let named = m
                .report
                .opaque
                .links()?
                .into_iter()
                .flatten()
                .collect::<BTreeSet<Pdi>>();
            Some((m, named))
        })
        .collect();
    if members.len() == 1 {
        return Step::NotChecked("one device alone".to_owned());
    }
    if gpus(members).next().is_none() {
        return Step::NotChecked("no GPU is among the devices".to_owned());
    }
    if listed.is_empty() {
        return Step::NotChecked("the GPUs' reports carry no lists of links".to_owned());
    }
    let mut wrong = Vec::new();
    for member in gpus(members) {
        if listed.iter().all(|(m, _)| m.identity != member.identity) {
            wrong.push(format!("{} carries no list of links, as others do", member.name));
        }
        if member.report.opaque.mode() == "ppcie" && member.report.opaque.protected_pcie() != Some(true) {
            wrong.push(format!(
                "{} says that it is used with protected PCIe, and that this is off",
                member.name
            ));
        }
    }
    let named: BTreeSet<Pdi> = listed.iter().flat_map(|(_, n)| n.iter().copied()).collect();
    for (member, own) in &listed {
        let missing: Vec<_> = named.difference(own).map(Pdi::to_string).collect();
        if !missing.is_empty() {
            wrong.push(format!(
                "{} has no link to switch {}, which others have",
                member.name,
                missing.join(", ")
            ));
        }
    }
    if switches(members).next().is_none() {
        return if wrong.is_empty() {
            let named: Vec<_> = named.iter().map(Pdi::to_string).collect();
            Step::NotChecked(match named.as_slice() {
                [] => "the GPUs have no links".to_owned(),
                _ => format!(
                    "the GPUs have links to switch {}, of which none was presented",
                    named.join(", ")
                ),
            })
        } else {
            judged(wrong)
        };
    }
    let present: BTreeSet<Pdi> = switches(members).map(|m| m.identity.pdi).collect();
    wrong.extend(
        named
            .difference(&present)
            .map(|p| format!("switch {p} is missing: GPUs have links to it")),
    );
    let of_gpus: BTreeSet<Pdi> = gpus(members).map(|m| m.identity.pdi).collect();
    for member in switches(members) {
        let own = member.identity.pdi;
        if member.report.opaque.switch() != Some(own) {
            wrong.push(format!(
                "{} calls itself otherwise than its boot ROM's certificate",
                member.name
            ));
        }
        if !named.contains(&own) {
            wrong.push(format!(
                "{} is foreign: no GPU has a link to switch {own}",
                member.name
            ));
        }
        let gpus: BTreeSet<Pdi> = member
            .report
            .opaque
            .gpus()
            .unwrap_or_default()
            .into_iter()
            .collect();
        for missing in gpus.difference(&of_gpus) {
            wrong.push(format!("GPU {missing} is missing: {} names it", member.name));
        }
        for foreign in of_gpus.difference(&gpus) {
            wrong.push(format!(
                "GPU {foreign} is foreign: {} does not name it",
                member.name
            ));
        }
    }
    judged(wrong)
}
