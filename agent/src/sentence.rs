//! An error as one sentence: what happened, and why, from the outside in.

use std::error::Error;
use std::fmt;

/// Writes an error and its sources, joined by colons, on one line.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a>(pub &'a dyn Error);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said.replace('\n', " "))?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            let next = cause.to_string();
            // A layer that passes its source through says the same words again.
            if !said.ends_with(&next) {
                write!(f, ": {}", next.replace('\n', " "))?;
            }
            said = next;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateError;

    #[test]
    fn the_causes_follow_and_nothing_is_said_twice() {
        let error = StateError::Write {
            path: "/x".into(),
            source: std::io::Error::other("no space"),
        };
        assert_eq!(Sentence(&error).to_string(), "/x cannot be written: no space");
        let wrapped = crate::keys::NodeKeyError::from(error);
        assert_eq!(Sentence(&wrapped).to_string(), "/x cannot be written: no space");
    }
}
