//! Environment variables that stand for keys: one that is misspelt is a mistake, as a misspelt key is.

use super::nearest;

/// What is wrong with the first variable among `names` that begins with `prefix` and is none of `known`, which begin with it too.
///
/// Kubernetes tells every pod of a service called like the program by variables such as `WEIGHBRIDGE_VERIFIER_SERVICE_HOST`
/// and `WEIGHBRIDGE_VERIFIER_PORT_8443_TCP`: nobody wrote those.
#[must_use]
pub fn stray_variable<'n>(
    prefix: &str,
    mut names: impl Iterator<Item = &'n str>,
    known: &[&str],
) -> Option<String> {
    let own = |name: &&str| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            let service = ["PORT", "SERVICE_HOST", "SERVICE_PORT"];
            !service.contains(&rest) && !["PORT_", "SERVICE_PORT_"].iter().any(|s| rest.starts_with(s))
        })
    };
    let found = names.find(|name| own(name) && !known.contains(name))?;
    let rest = found.strip_prefix(prefix)?;
    let hint = match nearest(rest, known.iter().filter_map(|k| k.strip_prefix(prefix))) {
        Some(right) => format!("did you mean `{prefix}{right}`?"),
        None => "`--help` lists those that are".to_owned(),
    };
    Some(format!("the environment variable `{found}` is not known: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_found_and_those_of_others_are_not() {
        let known = ["WB_AGENT_SPOOL_MAX_MIB", "WB_AGENT_LOG"];
        let stray = |names: &[&str]| stray_variable("WB_AGENT_", names.iter().copied(), &known);
        assert_eq!(
            stray(&["PATH", "WB_AGENT_LOG", "WB_AGENT_SPOOL_MAX_MB"]).unwrap(),
            "the environment variable `WB_AGENT_SPOOL_MAX_MB` is not known: did you mean `WB_AGENT_SPOOL_MAX_MIB`?"
        );
        assert!(stray(&["WB_AGENT_COLOUR"]).unwrap().contains("--help"));
        let others = [
            "WB_REPLAY_SCENARIO",
            "WB_AGENT_PORT",
            "WB_AGENT_PORT_8443_TCP_ADDR",
            "WB_AGENT_SERVICE_HOST",
            "WB_AGENT_SERVICE_PORT_HTTPS",
        ];
        assert_eq!(stray(&others), None);
    }
}
