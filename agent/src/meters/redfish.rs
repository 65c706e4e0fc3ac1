//! Watts in a Redfish resource.
//!
//! Decides: in which resources, and where in them, a reading of power is looked for (DMTF DSP2046: Power,
//! EnvironmentMetrics, Outlet and Sensor). Anything else is an error that names what was found: a number that means something
//! else would be worse than none.

use serde_json::Value;

/// The most that one meter is believed to read, in watts: a rack of the largest kind takes a fifth of it.
const MOST_WATTS: f64 = 1_000_000.0;
/// The longest part of an answer that a message repeats.
const MAX_SHOWN: usize = 64;

/// Why an answer holds no reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// It is no JSON.
    #[error("its answer is no JSON")]
    NotJson,
    /// It is another resource.
    #[error(
        "its answer is {found}; a power reading stands in a Chassis' Power or EnvironmentMetrics, in an Outlet or in a Sensor of power"
    )]
    Other {
        /// What it is, in words.
        found: String,
    },
    /// The place is there and holds nothing.
    #[error("`{place}` holds no reading now")]
    Empty {
        /// Where a reading would stand.
        place: &'static str,
    },
    /// The number is no power.
    #[error("`{place}` is {found}, which is no power in watts")]
    Number {
        /// Where it stands.
        place: &'static str,
        /// What stands there.
        found: String,
    },
}

/// The power that an answer states, in milliwatts.
///
/// # Errors
/// [`ShapeError`]; the answer comes from the network.
pub fn milliwatts(answer: &[u8]) -> Result<u64, ShapeError> {
    let resource: Value = serde_json::from_slice(answer).map_err(|_| ShapeError::NotJson)?;
    if let Some(control) = resource.get("PowerControl") {
        let first = control.get(0).and_then(|c| c.get("PowerConsumedWatts"));
        return number("PowerControl[0].PowerConsumedWatts", first);
    }
    if let Some(watts) = resource.get("PowerWatts").filter(|w| w.is_object()) {
        return number("PowerWatts.Reading", watts.get("Reading"));
    }
    if let Some(reading) = resource.get("Reading") {
        let of = |key| resource.get(key).and_then(Value::as_str);
        // A sensor says what it reads; one of temperature has a plain number, too.
        let power = of("ReadingType").is_none_or(|kind| kind == "Power");
        let watts = of("ReadingUnits").is_none_or(|units| units == "W");
        if power && watts {
            return number("Reading", Some(reading));
        }
        let (kind, units) = (
            of("ReadingType").unwrap_or("?"),
            of("ReadingUnits").unwrap_or("?"),
        );
        return Err(ShapeError::Other {
            found: format!("a Sensor of {} in {}", shown(kind), shown(units)),
        });
    }
    Err(ShapeError::Other {
        found: named(&resource),
    })
}

#[expect(
    clippy::as_conversions,
    reason = "the value was checked to lie between 0 and a million, so the product fits and its sign is known"
)]
fn number(place: &'static str, value: Option<&Value>) -> Result<u64, ShapeError> {
    let value = value
        .filter(|v| !v.is_null())
        .ok_or(ShapeError::Empty { place })?;
    match value.as_f64() {
        Some(watts) if (0.0..=MOST_WATTS).contains(&watts) => Ok((watts * 1_000.0).round() as u64),
        _ => Err(ShapeError::Number {
            place,
            found: shown(&value.to_string()),
        }),
    }
}

/// What a resource calls itself.
fn named(resource: &Value) -> String {
    match resource.get("@odata.type").and_then(Value::as_str) {
        Some(kind) => shown(kind),
        None if resource.get("error").is_some() => "an error of Redfish's".to_owned(),
        None if resource.is_object() => "an object of no type".to_owned(),
        None => "no object".to_owned(),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_four_shapes_are_read_to_the_milliwatt() {
        for (answer, found) in [
            (
                r##"{"@odata.type":"#Power.v1_7_1.Power","PowerControl":[{"MemberId":"0","PowerConsumedWatts":6213}]}"##,
                6_213_000,
            ),
            (
                r##"{"@odata.type":"#EnvironmentMetrics.v1_3_0.EnvironmentMetrics","PowerWatts":{"DataSourceUri":"/x","Reading":4711.25}}"##,
                4_711_250,
            ),
            (
                r##"{"@odata.type":"#Outlet.v1_4_1.Outlet","PowerWatts":{"ApparentVA":390,"Reading":374.1999816894531}}"##,
                374_200,
            ),
            (
                r##"{"@odata.type":"#Sensor.v1_5_0.Sensor","Reading":0,"ReadingType":"Power","ReadingUnits":"W"}"##,
                0,
            ),
            (r#"{"Reading":12.5}"#, 12_500),
        ] {
            assert_eq!(milliwatts(answer.as_bytes()), Ok(found), "{answer}");
        }
    }

    #[test]
    fn anything_else_is_named() {
        for (answer, said) in [
            ("<html>", "no JSON"),
            ("[1]", "no object"),
            ("{}", "an object of no type"),
            (
                r#"{"error":{"code":"Base.1.0.GeneralError"}}"#,
                "an error of Redfish's",
            ),
            (
                r##"{"@odata.type":"#Chassis.v1_25_0.Chassis","Id":"1"}"##,
                "its answer is #Chassis.v1_25_0.Chassis",
            ),
            (
                r#"{"Reading":31,"ReadingType":"Temperature","ReadingUnits":"Cel"}"#,
                "a Sensor of Temperature in Cel",
            ),
            (
                r#"{"Reading":1.2,"ReadingType":"Power","ReadingUnits":"kW"}"#,
                "a Sensor of Power in kW",
            ),
            (
                r#"{"PowerControl":[]}"#,
                "`PowerControl[0].PowerConsumedWatts` holds no reading now",
            ),
            (
                r#"{"PowerControl":[{"PowerConsumedWatts":null}]}"#,
                "holds no reading now",
            ),
            (
                r#"{"PowerWatts":{"Reading":"high"}}"#,
                "`PowerWatts.Reading` is \"high\"",
            ),
            (r#"{"PowerWatts":{"Reading":-1}}"#, "is -1"),
            (r#"{"Reading":1e7}"#, "which is no power in watts"),
        ] {
            let told = milliwatts(answer.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(said), "{answer}: {told}");
        }
        let deep = "[".repeat(60_000);
        assert_eq!(milliwatts(deep.as_bytes()), Err(ShapeError::NotJson));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_power_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), number in any::<f64>()) {
            milliwatts(&bytes).ok();
            let answer = format!("{{\"PowerWatts\":{{\"Reading\":{number}}}}}");
            let believed = (0.0..=MOST_WATTS).contains(&number);
            prop_assert_eq!(milliwatts(answer.as_bytes()).is_ok(), believed);
        }
    }
}
