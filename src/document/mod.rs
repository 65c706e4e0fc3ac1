//! Documents that people write in TOML: every mistake with its line, and the nearest right word.
//!
//! Decides: whether a text holds what its reader asks for, and nothing else. A key that nobody asked for is a mistake,
//! because a misspelt limit that is silently ignored would be a limit that does not bind. Numbers are read from
//! their digits, never through a float. Trusts nothing in the text. Does not establish who wrote it.
//!
//! This room alone names the TOML library.

mod country;
mod field;
mod printed;
mod variable;

pub use country::is_country;
pub use field::{DayEnd, Field, Zone, exact};
pub use printed::{misleads, plain};
pub use variable::stray_variable;

use crate::bounded::MAX_DOCUMENT;
use std::cell::RefCell;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most mistakes that are listed; a document with more is wrong throughout.
const MAX_MISTAKES: usize = 100;
/// The longest word for which the nearest right one is sought.
const MAX_WORD: usize = 64;

/// One mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A document that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// All of them on one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let said: Vec<_> = self.0.iter().map(Mistake::to_string).collect();
        said.join("; ")
    }
}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A TOML text under inspection. Mistakes gather until [`Document::finish`].
#[derive(Debug)]
pub struct Document<'t> {
    root: Spanned<DeTable<'t>>,
    line_starts: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'t> Document<'t> {
    /// Opens the text. Faults of syntax are mistakes like any other.
    #[must_use]
    pub fn open(text: &'t str) -> Self {
        let (text, oversized) = if text.len() > MAX_DOCUMENT {
            ("", true)
        } else {
            (text, false)
        };
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at.saturating_add(1)))
            .collect();
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            root,
            line_starts,
            mistakes: RefCell::default(),
        };
        if oversized {
            document.mistake(0, format!("the document is larger than {MAX_DOCUMENT} bytes"));
        }
        for error in errors {
            document.mistake(error.span().map_or(0, |s| s.start), error.message().to_owned());
        }
        // In a comment too: whoever signs reads the whole.
        for (at, c) in text.char_indices().filter(|(_, c)| misleads(*c)) {
            document.mistake(at, printed::why(c));
            if document.is_wrong_throughout() {
                break;
            }
        }
        document
    }

    /// The top level.
    #[must_use]
    pub fn root(&self) -> Section<'_, 't> {
        Section {
            document: self,
            table: self.root.get_ref(),
            at: 0,
            name: String::new(),
            known: Vec::new(),
        }
    }

    /// Gives back what `read` made of the document, if no mistake was found.
    ///
    /// # Errors
    /// Every mistake, in the order of its line.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Mistakes> {
        let mut mistakes = self.mistakes.into_inner();
        match read {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => {
                mistakes.sort();
                mistakes.dedup();
                Err(Mistakes(mistakes))
            }
        }
    }

    /// Whether as many mistakes were found as are listed, so that to look for more is in vain.
    fn is_wrong_throughout(&self) -> bool {
        self.mistakes.borrow().len() >= MAX_MISTAKES
    }

    fn mistake(&self, at: usize, what: String) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MAX_MISTAKES {
            let line = self.line(at);
            mistakes.push(Mistake { line, what });
        }
    }

    fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).max(1)
    }
}

/// A table of the document. It remembers which keys were asked for.
#[derive(Debug)]
pub struct Section<'d, 't> {
    document: &'d Document<'t>,
    table: &'d DeTable<'t>,
    at: usize,
    name: String,
    known: Vec<&'static str>,
}

impl<'d, 't> Section<'d, 't> {
    /// The value of `key` as `read` understands it; `None` where it is absent or wrong. A wrong one is a mistake.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'d, 't>) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let field = self.field(key)?;
        match read(&field) {
            Ok(value) => Some(value),
            Err(why) => {
                self.document
                    .mistake(field.at, format!("`{}{key}` {why}", self.name));
                None
            }
        }
    }

    /// As [`Section::optional`], and its absence is a mistake.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'d, 't>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(key);
        }
        self.optional(key, read)
    }

    /// Reports that `key` is missing.
    pub fn missing(&self, key: &str) {
        self.document
            .mistake(self.at, format!("`{}{key}` is missing", self.name));
    }

    /// The table `key`, read by `read`; `None` where it is absent.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'d, 't>) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let field = self.field(key)?;
        let DeValue::Table(table) = field.value else {
            self.document.mistake(
                field.at,
                format!("`{}{key}` must be a table: write [{key}]", self.name),
            );
            return None;
        };
        self.nested(key, table, field.at, read)
    }

    /// Every table of the array of tables `key`, written `[[key]]`, as `read` understands it.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'d, 't>) -> Option<T>,
    ) -> Vec<T> {
        self.known.push(key);
        let Some(field) = self.field(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = field.value else {
            self.document.mistake(
                field.at,
                format!("`{}{key}` must be a list of tables: write [[{key}]]", self.name),
            );
            return Vec::new();
        };
        let mut read_items = Vec::new();
        for item in items.iter() {
            let at = item.span().start;
            if let DeValue::Table(table) = item.get_ref() {
                read_items.extend(self.nested(key, table, at, &mut read));
            } else {
                self.document.mistake(
                    at,
                    format!("`{}{key}` must hold tables: write [[{key}]]", self.name),
                );
            }
        }
        read_items
    }

    fn nested<T>(
        &self,
        key: &str,
        table: &'d DeTable<'t>,
        at: usize,
        read: impl FnOnce(&mut Section<'d, 't>) -> Option<T>,
    ) -> Option<T> {
        let mut section = Section {
            document: self.document,
            table,
            at,
            name: format!("{}{key}.", self.name),
            known: Vec::new(),
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Reports a mistake that concerns the section as a whole.
    pub fn mistake(&self, what: impl Into<String>) {
        self.document.mistake(self.at, what.into());
    }

    /// Whether `key` stands in the table, readable or not.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.field(key).is_some()
    }

    /// The line, from 1, in which the text that stands under `key` begins. In quotation marks of three its first line feed is left out.
    #[must_use]
    pub fn line_of(&self, key: &str) -> usize {
        const MARKS: usize = 6;
        let Some((_, value)) = self.table.iter().find(|(k, _)| k.get_ref().as_ref() == key) else {
            return 0;
        };
        let span = value.span();
        let written = span.end.saturating_sub(span.start);
        let held = value.get_ref().as_str().map_or(written, str::len);
        let left_out = written > held.saturating_add(MARKS);
        self.document
            .line(span.start)
            .saturating_add(usize::from(left_out))
    }

    /// Reports a mistake that concerns the value of `key`.
    pub fn mistake_at(&self, key: &str, what: impl Into<String>) {
        let at = self.field(key).map_or(self.at, |f| f.at);
        self.document.mistake(at, what.into());
    }

    /// Every key that nobody asked for is a mistake, and the nearest known one is named.
    pub fn finish(&mut self) {
        for key in self.table.keys() {
            let word = key.get_ref().as_ref();
            if self.known.contains(&word) {
                continue;
            }
            // Each costs a search for what was meant, and whoever wrote it may have written a million.
            if self.document.is_wrong_throughout() {
                return;
            }
            let shown: String = word.chars().take(MAX_WORD).collect();
            let hint = match nearest(word, self.known.iter().copied()) {
                Some(right) => format!("did you mean `{right}`?"),
                None => "no key of this name is known here".to_owned(),
            };
            self.document.mistake(
                key.span().start,
                format!("`{}{shown}` is not a key: {hint}", self.name),
            );
        }
    }

    fn field(&self, key: &str) -> Option<Field<'d, 't>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(Field::new(value.get_ref(), key.span().start))
    }
}

/// The candidate that is nearest to `word` by edits, if one is near enough to have been meant, or that begins with it.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let begun = word;
    let word: Vec<char> = word.chars().take(MAX_WORD).collect();
    let enough = word.len().checked_div(3).unwrap_or(0).max(1);
    candidates
        .map(|c| (edits(&word, c), c))
        .filter(|(n, c)| *n <= enough || (!word.is_empty() && c.starts_with(begun)))
        .min()
        .map(|(_, c)| c)
}

/// The Levenshtein distance.
fn edits(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().take(MAX_WORD).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let substituted = diagonal.saturating_add(usize::from(x != y));
            left = substituted
                .min(left.saturating_add(1))
                .min(above.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_listed_with_its_line_and_the_nearest_word() {
        let text = "serial = \"x\"\nlicenced_tpp = 5\n[[device]]\nuid = 1\n";
        let document = Document::open(text);
        let mut root = document.root();
        let serial = root.optional("serial", |f| f.integer(0..=9));
        let tpp = root.optional("licensed_tpp", |f| f.integer(0..=9));
        let devices = root.tables("device", |s| s.optional("uuid", Field::text));
        let name = root.required("issuer", Field::text);
        root.finish();
        assert_eq!((serial, tpp, devices.len(), name), (None, None, 0, None));
        let mistakes = document.finish::<()>(None).unwrap_err();
        assert_eq!(
            mistakes.to_string(),
            "line 1: `issuer` is missing\n\
             line 1: `serial` must be an integer, and is a text\n\
             line 2: `licenced_tpp` is not a key: did you mean `licensed_tpp`?\n\
             line 4: `device.uid` is not a key: did you mean `uuid`?"
        );
    }

    #[test]
    fn of_a_document_that_is_wrong_throughout_no_more_is_told_than_a_person_reads() {
        let text: String = (0..200_000).map(|n| format!("k{n} = 1\n")).collect();
        let document = Document::open(&text);
        document.root().finish();
        assert_eq!(document.finish::<()>(None).unwrap_err().0.len(), MAX_MISTAKES);
    }

    #[test]
    fn a_text_that_shows_otherwise_than_it_reads_is_refused_in_comments_too() {
        let document = Document::open("# four\u{202e}evif\nname = \"a\\u2066b\"\nnext = \"a\u{2028}b\"");
        let mut root = document.root();
        let (name, next) = (
            root.optional("name", Field::text),
            root.optional("next", |f| f.prose(100)),
        );
        root.finish();
        assert_eq!((name, next), (None, None));
        let told = document.finish::<()>(None).unwrap_err().to_string();
        assert_eq!(
            told,
            "line 1: holds U+202E, which makes a text show otherwise than it reads: take it out\n\
             line 2: `name` holds U+2066, which makes a text show otherwise than it reads: take it out\n\
             line 3: `next` holds U+2028, which makes a text show otherwise than it reads: take it out\n\
             line 3: holds U+2028, which makes a text show otherwise than it reads: take it out"
        );
    }

    #[test]
    fn a_document_without_end_is_refused_whole() {
        let text = "a".repeat(MAX_DOCUMENT + 1);
        let document = Document::open(&text);
        assert!(
            document
                .finish::<()>(None)
                .unwrap_err()
                .to_string()
                .contains("larger")
        );
    }
}
