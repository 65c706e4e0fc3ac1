//! One value of a document: its readers, each strict about one kind of value.

use super::{nearest, plain};
use crate::id::Digest;
use crate::time::{DAY_SECONDS, UnixSeconds};
use crate::unit::Ppm;
use toml::de::DeValue;

/// The longest text that one value may hold.
const MAX_TEXT: usize = 1_000;

/// One value of the document. Its readers say what is wrong in words that follow the key's name.
#[derive(Clone, Copy, Debug)]
pub struct Field<'d, 't> {
    pub(super) value: &'d DeValue<'t>,
    pub(super) at: usize,
}

impl<'d, 't> Field<'d, 't> {
    pub(super) fn new(value: &'d DeValue<'t>, at: usize) -> Self {
        Self { value, at }
    }
}

/// A time zone of fixed offset; the rule sets' calendar days are counted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of UTC.
    pub offset: i64,
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.offset == 0 {
            return f.write_str("UTC");
        }
        let minutes = self.offset.unsigned_abs().checked_div(60).unwrap_or(0);
        let (hours, minutes) = (
            minutes.checked_div(60).unwrap_or(0),
            minutes.checked_rem(60).unwrap_or(0),
        );
        let sign = if self.offset < 0 { '-' } else { '+' };
        write!(f, "UTC{sign}{hours:02}:{minutes:02}")
    }
}

impl Field<'_, '_> {
    fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    fn not(&self, expected: &str) -> String {
        format!("must be {expected}, and is {}", self.kind())
    }

    /// A text, not empty, without control characters and without those that make it show otherwise than it reads.
    ///
    /// # Errors
    /// What is wrong.
    pub fn text(&self) -> Result<String, String> {
        self.string(MAX_TEXT, false)
    }

    /// A text of any number of lines, at most `most` bytes, not empty and without other control characters than line feeds.
    ///
    /// # Errors
    /// What is wrong.
    pub fn prose(&self, most: usize) -> Result<String, String> {
        self.string(most, true)
    }

    /// A text of any number of lines in a language of its own, such as a policy: as [`Self::prose`], and tabs may indent it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn code(&self, most: usize) -> Result<String, String> {
        let text = self.sized(most)?;
        plain(&text.replace(['\t', '\r'], " "), true)?;
        Ok(text.to_owned())
    }

    fn string(&self, most: usize, lines: bool) -> Result<String, String> {
        let text = self.sized(most)?;
        plain(text, lines)?;
        Ok(text.to_owned())
    }

    fn sized(&self, most: usize) -> Result<&str, String> {
        let DeValue::String(text) = self.value else {
            return Err(self.not("a text in quotation marks"));
        };
        if text.trim().is_empty() {
            return Err("is empty".to_owned());
        }
        if text.len() > most {
            return Err(format!("is longer than {most} bytes"));
        }
        Ok(text)
    }

    /// A text as [`Self::text`], or an empty one.
    ///
    /// # Errors
    /// What is wrong.
    pub fn text_or_empty(&self) -> Result<String, String> {
        match self.value {
            DeValue::String(text) if text.is_empty() => Ok(String::new()),
            _ => self.text(),
        }
    }

    /// One of `words`; a near miss is named.
    ///
    /// # Errors
    /// What is wrong.
    pub fn word<'w>(&self, words: &'w [&'w str]) -> Result<&'w str, String> {
        let text = self.text()?;
        words.iter().copied().find(|w| **w == text).ok_or_else(|| {
            let all = words.join("`, `");
            match nearest(&text, words.iter().copied()) {
                Some(right) => format!("is `{text}`, which is none of `{all}`: did you mean `{right}`?"),
                None => format!("is `{text}`, which is none of `{all}`"),
            }
        })
    }

    /// True or false.
    ///
    /// # Errors
    /// What is wrong.
    pub fn flag(&self) -> Result<bool, String> {
        match self.value {
            DeValue::Boolean(b) => Ok(*b),
            _ => Err(self.not("true or false")),
        }
    }

    /// An integer within `range`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn integer(&self, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
        let DeValue::Integer(digits) = self.value else {
            return Err(self.not("an integer"));
        };
        u64::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .filter(|n| range.contains(n))
            .ok_or_else(|| format!("is {digits}, and must be {} to {}", range.start(), range.end()))
    }

    /// A share between 0 and 1, at most six decimals, read from its digits.
    ///
    /// # Errors
    /// What is wrong.
    pub fn share(&self) -> Result<Ppm, String> {
        let written = match self.value {
            DeValue::Float(f) => f.as_str().to_owned(),
            DeValue::Integer(i) if i.radix() == 10 => i.as_str().to_owned(),
            _ => return Err(self.not("a share such as 0.99")),
        };
        exact(&written, 6)
            .and_then(|ppm| u32::try_from(ppm).ok())
            .filter(|ppm| *ppm <= Ppm::ONE.0)
            .map(Ppm)
            .ok_or_else(|| format!("is {written}, and must lie between 0 and 1 with at most six decimals"))
    }

    /// A multiple above nothing and up to a thousand, at most six decimals, read from its digits, in millionths.
    ///
    /// # Errors
    /// What is wrong.
    pub fn multiple(&self) -> Result<Ppm, String> {
        let written = match self.value {
            DeValue::Float(f) => f.as_str().to_owned(),
            DeValue::Integer(i) if i.radix() == 10 => i.as_str().to_owned(),
            _ => return Err(self.not("a multiple such as 1.3")),
        };
        exact(&written, 6)
            .and_then(|ppm| u32::try_from(ppm).ok())
            .filter(|ppm| (1..=1_000_000_000).contains(ppm))
            .map(Ppm)
            .ok_or_else(|| format!("is {written}, and must lie between 0 and 1000 with at most six decimals"))
    }

    /// A count that may exceed 64 bits, written as a text such as "1e26", "2.5e25" or in digits.
    ///
    /// # Errors
    /// What is wrong; a float is refused, because it would not be exact.
    pub fn large(&self) -> Result<u128, String> {
        let written = match self.value {
            DeValue::Integer(i) if i.radix() == 10 => i.as_str().to_owned(),
            DeValue::String(s) => s.replace(['_', ','], ""),
            DeValue::Float(f) => {
                return Err(format!(
                    "must stand in quotation marks to stay exact: write \"{}\"",
                    f.as_str()
                ));
            }
            _ => return Err(self.not("a whole number such as \"1e26\"")),
        };
        exact(&written, 0)
            .ok_or_else(|| format!("is `{written}`, and must be a whole number such as \"1e26\""))
    }

    /// A span of time in seconds, written "7 d", "24 h", "30 min" or "300 s".
    ///
    /// # Errors
    /// What is wrong.
    pub fn span(&self) -> Result<i64, String> {
        let wrong = || "must be a span of time such as \"7 d\", \"24 h\", \"30 min\" or \"300 s\"".to_owned();
        let text = self.text().map_err(|_| wrong())?;
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let unit = match text.strip_prefix(&digits).map(str::trim) {
            Some("s") => 1,
            Some("min") => 60,
            Some("h") => 3_600,
            Some("d") => DAY_SECONDS,
            _ => return Err(wrong()),
        };
        digits
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(unit))
            .filter(|s| *s > 0 && *s <= MAX_SPAN)
            .ok_or_else(|| "must be more than nothing and at most 3,660 days".to_owned())
    }

    /// A moment: a full time with its offset, or a bare date, which is taken in `zone`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn moment(&self, zone: Zone, day: DayEnd) -> Result<UnixSeconds, String> {
        let written = match self.value {
            DeValue::Datetime(d) => d.to_string(),
            DeValue::String(s) => s.to_string(),
            _ => return Err(self.not("a date such as 2026-11-22")),
        };
        let at = UnixSeconds::parse(&written).map_err(|e| format!("cannot be read: {e}"))?;
        if written.len() != 10 {
            return Ok(at);
        }
        let start = at.plus(zone.offset.saturating_neg());
        Ok(match day {
            DayEnd::Start => start,
            DayEnd::Included => start.plus(DAY_SECONDS),
        })
    }

    /// A time zone: "UTC" or a fixed offset such as "+08:00".
    ///
    /// # Errors
    /// What is wrong; names of places are refused, because their offsets change by decree.
    pub fn zone(&self) -> Result<Zone, String> {
        let wrong = || "must be \"UTC\" or a fixed offset such as \"+08:00\"".to_owned();
        let text = self.text().map_err(|_| wrong())?;
        if text == "UTC" {
            return Ok(Zone::default());
        }
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
        let number = |s: &str, most: i64| {
            s.parse::<i64>()
                .ok()
                .filter(|n| s.len() == 2 && (0..=most).contains(n))
        };
        match (number(hours, 14), number(minutes, 59)) {
            (Some(h), Some(m)) => Ok(Zone {
                offset: h
                    .saturating_mul(3_600)
                    .saturating_add(m.saturating_mul(60))
                    .saturating_mul(sign),
            }),
            _ => Err(wrong()),
        }
    }

    /// A SHA-256 digest in hexadecimal.
    ///
    /// # Errors
    /// What is wrong.
    pub fn digest(&self) -> Result<Digest, String> {
        let text = self.text()?;
        Digest::parse(text.strip_prefix("sha256:").unwrap_or(&text))
            .map_err(|_| "must be a SHA-256 digest of 64 hexadecimal digits".to_owned())
    }

    /// A country, as two capital letters (ISO 3166-1 alpha-2).
    ///
    /// # Errors
    /// What is wrong.
    pub fn country(&self) -> Result<String, String> {
        let text = self.text()?;
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
            Ok(text)
        } else {
            Err(format!(
                "is `{text}`, and must be a country as two capital letters, such as SG"
            ))
        }
    }

    /// A list, each item read by `read`.
    ///
    /// # Errors
    /// What is wrong with the first item that is wrong.
    pub fn list<T>(&self, read: impl Fn(&Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let DeValue::Array(items) = self.value else {
            return Err(self.not("a list in square brackets"));
        };
        items
            .iter()
            .map(|item| {
                read(&Field {
                    value: item.get_ref(),
                    at: item.span().start,
                })
                .map_err(|why| format!("has an item that {why}"))
            })
            .collect()
    }
}

/// Ten years and a little: longer spans in a licence are slips of the pen.
const MAX_SPAN: i64 = 3_660 * DAY_SECONDS;

/// Which end of a bare date is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayEnd {
    /// Its first second.
    Start,
    /// The first second after it, so that the day itself is included.
    Included,
}

/// Reads decimal digits with an optional fraction and exponent, times ten to the `scale`; `None` unless that is a
/// whole number.
#[must_use]
pub fn exact(written: &str, scale: u32) -> Option<u128> {
    let clean = written.replace('_', "");
    let (mantissa, exponent) = match clean.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.strip_prefix('+').unwrap_or(e).parse::<u32>().ok()?),
        None => (clean.as_str(), 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let shift = exponent
        .checked_add(scale)?
        .checked_sub(u32::try_from(fraction.len()).ok()?)?;
    digits
        .parse::<u128>()
        .ok()?
        .checked_mul(10u128.checked_pow(shift)?)
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;

    #[test]
    fn large_numbers_stay_exact() {
        assert_eq!(exact("1e26", 0), Some(100_000_000_000_000_000_000_000_000));
        assert_eq!(exact("2.5e25", 0), Some(25_000_000_000_000_000_000_000_000));
        assert_eq!(exact("0.95", 6), Some(950_000));
        assert_eq!(exact("1.0000001", 6), None);
        assert_eq!(exact("1e39", 0), None);
        assert_eq!(exact("-1", 0), None);
        assert_eq!(exact("", 0), None);
    }

    #[test]
    fn a_bare_date_is_a_day_of_the_licence_s_zone() {
        let document = Document::open("a = 2026-11-22\nz = \"+08:00\"");
        let mut root = document.root();
        let zone = root.required("z", Field::zone).unwrap();
        assert_eq!(zone.to_string(), "UTC+08:00");
        let start = root.optional("a", |f| f.moment(zone, DayEnd::Start)).unwrap();
        let end = root.optional("a", |f| f.moment(zone, DayEnd::Included)).unwrap();
        assert_eq!(start.to_string(), "2026-11-21T16:00:00Z");
        assert_eq!(end.since(start), DAY_SECONDS);
    }
}
