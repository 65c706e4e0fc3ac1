//! The state the agent is in, with a name: for the log, for the service manager, for whoever asks.

use std::fmt;

/// The state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No verifier knows this node.
    Unenrolled,
    /// Enrolled; the verifier does not accept reports of it (yet).
    Pending {
        /// What the verifier says.
        said: String,
    },
    /// Everything works.
    Reporting,
    /// It samples and seals, and something does not work.
    Degraded {
        /// What, each in a sentence.
        why: Vec<String>,
    },
    /// It cannot work.
    Halted {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unenrolled => {
                f.write_str("unenrolled: run `weighbridge-agent enrol TOKEN` with a token of the verifier's")
            }
            Self::Pending { said } => write!(f, "pending: {said}"),
            Self::Reporting => f.write_str("reporting"),
            Self::Degraded { why } => write!(f, "degraded: {}", why.join("; ")),
            Self::Halted { why } => write!(f, "halted: {why}"),
        }
    }
}

/// What delivery last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivering {
    /// Nothing yet.
    Unknown,
    /// The last round went through.
    Works {
        /// What the verifier asks for and does not get.
        complaint: Option<String>,
    },
    /// The verifier does not accept reports of this node.
    NotAdmitted {
        /// What it says.
        said: String,
    },
    /// The last round failed; it is tried again.
    Fails {
        /// Why.
        why: String,
    },
}

/// The state that follows from what delivery, disk and devices say.
#[must_use]
pub fn condition(delivering: &Delivering, disk: Option<&str>, devices: Vec<String>) -> Condition {
    let mut why: Vec<String> = disk.into_iter().map(str::to_owned).chain(devices).collect();
    match delivering {
        Delivering::NotAdmitted { said } if why.is_empty() => {
            return Condition::Pending { said: said.clone() };
        }
        Delivering::NotAdmitted { said } => why.push(said.clone()),
        Delivering::Fails { why: cause } => why.push(cause.clone()),
        Delivering::Works { complaint } => why.extend(complaint.clone()),
        Delivering::Unknown => {}
    }
    if why.is_empty() {
        Condition::Reporting
    } else {
        Condition::Degraded { why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_is_named() {
        let works = Delivering::Works { complaint: None };
        assert_eq!(condition(&works, None, Vec::new()), Condition::Reporting);
        let full = condition(&works, Some("the disk is full"), Vec::new());
        assert_eq!(full.to_string(), "degraded: the disk is full");
        let waits = Delivering::NotAdmitted {
            said: "pending approval".to_owned(),
        };
        assert_eq!(
            condition(&waits, None, Vec::new()).to_string(),
            "pending: pending approval"
        );
        assert!(
            condition(&waits, None, vec!["no driver".to_owned()])
                .to_string()
                .contains("no driver")
        );
    }
}
