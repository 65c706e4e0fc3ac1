//! Conditions that a licence states itself, each as a policy in Rego (`[[conditions]]`).
//!
//! Decides: what such a table holds; its text is signed with the licence. Does not establish that the text is a policy: whoever evaluates conditions
//! reads it ([`crate::conditions::policy_mistakes`]), and a program without Rego leaves the condition open.

use super::Licence;
use crate::document::{Field, Section};
use crate::rules::{Severity, coded};

/// The family of such conditions. No published condition is of it.
const FAMILY: &str = "OWN-";
/// The rule that is asked where the licence names none.
const RULE: &str = "data.weighbridge.verdict";
/// The most such conditions of one licence.
const MAX_CONDITIONS: usize = 16;
/// The longest policy, in bytes.
const MAX_POLICY: usize = 16 * 1_024;

crate::code! {
    /// What a policy is given as its `input`.
    pub enum PolicyInput {
        /// The facts of the site: one document.
        Facts = 0 => "facts",
        /// The claims of its GPUs and switches, as NVIDIA's own policies take them: a list.
        HardwareClaims = 1 => "hardware-claims",
    }
}

crate::code! {
    /// The version of the language.
    pub enum RegoVersion {
        /// The one of today: `if` before each body.
        V1 = 0 => "v1",
        /// The one before, in which NVIDIA's policies are written.
        V0 = 1 => "v0",
    }
}

/// A condition that a licence states itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCondition {
    /// Its id, such as `OWN-01`.
    pub id: String,
    /// What it asks, in a sentence.
    pub title: String,
    /// What depends on it.
    pub severity: Severity,
    /// The policy.
    pub policy: String,
    /// The rule of it that says the outcome.
    pub rule: String,
    /// What it is given.
    pub input: PolicyInput,
    /// The version of the language.
    pub rego: RegoVersion,
    /// The line of the licence in which the policy begins, from 1.
    pub line: usize,
}

/// Reads all of them.
pub(super) fn read(root: &mut Section<'_, '_>) -> Vec<OwnCondition> {
    let conditions = root.tables("conditions", condition);
    if conditions.len() > MAX_CONDITIONS {
        root.mistake_at(
            "conditions",
            format!("more than {MAX_CONDITIONS} conditions of its own are stated"),
        );
    }
    let mut ids: Vec<&str> = conditions.iter().map(|c| c.id.as_str()).collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            root.mistake_at("conditions", format!("condition {a} is stated twice"));
        }
    }
    conditions
}

fn condition(s: &mut Section<'_, '_>) -> Option<OwnCondition> {
    let id = s.required("id", id);
    let title = s.required("title", Field::text);
    let severity = s.required("severity", |f| coded(f, Severity::ALL, Severity::text));
    let policy = s.required("policy", |f| f.code(MAX_POLICY));
    let line = s.line_of("policy");
    let rule = s.optional("rule", rule);
    let input = s.optional("input", |f| coded(f, PolicyInput::ALL, PolicyInput::text));
    let rego = s.optional("rego", |f| coded(f, RegoVersion::ALL, RegoVersion::text));
    Some(OwnCondition {
        id: id?,
        title: title?,
        severity: severity?,
        policy: policy?,
        rule: rule.unwrap_or_else(|| RULE.to_owned()),
        input: input.unwrap_or(PolicyInput::Facts),
        rego: rego.unwrap_or(RegoVersion::V1),
        line,
    })
}

fn id(field: &Field<'_, '_>) -> Result<String, String> {
    let id = field.text()?;
    let number = id.strip_prefix(FAMILY).unwrap_or_default();
    match number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(id),
        false => Err(format!(
            "is `{id}`: write {FAMILY} and two digits, such as {FAMILY}01, so that it is taken for no published condition"
        )),
    }
}

/// `data`, then at least a package and a rule, as Rego names them.
fn rule(field: &Field<'_, '_>) -> Result<String, String> {
    let rule = field.text()?;
    let is_name = |part: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    let parts: Vec<&str> = rule.split('.').collect();
    match parts.first() == Some(&"data") && parts.len() > 2 && parts.iter().all(|p| is_name(p)) {
        true => Ok(rule),
        false => Err(format!(
            "is `{rule}`, which is not the name of a rule, such as {RULE}"
        )),
    }
}

impl Licence {
    /// What it says of the conditions that it states itself.
    pub(super) fn own_sentences(&self) -> impl Iterator<Item = String> + '_ {
        self.conditions.iter().map(|own| {
            let looks = match own.input {
                PolicyInput::Facts => "the facts of a site",
                PolicyInput::HardwareClaims => "what its GPUs and switches sign",
            };
            format!(
                "It asks one condition more, {} ({}): {}; a policy of its own decides that by {looks}.",
                own.id, own.severity, own.title
            )
        })
    }
}
