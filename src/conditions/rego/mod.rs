//! Policies in Rego: read, held to what can be bounded, and asked.
//!
//! Decides: which texts are policies that are run here, and what one answers. A policy sees its input and nothing else: the library is built
//! without clock, randomness and I/O, and of its functions only those listed in [`builtin`] may be called. What a policy may cost is bounded by the
//! steps that it takes, the parts that it makes and the parts that it looks at ([`run`]), never by time: the same policy and input stop at the
//! same place on every machine. Trusts the library to carry out one step as Rego says. Does not establish that a policy asks what its author meant.
//!
//! These files alone name the library.

mod builtin;
mod fact;
mod names;
mod run;

pub(super) use fact::Fact;
pub(super) use names::Names;

use super::own::Answer;
use crate::licence::{Licence, OwnCondition, PolicyInput, RegoVersion};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::Instruction;
use regorus::rvm::program::Program;
use regorus::unstable::{Expr, Lexer, Rule, TokenKind};
use regorus::{CompiledPolicy, Engine, Source, Value};
use std::sync::Arc;

/// How deep brackets may be nested. The library's parser tries a bracket as several things, one after the other, and so takes twice as long
/// for each level.
const MAX_NESTING: u32 = 8;
/// The most words and signs, each counted twice as often for each level at which it stands: what bounds the time that reading takes.
const MAX_READING: u32 = 100_000;
/// The longest fault that is told, in characters.
const MAX_FAULT: usize = 300;

/// Why a text is no policy that is run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line of the policy, from 1, where one can be told.
    pub(super) line: Option<usize>,
    /// What is wrong, and what to do.
    pub(super) what: String,
}

/// The policies of a licence, each read once.
pub(super) struct Policies {
    /// In the order of the licence's conditions.
    read: Vec<Result<Policy, Fault>>,
    /// What those that look at facts name of them.
    names: Names,
}

impl Policies {
    pub(super) fn of(licence: &Licence) -> Self {
        let read: Vec<_> = licence.conditions.iter().map(Policy::read).collect();
        let facts = licence.conditions.iter().zip(&read);
        let facts = facts.filter(|(own, _)| own.input == PolicyInput::Facts);
        let names = facts
            .filter_map(|(_, policy)| policy.as_ref().ok())
            .fold(Names::default(), |all, policy| all.or(&policy.names));
        Self { read, names }
    }

    /// What they name of the facts.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Each of them, or why it cannot be asked.
    pub(super) fn each(&self) -> impl Iterator<Item = Result<&Policy, &Fault>> {
        self.read.iter().map(Result::as_ref)
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} policies", self.read.len())
    }
}

/// A policy that can be asked.
pub(super) struct Policy {
    rule: String,
    names: Names,
    compiled: CompiledPolicy,
    program: Arc<Program>,
}

impl Policy {
    /// Reads the policy of a condition.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn read(own: &OwnCondition) -> Result<Self, Fault> {
        nesting(&own.policy)?;
        let mut engine = Engine::new();
        engine.set_rego_v0(own.rego == RegoVersion::V0);
        let failed = |error: &dyn std::fmt::Display| fault(&error.to_string());
        engine
            .add_policy(NAME.to_owned(), own.policy.clone())
            .map_err(|e| failed(&e))?;
        for module in engine.get_modules() {
            module.policy.iter().try_for_each(|rule| defaults(rule))?;
        }
        let compiled = engine
            .compile_with_entrypoint(&Arc::from(own.rule.as_str()))
            .map_err(|e| match e.to_string().as_str() {
                "not a valid rule path" => Fault {
                    line: None,
                    what: format!("holds no rule {}; `rule` names another", own.rule),
                },
                other => fault(other),
            })?;
        let program = Compiler::compile_from_policy_with_host_await(&compiled, &[&own.rule], builtin::OURS)
            .map_err(|e| failed(&e))?;
        allowed(&program)?;
        Ok(Self {
            rule: own.rule.clone(),
            names: Names::of(&own.policy),
            compiled,
            program,
        })
    }

    /// Asks it of an input.
    ///
    /// # Errors
    /// Why it came to no end; this follows the name of the condition in a sentence.
    pub(super) fn ask(&self, input: &Fact) -> Result<Answer, String> {
        let ran = run::run(self, &input.0).map_err(|stop| stop.to_string())?;
        Ok(Answer {
            unseen: ran.unseen,
            looked_at: ran.looked_at,
            ..answer(&ran.value)?
        })
    }
}

/// The name under which the library knows the text.
const NAME: &str = "policy";

/// What the library says, in one line, with the line that it names.
fn fault(said: &str) -> Fault {
    let place = said.split_once(&format!("--> {NAME}:")).map(|(_, rest)| rest);
    let line = place.and_then(|p| p.split(':').next()?.parse().ok());
    let what = said.rsplit_once("error: ").map_or(said, |(_, what)| what);
    // It tells some twice, as its own message and as the cause of that.
    let what = what.trim().trim_start_matches("Compilation error: ");
    let half = what.split_once(": ").filter(|(a, b)| b.trim() == a.trim());
    let what: String = half.map_or(what, |(a, _)| a).chars().take(MAX_FAULT).collect();
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let what = match what
        .strip_prefix("Unknown function: ")
        .or_else(|| what.strip_prefix("Missing builtin function: "))
    {
        Some(name) => not_allowed(name.split(':').next().unwrap_or_default().trim_matches('\'')),
        None => format!("cannot be read as Rego: {what}"),
    };
    Fault { line, what }
}

fn not_allowed(name: &str) -> String {
    format!(
        "calls `{name}`, which no policy here may call: it sees its input alone, and docs/policies.md lists what it may call"
    )
}

/// Holds brackets to a depth, by the library's own tokens.
fn nesting(policy: &str) -> Result<(), Fault> {
    let source =
        Source::from_contents(NAME.to_owned(), policy.to_owned()).map_err(|e| fault(&e.to_string()))?;
    let mut lexer = Lexer::new(&source);
    let (mut depth, mut reading) = (0u32, 0u32);
    // What is no token the parser will name.
    while let Ok(token) = lexer.next_token() {
        match (&token.0, token.1.text()) {
            (TokenKind::Eof, _) => break,
            (TokenKind::Symbol, "{" | "[" | "(") => depth = depth.saturating_add(1),
            (TokenKind::Symbol, "}" | "]" | ")") => depth = depth.saturating_sub(1),
            // The library's own door to functions of its host, whatever their names.
            (TokenKind::Ident, name @ "__builtin_host_await") => {
                return Err(Fault {
                    line: usize::try_from(token.1.line).ok(),
                    what: not_allowed(name),
                });
            }
            _ => {}
        }
        reading = reading.saturating_add(1u32.checked_shl(depth).unwrap_or(MAX_READING));
        let what = match (depth > MAX_NESTING, reading > MAX_READING) {
            (true, _) => format!("nests brackets deeper than {MAX_NESTING}"),
            (_, true) => "nests too much in brackets for its length".to_owned(),
            _ => continue,
        };
        return Err(Fault {
            line: usize::try_from(token.1.line).ok(),
            what: format!("{what}: give what is inside a rule or a function of its own"),
        });
    }
    Ok(())
}

/// A value that stands for an absent one is worked out while the policy is read, where nothing bounds it: it must be written out.
fn defaults(rule: &Rule) -> Result<(), Fault> {
    match rule {
        Rule::Default { span, value, .. } if !is_written_out(value) => Err(Fault {
            line: usize::try_from(span.line).ok(),
            what: "gives a `default` that must be worked out: write a value".to_owned(),
        }),
        _ => Ok(()),
    }
}

fn is_written_out(value: &Expr) -> bool {
    match value {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. } => true,
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().all(|i| is_written_out(i)),
        Expr::Object { fields, .. } => fields
            .iter()
            .all(|(_, key, value)| is_written_out(key) && is_written_out(value)),
        _ => false,
    }
}

/// Holds a program to the functions that it may call and to its input.
fn allowed(program: &Program) -> Result<(), Fault> {
    let at = |pc: usize| {
        program
            .get_instruction_span(pc)
            .map(|s| s.line)
            .filter(|l| *l > 0)
    };
    for (pc, instruction) in program.instructions.iter().enumerate() {
        let what = match instruction {
            Instruction::BuiltinCall { params_index } => {
                let params = program.instruction_data.get_builtin_call_params(*params_index);
                let info = params.and_then(|p| program.get_builtin_info(p.builtin_index));
                match info.map(|i| i.name.as_str()) {
                    Some(name) if builtin::THEIRS.contains(&name) => continue,
                    name => not_allowed(name.unwrap_or("a function without a name")),
                }
            }
            Instruction::LoadData { .. } | Instruction::VirtualDataDocumentLookup { .. } => {
                "looks into `data` for what is no rule of its own, or by a name that it works out: all that there is stands in `input`"
                    .to_owned()
            }
            _ => continue,
        };
        return Err(Fault { line: at(pc), what });
    }
    Ok(())
}

/// What a value says as an answer.
fn answer(value: &Value) -> Result<Answer, String> {
    let outcome = |text: &str| {
        super::own::OUTCOMES
            .iter()
            .copied()
            .find(|o| o.text() == text)
            .ok_or_else(|| {
                "answered with an `outcome` that is none of met, not met, cannot tell and not applicable"
                    .to_owned()
            })
    };
    let object = match value {
        Value::Undefined => return Ok(Answer::default()),
        Value::Bool(holds) => return Ok(Answer::bare(*holds)),
        Value::Object(object) => object,
        _ => return Err("answered with neither a boolean nor an object that holds `outcome`".to_owned()),
    };
    let mut answer = Answer::default();
    for (key, value) in object.iter() {
        match (key, value) {
            (Value::String(key), Value::String(text)) if **key == *"outcome" => {
                answer.outcome = Some(outcome(text)?);
            }
            (Value::String(key), Value::String(text)) if **key == *"sentence" => {
                answer.sentence = Some(text.to_string());
            }
            (Value::String(key), Value::Array(items)) if **key == *"subjects" => {
                answer.subjects = subjects(items.iter())?;
            }
            (Value::String(key), Value::Set(items)) if **key == *"subjects" => {
                answer.subjects = subjects(items.iter())?;
            }
            _ => {
                return Err(
                    "answered with an object that holds more than texts under `outcome` and `sentence` and a list of texts under `subjects`"
                        .to_owned(),
                );
            }
        }
    }
    match answer.outcome {
        Some(_) => Ok(answer),
        None => Err("answered with an object that holds no `outcome`".to_owned()),
    }
}

fn subjects<'v>(items: impl Iterator<Item = &'v Value>) -> Result<Vec<String>, String> {
    items
        .map(|item| match item {
            Value::String(text) => Ok(text.to_string()),
            _ => Err("answered with `subjects` that are not all texts".to_owned()),
        })
        .collect()
}
