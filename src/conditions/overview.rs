//! The overview of a site: who reports, what is seen, and how much was computed. No verdict rests on it.
//!
//! Decides: nothing. It adds up the facts that the conditions judge, under the same licence and its rule set, so that its figures are theirs:
//! devices and coverage are those of OPS-01 and OPS-02 while the licence holds, compute is bounded as TRN-04 bounds training. Trusts what they
//! trust.

use super::case::Case;
use super::finding::{Quantity, Window, decimal, plain_hours, share};
use super::records::operations::in_service;
use super::training::sums::Sums;
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use crate::unit::{Grouped, Interval, MicroTppHours, Ppm};
use serde::Serialize;

/// A site at a glance.
///
/// It serialises to the member `overview` of `status --format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Nodes that are expected to report.
    pub nodes_expected: usize,
    /// Those of them whose newest report is fresh; absent where no limit says what is.
    pub nodes_reporting: Option<usize>,
    /// Devices of the manifest that are due at the site.
    pub devices_expected: usize,
    /// Those of them that were seen while a report is fresh; absent where no limit says what is.
    pub devices_seen: Option<usize>,
    /// The share of device time that samples cover, as a decimal text; absent where none was due.
    #[serde(serialize_with = "share")]
    pub coverage: Option<Ppm>,
    /// Compute of all devices in `window`, in TPP-hours; absent before the first report, and before the licence. Without `upper` where a device's peak is unknown.
    pub compute: Option<Quantity>,
    /// The share of what these devices could have computed at their peak in `window`; absent where that is unknown.
    pub share: Option<Quantity>,
    /// What the compute is from, such as `counters and busy time`; absent where no report bounds any.
    pub source: Option<String>,
    /// The time that `compute` and `share` speak of.
    pub window: Window,
    /// All of it in words.
    #[serde(skip)]
    pub lines: Vec<String>,
}

impl Overview {
    pub(super) fn of(case: &Case<'_>) -> Self {
        let nodes_expected = case.expected().count();
        let devices_expected = in_service(case).count();
        let fresh = case.term(|l| l.freshness_max).map(|t| t.value);
        let nodes_reporting = fresh.map(|_| {
            case.expected()
                .filter(|n| case.silence(&n.record.facts).is_none())
                .count()
        });
        let devices_seen = fresh.map(|limit| {
            let seen = case.seen_by_row(case.now.plus(limit.saturating_neg()));
            in_service(case).filter(|(i, _)| seen.contains_key(i)).count()
        });
        let coverage = case.observation().share();
        let mut parts = match (fresh, nodes_reporting, devices_seen) {
            (Some(limit), Some(reporting), Some(seen)) => vec![
                match nodes_expected {
                    0 => "no node is expected to report".to_owned(),
                    all => format!("{} of {} nodes report", number(reporting), number(all)),
                },
                format!(
                    "{} of {} GPUs on the manifest were seen within {}",
                    number(seen),
                    number(devices_expected),
                    span(limit)
                ),
            ],
            _ => vec![
                format!(
                    "{} nodes and {} GPUs are expected",
                    number(nodes_expected),
                    number(devices_expected)
                ),
                "neither licence nor rule set says how fresh a report must be".to_owned(),
            ],
        };
        parts.extend(coverage.map(|share| format!("samples cover {share} of device time")));
        let mut overview = Self {
            nodes_expected,
            nodes_reporting,
            devices_expected,
            devices_seen,
            coverage,
            compute: None,
            share: None,
            source: None,
            window: Window {
                from: period_start(case),
                to: case.now,
            },
            lines: vec![parts.join(" · ")],
        };
        let begun = overview.window.from < case.now;
        if begun && case.nodes().any(|n| n.record.facts.newest.is_some()) {
            overview.weigh(case);
        }
        overview
    }

    fn weigh(&mut self, case: &Case<'_>) {
        let from = self.window.from;
        let sums = Sums::over(case, from, |day| Interval::new(day.lower, day.upper));
        let lower = sums.compute.lower();
        self.source = sums.told.source();
        if !sums.unknown.is_empty() {
            self.compute = Some(Quantity::at_least(plain_hours(lower), "TPP-hours"));
            let least = Grouped(whole(lower));
            self.lines.push(format!(
                "at least {least} TPP-hours since {from}; no more is certain, for the peak of some devices is not known"
            ));
            return;
        }
        // A day on which the period began counts whole and as unreported: together no more than what could be done.
        let upper = sums.compute.upper().min(sums.capacity).max(lower);
        self.compute = Some(Quantity::between(
            plain_hours(lower),
            plain_hours(upper),
            "TPP-hours",
        ));
        let mut line = format!(
            "between {} and {} TPP-hours since {from}",
            Grouped(whole(lower)),
            Grouped(whole(MicroTppHours(upper.0.saturating_add(999_999))))
        );
        if sums.capacity > MicroTppHours(0) {
            // Rounded outwards, like every bound.
            let (least, most) = sums.capacity.shares(lower, upper);
            self.share = Some(Quantity::between(
                decimal(least),
                decimal(most),
                "share of capacity",
            ));
            line.push_str(&format!(
                ", {least} to {most} of what these devices could have done"
            ));
        }
        if let Some(source) = &self.source {
            line.push_str(&format!(", from {source}"));
        }
        if let Some(coverage) = self.coverage {
            line.push_str(&format!(", coverage {coverage}"));
        }
        self.lines.push(line);
    }
}

/// The start of the window of findings, or of the day on which it starts: sums are kept by the day.
fn period_start(case: &Case<'_>) -> UnixSeconds {
    let day = UnixSeconds(case.since().day().saturating_mul(DAY_SECONDS));
    day.max(case.licence.valid.from)
}

fn whole(hours: MicroTppHours) -> u128 {
    hours.0.checked_div(1_000_000).unwrap_or(0)
}

fn number(n: usize) -> Grouped {
    Grouped(u128::try_from(n).unwrap_or(u128::MAX))
}
