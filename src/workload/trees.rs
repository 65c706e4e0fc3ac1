//! Trees of integer thresholds, and what they were taught.
//!
//! Decides: a log-likelihood ratio for each of three questions about a window: is it machine learning, is it training, does anybody wait for
//! it. Evaluation is integers alone, so that agent, verifier and any machine compute the same. Trusts the features. Where the window is
//! unlike anything that was taught, the trees are silent: nothing is said of it. Does not establish that what was taught is all there is:
//! the file names its teachers.

use super::Features;
use serde::Deserialize;

/// The deepest tree, in questions from root to leaf.
pub const MAX_DEPTH: u32 = 4;

/// The most nodes of a tree of that depth, in the order of a heap: the children of node `i` are `2i` and `2i + 1`, the root is 1.
const MAX_NODES: usize = 32;

/// The most trees for one question.
const MAX_TREES: usize = 256;

/// The most features that may lie outside of what was taught before the trees are silent.
const MOST_STRANGE: usize = 1;

/// Why a file of trees could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreesError {
    /// Not the CSV that it should be.
    #[error("the trees are not the table that they should be")]
    Csv(#[from] csv::Error),
    /// A row says what this build does not know, or what no tree can hold.
    #[error("the trees have a row of which this build makes nothing: {what} `{found}`")]
    Unknown {
        /// Kind, question, feature or place.
        what: &'static str,
        /// What stood there, cut to 40 characters.
        found: String,
    },
    /// A path that ends in no leaf.
    #[error("tree {tree} of `{stage}` has a path that ends in no leaf")]
    Broken {
        /// The question.
        stage: &'static str,
        /// The tree, counted from 0.
        tree: usize,
    },
}

crate::code! {
    /// A question that trees answer.
    pub enum Stage {
        /// Machine learning, and not something else.
        Ml = 0 => "ml",
        /// Training, and not inference.
        Training = 1 => "training",
        /// Inference for which nobody waits.
        Batch = 2 => "batch",
    }
}

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// At or below the threshold left, above it right.
    Split {
        /// Place in [`Features::NAMES`].
        feature: usize,
        /// In the feature's own unit.
        threshold: i64,
        /// Where a window goes that lacks the feature.
        missing_right: bool,
    },
    /// What it adds.
    Leaf(i64),
}

/// The trees of one question, and how their sum becomes a ratio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forest {
    /// Each in the order of a heap, from its root on.
    pub trees: Vec<Vec<Option<Node>>>,
    /// By how much the sum is multiplied, in thousandths.
    pub scale: i64,
    /// What is added then, in hundredths of a nat.
    pub offset: i64,
    /// The most that may come out, either way, in hundredths of a nat: no more than so few families can vouch for.
    pub most: i64,
}

impl Forest {
    /// The sum of the leaves that the values lead to.
    #[must_use]
    pub fn sum(&self, values: &[Option<i64>; Features::COUNT]) -> i64 {
        let sums = self.trees.iter().map(|tree| leaf(tree, values));
        sums.fold(0, i64::saturating_add)
    }

    /// The log-likelihood ratio, in hundredths of a nat.
    #[must_use]
    pub fn ratio(&self, values: &[Option<i64>; Features::COUNT]) -> i64 {
        let most = self.most.max(0);
        self.uncut(values).clamp(most.saturating_neg(), most)
    }

    /// The same before the most is cut off.
    fn uncut(&self, values: &[Option<i64>; Features::COUNT]) -> i64 {
        let scaled = self.sum(values).saturating_mul(self.scale).div_euclid(1_000);
        scaled.saturating_add(self.offset)
    }

    /// By how much each feature moved the ratio, in hundredths of a nat: at each question on the way, by how much the mean of the leaves that are
    /// still ahead became another. Where the most cuts the ratio off, all are cut in proportion.
    pub(super) fn moved(&self, values: &[Option<i64>; Features::COUNT]) -> [i64; Features::COUNT] {
        let mut moved = [0i64; Features::COUNT];
        for tree in &self.trees {
            let mut place = 1;
            while let Some((feature, then)) = next(tree, place, values) {
                if let Some(sum) = moved.get_mut(feature) {
                    let by = ahead(tree, then).saturating_sub(ahead(tree, place));
                    *sum = sum.saturating_add(by);
                }
                place = then;
            }
        }
        let (uncut, ratio) = (self.uncut(values), self.ratio(values));
        moved.map(|sum| {
            let scaled = sum.saturating_mul(self.scale).div_euclid(1_000);
            match uncut == ratio {
                true => scaled,
                false => scaled.saturating_mul(ratio).checked_div(uncut).unwrap_or(0),
            }
        })
    }
}

/// The leaf that the values lead to. A tree that was read has one at the end of each path.
fn leaf(tree: &[Option<Node>], values: &[Option<i64>; Features::COUNT]) -> i64 {
    let mut place = 1usize;
    for _ in 0..=MAX_DEPTH {
        match at(tree, place) {
            Some(Node::Leaf(value)) => return *value,
            Some(Node::Split { .. }) => place = next(tree, place, values).map_or(place, |(_, next)| next),
            None => return 0,
        }
    }
    0
}

fn at(tree: &[Option<Node>], place: usize) -> Option<&Node> {
    tree.get(place.saturating_sub(1))?.as_ref()
}

/// Which feature is asked for at a place, and where the values lead from there; `None` at a leaf.
fn next(
    tree: &[Option<Node>],
    place: usize,
    values: &[Option<i64>; Features::COUNT],
) -> Option<(usize, usize)> {
    let Node::Split {
        feature,
        threshold,
        missing_right,
    } = at(tree, place)?
    else {
        return None;
    };
    let right = match values.get(*feature).copied().flatten() {
        Some(value) => value > *threshold,
        None => *missing_right,
    };
    let left = place.saturating_mul(2);
    Some((*feature, left.saturating_add(usize::from(right))))
}

/// The mean of the leaves below a place, each side of a question weighing the same. No tree is deep.
fn ahead(tree: &[Option<Node>], place: usize) -> i64 {
    match at(tree, place) {
        Some(Node::Leaf(value)) => *value,
        Some(Node::Split { .. }) => {
            let left = place.saturating_mul(2);
            let both = ahead(tree, left).saturating_add(ahead(tree, left.saturating_add(1)));
            both.div_euclid(2)
        }
        None => 0,
    }
}

/// What the trees say of a window, in hundredths of a nat; zero where they are silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// That it is machine learning.
    pub ml: i64,
    /// That it is training, if it is machine learning.
    pub training: i64,
    /// That nobody waits for it, if it is inference.
    pub batch: i64,
    /// How many features lie outside of what was taught.
    pub strange: usize,
}

/// The trees of all questions, and what they were taught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trees {
    /// In the order of [`Stage`].
    pub forests: [Forest; Stage::ALL.len()],
    /// For each feature, between which values it was taught; none where no question asks for it.
    pub taught: [Option<(i64, i64)>; Features::COUNT],
}

impl Default for Trees {
    fn default() -> Self {
        Self {
            forests: Default::default(),
            taught: [None; Features::COUNT],
        }
    }
}

/// A row as it is written.
#[derive(Debug, Deserialize)]
struct Row {
    kind: String,
    stage: String,
    tree: usize,
    node: usize,
    feature: String,
    a: i64,
    b: i64,
    c: i64,
}

impl Trees {
    /// Reads a file of trees.
    ///
    /// # Errors
    /// [`TreesError`]. The text is untrusted; the caller bounds its size.
    pub fn parse(text: &str) -> Result<Self, TreesError> {
        let mut trees = Self::default();
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        for row in reader.deserialize::<Row>() {
            trees.take(&row?)?;
        }
        for (stage, forest) in Stage::ALL.iter().zip(&trees.forests) {
            if let Some(tree) = forest.trees.iter().position(|t| !whole(t, 1)) {
                let stage = stage.text();
                return Err(TreesError::Broken { stage, tree });
            }
        }
        Ok(trees)
    }

    fn take(&mut self, row: &Row) -> Result<(), TreesError> {
        let unknown = |what, found: &str| TreesError::Unknown {
            what,
            found: found.chars().take(40).collect(),
        };
        let feature = || {
            let place = Features::NAMES.iter().position(|n| *n == row.feature);
            place.ok_or_else(|| unknown("feature", &row.feature))
        };
        if row.kind == "taught" {
            let place = feature()?;
            if let Some(range) = self.taught.get_mut(place) {
                *range = Some((row.a, row.b));
            }
            return Ok(());
        }
        let stage = Stage::ALL.iter().position(|s| s.text() == row.stage);
        let forest = stage.and_then(|s| self.forests.get_mut(s));
        let forest = forest.ok_or_else(|| unknown("question", &row.stage))?;
        let node = match row.kind.as_str() {
            "scale" => {
                (forest.scale, forest.offset, forest.most) = (row.a, row.b, row.c);
                return Ok(());
            }
            "split" => Node::Split {
                feature: feature()?,
                threshold: row.a,
                missing_right: row.b != 0,
            },
            "leaf" => Node::Leaf(row.a),
            _ => return Err(unknown("kind", &row.kind)),
        };
        if row.tree >= MAX_TREES {
            return Err(unknown("tree", &row.tree.to_string()));
        }
        if forest.trees.len() <= row.tree {
            forest.trees.resize(row.tree.saturating_add(1), Vec::new());
        }
        let slot = row.node.checked_sub(1).filter(|place| *place < MAX_NODES);
        let (Some(slot), Some(tree)) = (slot, forest.trees.get_mut(row.tree)) else {
            return Err(unknown("node", &row.node.to_string()));
        };
        if tree.len() <= slot {
            tree.resize(slot.saturating_add(1), None);
        }
        if let Some(place) = tree.get_mut(slot) {
            *place = Some(node);
        }
        Ok(())
    }

    /// The file that [`Trees::parse`] reads as these trees, without its comments.
    #[must_use]
    pub fn written(&self) -> String {
        let mut rows = vec!["kind,stage,tree,node,feature,a,b,c".to_owned()];
        let name = |place: usize| Features::NAMES.get(place).copied().unwrap_or_default();
        for (place, range) in self.taught.iter().enumerate() {
            if let Some((low, high)) = range {
                rows.push(format!("taught,,0,0,{},{low},{high},0", name(place)));
            }
        }
        for (stage, forest) in Stage::ALL.iter().zip(&self.forests) {
            let stage = stage.text();
            let (scale, offset, most) = (forest.scale, forest.offset, forest.most);
            rows.push(format!("scale,{stage},0,0,,{scale},{offset},{most}"));
            for (tree, nodes) in forest.trees.iter().enumerate() {
                for (node, at) in nodes.iter().zip(1u32..) {
                    match node {
                        Some(Node::Leaf(value)) => {
                            rows.push(format!("leaf,{stage},{tree},{at},,{value},0,0"))
                        }
                        Some(Node::Split {
                            feature,
                            threshold,
                            missing_right,
                        }) => rows.push(format!(
                            "split,{stage},{tree},{at},{},{threshold},{},0",
                            name(*feature),
                            u8::from(*missing_right)
                        )),
                        None => {}
                    }
                }
            }
        }
        rows.push(String::new());
        rows.join("\n")
    }

    /// What the trees say of a window.
    #[must_use]
    pub fn answer(&self, features: &Features) -> Answers {
        let values = features.values();
        let strange = self.strange(&values);
        if strange > MOST_STRANGE {
            return Answers {
                strange,
                ..Answers::default()
            };
        }
        let [ml, training, batch] = self.forests.each_ref().map(|f| f.ratio(&values));
        Answers {
            ml,
            training,
            batch,
            strange,
        }
    }

    /// Whether the trees say nothing of a window with these values.
    pub(super) fn are_silent(&self, values: &[Option<i64>; Features::COUNT]) -> bool {
        self.strange(values) > MOST_STRANGE
    }

    /// How many values lie outside of what was taught.
    fn strange(&self, values: &[Option<i64>; Features::COUNT]) -> usize {
        let outside = |(value, range): &(&Option<i64>, &Option<(i64, i64)>)| match (value, range) {
            (Some(value), Some((low, high))) => value < low || value > high,
            _ => false,
        };
        values.iter().zip(&self.taught).filter(outside).count()
    }
}

/// Whether every path from a node ends in a leaf.
fn whole(tree: &[Option<Node>], place: usize) -> bool {
    match tree.get(place.saturating_sub(1)) {
        Some(Some(Node::Leaf(_))) => true,
        Some(Some(Node::Split { .. })) => {
            let left = place.saturating_mul(2);
            whole(tree, left) && whole(tree, left.saturating_add(1))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "kind,stage,tree,node,feature,a,b,c\n";

    fn read(rows: &str) -> Result<Trees, TreesError> {
        Trees::parse(&format!("{HEAD}{rows}"))
    }

    fn values(tensor_per_sm: Option<i64>) -> [Option<i64>; Features::COUNT] {
        let place = Features::NAMES
            .iter()
            .position(|n| *n == "tensor_per_sm")
            .unwrap();
        let mut values = [None; Features::COUNT];
        values[place] = tensor_per_sm;
        values
    }

    #[test]
    fn a_window_goes_left_at_the_threshold_and_where_the_tree_says_without_the_feature() {
        let trees = read(
            "scale,training,0,0,,500,10,100\nsplit,training,0,1,tensor_per_sm,300000,1,0\n\
             leaf,training,0,2,,-40,0,0\nleaf,training,0,3,,900,0,0\n",
        )
        .unwrap();
        let forest = &trees.forests[1];
        assert_eq!(forest.ratio(&values(Some(300_000))), -10);
        assert_eq!(
            forest.ratio(&values(Some(300_001))),
            100,
            "no more than the file lets it"
        );
        assert_eq!(forest.sum(&values(None)), 900);
        assert_eq!(Trees::parse(&trees.written()).unwrap(), trees);
    }

    #[test]
    fn a_file_that_is_no_tree_is_refused_with_what_is_wrong() {
        let cut = read("split,ml,0,1,sm,3,0,0\nleaf,ml,0,2,,5,0,0\n").unwrap_err();
        assert!(cut.to_string().contains("tree 0 of `ml`"), "{cut}");
        for (rows, word) in [
            ("split,ml,0,1,watts,3,0,0\n", "`watts`"),
            ("leaf,guilt,0,1,,3,0,0\n", "`guilt`"),
            ("leaf,ml,999999999,1,,3,0,0\n", "`999999999`"),
            ("leaf,ml,0,64,,3,0,0\n", "`64`"),
            ("root,ml,0,1,,3,0,0\n", "`root`"),
        ] {
            let error = read(rows).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
