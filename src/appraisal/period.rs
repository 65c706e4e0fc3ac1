//! Periods for which compute is added up: whole days in UTC, as sums are kept.

use crate::time::{DAY_SECONDS, UnixSeconds};
use std::str::FromStr;
use time::{Date, Month, OffsetDateTime};

/// A period. One that is named ends with the day on which someone asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// That day.
    Day,
    /// Three months.
    Quarter,
    /// Twelve months.
    Year,
    /// From one day to another, both included, in days since 1970-01-01.
    Days(i64, i64),
}

/// Why a text is no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// It is neither a name nor two days.
    #[error("must be day, quarter, year, or two days in UTC, both included, such as 2026-01-01/2026-03-31")]
    Form,
    /// It ends before it starts.
    #[error("ends before it starts")]
    Backwards,
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        match text {
            "day" => return Ok(Self::Day),
            "quarter" => return Ok(Self::Quarter),
            "year" => return Ok(Self::Year),
            _ => {}
        }
        let (from, to) = text.split_once('/').ok_or(PeriodError::Form)?;
        let day = |text: &str| {
            let whole = text.len() == 10;
            let start = UnixSeconds::parse(text).ok().filter(|_| whole);
            start.map(|t| t.day()).ok_or(PeriodError::Form)
        };
        match (day(from)?, day(to)?) {
            (from, to) if from > to => Err(PeriodError::Backwards),
            (from, to) => Ok(Self::Days(from, to)),
        }
    }
}

impl Period {
    /// Its first and last day, both included, where someone asks at `now`.
    #[must_use]
    pub fn days(self, now: UnixSeconds) -> (i64, i64) {
        let today = now.day();
        match self {
            Self::Day => (today, today),
            Self::Quarter => (months_before(now, 3), today),
            Self::Year => (months_before(now, 12), today),
            Self::Days(from, to) => (from, to),
        }
    }
}

/// The first day of so many months that end with this one.
fn months_before(now: UnixSeconds, months: u8) -> i64 {
    let first = || {
        let date = OffsetDateTime::from_unix_timestamp(now.0).ok()?.date();
        let back = (0..months).fold((date.year(), date.month()), |(year, month), _| match month {
            Month::January => (year.saturating_sub(1), Month::December),
            other => (year, other.previous()),
        });
        // The last day of a shorter month stands for a day that it does not have.
        let same = (0..4).find_map(|less| {
            Date::from_calendar_date(back.0, back.1, date.day().saturating_sub(less)).ok()
        })?;
        let start = UnixSeconds(same.next_day()?.midnight().assume_utc().unix_timestamp());
        Some(start.0.div_euclid(DAY_SECONDS))
    };
    first().unwrap_or_else(|| now.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(period: Period, now: &str) -> String {
        let (from, to) = period.days(UnixSeconds::parse(now).unwrap());
        assert_eq!(to, UnixSeconds::parse(now).unwrap().day());
        UnixSeconds(from * DAY_SECONDS)
            .to_string()
            .chars()
            .take(10)
            .collect()
    }

    #[test]
    fn a_rolling_period_ends_with_the_day_of_the_question() {
        assert_eq!(from(Period::Day, "2026-11-26T10:00:00Z"), "2026-11-26");
        assert_eq!(from(Period::Quarter, "2026-11-26T10:00:00Z"), "2026-08-27");
        assert_eq!(from(Period::Year, "2026-11-26T10:00:00Z"), "2025-11-27");
        assert_eq!(from(Period::Year, "2028-02-29T00:00:00Z"), "2027-03-01");
        assert_eq!(from(Period::Quarter, "2026-05-31T00:00:00Z"), "2026-03-01");
        assert_eq!(from(Period::Quarter, "2026-01-15T00:00:00Z"), "2025-10-16");
    }

    #[test]
    fn two_days_are_a_period_and_other_texts_are_none() {
        assert_eq!("1970-01-01/1970-01-02".parse(), Ok(Period::Days(0, 1)));
        assert_eq!(
            "1970-01-02/1970-01-01".parse::<Period>(),
            Err(PeriodError::Backwards)
        );
        for wrong in [
            "",
            "week",
            "2026-01-01",
            "2026-01-01/",
            "2026-01-01/2026-13-01",
            "2026-01-01T00:00:00Z/2026-01-02",
        ] {
            assert_eq!(wrong.parse::<Period>(), Err(PeriodError::Form), "{wrong}");
        }
    }
}
