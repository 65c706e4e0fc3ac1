//! What a statement says, line by line, for a person.

use super::Statement;
use super::shape::{Member, Shape};
use serde_json::{Map, Value};

impl Statement {
    /// Every key with its value, in the order of its declaration; tables are indented.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let mut lines = vec![format!("{}.", self.kind().says)];
        let predicate = self.predicate();
        for (part, members) in [("header", super::HEADER), ("claims", self.kind().members())] {
            if let Some(Value::Object(table)) = predicate.get(part) {
                write(&mut lines, members, table, 0);
            }
        }
        lines
    }
}

fn write(lines: &mut Vec<String>, members: &[Member], table: &Map<String, Value>, depth: usize) {
    let indent = " ".repeat(depth.saturating_mul(2));
    for member in members {
        let Some(value) = table.get(member.key) else {
            continue;
        };
        let (inner, rows) = match (member.shape, value) {
            (Shape::Table(inner), row) => (inner, std::slice::from_ref(row)),
            (Shape::List(Shape::Table(inner)), Value::Array(rows)) => (*inner, rows.as_slice()),
            _ => {
                lines.push(format!("{indent}{}: {}", member.key, plain(value)));
                continue;
            }
        };
        for row in rows.iter().filter_map(Value::as_object) {
            lines.push(format!("{indent}{}:", member.key));
            write(lines, inner, row, depth.saturating_add(1));
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        // A text of several lines stays in one place.
        Value::String(text) => text.replace('\n', " / "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
