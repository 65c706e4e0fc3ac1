//! Which of two catalogues is the newer.

use crate::time::UnixSeconds;
use serde::Serialize;
use std::fmt;

/// What the first line of a catalogue begins with.
const BEGINNING: &str = "# weighbridge-catalogue serial ";

/// The version of a catalogue, as its first line gives it: `# weighbridge-catalogue serial 1 of 2026-11-26`.
///
/// The serial alone orders catalogues; the date says when the facts were last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogueVersion {
    /// Raised with every change, from 1.
    pub serial: u64,
    /// The day on which its facts were last looked at, as its first second (UTC).
    pub dated: UnixSeconds,
}

impl CatalogueVersion {
    /// Reads a catalogue's first line. Nothing but the one way to write it is taken.
    pub(super) fn parse_line(line: &str) -> Option<Self> {
        let (serial, day) = line.strip_prefix(BEGINNING)?.split_once(" of ")?;
        let version = Self {
            serial: serial
                .parse()
                .ok()
                .filter(|s| (1..=u64::from(u32::MAX)).contains(s))?,
            dated: UnixSeconds::parse(day).ok()?,
        };
        (version.line() == line).then_some(version)
    }

    /// The first line of a catalogue of this version.
    fn line(&self) -> String {
        format!("{BEGINNING}{} of {}", self.serial, self.day())
    }

    /// Its day, as `2026-11-26`.
    #[must_use]
    pub fn day(&self) -> String {
        let text = self.dated.to_string();
        text.split('T').next().unwrap_or_default().to_owned()
    }

    /// Whether a line is meant to be the first of a catalogue.
    #[must_use]
    pub fn is_begun(text: &str) -> bool {
        text.starts_with("# weighbridge-catalogue")
    }
}

impl fmt::Display for CatalogueVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {} of {}", self.serial, self.day())
    }
}
