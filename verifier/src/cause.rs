//! Errors in one line, for standard error and the log.

/// An error and its causes. Each layer says only its own sentence; this joins them.
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
    line.replace('\n', " ")
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
