//! Instants and spans: wall time in UTC for labels, boot time for intervals.
//!
//! Decides: how times are written and compared. Trusts the caller for the value: no function here reads a clock.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Wall-clock time, seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

/// Monotonic time since boot that counts suspend (`CLOCK_BOOTTIME`), in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BootNanos(pub u64);

/// One second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// One day, in seconds.
pub const DAY_SECONDS: i64 = 86_400;

impl BootNanos {
    /// Nanoseconds from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `nanos` later.
    #[must_use]
    pub fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The instant `nanos` earlier, or the boot itself.
    #[must_use]
    pub fn before(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }
}

impl UnixSeconds {
    /// Seconds from `earlier` to `self`; negative if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `seconds` later (earlier if negative).
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The number of whole days since 1970-01-01, in UTC.
    #[must_use]
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY_SECONDS)
    }

    /// Reads an RFC 3339 time, or a bare date, which is taken as its first second in UTC.
    ///
    /// # Errors
    /// [`ParseTimeError`] with the text that was found.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        let full = if text.len() == 10 {
            format!("{text}T00:00:00Z")
        } else {
            text.to_owned()
        };
        OffsetDateTime::parse(&full, &Rfc3339)
            .map(|t| Self(t.unix_timestamp()))
            .map_err(|_| ParseTimeError {
                found: text.chars().take(40).collect(),
            })
    }
}

/// A text that is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a time: write 2026-11-22 or 2026-11-22T04:10:00Z")]
pub struct ParseTimeError {
    /// What stood there, cut to 40 characters.
    pub found: String,
}

impl std::fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0)
            .ok()
            .and_then(|t| t.format(&Rfc3339).ok())
        {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} s since 1970", self.0),
        }
    }
}

impl Serialize for UnixSeconds {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for UnixSeconds {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A span of seconds in the largest unit that a person would use: `9 days`, `26 hours`, `90 seconds`. Rounded down.
#[must_use]
pub fn span(seconds: i64) -> String {
    let (unit, name) = match seconds.unsigned_abs() {
        0..120 => (1, "second"),
        120..7_200 => (60, "minute"),
        7_200..172_800 => (3_600, "hour"),
        _ => (86_400, "day"),
    };
    let count = seconds.unsigned_abs().checked_div(unit).unwrap_or(0);
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {name}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_date_is_its_first_second() {
        assert_eq!(
            UnixSeconds::parse("2026-11-22").unwrap().to_string(),
            "2026-11-22T00:00:00Z"
        );
        assert_eq!(
            UnixSeconds::parse("2026-11-22T04:10:00+01:00")
                .unwrap()
                .to_string(),
            "2026-11-22T03:10:00Z"
        );
        assert!(
            UnixSeconds::parse("yesterday")
                .unwrap_err()
                .to_string()
                .contains("`yesterday`")
        );
    }

    #[test]
    fn a_span_is_written_in_the_unit_that_a_person_would_use() {
        assert_eq!(span(777_600), "9 days");
        assert_eq!(span(1), "1 second");
        assert_eq!(span(86_400), "24 hours");
        assert_eq!(span(3_599), "59 minutes");
    }

    #[test]
    fn boot_time_never_runs_backwards_in_a_difference() {
        assert_eq!(BootNanos(5).since(BootNanos(9)), 0);
        assert_eq!(BootNanos(u64::MAX).plus(1), BootNanos(u64::MAX));
    }
}
