//! What does not fit in a node's last report, for people and for machines.
//!
//! Decides nothing: it reads again what the agent stated. Does not establish that the rest is true.

use crate::fleet::Copy;
use serde_json::{Value, json};
use std::io::Write;
use weighbridge::accounting::Observation;

/// What is to be known with every observation.
const FAILS_NOBODY: &str = "An observation by itself fails nobody.";

/// For machines; null where the report cannot be read.
pub(super) fn described(last: Option<&Copy>) -> Value {
    let Some(Copy::Whole(report)) = last else {
        return Value::Null;
    };
    let devices: Vec<Value> = report
        .accelerators()
        .map(|a| {
            json!({ "index": a.identity.index, "uuid": a.identity.uuid,
                        "inconsistencies": a.delivered.observations })
        })
        .collect();
    let host = &report.claims().submods.host.host;
    json!({ "devices": devices, "inconsistencies_of_host": host.observations })
}

/// For people.
pub(super) fn in_words(last: Option<&Copy>, out: &mut dyn Write) -> std::io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<12} {value}");
    let report = match last {
        None => return Ok(()),
        Some(Copy::Gone) => return line("observed", "not known: the last report is no longer kept"),
        Some(Copy::Damaged) => return line("observed", "not known: the copy of the last report is damaged"),
        Some(Copy::Whole(report)) => report,
    };
    let host = &report.claims().submods.host.host;
    let of_devices = report.accelerators().map(|a| {
        let who = format!("device {} ({})", a.identity.index, a.identity.uuid);
        (who, &a.delivered.observations)
    });
    let all: Vec<(String, &Observation)> = std::iter::once(("host".to_owned(), &host.observations))
        .chain(of_devices)
        .flat_map(|(who, found)| found.iter().map(move |o| (who.clone(), o)))
        .collect();
    if all.is_empty() {
        return line("observed", "nothing that does not fit, in the last report");
    }
    line(
        "observed",
        &format!("does not fit, in the last report. {FAILS_NOBODY}"),
    )?;
    for (who, observation) in all {
        line("", &format!("{who}: {}", sentence(observation)))?;
    }
    Ok(())
}

/// One observation for people.
fn sentence(observation: &Observation) -> String {
    let thousandths = observation.size.div_euclid(1_000);
    let (percent, tenths) = (thousandths.div_euclid(10), thousandths.rem_euclid(10));
    let windows = match observation.windows {
        1 => "1 window".to_owned(),
        n => format!("{n} windows"),
    };
    format!(
        "{}, by {percent}.{tenths} %, in {windows}",
        observation.kind.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::accounting::ObservationKind;

    #[test]
    fn an_observation_is_told_with_its_kind_its_size_and_its_windows() {
        let observation = |size, windows| Observation {
            kind: ObservationKind::MeterAgainstDevices,
            size,
            windows,
        };
        assert_eq!(
            sentence(&observation(254_900, 1)),
            "meter against devices, by 25.4 %, in 1 window"
        );
        assert_eq!(
            sentence(&observation(1_000_000, 3)),
            "meter against devices, by 100.0 %, in 3 windows"
        );
    }
}
