//! The facts that a licence's own policies see.

use super::own::asking;
use super::*;
use crate::conditions::own::facts;
use crate::conditions::rego::{Names, Policy};

/// What a schema of the few words that ours uses says of a value.
fn fits(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    value: &serde_json::Value,
    at: &str,
    wrong: &mut Vec<String>,
) {
    use serde_json::Value;
    if let Some(name) = schema["$ref"].as_str() {
        return fits(
            &root["$defs"][name.trim_start_matches("#/$defs/")],
            root,
            value,
            at,
            wrong,
        );
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    if !types.iter().any(|t| t == kind) {
        wrong.push(format!("{at} is of type {kind}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        wrong.push(format!("{at} is {value}"));
    }
    for item in value.as_array().into_iter().flatten() {
        fits(&schema["items"], root, item, at, wrong);
    }
    let Some(members) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            wrong.push(format!("{at} lacks {name}"));
        }
    }
    for (name, member) in members {
        let at = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Object(_), _) => fits(&schema["properties"][name], root, member, &at, wrong),
            (_, rest @ Value::Object(_)) => fits(rest, root, member, &at, wrong),
            _ => wrong.push(format!("{at} is not in the schema")),
        }
    }
}

#[test]
fn the_facts_that_policies_see_are_those_of_the_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/policies.schema.json")).unwrap();
    let bare = Scene::empty().with(
        "[[models]]",
        "[[site]]\nid = \"harbour-2\"\ncountry = \"SG\"\n[[models]]",
    );
    let mut bare = bare;
    bare.licence = bare
        .licence
        .replace("[[device]]\n", "[[device]]\nsite = \"harbour-1\"\n");
    for scene in [Scene::honest(), Scene::honest().attested(), Scene::empty(), bare] {
        let licence = Licence::parse(&scene.licence).unwrap();
        let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
        let (catalogue, site) = (Catalogue::embedded().unwrap(), scene.facts());
        let case = Case::new(&licence, &rules, &catalogue, &site, scene.now);
        let document = facts(&case, &scene.findings(), &Names::all()).to_json();
        let mut wrong = Vec::new();
        fits(&schema, &schema, &document, "input", &mut wrong);
        assert!(wrong.is_empty(), "docs/policies.schema.json: {wrong:#?}");
    }
}

/// Each with whether it may look at all of the facts, and at a device's serial number.
const NAMING: &[(&str, bool, bool)] = &[
    ("verdict := true", false, false),
    ("verdict if input.site == \"harbour-1\"", false, false),
    ("verdict if count(input.devices) == 4", false, true),
    (
        "verdict if { some d in input.devices; d.vbios == \"none\" }",
        false,
        false,
    ),
    (
        "verdict if { some d in input.devices; d[\"serial\"] == \"none\" }",
        false,
        true,
    ),
    (
        "verdict if { some d in input.devices; d[\"seri\\u0061l\"] == \"none\" }",
        false,
        true,
    ),
    (
        "verdict if { some i, d in input.devices; i > 2; d.licensed }",
        false,
        false,
    ),
    (
        "verdict if { every d in input.devices { d.licensed } }",
        false,
        false,
    ),
    (
        "verdict if { some d in input.devices; f(d) }\nf(x) if x.serial != \"\"",
        false,
        true,
    ),
    ("verdict if { some d in input.devices; d == 1 }", false, true),
    (
        "verdict if { some d in input.devices; e := d; e.serial == \"x\" }",
        false,
        true,
    ),
    (
        "verdict if { some d in input.devices; some k, v in d; k == \"serial\" }",
        false,
        true,
    ),
    (
        "verdict if { some k; input.devices[0][k] == \"none\" }",
        false,
        true,
    ),
    ("verdict if input.devices[_].vbios == \"none\"", false, false),
    ("verdict if { some i; input.devices[i].licensed }", false, false),
    (
        "verdict if { some d in input.devices[0]; d == true }",
        false,
        true,
    ),
    (
        "verdict if { d := input.devices[0]; d.serial == \"none\" }",
        false,
        true,
    ),
    ("verdict if input[\"devices\"][1].serial != \"\"", false, true),
    ("verdict if input[`devices`][1].serial != \"\"", true, true),
    (
        "verdict if { p := \"devices\"; input[p][1].serial != \"\" }",
        true,
        true,
    ),
    (
        "verdict if { x := input; x.devices[1].serial != \"\" }",
        true,
        true,
    ),
    ("verdict if count(input) == 11", true, true),
    ("verdict if object.get(input, \"devices\", []) != []", true, true),
    (
        "verdict := v if { v := {k | some k, _ in input} == {\"form\"} }",
        true,
        true,
    ),
    (
        "import input.devices as all\nverdict if { some d in all; d.serial == \"none\" }",
        false,
        true,
    ),
    (
        "import input as all\nverdict if all.devices[0].serial == \"none\"",
        true,
        true,
    ),
    ("verdict if input.devicez[0].serial == \"none\"", false, false),
    ("verdict if input.devices[0].secboot", false, false),
    (
        "open := {f.condition | some f in input.findings; f.outcome == \"not met\"}\nverdict := {\"outcome\": \"not met\", \"subjects\": open}",
        false,
        false,
    ),
    (
        "verdict := {\"outcome\": \"met\", \"sentence\": input.findings[\"INV-01\"].sentence}",
        false,
        false,
    ),
    (
        "verdict if { some n in input.nodes; n.silent_seconds > 3 }",
        false,
        false,
    ),
    (
        "verdict if { some c in input.hardware; c.measres == \"success\" }",
        false,
        false,
    ),
];

#[test]
fn what_a_policy_does_not_name_is_not_made_and_changes_no_answer() {
    let scene = Scene::honest().attested();
    let licence = Licence::parse(&scene.licence).unwrap();
    let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
    let (catalogue, site) = (Catalogue::embedded().unwrap(), scene.facts());
    let case = Case::new(&licence, &rules, &catalogue, &site, scene.now);
    let findings = scene.findings();
    let whole = facts(&case, &findings, &Names::all());
    let members = |fact: &serde_json::Value| fact.as_object().unwrap().len();
    for (rules, all, serial) in NAMING {
        let policy = format!("package weighbridge\n{rules}\n");
        let names = Names::of(&policy);
        let seen = facts(&case, &findings, &names);
        assert_eq!(
            members(&seen.to_json()) == members(&whole.to_json()),
            *all,
            "{rules}"
        );
        assert_eq!(names.field("devices", "serial"), *serial, "{rules}");
        let licence = asking(Scene::honest(), "", &policy).licence;
        let own = Licence::parse(&licence).unwrap().conditions.remove(0);
        let policy = Policy::read(&own).map_err(|f| f.what).unwrap();
        assert_eq!(policy.ask(&seen), policy.ask(&whole), "{rules}");
    }
}
