//! What may stand in a text that people read before they sign or believe it.
//!
//! Decides: which characters make a text act on a terminal, or show otherwise than it reads. Does not establish that two letters that look alike
//! are the same.

/// Whether a character makes a text show otherwise than it reads: it turns the direction of what follows (Unicode's `Bidi_Control`), or ends a line
/// where no line feed stands.
#[must_use]
pub fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// What is wrong with a character that misleads; this follows a name in a sentence.
pub(super) fn why(c: char) -> String {
    format!(
        "holds U+{:04X}, which makes a text show otherwise than it reads: take it out",
        u32::from(c)
    )
}

/// Whether a text holds no control character, but for line feeds where it may have several lines, and none that misleads.
///
/// # Errors
/// What is wrong; this follows a name in a sentence.
pub fn plain(text: &str, lines: bool) -> Result<(), String> {
    if let Some(c) = text.chars().find(|c| misleads(*c)) {
        return Err(why(c));
    }
    if text.chars().any(|c| c.is_control() && !(lines && c == '\n')) {
        return Err("holds a control character".to_owned());
    }
    Ok(())
}
