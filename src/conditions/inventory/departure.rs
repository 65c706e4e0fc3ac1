//! Departures: devices that left the manifest, and what is on record of them.
//!
//! Decides: what became of a device that an older serial listed, by what its operator and the supplier or an assessor say. Trusts that the serials on
//! file are what the verifier was given: of one that never came nothing is known.

use super::super::case::Case;
use super::super::finding::Outcome;
use super::absence::{Absence, Absences};
use crate::id::{DeviceUuid, Digest};
use crate::licence::{FormerDevice, Licence, LicensedDevice};
use crate::statement::Role;
use crate::time::UnixSeconds;
use std::collections::BTreeMap;

/// Devices that older serials of this licence listed for this site.
pub(in crate::conditions) fn former<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a FormerDevice> {
    let (id, site) = (&case.licence.licence_id, &case.facts.site);
    let all = case.facts.former.iter();
    all.filter(move |f| f.licence == *id && f.site == **site)
}

/// What became of a device that left the manifest.
pub(in crate::conditions) struct Departure {
    pub(in crate::conditions) outcome: Outcome,
    /// What follows the device's name in a sentence.
    pub(in crate::conditions) words: String,
    pub(in crate::conditions) evidence: Vec<Digest>,
}

/// When and as what a device was seen here last, at any time.
#[derive(Clone, Copy)]
struct LastSeen {
    uuid: DeviceUuid,
    last: UnixSeconds,
    report: Digest,
}

/// Devices by UUID and by serial number.
struct Index<'a, T> {
    by_uuid: BTreeMap<DeviceUuid, T>,
    by_serial: BTreeMap<&'a str, T>,
}

impl<T> Index<'_, T> {
    /// The device of a row: by its UUID, or without one by its serial number.
    fn of(&self, row: &LicensedDevice) -> Option<&T> {
        match row.uuid {
            Some(uuid) => self.by_uuid.get(&uuid),
            None => self.by_serial.get(row.serial.as_deref()?),
        }
    }
}

/// What is known of devices whether or not the manifest lists them.
pub(in crate::conditions) struct Known<'a> {
    seen: Index<'a, LastSeen>,
    /// Rows of other licences that hold now, for any site.
    beside: Index<'a, &'a Licence>,
}

impl<'a> Known<'a> {
    pub(in crate::conditions) fn of(case: &Case<'a>) -> Self {
        let mut devices: Vec<_> = case.nodes().flat_map(|n| &n.record.facts.devices).collect();
        // The last sighting is the one that stays.
        devices.sort_by_key(|d| d.last_seen);
        let seen = || {
            let sightings = devices.iter().filter_map(|d| {
                let seen = LastSeen {
                    uuid: d.identity.uuid,
                    last: d.last_seen?,
                    report: d.last_report,
                };
                Some((*d, seen))
            });
            sightings.collect::<Vec<_>>().into_iter()
        };
        let others = case.facts.licences.iter().map(|l| &**l);
        let holding = others.filter(|l| l.licence_id != case.licence.licence_id && l.valid.holds(case.now));
        let rows: Vec<_> = holding
            .flat_map(|l| l.devices.iter().map(move |d| (d, l)))
            .collect();
        Self {
            seen: Index {
                by_uuid: seen().map(|(d, s)| (d.identity.uuid, s)).collect(),
                by_serial: seen()
                    .filter_map(|(d, s)| Some((d.identity.serial.as_deref()?, s)))
                    .collect(),
            },
            beside: Index {
                by_uuid: rows.iter().filter_map(|(d, l)| Some((d.uuid?, *l))).collect(),
                by_serial: rows
                    .iter()
                    .filter_map(|(d, l)| Some((d.serial.as_deref()?, *l)))
                    .collect(),
            },
        }
    }

    /// Another licence that lists a device now.
    pub(in crate::conditions) fn beside(&self, row: &LicensedDevice) -> Option<&'a Licence> {
        self.beside.of(row).copied()
    }

    /// The records by which a device is gone now and that it does not refute: one that came back left no record of leaving.
    pub(in crate::conditions) fn records<'s>(
        &self,
        absences: &'s Absences,
        row: &LicensedDevice,
        now: UnixSeconds,
    ) -> impl Iterator<Item = &'s Absence> + use<'s> {
        let seen = self.seen.of(row);
        let uuid = row.uuid.or_else(|| seen.map(|s| s.uuid));
        let own: Vec<&Absence> = absences.standing(uuid.as_ref(), seen.map(|s| s.last)).collect();
        own.into_iter().filter(move |a| a.is_gone(now))
    }

    /// What became of a device that left the manifest.
    pub(in crate::conditions) fn departure(
        &self,
        absences: &Absences,
        device: &FormerDevice,
        now: UnixSeconds,
    ) -> Departure {
        let seen = self.seen.of(&device.row);
        if let Some(other) = self.beside(&device.row) {
            return Departure {
                outcome: Outcome::Met,
                words: format!("is listed by licence {} now", other.licence_id),
                evidence: vec![other.digest],
            };
        }
        let records: Vec<&Absence> = self.records(absences, &device.row, now).collect();
        let by_both = |a: &&&Absence| a.roles.contains(&Role::Operator) && a.is_confirmed();
        let listed = format!("was listed by serial {}", device.serial);
        let (outcome, words) = if let Some(record) = records.iter().find(by_both) {
            (Outcome::Met, record.words.clone())
        } else if let Some(record) = records.first() {
            let (who, other) = match record.is_confirmed() {
                true => ("no operator", "the operator's word"),
                false => ("only its operator", "the supplier's or an assessor's signature"),
            };
            let words = format!(
                "{}, and {who} says so; {other} beside it would settle it",
                record.words
            );
            (Outcome::CannotTell, words)
        } else if let Some(seen) = seen {
            let words = format!(
                "{listed} and seen here until {}, and no disposal, return, loss or transfer of it is heard",
                seen.last
            );
            (Outcome::NotMet, words)
        } else {
            let words = format!(
                "{listed} and never seen here; a record of its disposal, return, loss or transfer would settle it"
            );
            (Outcome::CannotTell, words)
        };
        let report = seen.map(|s| s.report);
        Departure {
            outcome,
            words,
            evidence: report
                .into_iter()
                .chain(records.iter().map(|a| a.digest))
                .collect(),
        }
    }
}
