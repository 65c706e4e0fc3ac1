//! Days that nobody looks at one by one may stand together, and nothing is found otherwise.

use super::*;
use crate::appraisal::{NodeDay, NodeRun};
use crate::time::DAY_SECONDS;

/// Puts together what need not be apart, as a verifier reads it.
fn together(facts: &mut SiteFacts, asked: &DaysAsked) -> usize {
    let mut kept = 0;
    for node in &mut facts.nodes {
        let days = node.record.days.clone();
        let upto = |end: i64| {
            let mut run = NodeRun::new();
            days.range(..end).for_each(|(_, day)| run.add(day));
            run
        };
        node.record.days.retain(|day, _| *day >= asked.recent());
        for (first, length) in asked.stretches() {
            let end = first + i64::from(length);
            let whole = NodeDay::between(first, length, &upto(end), Some(&upto(first)));
            if !whole.devices.is_empty() {
                node.record.days.insert(first, whole);
            }
        }
        kept += node.record.days.len();
    }
    kept
}

#[test]
fn days_that_stand_together_change_no_finding() {
    let activity = "\n[[activity]]\nfrom = 2026-12-01\nto = 2026-12-20\nbusy_share = 0.33\n";
    for (window, period) in [
        ("30 d", "term"),
        ("10 d", "quarter"),
        ("60 d", "month"),
        ("1 d", "year"),
    ] {
        let mut scene = Scene::empty()
            .with(
                "licensed_tpp",
                "ops_limit = \"1e18\"\nops_group = \"node\"\nlicensed_tpp",
            )
            .with(
                "licensed_tpp",
                &format!("finding_window = \"{window}\"\nops_window = \"70 d\"\nlicensed_tpp"),
            )
            .with("\"term\"", &format!("\"{period}\""));
        scene.licence.push_str(activity);
        for _ in 0..80 {
            scene.labs[0].run(3, &[gpu(1), gpu(2)]);
            scene.labs[1].run(2, &[gpu(3), gpu(4)]);
            scene.labs[0].sleep(86_400 - 900);
            scene.labs[1].sleep(86_400 - 600);
        }
        scene.now = start().plus(80 * DAY_SECONDS + 10);
        let licence = Licence::parse(&scene.licence).unwrap();
        let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        let asked = DaysAsked::of(&licence, &rules, &catalogue, scene.now);
        let all = scene.facts();
        let mut few = scene.facts();
        let kept = together(&mut few, &asked);
        assert!(kept < 160, "{kept} of 160 days");
        let found = |facts: &SiteFacts| evaluate(&licence, &rules, &catalogue, facts, scene.now);
        assert_eq!(found(&few), found(&all), "{window}, {period}");
        let seen = |facts: &SiteFacts| overview(&licence, &rules, &catalogue, facts, scene.now);
        assert_eq!(seen(&few), seen(&all), "{window}, {period}");
    }
}

#[test]
fn stretches_begin_and_end_where_a_period_may() {
    let text = Scene::empty().licence;
    let licence = Licence::parse(&text).unwrap();
    let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
    let catalogue = Catalogue::embedded().unwrap();
    let now = start().plus(200 * DAY_SECONDS);
    let asked = DaysAsked::of(&licence, &rules, &catalogue, now);
    let first = start().day();
    assert_eq!(asked.recent(), first + 170);
    let stretches: Vec<_> = asked.stretches().collect();
    assert_eq!(stretches, [(first, 1), (first + 1, 1), (first + 2, 168)]);
    assert_eq!(DaysAsked::all().stretches().count(), 0);
    assert!(asked.and(DaysAsked::all()).is_all());
}
