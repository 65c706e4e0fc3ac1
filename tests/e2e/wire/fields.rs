//! Every field of a report has a written reason why it may leave a node, and nothing on the Never list is one.

use super::{evidence, place};
use serde_json::Value;
use std::collections::BTreeSet;
use weighbridge::id::{ChainId, Digest};
use weighbridge::report::{CheckpointSeen, Successor};
use weighbridge::telemetry::{ConfidentialCompute, Jobs, MigInstance};
use weighbridge_agent::devices::host;
use weighbridge_testbed::fixture;

const REASONS: &str = include_str!("../../../docs/fields.md");

/// The names of all members, at any depth.
fn names(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                into.insert(name.clone());
                names(inner, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|i| names(i, into)),
        _ => {}
    }
}

/// A report with every optional field present, as `preview` shows it.
fn everything() -> BTreeSet<String> {
    let mut token = fixture::token(&place(), 1);
    token.report.successor = Some(Successor {
        chain: ChainId([2; 16]),
        sequence: 9,
        digest: Digest([3; 32]),
    });
    token.report.checkpoint = Some(CheckpointSeen {
        size: 7,
        root: Digest([4; 32]),
    });
    token.report.round = Some(fixture::round(&place()));
    if let Some(driver) = &mut token.submods.host.host.driver {
        driver.confidential_compute = Some(ConfidentialCompute {
            enabled: true,
            developer_mode: false,
            multi_gpu_mode: 1,
        });
    }
    let mut accelerator = fixture::accelerator(3, 300, [0; 16]);
    accelerator.identity.mig = Some(vec![MigInstance { slices: 1, count: 7 }]);
    accelerator.delivered.measured.jobs = Some(Jobs {
        ended: 2,
        longest_s: 3_600,
    });
    token.submods.host.host.tenants = fixture::tenants(&mut accelerator);
    let mut found = BTreeSet::new();
    names(&serde_json::to_value(&token).unwrap(), &mut found);
    names(&serde_json::to_value(&accelerator).unwrap(), &mut found);
    for answer in [fixture::answer(0, Some(&evidence())), fixture::answer(1, None)] {
        names(&serde_json::to_value(&answer).unwrap(), &mut found);
    }
    names(&serde_json::to_value(evidence()).unwrap(), &mut found);
    found
}

fn explained() -> BTreeSet<String> {
    REASONS
        .lines()
        .filter_map(|l| l.strip_prefix("| `"))
        .filter_map(|l| l.split_once("` | "))
        .inspect(|(name, why)| assert!(why.len() > 6, "docs/fields.md gives no reason for `{name}`"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn each_field_has_a_reason_and_each_reason_a_field() {
    let (sent, explained) = (everything(), explained());
    let unexplained: Vec<_> = sent.difference(&explained).collect();
    assert!(
        unexplained.is_empty(),
        "say in docs/fields.md why these may leave a node: {unexplained:?}"
    );
    let stale: Vec<_> = explained.difference(&sent).collect();
    assert!(
        stale.is_empty(),
        "docs/fields.md explains fields that no report has: {stale:?}"
    );
}

#[test]
fn the_kernel_that_a_report_names_is_numbers_alone() {
    let kernel = host::facts().unwrap().kernel;
    assert!(
        !kernel.is_empty() && kernel.chars().all(|c| c.is_ascii_digit() || c == '.'),
        "a site may have written its name into `{kernel}`"
    );
}

#[test]
fn nothing_about_tenants_or_the_network_is_a_field() {
    const NEVER: [&str; 16] = [
        "process",
        "user",
        "job",
        "container",
        "tenant",
        "hostname",
        "address",
        "mac",
        "path",
        "command",
        "prompt",
        "weights",
        "environment",
        "pid",
        "image",
        "namespace",
    ];
    for field in everything() {
        let words: Vec<_> = field.split('_').collect();
        for never in NEVER {
            assert!(
                !words.contains(&never),
                "the field `{field}` is on the list of what never leaves a node"
            );
        }
    }
}
