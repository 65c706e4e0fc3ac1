//! What a policy names of its input, told from its words alone.
//!
//! Decides: which parts of the facts a policy cannot look at, whatever it does, because it has no way to them that does not spell them out. What these
//! are need not be made. Where the words leave a doubt, nothing is left out: a part too many costs time, and a part too few would change an answer.

use super::NAME;
use regorus::Source;
use regorus::unstable::{Lexer, TokenKind};
use std::collections::{BTreeMap, BTreeSet};

/// What is named of the members of a list or an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fields {
    /// Any field.
    All,
    /// These alone.
    These(BTreeSet<String>),
}

/// What policies name of their input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::conditions) struct Names {
    /// Whether they may look at anything.
    whole: bool,
    /// The parts that they name, and of the members of each what they name.
    parts: BTreeMap<String, Fields>,
}

impl Names {
    /// Anything.
    #[cfg(test)]
    pub(in crate::conditions) fn all() -> Self {
        Self {
            whole: true,
            ..Self::default()
        }
    }

    /// Whether they may look at this part of the input.
    pub(in crate::conditions) fn part(&self, part: &str) -> bool {
        self.whole || self.parts.contains_key(part)
    }

    /// Whether they may look at this field of the members of this part.
    pub(in crate::conditions) fn field(&self, part: &str, field: &str) -> bool {
        self.whole
            || match self.parts.get(part) {
                Some(Fields::All) => true,
                Some(Fields::These(fields)) => fields.contains(field),
                None => false,
            }
    }

    /// Those of either.
    pub(in crate::conditions) fn or(mut self, other: &Self) -> Self {
        self.whole |= other.whole;
        for (part, fields) in &other.parts {
            self.add(part, fields.clone());
        }
        self
    }

    fn add(&mut self, part: &str, fields: Fields) {
        match (self.parts.get_mut(part), fields) {
            (None, fields) => drop(self.parts.insert(part.to_owned(), fields)),
            (Some(Fields::These(known)), Fields::These(more)) => known.extend(more),
            (Some(known), _) => *known = Fields::All,
        }
    }

    /// Those of a policy; anything, where its text is none.
    pub(in crate::conditions) fn of(policy: &str) -> Self {
        let mut names = Self::default();
        let Some(words) = words(policy) else {
            names.whole = true;
            return names;
        };
        for at in (0..words.len()).filter(|at| words.get(*at).is_some_and(|w| w.is("input"))) {
            match step(&words, at.saturating_add(1)) {
                Some((Step::Name(part), next)) => names.add(part, fields(&words, at, next)),
                _ => names.whole = true,
            }
        }
        names
    }
}

/// A word or sign of a policy.
struct Word {
    kind: TokenKind,
    text: String,
}

impl Word {
    /// Whether it is this name or keyword.
    fn is(&self, name: &str) -> bool {
        matches!(self.kind, TokenKind::Ident) && self.text == name
    }

    fn sign(&self, sign: &str) -> bool {
        matches!(self.kind, TokenKind::Symbol) && self.text == sign
    }
}

fn words(policy: &str) -> Option<Vec<Word>> {
    let source = Source::from_contents(NAME.to_owned(), policy.to_owned()).ok()?;
    let mut lexer = Lexer::new(&source);
    let mut words = Vec::new();
    loop {
        let token = lexer.next_token().ok()?;
        if matches!(token.0, TokenKind::Eof) {
            return Some(words);
        }
        words.push(Word {
            text: token.1.text().to_owned(),
            kind: token.0,
        });
    }
}

/// One step from a value to what it holds.
enum Step<'w> {
    /// To what it holds under this name.
    Name(&'w str),
    /// To one of its members, whichever.
    Any,
}

/// The step that the words from `at` on take, and where they go on; none where they take none, or one that cannot be told.
fn step(words: &[Word], at: usize) -> Option<(Step<'_>, usize)> {
    let word = |n: usize| words.get(at.saturating_add(n));
    let (first, second) = (word(0)?, word(1)?);
    if first.sign(".") {
        return matches!(second.kind, TokenKind::Ident)
            .then_some((Step::Name(&second.text), at.saturating_add(2)));
    }
    if !first.sign("[") || !word(2)?.sign("]") {
        return None;
    }
    let step = match second.kind {
        // One with a sign of escape spells something else than it shows.
        TokenKind::String if !second.text.contains('\\') => Step::Name(&second.text),
        TokenKind::Ident | TokenKind::Number => Step::Any,
        _ => return None,
    };
    Some((step, at.saturating_add(3)))
}

/// What is named of the members of a part, whose name follows `input` at `at` and ends before `next`.
fn fields(words: &[Word], at: usize, next: usize) -> Fields {
    // `input.devices[_].uuid`: of a member, one field.
    if let Some((_, next)) = step(words, next) {
        return match step(words, next) {
            Some((Step::Name(field), _)) => Fields::These(BTreeSet::from([field.to_owned()])),
            _ => Fields::All,
        };
    }
    // `some device in input.devices`: what is named of `device`, wherever it stands.
    match bound(words, at) {
        Some(name) => fields_of(words, name),
        None => Fields::All,
    }
}

/// The name that `some` or `every` gives the members of what stands at `at`.
fn bound(words: &[Word], at: usize) -> Option<&str> {
    let before = |n: usize| at.checked_sub(n).and_then(|at| words.get(at));
    let name = before(2).filter(|w| matches!(w.kind, TokenKind::Ident))?;
    let opens = |w: &Word| w.is("some") || w.is("every");
    let alone = before(3).is_some_and(opens);
    let with_key = before(3).is_some_and(|w| w.sign(","))
        && before(4).is_some_and(|w| matches!(w.kind, TokenKind::Ident))
        && before(5).is_some_and(opens);
    (before(1)?.is("in") && (alone || with_key)).then_some(name.text.as_str())
}

/// The fields that are named of a value wherever its name stands; any where it stands alone, but where it is given.
fn fields_of(words: &[Word], name: &str) -> Fields {
    let mut named = BTreeSet::new();
    for at in (0..words.len()).filter(|at| words.get(*at).is_some_and(|w| w.is(name))) {
        match step(words, at.saturating_add(1)) {
            Some((Step::Name(field), _)) => drop(named.insert(field.to_owned())),
            _ if gives(words, at) => {}
            _ => return Fields::All,
        }
    }
    Fields::These(named)
}

/// Whether a name at `at` is one that `some` or `every` gives to the members of a part of the input.
fn gives(words: &[Word], at: usize) -> bool {
    let word = |n: usize| words.get(at.saturating_add(n));
    let given = word(1).is_some_and(|w| w.is("in"))
        && word(2).is_some_and(|w| w.is("input"))
        && matches!(step(words, at.saturating_add(3)), Some((Step::Name(_), _)));
    given && bound(words, at.saturating_add(2)).is_some()
}
