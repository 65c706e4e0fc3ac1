//! The facts of a site, as one document for policies: `docs/policies.schema.json` says what it holds.
//!
//! Decides: what a policy may see. Findings, strings and small whole numbers; larger numbers are decimal texts, for no policy language compares them
//! exactly. Of tenants it sees nothing but what findings name. What no policy of a licence names is left out, for none can miss it: a site has a thousand
//! devices, and most policies look at one part of them.

use super::super::case::{Case, Seen};
use super::super::finding::{Finding, decimal};
use super::super::rego::{Fact, Names};
use super::hardware::Signed;
use crate::accelerator::Model;
use crate::appraisal::NodeAtSite;
use crate::id::{NodeId, PciId};
use serde_json::json;
use std::collections::BTreeMap;

/// The name and version of the document's form.
const FORM: &str = "weighbridge/facts/1";

/// The facts, as far as they are named.
pub(in crate::conditions) fn document(case: &Case<'_>, published: &[Finding], names: &Names) -> Fact {
    let licence = case.licence;
    let site = licence.site(case.facts.site);
    let mut members: Vec<(Fact, Fact)> = Vec::new();
    let mut put = |part: &str, fact: &dyn Fn() -> Fact| {
        if names.part(part) {
            members.push((part.into(), fact()));
        }
    };
    put("form", &|| FORM.into());
    put("site", &|| case.facts.site.as_str().into());
    put("country", &|| site.and_then(|s| s.country.as_deref()).into());
    put("now", &|| case.now.to_string().into());
    put("now_seconds", &|| case.now.0.into());
    put("licence", &|| {
        Fact::json(json!({
            "id": licence.licence_id,
            "serial": licence.serial,
            "issuer": licence.issuer,
            "consignee": licence.consignee,
            "valid_from": licence.valid.from.to_string(),
            "valid_to": licence.valid.to.map(|t| t.to_string()),
            "trial": licence.trial,
        }))
    });
    put("rule_set", &|| licence.ruleset_id.as_str().into());
    put("findings", &|| findings(published, names));
    put("nodes", &|| nodes(case, names));
    put("devices", &|| devices(case, names));
    put("hardware", &|| Signed::of(case).claims());
    Fact::object(members)
}

/// How a field is made.
type Make<T> = fn(&T) -> Fact;

/// The fields of the members of one part, as far as they are named.
struct Form<T> {
    /// A member without values.
    blank: Fact,
    /// Each field with how it is made.
    fields: Vec<(Fact, Make<T>)>,
}

impl<T> Form<T> {
    fn of(names: &Names, part: &str, fields: &[(&str, Make<T>)]) -> Self {
        let named = fields.iter().filter(|(name, _)| names.field(part, name));
        let fields: Vec<(Fact, Make<T>)> = named.map(|(name, make)| ((*name).into(), *make)).collect();
        let none = |name: &Fact| (name.clone(), None::<bool>.into());
        Self {
            blank: Fact::object(fields.iter().map(|(name, _)| none(name))),
            fields,
        }
    }

    fn fill(&self, of: &T) -> Fact {
        self.blank
            .with(self.fields.iter().map(|(name, make)| (name, make(of))))
    }
}

fn findings(published: &[Finding], names: &Names) -> Fact {
    let form = Form::of(
        names,
        "findings",
        &[
            ("condition", |f: &&Finding| f.condition.as_str().into()),
            ("outcome", |f| Fact::json(json!(f.outcome))),
            ("message_id", |f| f.message_id.as_str().into()),
            ("severity", |f| Fact::json(json!(f.severity))),
            ("grade", |f| Fact::json(json!(f.grade))),
            ("sentence", |f| f.sentence.as_str().into()),
            ("measured", |f| Fact::json(json!(f.measured))),
            ("limit", |f| Fact::json(json!(f.limit))),
            ("window", |f| Fact::json(json!(f.window))),
            ("coverage", |f| Fact::json(json!(f.coverage.map(decimal)))),
            ("level", |f| Fact::json(json!(f.level))),
            ("subjects", |f| Fact::json(json!(f.subjects))),
            ("subjects_left_out", |f| Fact::json(json!(f.subjects_left_out))),
        ],
    );
    Fact::object(
        published
            .iter()
            .map(|f| (f.condition.as_str().into(), form.fill(&f))),
    )
}

fn nodes(case: &Case<'_>, names: &Names) -> Fact {
    /// A node, whether it should report now, and how many seconds ago its newest report ended.
    type Node<'a> = (&'a NodeAtSite, bool, Option<i64>);
    let form = Form::of(
        names,
        "nodes",
        &[
            ("id", |(n, ..): &Node<'_>| n.record.facts.node.to_string().into()),
            ("name", |(n, ..)| n.status.name.as_str().into()),
            ("expected", |(_, expected, _)| (*expected).into()),
            ("last_report", |(n, ..)| {
                let newest = n.record.facts.newest.as_ref();
                newest.map(|r| r.end.to_string()).into()
            }),
            ("silent_seconds", |(.., silent)| (*silent).into()),
        ],
    );
    let nodes = case.nodes().map(|n| {
        let newest = n.record.facts.newest.as_ref().map(|r| r.end);
        let silent = newest.map(|t| case.now.since(t));
        form.fill(&(n, n.status.is_expected(case.now), silent))
    });
    nodes.collect()
}

/// A device that was seen, with what is looked up for it once for all that are alike.
struct Device<'a> {
    seen: Seen<'a>,
    node: Fact,
    model: Option<&'a Model>,
    licensed: bool,
    silent_seconds: i64,
}

/// Each device that answered within the window of findings, where it answered last.
fn devices(case: &Case<'_>, names: &Names) -> Fact {
    let form = Form::of(
        names,
        "devices",
        &[
            ("uuid", |d: &Device<'_>| d.seen.device.identity.uuid.nvml().into()),
            ("serial", |d| d.seen.device.identity.serial.as_deref().into()),
            ("node", |d| d.node.clone()),
            ("name", |d| d.seen.device.identity.name.as_str().into()),
            ("model", |d| d.model.map(|m| m.name.as_str()).into()),
            ("tpp", |d| d.model.and_then(|m| m.tpp()).map(|t| t.0).into()),
            ("vbios", |d| d.seen.device.identity.vbios.as_deref().into()),
            ("licensed", |d| d.licensed.into()),
            ("last_seen", |d| d.seen.last.to_string().into()),
            ("silent_seconds", |d| d.silent_seconds.into()),
        ],
    );
    let needs = |field| names.field("devices", field);
    let (needs_model, needs_row) = (needs("model") || needs("tpp"), needs("licensed"));
    let mut models: BTreeMap<(PciId, &str), Option<&Model>> = BTreeMap::new();
    let mut nodes: BTreeMap<NodeId, Fact> = BTreeMap::new();
    let devices = case.unique_since(case.since()).into_iter().map(|seen| {
        let (identity, node) = (&seen.device.identity, seen.node.record.facts.node);
        let known = || {
            let model = || case.model(seen.device);
            *models.entry((identity.pci, &identity.name)).or_insert_with(model)
        };
        form.fill(&Device {
            seen,
            node: nodes
                .entry(node)
                .or_insert_with(|| node.to_string().into())
                .clone(),
            model: needs_model.then(known).flatten(),
            licensed: needs_row && case.row_of(identity).is_some(),
            silent_seconds: case.now.since(seen.last),
        })
    });
    devices.collect()
}
