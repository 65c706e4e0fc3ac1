//! Scores of a window per class: tables of straight lines, and the margins.
//!
//! Decides: what the tables give each class beside what was learned, by how much it leads or trails, and whether that is enough to name it.
//! Trusts the features. Does not establish intent, and one window accuses nobody.

use super::{Class, Features};

/// The most rows that a table of rules may hold.
const MAX_ROWS: usize = 1_024;

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
    feature: usize,
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
    /// For each class, whether it trails the class that was called by enough to be ruled out.
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

    /// Whether anything was said: a window that could not be scored says nothing.
    pub(super) fn says_something(&self) -> bool {
        self.centinats.iter().any(|c| *c != 0)
    }

    /// The lead of training over the best of the others, in hundredths of a nat.
    pub(super) fn of_training(&self) -> i16 {
        let place = usize::from(Class::Training.code());
        self.centinats.get(place).copied().unwrap_or(0)
    }

    /// The same with no kind of machine learning named.
    pub(super) fn without_machine_learning(self) -> Self {
        match self.class.is_some_and(Class::is_machine_learning) {
            true => Self {
                class: None,
                ruled_out: [false; Class::ALL.len()],
                ..self
            },
            false => self,
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
    decide: [i64; Class::ALL.len()],
    rule_out: i64,
    points: i64,
    /// From what share of points with traffic on, where no burst has told of exchanges, and how much further a kind of machine learning must lead then.
    unheard: (i64, i64),
    dependence: i64,
    rest: i64,
    source: i64,
    /// From what share of memory in use sent in one beat on exchanges count at all, and from which on they count whole and may be a source.
    exchanged: (i64, i64),
    ends: i64,
    horizon: i64,
    least: i64,
}

/// Features that tell how a device works with others: over its links, and moving as they do.
const TOGETHER: [&str; 4] = [
    "link_active",
    "link_symmetry",
    "linked_tensor_per_dram",
    "synchrony",
];

/// The one that tells what it exchanges with them step by step.
const BEAT: [&str; 1] = ["link_beat"];

/// The one that tells that it does so apart from its work, as no model does that works over several devices.
const APART: [&str; 1] = ["link_apart"];

impl Rules {
    /// Reads a table of rules.
    ///
    /// # Errors
    /// [`RulesError`]. The text is untrusted; the caller bounds its size.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut rules = Self {
            rows: Vec::new(),
            decide: [i64::MAX; Class::ALL.len()],
            rule_out: i64::MAX,
            points: 0,
            unheard: (i64::MAX, 0),
            dependence: 1_000,
            rest: 1_000,
            source: i64::MAX,
            exchanged: (0, i64::MAX),
            ends: 1,
            horizon: i64::MAX,
            least: i64::MAX,
        };
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        for row in reader.deserialize::<(String, String, i64, i64, i64, i64)>() {
            let (feature, class, low, high, at_low, at_high) = row?;
            let unknown = |what, found: &str| RulesError::Unknown {
                what,
                found: found.chars().take(40).collect(),
            };
            let place = |class: &str| {
                Class::ALL
                    .iter()
                    .position(|c| c.text() == class)
                    .ok_or_else(|| unknown("class", class))
            };
            match feature.as_str() {
                "decide" if class.is_empty() => rules.decide = [at_low; Class::ALL.len()],
                "decide" => {
                    if let Some(margin) = rules.decide.get_mut(place(&class)?) {
                        *margin = at_low;
                    }
                }
                "rule_out" => rules.rule_out = at_low,
                "points" => rules.points = at_low,
                "unheard" => rules.unheard = (low, at_low),
                "dependence" => rules.dependence = at_low.clamp(0, 1_000),
                "rest" => rules.rest = at_low,
                "source" => rules.source = at_low,
                "exchanged" => rules.exchanged = (low, high),
                "ends" => rules.ends = at_low,
                "horizon" => rules.horizon = at_low,
                "least" => rules.least = at_low,
                _ => {
                    if rules.rows.len() >= MAX_ROWS {
                        return Err(RulesError::TooMany);
                    }
                    let named = Features::NAMES.iter().position(|n| *n == feature);
                    let feature = named.ok_or_else(|| unknown("feature", &feature))?;
                    let class = place(&class)?;
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

    /// Scores the features of a window, of which `learned` gives each class something already, in hundredths of a nat.
    #[must_use]
    pub fn score(&self, features: &Features, learned: [i64; Class::ALL.len()]) -> Scored {
        let seen = features.sm.is_some() || features.busy.is_some();
        if !seen || i64::from(features.points) < self.points {
            return Scored::cannot_tell();
        }
        let mut sums = learned;
        let values = features.values();
        for rule in &self.rows {
            let value = values.get(rule.feature).copied().flatten();
            if let (Some(sum), Some(value)) = (sums.get_mut(rule.class), value) {
                *sum = sum.saturating_add(self.weighed(rule, value, features));
            }
        }
        let lead = |(i, own): (usize, &i64)| {
            let others = sums.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s);
            own.saturating_sub(others.max().unwrap_or(0))
        };
        let mut leads = [0; Class::ALL.len()];
        for (slot, one) in leads.iter_mut().zip(sums.iter().enumerate()) {
            *slot = lead(one);
        }
        let mut scored = self.decide(leads, self.is_unheard(features));
        // Without per-pipe activity, only that nothing runs can be told.
        if features.tensor.is_none() && scored.class != Some(Class::Idle) {
            scored.class = None;
            scored.ruled_out = Scored::cannot_tell().ruled_out;
        }
        scored
    }

    /// What one feature gives each class by the tables, in hundredths of a nat.
    pub(super) fn gains(&self, feature: usize, value: i64, features: &Features) -> [i64; Class::ALL.len()] {
        let mut gains = [0i64; Class::ALL.len()];
        for rule in self.rows.iter().filter(|r| r.feature == feature) {
            if let Some(sum) = gains.get_mut(rule.class) {
                *sum = sum.saturating_add(self.weighed(rule, value, features));
            }
        }
        gains
    }

    /// What a row gives by a value of its feature. How a device exchanges says the less the less it is that it exchanges.
    fn weighed(&self, rule: &Rule, value: i64, features: &Features) -> i64 {
        let gain = rule.gain(value);
        let name = Features::NAMES.get(rule.feature);
        let is_of = |named: &[&str]| name.is_some_and(|name| named.contains(name));
        match features.beat_per_memory {
            _ if !is_of(&BEAT) && !is_of(&APART) => gain,
            // Where links never come to rest nobody can count beats, and there are some nevertheless.
            None if is_of(&BEAT) => gain,
            None => 0,
            Some(sent) => {
                let (low, high) = self.exchanged;
                let whole = high.saturating_sub(low);
                let weight = i64::from(sent.0).saturating_sub(low).clamp(0, whole.max(0));
                gain.saturating_mul(weight).checked_div(whole).unwrap_or(gain)
            }
        }
    }

    /// Whether a device exchanges with others and no burst has told how: then nobody can tell whether it trains with them or serves with them but by
    /// what it does itself.
    pub(super) fn is_unheard(&self, features: &Features) -> bool {
        let (share, _) = self.unheard;
        features.link_beat.is_none() && features.link_active.is_some_and(|a| i64::from(a.0) >= share)
    }

    /// By how much exchanges favour training over either kind of inference; no more than nothing unless they beat, and apart from the device's own
    /// work: replicas that are fed alike move alike, and one model that is served over several devices uses links both ways as well, in rounds of one
    /// size even in a rhythm.
    pub(super) fn together(&self, features: &Features) -> i64 {
        let others = self.favours_training(features, &TOGETHER);
        let [beat, apart] = [&BEAT[..], &APART].map(|named| self.favours_training(features, named));
        let sent = features.beat_per_memory.map(|share| i64::from(share.0));
        let (_, enough) = self.exchanged;
        let is_source = sent.is_some_and(|share| share >= enough);
        match is_source {
            true => apart.min(beat).max(0).saturating_add(others.min(0)),
            false => others.min(0),
        }
    }

    /// By how much the rows of these features favour training over either kind of inference.
    fn favours_training(&self, features: &Features, named: &[&str]) -> i64 {
        let values = features.values();
        let of = |class: Class| {
            let rows = self.rows.iter().filter(|r| {
                let name = Features::NAMES.get(r.feature);
                r.class == usize::from(class.code()) && name.is_some_and(|n| named.contains(n))
            });
            let gains = rows.filter_map(|r| {
                let value = values.get(r.feature).copied().flatten()?;
                Some(self.weighed(r, value, features))
            });
            gains.fold(0, i64::saturating_add)
        };
        let inference = of(Class::InferenceInteractive).max(of(Class::InferenceBatch));
        of(Class::Training).saturating_sub(inference)
    }

    /// How much of a window's word its run had already said, in thousandths.
    pub(super) fn dependence(&self) -> i64 {
        self.dependence
    }

    /// What share of windows at rest makes a run idle, in thousandths.
    pub(super) fn rest(&self) -> i64 {
        self.rest
    }

    /// How far a class must trail to be ruled out, in hundredths of a nat.
    pub(super) fn rule_out(&self) -> i64 {
        self.rule_out
    }

    /// What one source must give to count as one, in hundredths of a nat.
    pub(super) fn source(&self) -> i64 {
        self.source
    }

    /// How many windows at rest in a row end a run.
    pub(super) fn ends(&self) -> i64 {
        self.ends
    }

    /// At how many working windows what a run remembers is halved.
    pub(super) fn horizon(&self) -> i64 {
        self.horizon
    }

    /// How many working windows of a run establish anything.
    pub(super) fn least(&self) -> i64 {
        self.least
    }

    /// What leads in hundredths of a nat are enough for, by the margins; `unheard` is whether it works with others and nobody has heard how.
    #[must_use]
    pub fn decide(&self, leads: [i64; Class::ALL.len()], unheard: bool) -> Scored {
        let mut scored = Scored::cannot_tell();
        let margins = scored.centinats.iter_mut().zip(self.decide);
        for ((class, lead), (centinats, decide)) in Class::ALL.iter().zip(leads).zip(margins) {
            *centinats = i16::try_from(lead).unwrap_or(if lead < 0 { i16::MIN } else { i16::MAX });
            let (_, further) = self.unheard;
            let further = if unheard && class.is_machine_learning() {
                further
            } else {
                0
            };
            if lead >= decide.saturating_add(further) {
                scored.class = Some(*class);
            }
        }
        if scored.class.is_some() {
            for (centinats, ruled_out) in scored.centinats.iter().zip(&mut scored.ruled_out) {
                *ruled_out = i64::from(*centinats) <= self.rule_out.saturating_neg();
            }
        }
        scored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Ppm;
    use crate::workload::Model;

    /// A device that multiplies half of the time, and nothing else that shows.
    fn busy() -> Features {
        let share = |ppm| Some(Ppm(ppm));
        Features {
            points: 60,
            sm: share(900_000),
            busy: share(1_000_000),
            tensor: share(500_000),
            tensor_per_sm: share(555_000),
            tensor_per_dram: share(1_400_000),
            dram: share(350_000),
            fp64: share(0),
            fp32: share(20_000),
            integer: share(50_000),
            link_active: share(0),
            link_symmetry: None,
            power_variation: share(20_000),
            periodicity: share(100_000),
            period_ms: Some(7_000),
            synchrony: share(0),
            dram_per_sm: share(390_000),
            fp64_per_sm: share(0),
            fp32_per_sm: share(22_000),
            integer_per_sm: share(55_000),
            sm_per_busy: share(900_000),
            tensor_mix: share(10_000),
            dram_mix: share(10_000),
            sm_variation: share(5_000),
            resting: share(0),
            linked_tensor_per_dram: None,
            ..Features::default()
        }
    }

    #[test]
    fn devices_that_work_hard_apart_cannot_be_told() {
        let scored = Model::embedded().unwrap().score(&busy());
        assert_eq!(scored.class, None, "{scored:?}");
        assert!(!scored.rules_out(Class::Training));
    }

    #[test]
    fn too_few_points_or_no_pipes_abstain() {
        let rules = Model::embedded().unwrap();
        let few = Features { points: 4, ..busy() };
        assert_eq!(rules.score(&few), Scored::cannot_tell());
        let blind = Features {
            sm: None,
            tensor: None,
            tensor_per_sm: None,
            tensor_per_dram: None,
            dram: None,
            fp64: None,
            fp32: None,
            integer: None,
            dram_per_sm: None,
            fp64_per_sm: None,
            fp32_per_sm: None,
            integer_per_sm: None,
            sm_per_busy: None,
            tensor_mix: None,
            dram_mix: None,
            sm_variation: None,
            resting: None,
            linked_tensor_per_dram: None,
            link_active: Some(Ppm(900_000)),
            link_symmetry: Some(Ppm::ONE),
            synchrony: Some(Ppm::ONE),
            ..busy()
        };
        assert_eq!(rules.score(&blind).class, None);
        let resting = Features {
            busy: Some(Ppm(0)),
            link_active: Some(Ppm(0)),
            link_symmetry: None,
            synchrony: None,
            ..blind
        };
        assert_eq!(rules.score(&resting).class, Some(Class::Idle));
    }

    #[test]
    fn double_precision_is_simulation_and_integers_are_neither() {
        let rules = Model::embedded().unwrap();
        let plain = Features {
            tensor: Some(Ppm(0)),
            tensor_per_sm: Some(Ppm(0)),
            tensor_per_dram: Some(Ppm(0)),
            ..busy()
        };
        let simulation = Features {
            fp64: Some(Ppm(400_000)),
            ..plain
        };
        assert_eq!(rules.score(&simulation).class, Some(Class::Hpc));
        let mining = Features {
            integer: Some(Ppm(800_000)),
            ..plain
        };
        assert_eq!(rules.score(&mining).class, Some(Class::Other));
    }

    #[test]
    fn every_weight_is_a_straight_line_between_its_ends() {
        let rule = Rule {
            feature: 0,
            class: 0,
            low: 10,
            high: 20,
            at_low: 100,
            at_high: -100,
        };
        assert_eq!(
            [0, 10, 15, 20, 99].map(|v| rule.gain(v)),
            [100, 100, 0, -100, -100]
        );
    }

    #[test]
    fn a_word_that_is_not_known_is_named() {
        let table = "feature,class,low,high,at_low,at_high\nwatts,training,0,1,0,1\n";
        assert!(Rules::parse(table).unwrap_err().to_string().contains("`watts`"));
        let table = "feature,class,low,high,at_low,at_high\nsm,guilt,0,1,0,1\n";
        assert!(Rules::parse(table).unwrap_err().to_string().contains("`guilt`"));
    }
}
