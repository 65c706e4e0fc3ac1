//! The tables: genuine windows and what was falsely observed in them, forged cases and what was seen of them.

use super::forge::{Forgery, Kind};
use super::play::play;
use super::recording::Recording;
use super::{LEAST_SEEN, MOST_FALSE, Options, recordings, synthetic};
use std::collections::BTreeMap;
use std::path::Path;
use weighbridge::accounting::ObservationKind;
use weighbridge::accounting::consistency::Physics;

/// Rows at which a recording at 10 Hz can begin to be read once a second.
const PHASES: usize = 10;

/// Seeds of the synthetic nodes of the tables. No check was written with a look at these; that was done with seeds 1 to 20.
const SEEDS: std::ops::RangeInclusive<u64> = 101..=112;

/// The title of the rows of genuine readings.
const GENUINE: &str = "genuine readings";

/// What was seen of genuine recordings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Genuine {
    /// Windows of devices.
    pub windows: u32,
    /// Those with an observation of the device, or of the node.
    pub false_windows: u32,
    /// Recordings of devices as a whole, five to eleven minutes each: what a report carries.
    pub reports: u32,
    /// Those with an observation.
    pub false_reports: u32,
}

/// Which devices are forged, and from when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One device, from the middle of the recording.
    OneMidway,
    /// One device, from its first sample.
    OneThroughout,
    /// All devices of the node, from the middle.
    AllMidway,
    /// All devices, from their first sample.
    AllThroughout,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::OneMidway,
        Self::OneThroughout,
        Self::AllMidway,
        Self::AllThroughout,
    ];

    fn one(self) -> bool {
        matches!(self, Self::OneMidway | Self::OneThroughout)
    }

    fn throughout(self) -> bool {
        matches!(self, Self::OneThroughout | Self::AllThroughout)
    }

    fn text(self) -> &'static str {
        match self {
            Self::OneMidway => "one device, from the middle",
            Self::OneThroughout => "one device, throughout",
            Self::AllMidway => "all devices, from the middle",
            Self::AllThroughout => "all devices, throughout",
        }
    }
}

/// One forged recording.
#[derive(Debug, Clone)]
pub struct Case {
    /// How it was forged.
    pub forgery: Forgery,
    /// Which devices, and from when.
    pub scope: Scope,
    /// The recording.
    pub recording: String,
    /// Kinds that were observed.
    pub seen: Vec<ObservationKind>,
}

/// Plays genuine recordings.
#[must_use]
pub fn genuine(recordings: &[Recording], physics: &Physics) -> Genuine {
    let mut sum = Genuine::default();
    for r in recordings {
        let windows = play(r, physics);
        let mut reports = vec![false; r.devices.len()];
        for (i, w) in windows.iter().enumerate() {
            for (device, found) in w.devices.iter().enumerate() {
                let wrong = !found.is_empty() || !w.host.is_empty();
                sum.windows += 1;
                sum.false_windows += u32::from(wrong);
                reports[device] |= wrong;
                if wrong {
                    eprintln!("{}: window {i}, device {device}: {found:?} {:?}", r.name, w.host);
                }
            }
        }
        sum.reports += r.devices.len() as u32;
        sum.false_reports += reports.iter().filter(|wrong| **wrong).count() as u32;
    }
    sum
}

/// Forges each recording in each way. A change that is smaller than a fifth of the channel's mean and than a tenth of its range, or
/// than a fiftieth of its range, is no case. What replaces a channel comes from the recording after the next.
#[must_use]
pub fn cases(recordings: &[Recording], kinds: &[Kind], scope: Scope, physics: &Physics) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, r) in recordings.iter().enumerate() {
        let stranger = &recordings[(i + 2) % recordings.len()];
        let n = r.devices.iter().map(|d| d.at.len()).min().unwrap_or(0);
        // A recording of a minute or two is too short to be forged from its middle.
        if n <= 150 {
            continue;
        }
        let sets: Vec<Vec<usize>> = match (scope.one(), r.devices.len()) {
            (true, 1) => vec![vec![0]],
            (true, devices) => vec![vec![1], vec![devices / 2], vec![devices - 1]],
            (false, devices) => vec![(0..devices).collect()],
        };
        for forgery in Forgery::tried() {
            if !kinds.contains(&forgery.kind()) {
                continue;
            }
            for set in &sets {
                let from = match (&forgery, scope.throughout()) {
                    // What was never shown before cannot be shown again.
                    (Forgery::Replayed(_), true) => continue,
                    (Forgery::Replayed(length), false) => (*length).max(n * 45 / 100),
                    (_, true) => 0,
                    (_, false) => n * 45 / 100 + set[0],
                };
                if from + 30 > n {
                    continue;
                }
                let mut forged = r.clone();
                let sizes: Option<Vec<(f64, f64)>> = set
                    .iter()
                    .map(|p| forgery.apply(&mut forged.devices[*p], r, *p, from, stranger))
                    .collect();
                let Some(sizes) = sizes else { continue };
                if sizes
                    .iter()
                    .all(|(of_mean, of_range)| *of_range < 0.02 || (*of_mean < 0.2 && *of_range < 0.1))
                {
                    continue;
                }
                let mut seen: Vec<ObservationKind> = play(&forged, physics)
                    .iter()
                    .flat_map(|w| {
                        let devices = set.iter().flat_map(|p| &w.devices[*p]);
                        devices.chain(&w.host).map(|(kind, _)| *kind).collect::<Vec<_>>()
                    })
                    .collect();
                seen.sort_unstable();
                seen.dedup();
                cases.push(Case {
                    forgery: forgery.clone(),
                    scope,
                    recording: r.name.clone(),
                    seen,
                });
            }
        }
    }
    cases
}

/// How much is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every table of the documentation.
    Whole,
    /// What a test has time for: genuine recordings from their first row on, one seed of synthetic nodes.
    Short,
}

/// A table of the documentation, or one row of it.
#[derive(Debug, Clone)]
pub struct Table {
    /// What it is of.
    pub title: String,
    /// Its Markdown, lines without the last break.
    pub text: String,
    /// Whether what is promised held.
    pub held: bool,
}

/// The tables of `docs/consistency.md`: of recordings where `traces` are given.
///
/// # Errors
/// Where a recording cannot be read.
pub fn tables(traces: Option<&Path>, extent: Extent, physics: &Physics) -> std::io::Result<Vec<Table>> {
    let mut tables = Vec::new();
    let (mut whole, mut bare) = (Vec::new(), Vec::new());
    let phases = if extent == Extent::Whole { PHASES } else { 1 };
    if let Some(traces) = traces {
        for phase in 0..phases {
            let (first, second) = recordings(traces, phase)?;
            let sum = genuine(&first, physics).plus(genuine(&second, physics));
            tables.push(row(&format!("recordings, read from row {phase} on"), sum));
            if phase == 0 {
                (whole, bare) = (first, second);
            }
        }
    }
    for phase in 0..phases {
        let sum = genuine(&[super::families(phase)?], physics);
        tables.push(row(
            &format!("34 families of work, read from row {phase} on"),
            sum,
        ));
    }
    let made: Vec<Recording> = SEEDS.flat_map(synthetic::nodes).collect();
    let sum = genuine(&made, physics);
    tables.push(row(&format!("synthetic nodes, {} seeds", SEEDS.count()), sum));
    for (title, recordings, kinds, promised) in [
        ("recordings with energy and activity", &whole, Kind::ALL, true),
        (
            "recordings of power and residency alone",
            &bare,
            &Kind::ALL[..2],
            false,
        ),
    ] {
        if recordings.is_empty() {
            continue;
        }
        let all = forged(std::slice::from_ref(recordings), kinds, physics);
        tables.push(sums(title, &all, promised));
        tables.push(details(title, &all));
    }
    let first = forged(&[synthetic::nodes(*SEEDS.start())], Kind::ALL, physics);
    tables.push(sums("synthetic nodes, the first seed", &first, true));
    if extent == Extent::Whole {
        let nodes: Vec<_> = SEEDS.map(synthetic::nodes).collect();
        let all = forged(&nodes, Kind::ALL, physics);
        let title = "synthetic nodes, all seeds";
        tables.push(sums(title, &all, true));
        tables.push(details(title, &all));
    }
    Ok(tables)
}

/// The cases of several sets of recordings, in every scope.
fn forged(sets: &[Vec<Recording>], kinds: &[Kind], physics: &Physics) -> Vec<Case> {
    let mut all = Vec::new();
    for set in sets {
        for scope in Scope::ALL {
            all.extend(cases(set, kinds, scope, physics));
        }
    }
    all
}

/// The first table that a document does not hold as it came out, in words.
#[must_use]
pub fn differs(tables: &[Table], document: &str) -> Option<String> {
    let held = |text: &str| format!("{document}\n").contains(&format!("{text}\n"));
    let table = tables.iter().find(|t| !held(&t.text))?;
    let line = table.text.lines().find(|line| !held(line));
    Some(format!(
        "the table of {} is not the one of the document{}:\n{}",
        table.title,
        line.map_or_else(String::new, |l| format!(", which has no line `{l}`")),
        table.text
    ))
}

/// Prints every table, or holds a document against them; whether what is promised held.
///
/// # Errors
/// Where a recording or the document cannot be read.
pub(super) fn print(options: &Options, physics: &Physics) -> std::io::Result<bool> {
    let tables = tables(options.traces.as_deref(), Extent::Whole, physics)?;
    let mut held = tables.iter().all(|t| t.held);
    let Some(file) = &options.check else {
        let mut title = "";
        for table in &tables {
            if table.title != title {
                println!("\n## {}\n", table.title);
            } else if title != GENUINE {
                println!();
            }
            title = &table.title;
            println!("{}", table.text);
        }
        return Ok(held);
    };
    if options.traces.is_none() {
        println!("skipped: the tables of recordings, for want of --traces");
    }
    match differs(&tables, &std::fs::read_to_string(file)?) {
        None => println!("{} holds what comes out", file.display()),
        Some(what) => {
            println!("{what}");
            held = false;
        }
    }
    Ok(held)
}

impl Genuine {
    fn plus(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            false_windows: self.false_windows + other.false_windows,
            reports: self.reports + other.reports,
            false_reports: self.false_reports + other.false_reports,
        }
    }
}

fn row(name: &str, sum: Genuine) -> Table {
    Table {
        title: GENUINE.to_owned(),
        text: format!(
            "| {name} | {} | {} | {} | {} |",
            sum.windows, sum.false_windows, sum.reports, sum.false_reports
        ),
        held: f64::from(sum.false_windows) <= f64::from(sum.windows) * MOST_FALSE,
    }
}

/// Cases and how many of them were seen, for each kind and scope; whether enough were where one device is forged.
fn sums(title: &str, all: &[Case], promised: bool) -> Table {
    let mut held = true;
    let mut text = format!(
        "| kind | {} | one device, both |\n|---|---|---|---|---|---|",
        Scope::ALL.map(Scope::text).join(" | ")
    );
    let count = |kinds: &[Kind], scopes: &[Scope]| {
        let chosen: Vec<&Case> = all
            .iter()
            .filter(|c| kinds.contains(&c.forgery.kind()) && scopes.contains(&c.scope))
            .collect();
        (chosen.iter().filter(|c| !c.seen.is_empty()).count(), chosen.len())
    };
    let rows = Kind::ALL.iter().map(|k| (k.text(), vec![*k]));
    for (name, kinds) in rows.chain([("**all**", Kind::ALL.to_vec())]) {
        let cells: Vec<String> = Scope::ALL.iter().map(|s| share(count(&kinds, &[*s]))).collect();
        let (seen, of) = count(&kinds, &[Scope::OneMidway, Scope::OneThroughout]);
        if of == 0 {
            continue;
        }
        let percent = 100.0 * seen as f64 / of as f64;
        text += &format!("\n| {name} | {} | {percent:.1} % |", cells.join(" | "));
        held &= !promised || seen as f64 >= of as f64 * LEAST_SEEN;
    }
    Table {
        title: title.to_owned(),
        text,
        held,
    }
}

/// The same for each forgery, with the kinds that were observed most.
fn details(title: &str, all: &[Case]) -> Table {
    let mut text = format!(
        "| forgery | {} | seen as |\n|---|---|---|---|---|---|",
        Scope::ALL.map(Scope::text).join(" | ")
    );
    for forgery in Forgery::tried() {
        let of: Vec<&Case> = all.iter().filter(|c| c.forgery == forgery).collect();
        if of.is_empty() {
            continue;
        }
        let cells: Vec<String> = Scope::ALL
            .iter()
            .map(|s| {
                let here: Vec<&&Case> = of.iter().filter(|c| c.scope == *s).collect();
                share((here.iter().filter(|c| !c.seen.is_empty()).count(), here.len()))
            })
            .collect();
        let mut kinds: BTreeMap<ObservationKind, u32> = BTreeMap::new();
        for kind in of.iter().flat_map(|c| &c.seen) {
            *kinds.entry(*kind).or_default() += 1;
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let kinds: Vec<&str> = kinds.iter().take(3).map(|(k, _)| k.text()).collect();
        text += &format!(
            "\n| {} | {} | {} |",
            forgery.name(),
            cells.join(" | "),
            kinds.join(", ")
        );
    }
    Table {
        title: title.to_owned(),
        text,
        held: true,
    }
}

fn share((seen, of): (usize, usize)) -> String {
    if of == 0 {
        return "-".to_owned();
    }
    format!("{seen} of {of}")
}
