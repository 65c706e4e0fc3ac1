//! The values that a policy sees, as the library holds them: made as they are, and not by way of JSON.

use regorus::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::conditions) struct Fact(pub(super) Value);

impl Fact {
    /// An object. Of one name that stands there twice the last value counts.
    pub(in crate::conditions) fn object(members: impl IntoIterator<Item = (Self, Self)>) -> Self {
        let members: BTreeMap<Value, Value> = members.into_iter().map(|(k, v)| (k.0, v.0)).collect();
        Self(Value::from(members))
    }

    /// The same object with other values for some of its members: a copy of one that is whole costs less than to sort its members anew.
    pub(in crate::conditions) fn with<'k>(
        &self,
        members: impl IntoIterator<Item = (&'k Self, Self)>,
    ) -> Self {
        let mut other = self.clone();
        if let Ok(object) = other.0.as_object_mut() {
            for (key, value) in members {
                if let Some(place) = object.get_mut(&key.0) {
                    *place = value.0;
                }
            }
        }
        other
    }

    /// What has a form of its own in JSON.
    pub(in crate::conditions) fn json(value: serde_json::Value) -> Self {
        Self(Value::from(value))
    }

    /// As JSON.
    #[cfg(test)]
    pub(in crate::conditions) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.0).unwrap()
    }
}

impl FromIterator<Fact> for Fact {
    fn from_iter<I: IntoIterator<Item = Fact>>(items: I) -> Self {
        Self(Value::from(items.into_iter().map(|i| i.0).collect::<Vec<_>>()))
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self(Value::String(Arc::from(text)))
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<bool> for Fact {
    fn from(yes: bool) -> Self {
        Self(Value::Bool(yes))
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self(Value::from(number))
    }
}

impl From<i64> for Fact {
    fn from(number: i64) -> Self {
        // As JSON has them: one that is not negative has no sign.
        u64::try_from(number).map_or_else(|_| Self(Value::from(number)), Self::from)
    }
}

impl<T: Into<Fact>> From<Option<T>> for Fact {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self(Value::Null), Into::into)
    }
}
