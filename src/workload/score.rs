//! Scores of a window per class, by a table of rules.
//!
//! Decides: what the table gives each class, by how much it leads or trails, and whether that is enough to name it.
//! Trusts the features. Does not establish intent, and one window accuses nobody.

use super::{Class, Features};
use crate::crypto::sha256;
use crate::id::Digest;

/// The rules that ship with this build.
const EMBEDDED: &str = include_str!("rules.csv");

/// The most rows that a table of rules may hold.
const MAX_ROWS: usize = 1_024;

/// SHA-256 of the rules that ship with this build: the digest of the model, which every report names.
#[must_use]
pub fn model_digest() -> Digest {
    sha256(EMBEDDED.as_bytes())
}

/// Why rules could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// Not the CSV that it should be.
    #[error("the workload rules are not the table that they should be")]
    Csv(#[from] csv::Error),
    /// A word in a row has no meaning.
    #[error("the workload rules name a {what} `{found}` that this build does not know")]
    Unknown {
        /// Feature or class.
        what: &'static str,
        /// What stood there, cut to 40 characters.
        found: String,
    },
    /// More rows than any table needs.
    #[error("the workload rules hold more than {MAX_ROWS} rows")]
    TooMany,
}

/// One straight line.
#[derive(Clone, Debug)]
struct Rule {
    feature: String,
    class: usize,
    low: i64,
    high: i64,
    at_low: i64,
    at_high: i64,
}

impl Rule {
    fn gain(&self, value: i64) -> i64 {
        let span = self.high.saturating_sub(self.low);
        let into = value
            .clamp(self.low, self.high.max(self.low))
            .saturating_sub(self.low);
        let rise = self.at_high.saturating_sub(self.at_low);
        let share = rise.saturating_mul(into).checked_div(span).unwrap_or(0);
        self.at_low.saturating_add(share)
    }
}

/// What a window scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// For each class in the order of [`Class`]: its lead over the best of the others, negative where it trails, as a
    /// log-likelihood ratio in hundredths of a nat. All zero where the window could not be scored.
    pub centinats: [i16; Class::ALL.len()],
    /// The class that leads by enough; `None` is `cannot tell`.
    pub class: Option<Class>,
    /// For each class, whether it trails by enough to be ruled out.
    pub ruled_out: [bool; Class::ALL.len()],
}

impl Scored {
    /// A window of which nothing can be said.
    #[must_use]
    pub fn cannot_tell() -> Self {
        Self {
            centinats: [0; Class::ALL.len()],
            class: None,
            ruled_out: [false; Class::ALL.len()],
        }
    }

    /// Whether the scores rule out `class`.
    #[must_use]
    pub fn rules_out(&self, class: Class) -> bool {
        self.ruled_out
            .get(usize::from(class.code()))
            .copied()
            .unwrap_or(false)
    }
}

/// The table.
#[derive(Clone, Debug)]
pub struct Rules {
    rows: Vec<Rule>,
    decide: i64,
    rule_out: i64,
    points: i64,
    digest: Digest,
}

impl Rules {
    /// The rules that ship with this build.
    ///
    /// # Errors
    /// [`RulesError`]; a test reads them, so this cannot happen in a build that passed its tests.
    pub fn embedded() -> Result<Self, RulesError> {
        Self::parse(EMBEDDED)
    }

    /// Reads a table of rules.
    ///
    /// # Errors
    /// [`RulesError`]. The text is untrusted; the caller bounds its size.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut rules = Self {
            rows: Vec::new(),
            decide: i64::MAX,
            rule_out: i64::MAX,
            points: 0,
            digest: sha256(text.as_bytes()),
        };
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        for row in reader.deserialize::<(String, String, i64, i64, i64, i64)>() {
            let (feature, class, low, high, at_low, at_high) = row?;
            match feature.as_str() {
                "decide" => rules.decide = at_low,
                "rule_out" => rules.rule_out = at_low,
                "points" => rules.points = at_low,
                _ => {
                    if rules.rows.len() >= MAX_ROWS {
                        return Err(RulesError::TooMany);
                    }
                    let unknown = |what, found: &str| RulesError::Unknown {
                        what,
                        found: found.chars().take(40).collect(),
                    };
                    if !Features::NAMES.contains(&feature.as_str()) {
                        return Err(unknown("feature", &feature));
                    }
                    let class = Class::ALL
                        .iter()
                        .position(|c| c.text() == class)
                        .ok_or_else(|| unknown("class", &class))?;
                    rules.rows.push(Rule {
                        feature,
                        class,
                        low,
                        high,
                        at_low,
                        at_high,
                    });
                }
            }
        }
        Ok(rules)
    }

    /// SHA-256 of the table's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Scores the features of a window.
    #[must_use]
    pub fn score(&self, features: &Features) -> Scored {
        let seen = features.sm.is_some() || features.busy.is_some();
        if !seen || i64::from(features.points) < self.points {
            return Scored::cannot_tell();
        }
        let mut sums = [0i64; Class::ALL.len()];
        for rule in &self.rows {
            if let (Some(sum), Some(value)) = (sums.get_mut(rule.class), features.named(&rule.feature)) {
                *sum = sum.saturating_add(rule.gain(value));
            }
        }
        let mut scored = Scored::cannot_tell();
        let places = scored.centinats.iter_mut().zip(&mut scored.ruled_out);
        for ((i, class), (centinats, ruled_out)) in Class::ALL.iter().enumerate().zip(places) {
            let own = sums.get(i).copied().unwrap_or(0);
            let others = sums.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s);
            let lead = own.saturating_sub(others.max().unwrap_or(0));
            // Without per-pipe activity, only that nothing runs can be told.
            let tellable = features.tensor.is_some() || *class == Class::Idle;
            *centinats = i16::try_from(lead).unwrap_or(if lead < 0 { i16::MIN } else { i16::MAX });
            *ruled_out = tellable && lead <= self.rule_out.saturating_neg();
            if tellable && lead >= self.decide {
                scored.class = Some(*class);
            }
        }
        if scored.class == Some(Class::Idle) {
            for (class, ruled_out) in Class::ALL.iter().zip(&mut scored.ruled_out) {
                *ruled_out = *class != Class::Idle;
            }
        }
        scored
    }
}

impl Features {
    /// The features that a rule may name.
    const NAMES: &'static [&'static str] = &[
        "sm",
        "busy",
        "tensor",
        "tensor_per_sm",
        "tensor_per_dram",
        "dram",
        "fp64",
        "fp32",
        "integer",
        "link_active",
        "link_symmetry",
        "power_variation",
        "periodicity",
        "synchrony",
    ];

    fn named(&self, name: &str) -> Option<i64> {
        let value = match name {
            "sm" => self.sm,
            "busy" => self.busy,
            "tensor" => self.tensor,
            "tensor_per_sm" => self.tensor_per_sm,
            "tensor_per_dram" => self.tensor_per_dram,
            "dram" => self.dram,
            "fp64" => self.fp64,
            "fp32" => self.fp32,
            "integer" => self.integer,
            "link_active" => self.link_active,
            "link_symmetry" => self.link_symmetry,
            "power_variation" => self.power_variation,
            "periodicity" => self.periodicity,
            "synchrony" => self.synchrony,
            _ => None,
        };
        value.map(|p| i64::from(p.0))
    }
}
