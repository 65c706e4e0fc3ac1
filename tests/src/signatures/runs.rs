//! The windows of a recorded device, told apart into runs as an agent tells them apart, and what they say together.
//!
//! Decides: that a window of which nothing was seen belongs to no run and ends the one before it, as enough rest does; and that of several runs
//! the one with the most working windows says what the recording was, at the highest level of them all. Does not establish that a run was one job.

use weighbridge::workload::{Class, Explanation, Features, Level, Model, Run, Verdict, explain_run};

/// The runs of a device.
pub(super) struct Runs<'a> {
    model: &'a Model,
    seen: Vec<Seen<'a>>,
}

/// A window of which something was seen.
struct Seen<'a> {
    /// Its place among all.
    place: usize,
    features: &'a Features,
    /// The number of its run, and the run with it.
    number: usize,
    run: Run,
}

impl<'a> Runs<'a> {
    /// Of these windows; `None` is one of which nothing was seen.
    pub(super) fn of(model: &'a Model, windows: &'a [Option<Features>]) -> Self {
        let mut seen = Vec::new();
        let (mut number, mut run) = (0, Run::default());
        for (place, window) in windows.iter().enumerate() {
            if let Some(features) = window {
                run.add(model, features, &model.score(features));
                seen.push(Seen {
                    place,
                    features,
                    number,
                    run,
                });
            }
            if window.is_none() || run.has_ended(model) {
                (number, run) = (number + 1, Run::default());
            }
        }
        Self { model, seen }
    }

    /// What the recording was: the verdict of the run with the most working windows, at the highest level that any run came to.
    pub(super) fn verdict(&self) -> Verdict {
        let ends = || self.each().filter_map(|run| self.end(run));
        let none = Run::default().verdict(self.model);
        let (_, said) = self.deciding().and_then(|run| self.end(run)).unwrap_or((0, none));
        Verdict {
            level: ends().map(|(_, v)| v.level).max().unwrap_or(said.level),
            ..said
        }
    }

    /// Why, by the windows of the run that decides; `None` where none of them could be scored.
    pub(super) fn explanation(&self) -> Option<Explanation> {
        let windows: Vec<Features> = self.deciding()?.iter().map(|s| s.features.clone()).collect();
        explain_run(self.model, &windows)
    }

    /// The place of the first window after which its run was called training, at this level or more.
    pub(super) fn first_called(&self, level: Level) -> Option<usize> {
        let called = |v: Verdict| v.class == Some(Class::Training) && v.level >= level;
        let first = self.seen.iter().find(|s| called(s.run.verdict(self.model)));
        first.map(|s| s.place)
    }

    /// Features that lay outside of what was taught, at most in any window.
    pub(super) fn strange(&self) -> usize {
        let each = self.seen.iter();
        let strange = each.map(|s| self.model.trees().answer(s.features).strange);
        strange.max().unwrap_or(0)
    }

    fn each(&self) -> impl Iterator<Item = &[Seen<'a>]> {
        self.seen.chunk_by(|a, b| a.number == b.number)
    }

    /// The run with the most working windows; where some have as many, one of the highest level.
    fn deciding(&self) -> Option<&[Seen<'a>]> {
        self.each()
            .max_by_key(|run| self.end(run).map(|(worked, verdict)| (worked, verdict.level)))
    }

    /// Working windows of a run, and what it came to.
    fn end(&self, run: &[Seen<'a>]) -> Option<(u32, Verdict)> {
        let end = run.last()?.run;
        Some((end.worked(), end.verdict(self.model)))
    }
}

/// What a model makes of the windows of a device; `None` is a window of which nothing was seen.
#[must_use]
pub fn verdict(model: &Model, windows: &[Option<Features>]) -> Verdict {
    Runs::of(model, windows).verdict()
}

#[cfg(test)]
mod tests {
    use super::super::{own, play, read};
    use super::*;

    /// So many windows of what an own recording shows.
    fn windows(name: &str, count: usize) -> Vec<Option<Features>> {
        let recording = read(&own().join(format!("h200/{name}-1.csv.gz"))).unwrap();
        vec![play(&recording).remove(0).remove(0); count]
    }

    fn train(count: usize) -> Vec<Option<Features>> {
        windows("dense_transformer", count)
    }

    fn stencil(count: usize) -> Vec<Option<Features>> {
        windows("heat_stencil", count)
    }

    fn rest(count: usize) -> Vec<Option<Features>> {
        windows("idle_memory_held", count)
    }

    fn judged(all: &[Vec<Option<Features>>]) -> (Option<Class>, Level) {
        let verdict = verdict(&Model::embedded().unwrap(), &all.concat());
        (verdict.class, verdict.level)
    }

    #[test]
    fn a_window_of_which_nothing_was_seen_leaves_nothing_open() {
        let alone = judged(&[stencil(5)]);
        assert_eq!(alone.1, Level::RuledOut);
        assert_eq!(judged(&[stencil(5), vec![None; 3]]), alone);
        assert_eq!(judged(&[vec![None], stencil(5)]), alone);
        assert_eq!(judged(&[vec![None; 5]]), (None, Level::Candidate));
        assert_eq!(
            judged(&[rest(3), vec![None; 90], rest(3)]),
            (Some(Class::Idle), Level::RuledOut)
        );
    }

    #[test]
    fn the_run_that_worked_longest_says_what_it_was_and_the_highest_level_stands() {
        let found = (Some(Class::Training), Level::Candidate);
        assert_eq!(judged(&[train(3)]), found);
        // A training in a day of rest is no recording at rest.
        assert_eq!(judged(&[rest(600), train(3), rest(600)]), found);
        let (class, _) = judged(&[stencil(1)]);
        for between in [rest(10), vec![None]] {
            let both = judged(&[train(3), between.clone(), stencil(9)]);
            assert_eq!(both, (class, Level::Candidate));
            assert_eq!(judged(&[train(9), between, stencil(3)]), found);
        }
    }

    #[test]
    fn why_is_said_of_the_run_that_decides() {
        let model = Model::embedded().unwrap();
        let all = [train(3), vec![None], stencil(9)].concat();
        let why = Runs::of(&model, &all).explanation().unwrap();
        assert_eq!(why.windows, 9);
    }
}
