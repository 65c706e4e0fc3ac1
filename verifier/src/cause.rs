//! Errors in one line, for standard error and the log, and names of files as they may stand there.

use std::path::Path;
use weighbridge::document::misleads;

/// An error and its causes. Each layer says only its own sentence; this joins them. Some of them quote what stands in a file or came over the
/// network, and nothing in that may act on a terminal.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = e.source();
    }
    line.replace(['\n', '\t'], " ")
        .replace(|c: char| c.is_control() || misleads(c), "\u{fffd}")
}

/// How a result calls a file: by its name, without the directory that only the reader's machine has. Files of evidence come from whoever is
/// appraised, so nothing in a name may act on a terminal, or look like a line of ours.
pub(crate) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy()
        .replace(|c: char| c.is_control() || misleads(c), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn each_cause_is_said_once() {
        let error = StoreError::Database {
            what: "write a batch",
            source: sqlx::Error::Protocol("disk\nfull".to_owned()),
        };
        let line = with_causes(&error);
        assert!(
            line.starts_with("the database could not write a batch: "),
            "{line}"
        );
        assert!(line.ends_with("disk full"), "{line}");
    }
}
