//! The functions that a policy may call.
//!
//! Decides: which, and carries out those of which the library's own could make far more than they are given. None reads a clock, draws at random or reaches
//! outside.

use crate::time::UnixSeconds;
use regorus::Value;

/// Those of the library: what each makes is no larger than what it is given.
pub(super) const THEIRS: &[&str] = &[
    "__builtin_sets.intersection",
    "__builtin_sets.union",
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "ceil",
    "contains",
    "count",
    "endswith",
    "floor",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "lower",
    "max",
    "min",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.union",
    "round",
    "sort",
    "split",
    "startswith",
    "substring",
    "sum",
    "trim_prefix",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "upper",
];

/// Ours, each with the number of its arguments.
pub(super) const OURS: &[(&str, usize)] = &[
    ("concat", 2),
    ("sprintf", 2),
    ("time.parse_rfc3339_ns", 1),
    ("to_number", 1),
];

/// The longest text that one of ours makes, in bytes.
const MAX_TEXT: usize = 16 * 1_024;
/// The longest number in a text.
const MAX_NUMBER: usize = 40;

/// Carries one of ours out. What has another type than the function takes makes its value undefined, as in Rego.
///
/// # Errors
/// What was called, and why it cannot be carried out.
pub(super) fn call(name: &Value, arguments: &Value) -> Result<Value, String> {
    let Value::String(name) = name else {
        return Err("a function without a name".to_owned());
    };
    let none = Value::Undefined;
    let arguments = match arguments {
        Value::Array(items) => (items.get(0).unwrap_or(&none), items.get(1).unwrap_or(&none)),
        _ => (&none, &none),
    };
    match &**name {
        "concat" => concat(arguments.0, arguments.1),
        "sprintf" => sprintf(arguments.0, arguments.1),
        "to_number" => Ok(to_number(arguments.0)),
        "time.parse_rfc3339_ns" => Ok(nanoseconds(arguments.0)),
        other => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            Err(format!("`{shown}`, which no policy here may call"))
        }
    }
}

fn bounded(name: &str, parts: &[&str]) -> Result<String, String> {
    let bytes = parts.iter().fold(0usize, |sum, p| sum.saturating_add(p.len()));
    if bytes > MAX_TEXT {
        return Err(format!("`{name}` for a text of more than {MAX_TEXT} bytes"));
    }
    Ok(parts.concat())
}

fn concat(delimiter: &Value, items: &Value) -> Result<Value, String> {
    let items: Vec<&Value> = match items {
        Value::Array(items) => items.iter().collect(),
        Value::Set(items) => items.iter().collect(),
        _ => Vec::from([&Value::Undefined]),
    };
    let Value::String(delimiter) = delimiter else {
        return Ok(Value::Undefined);
    };
    let mut parts: Vec<&str> = Vec::new();
    for item in items {
        let Value::String(item) = item else {
            return Ok(Value::Undefined);
        };
        if !parts.is_empty() {
            parts.push(delimiter);
        }
        parts.push(item);
    }
    Ok(Value::from(bounded("concat", &parts)?))
}

/// `%s`, `%v`, `%d` and `%%`; each argument once, in order.
fn sprintf(format: &Value, arguments: &Value) -> Result<Value, String> {
    let (Value::String(format), Value::Array(arguments)) = (format, arguments) else {
        return Ok(Value::Undefined);
    };
    let mut arguments = arguments.iter();
    let mut parts: Vec<String> = Vec::new();
    let mut pieces = format.split('%');
    parts.extend(pieces.next().map(str::to_owned));
    while let Some(piece) = pieces.next() {
        let mut rest = piece.chars();
        match rest.next() {
            Some('s' | 'v' | 'd') => match arguments.next() {
                Some(argument) => parts.push(shown(argument)),
                None => return Err("`sprintf` with fewer values than its format has places".to_owned()),
            },
            // Two in a row: the piece between them is empty, and the next one follows the sign.
            None if pieces.clone().next().is_some() => {
                parts.push("%".to_owned());
                parts.extend(pieces.next().map(str::to_owned));
                continue;
            }
            _ => return Err("`sprintf` with another verb than %s, %v, %d and %%".to_owned()),
        }
        parts.push(rest.as_str().to_owned());
    }
    if arguments.next().is_some() {
        return Err("`sprintf` with more values than its format has places".to_owned());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(Value::from(bounded("sprintf", &parts)?))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    }
}

fn to_number(value: &Value) -> Value {
    match value {
        Value::Number(_) => value.clone(),
        Value::Null | Value::Bool(false) => Value::from(0u64),
        Value::Bool(true) => Value::from(1u64),
        // An exponent makes a long number of a short text.
        Value::String(text) if text.len() <= MAX_NUMBER && !text.contains(['e', 'E']) => {
            Value::from_numeric_string(text).unwrap_or(Value::Undefined)
        }
        _ => Value::Undefined,
    }
}

fn nanoseconds(value: &Value) -> Value {
    let Value::String(text) = value else {
        return Value::Undefined;
    };
    let time = UnixSeconds::parse(text).ok().filter(|_| text.contains('T'));
    time.and_then(|t| t.0.checked_mul(1_000_000_000))
        .map_or(Value::Undefined, Value::from)
}
