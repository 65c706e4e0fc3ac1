//! Running a policy within bounds.
//!
//! Decides: when a policy is stopped. The machine is halted after every step, and what the step made or looked at is counted, each part of a value as often as the
//! value holds it: a value that holds one other twice over, and that one another twice, costs what it stands for and not what it takes to
//! write. So no value grows beyond what is counted, and no one step takes longer than its parts allow.

use super::{Policy, builtin};
use regorus::Value;
use regorus::rvm::Instruction;
use regorus::rvm::instructions::LiteralOrRegister;
use regorus::rvm::program::Program;
use regorus::rvm::vm::{ExecutionMode, ExecutionState, RegoVM, SuspendReason};
use std::collections::BTreeSet;

/// The most steps. A policy over the claims of one device takes about a hundred.
pub(super) const MAX_STEPS: u32 = 2_000_000;
/// The most parts that a policy makes, all in all: what bounds its memory.
pub(super) const MAX_MADE: u32 = 250_000;
/// The most parts that it looks at in comparisons and calls.
pub(super) const MAX_SEEN: u32 = 32_000_000;
/// The deepest value that it makes: the library walks values by calling itself.
const MAX_DEPTH: usize = 64;
/// The bits of the largest whole number that it makes.
const MAX_BITS: u64 = 256;
/// Bytes of a text that count as one part.
const TEXT_PART: usize = 32;

/// Why a policy was stopped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("took more than {MAX_STEPS} steps")]
    Steps,
    #[error("made more than {MAX_MADE} parts of values")]
    Made,
    #[error("looked at more than {MAX_SEEN} parts of values")]
    Seen,
    #[error("made a value nested deeper than {MAX_DEPTH}")]
    Deep,
    #[error("made a whole number of more than {MAX_BITS} bits")]
    Number,
    #[error("called {0}")]
    Call(String),
    #[error("could not go on: {0}")]
    Machine(String),
}

/// What a policy has used up.
#[derive(Default)]
struct Meter {
    steps: u32,
    made: u32,
    seen: u32,
}

impl Meter {
    fn step(&mut self) -> Result<(), Stop> {
        self.steps = self.steps.saturating_add(1);
        (self.steps <= MAX_STEPS).then_some(()).ok_or(Stop::Steps)
    }

    fn make(&mut self, value: &Value) -> Result<(), Stop> {
        let left = MAX_MADE.saturating_sub(self.made);
        let parts = weigh(value, left, true)?.ok_or(Stop::Made)?;
        self.made = self.made.saturating_add(parts);
        Ok(())
    }

    fn see(&mut self, value: &Value) -> Result<(), Stop> {
        let left = MAX_SEEN.saturating_sub(self.seen);
        let parts = weigh(value, left, false)?.ok_or(Stop::Seen)?;
        self.seen = self.seen.saturating_add(parts);
        Ok(())
    }
}

/// How many parts a value has, or none where more than `most`.
fn weigh(value: &Value, most: u32, made: bool) -> Result<Option<u32>, Stop> {
    if let Some(parts) = plain(value, made) {
        return Ok((parts <= most).then_some(parts));
    }
    let mut parts = 0u32;
    let mut left = vec![(value, 0usize)];
    while let Some((value, depth)) = left.pop() {
        if made && depth > MAX_DEPTH {
            return Err(Stop::Deep);
        }
        let below = depth.saturating_add(1);
        let text = match value {
            Value::String(text) => part_of(text),
            _ => 0,
        };
        parts = parts.saturating_add(1).saturating_add(text);
        if parts > most {
            return Ok(None);
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|i| (i, below))),
            Value::Set(items) => left.extend(items.iter().map(|i| (i, below))),
            Value::Object(members) => left.extend(members.iter().flat_map(|(k, v)| [(k, below), (v, below)])),
            Value::Number(number) if made && number.as_i64().is_none() && number.is_integer() => {
                let bits = number.as_big().map_or(0, |big| big.bits());
                if bits > MAX_BITS {
                    return Err(Stop::Number);
                }
            }
            _ => {}
        }
    }
    Ok(Some(parts))
}

/// How many parts a text counts beside itself.
fn part_of(text: &str) -> u32 {
    let parts = text.len().checked_div(TEXT_PART).unwrap_or(0);
    u32::try_from(parts).unwrap_or(u32::MAX)
}

/// How many parts a value has that holds no others, or none that do: most are so, and need no list of what is left.
fn plain(value: &Value, made: bool) -> Option<u32> {
    let leaf = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Undefined => Some(1),
        Value::Number(_) if !made => Some(1),
        Value::String(text) => Some(part_of(text).saturating_add(1)),
        _ => None,
    };
    let add = |sum: u32, value: &Value| Some(sum.saturating_add(leaf(value)?));
    match value {
        Value::Array(items) => items.iter().try_fold(1, add),
        Value::Set(items) => items.iter().try_fold(1, add),
        Value::Object(members) => members.iter().try_fold(1, |sum, (k, v)| add(add(sum, k)?, v)),
        leaf_itself => leaf(leaf_itself),
    }
}

/// What a run came to.
pub(super) struct Ran {
    pub(super) value: Value,
    /// The first name that the policy asked a value for and that the value does not hold.
    pub(super) unseen: Option<String>,
    /// The findings that it looked at, by their conditions; none where it may have looked at all.
    pub(super) looked_at: Option<BTreeSet<String>>,
}

/// Runs a policy.
pub(super) fn run(policy: &Policy, input: &Value) -> Result<Ran, Stop> {
    let machine = |error: regorus::rvm::vm::VmError| {
        let said: String = error.to_string().chars().take(200).collect();
        Stop::Machine(said.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut vm = RegoVM::new();
    vm.load_program(policy.program.clone());
    vm.set_compiled_policy(policy.compiled.clone());
    // Ours stops first; this one holds where a step is not halted after.
    vm.set_max_instructions(usize::try_from(MAX_STEPS).unwrap_or(usize::MAX).saturating_mul(2));
    vm.set_execution_mode(ExecutionMode::Suspendable);
    vm.set_step_mode(true);
    vm.set_input(input.clone());
    let mut watch = Watch::new(&policy.program);
    vm.execute_entry_point_by_name(&policy.rule).map_err(machine)?;
    let value = loop {
        let resume = match vm.execution_state() {
            ExecutionState::Completed { result } => break result.clone(),
            ExecutionState::Suspended { reason, pc, .. } => {
                watch.meter.step()?;
                match reason {
                    SuspendReason::HostAwait {
                        argument, identifier, ..
                    } => Some(watch.call(identifier, argument)?),
                    _ => {
                        watch.look(*pc, vm.get_registers())?;
                        None
                    }
                }
            }
            _ => return Err(Stop::Machine("the machine stopped".to_owned())),
        };
        vm.resume(resume).map_err(machine)?;
    };
    Ok(Ran {
        value,
        unseen: watch.unseen,
        looked_at: watch.looked_at,
    })
}

/// What is watched of a run.
struct Watch<'p> {
    program: &'p Program,
    meter: Meter,
    /// The rules whose value was looked at: it is worked out once.
    known: BTreeSet<u16>,
    unseen: Option<String>,
    looked_at: Option<BTreeSet<String>>,
}

impl<'p> Watch<'p> {
    fn new(program: &'p Program) -> Self {
        Self {
            program,
            meter: Meter::default(),
            known: BTreeSet::new(),
            unseen: None,
            looked_at: Some(BTreeSet::new()),
        }
    }

    /// Counts what the step at `pc` has made and looked at.
    fn look(&mut self, pc: usize, registers: &[Value]) -> Result<(), Stop> {
        let at = |register: u8| registers.get(usize::from(register)).unwrap_or(&Value::Undefined);
        let program = self.program;
        let data = &program.instruction_data;
        self.returned(pc, registers)?;
        match program.instructions.get(pc) {
            Some(Instruction::ArrayCreate { params_index }) => {
                let params = data.get_array_create_params(*params_index);
                params.map_or(Ok(()), |p| self.meter.make(at(p.dest)))
            }
            Some(Instruction::SetCreate { params_index }) => {
                let params = data.get_set_create_params(*params_index);
                params.map_or(Ok(()), |p| self.meter.make(at(p.dest)))
            }
            Some(Instruction::ObjectCreate { params_index }) => {
                let params = data.get_object_create_params(*params_index);
                params.map_or(Ok(()), |p| self.meter.make(at(p.dest)))
            }
            Some(Instruction::ArrayPush { value, .. } | Instruction::SetAdd { value, .. }) => {
                self.meter.make(at(*value))
            }
            Some(Instruction::ObjectSet { key, value, .. }) => {
                self.meter.make(at(*key))?;
                self.meter.make(at(*value))
            }
            Some(Instruction::ComprehensionYield { value_reg, key_reg }) => {
                key_reg.map_or(Ok(()), |key| self.meter.make(at(key)))?;
                self.meter.make(at(*value_reg))
            }
            Some(
                Instruction::Add { dest, .. }
                | Instruction::Sub { dest, .. }
                | Instruction::Mul { dest, .. }
                | Instruction::Div { dest, .. }
                | Instruction::Mod { dest, .. },
            ) => self.meter.make(at(*dest)),
            Some(Instruction::BuiltinCall { params_index }) => {
                let Some(params) = data.get_builtin_call_params(*params_index) else {
                    return Ok(());
                };
                let name = program
                    .get_builtin_info(params.builtin_index)
                    .map(|i| i.name.as_str());
                if name != Some("count") {
                    params
                        .arg_registers()
                        .iter()
                        .try_for_each(|r| self.meter.see(at(*r)))?;
                }
                self.meter.make(at(params.dest))
            }
            Some(
                Instruction::Eq { left, .. }
                | Instruction::Ne { left, .. }
                | Instruction::Lt { left, .. }
                | Instruction::Le { left, .. }
                | Instruction::Gt { left, .. }
                | Instruction::Ge { left, .. }
                | Instruction::AssertEq { left, .. },
            ) => self.meter.see(at(*left)),
            Some(Instruction::Contains { collection, .. }) => self.meter.see(at(*collection)),
            Some(Instruction::Index { dest, container, key }) => {
                self.meter.see(at(*key))?;
                self.asked(&[at(*key)]);
                self.missed(at(*container), at(*dest), at(*key));
                Ok(())
            }
            Some(Instruction::IndexLiteral {
                dest,
                container,
                literal_idx,
            }) => {
                let key = self.literal(*literal_idx);
                self.asked(&[key]);
                self.missed(at(*container), at(*dest), key);
                Ok(())
            }
            Some(Instruction::ChainedIndex { params_index }) => {
                let Some(params) = data.get_chained_index_params(*params_index) else {
                    return Ok(());
                };
                let keys = params.path_components.iter().map(|c| match c {
                    LiteralOrRegister::Literal(index) => self.literal(*index),
                    LiteralOrRegister::Register(register) => at(*register),
                });
                let keys: Vec<&Value> = keys.collect();
                keys.iter().try_for_each(|k| self.meter.see(k))?;
                self.asked(&keys);
                let last = keys.last().copied().unwrap_or(&Value::Undefined);
                self.missed(at(params.root), at(params.dest), last);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Looks at what a call came to, in the step after it: where a function or a rule has several bodies, their values were compared.
    fn returned(&mut self, pc: usize, registers: &[Value]) -> Result<(), Stop> {
        let before = pc.checked_sub(1).and_then(|pc| self.program.instructions.get(pc));
        let dest = match before {
            Some(Instruction::CallRule { dest, rule_index }) => {
                self.known.insert(*rule_index).then_some(*dest)
            }
            Some(Instruction::FunctionCall { params_index }) => {
                let params = self
                    .program
                    .instruction_data
                    .get_function_call_params(*params_index);
                params.map(|p| p.dest)
            }
            _ => None,
        };
        match dest.and_then(|d| registers.get(usize::from(d))) {
            Some(value) => self.meter.see(value),
            None => Ok(()),
        }
    }

    fn literal(&self, index: u16) -> &'p Value {
        let literals: &'p [Value] = &self.program.literals;
        literals.get(usize::from(index)).unwrap_or(&Value::Undefined)
    }

    /// Remembers which findings were asked for: one by its condition, or, where their list is taken as a whole, any.
    fn asked(&mut self, keys: &[&Value]) {
        let is_list = |key: &&Value| matches!(key, Value::String(name) if **name == *"findings");
        let Some(list) = keys.iter().position(is_list) else {
            return;
        };
        match (keys.get(list.saturating_add(1)), &mut self.looked_at) {
            (Some(Value::String(condition)), Some(known)) => {
                known.insert(condition.to_string());
            }
            _ => self.looked_at = None,
        }
    }

    /// Remembers the first name that a value was asked for and does not hold.
    fn missed(&mut self, container: &Value, found: &Value, key: &Value) {
        if self.unseen.is_none()
            && *found == Value::Undefined
            && let (Value::Object(_), Value::String(key)) = (container, key)
        {
            self.unseen = Some(key.to_string());
        }
    }

    /// Carries out a function of ours.
    fn call(&mut self, name: &Value, arguments: &Value) -> Result<Value, Stop> {
        self.meter.make(arguments)?;
        let made = builtin::call(name, arguments).map_err(Stop::Call)?;
        self.meter.make(&made)?;
        Ok(made)
    }
}
