//! Allocations by country, by consignee and by year; and what needs no licence.

use super::*;
use crate::appraisal::{EstateNode, EstateSite};
use crate::statement::Role;
use crate::time::DAY_SECONDS;

const PARTY: (&str, &str) = ("Harbour Compute Pte. Ltd.", "Consignee");

/// The honest scene under the framework for diffusion, with what its verifier holds of it.
fn ifr() -> Scene {
    under(Scene::honest().with("us-ear-enforced-2026-05", "us-ifr-2025"))
}

/// Fills in what is held of the scene's own site.
fn under(mut scene: Scene) -> Scene {
    let nodes = scene.labs.iter().zip(&scene.statuses);
    let nodes = nodes.map(|(lab, status)| EstateNode::of(status.clone(), &lab.record.facts));
    let mut sites = vec![EstateSite {
        site: "harbour-1".to_owned(),
        nodes: nodes.collect(),
    }];
    sites.extend(
        scene
            .estate
            .sites
            .iter()
            .filter(|s| s.site != "harbour-1")
            .cloned(),
    );
    scene.estate.sites = Arc::new(sites);
    scene
}

/// Another site with so many H100, under a licence of its own that differs by a replacement.
fn beside(mut scene: Scene, site: &str, country: &str, devices: u8, change: (&str, &str)) -> Scene {
    let devices: Vec<_> = (0..devices).map(|n| gpu(100 + n)).collect();
    let nodes = devices.chunks(50).zip(20..).map(|(some, n)| {
        let mut lab = Lab::new(n, start());
        lab.run(12, some);
        EstateNode::of(status(n), &lab.record.facts)
    });
    let mut sites = (*scene.estate.sites).clone();
    sites.push(EstateSite {
        site: site.to_owned(),
        nodes: nodes.collect(),
    });
    scene.estate.sites = Arc::new(sites);
    let text = LICENCE
        .replace("L-1", site)
        .replace("harbour-1", site)
        .replace("country = \"SG\"", &format!("country = \"{country}\""))
        .replace(change.0, change.1);
    scene
        .estate
        .licences
        .push(Arc::new(Licence::parse(&text).unwrap()));
    scene
}

const SAME: (&str, &str) = ("serial = 1", "serial = 1");

fn veu(mut scene: Scene, kind: &str) -> Scene {
    let agency = scene.hear_as("Consignee", Role::Authority, "");
    let kind = format!("kind = \"{kind}\"");
    scene.file("authorisation", agency, &[PARTY, ("kind = \"licence\"", &kind)]);
    scene
}

fn owned(mut scene: Scene, changes: &[(&str, &str)]) -> Scene {
    let owner = scene.hear_as("Consignee", Role::Operator, "");
    scene.file("ownership", owner, &[&[PARTY], changes].concat());
    scene
}

fn shipped(mut scene: Scene, role: Role, changes: &[(&str, &str)]) -> Scene {
    let by = scene.hear_as("Consignee", role, "");
    let role = format!("role = \"{role}\"");
    let said = [
        PARTY,
        ("role = \"supplier\"", role.as_str()),
        ("licence = \"HX-2026-0042\"", "licence = \"L-1\""),
    ];
    scene.file("shipment-list", by, &[&said, changes].concat());
    scene
}

const WAIVER: &str =
    "[[waivers]]\ncondition = \"CAP-04\"\nuntil = 2026-12-31\nreason = \"being moved\"\n[[site]]";

#[test]
fn they_are_asked_where_the_rule_set_or_the_licence_asks() {
    for id in ["CAP-03", "CAP-04", "CAP-05", "CAP-06"] {
        let none = Scene::honest().expect(id, Outcome::NotApplicable, "profile ifr-2025");
        assert_eq!(none.message_id, format!("{id}.profile-not-named"));
        let mut empty = Scene::empty().with("us-ear-enforced-2026-05", "us-ifr-2025");
        empty = under(veu(empty, "universal-veu"));
        assert_eq!(empty.finding(id).outcome, Outcome::CannotTell, "{id}");
    }
}

#[test]
fn cap_03_adds_up_what_arrived_this_year_and_takes_no_gap_for_nothing() {
    let none = ifr().expect(
        "CAP-03",
        Outcome::CannotTell,
        "no shipment list about site harbour-1 is on file",
    );
    assert_eq!(none.message_id, "CAP-03.no-statement");
    let mut scene = ifr();
    let by = scene.hear_as("Harbour Compute Pte. Ltd.", Role::Supplier, "");
    scene.file(
        "shipment-list",
        by,
        &[("licence = \"HX-2026-0042\"", "licence = \"L-1\"")],
    );
    scene.expect("CAP-03", Outcome::CannotTell, "names Consignee as its consignee");

    let met = shipped(ifr(), Role::Supplier, &[]).expect(
        "CAP-03",
        Outcome::Met,
        "of 126,656 TPP arrived, which is within what the rule set allows 26,900,000",
    );
    assert_eq!(met.limit.unwrap().upper.as_deref(), Some("26900000"));
    assert_eq!(
        (met.grade, met.evidence.len()),
        (crate::appraisal::Grade::Declared, 1)
    );
    assert_eq!(met.window.unwrap().from.to_string(), "2026-01-01T00:00:00Z");
    // 1,700 H100 are above it, 1,699 are not.
    let many = |n: &str| shipped(ifr(), Role::Supplier, &[("count = 8", n)]);
    many("count = 1699").expect("CAP-03", Outcome::Met, "26,898,568 TPP");
    many("count = 1700").expect("CAP-03", Outcome::NotMet, "26,914,400 TPP arrived");
    // What expired, is on its way, arrived last year or is of a model that nobody knows.
    let large = ("count = 8", "count = 1700");
    let expired = [large, ("valid_to = 2027-11-30", "valid_to = 2026-11-19")];
    shipped(ifr(), Role::Supplier, &expired).expect("CAP-03", Outcome::NotMet, "");
    let under_way = [large, ("\"delivered\"", "\"in transit\"")];
    shipped(ifr(), Role::Supplier, &under_way).expect("CAP-03", Outcome::CannotTell, "on its way");
    let last_year = [large, ("shipped = 2026-10-02", "shipped = 2025-10-02")];
    shipped(ifr(), Role::Supplier, &last_year).expect("CAP-03", Outcome::Met, "of 0 TPP");
    let strange = [("model = \"H100 SXM5 80GB\"", "model = \"H900\"")];
    shipped(ifr(), Role::Supplier, &strange).expect("CAP-03", Outcome::CannotTell, "8 x H900");
    // A list that is held back, and one that nobody but the consignee gives.
    shipped(ifr(), Role::Supplier, &[("count = 8", "count = 3")]).expect(
        "CAP-03",
        Outcome::CannotTell,
        "4 x H100 SXM5 80GB on the manifest, of which the supplier's lists name 3",
    );
    shipped(ifr(), Role::Consignee, &[]).expect("CAP-03", Outcome::CannotTell, "the supplier's lists name 0");
    // What both list is one shipment, and the less that is said of it is sure.
    let both = shipped(shipped(ifr(), Role::Supplier, &[]), Role::Consignee, &[large]);
    both.expect(
        "CAP-03",
        Outcome::CannotTell,
        "126,656 TPP arrived, and with what",
    );
}

#[test]
fn cap_03_adds_up_the_lists_of_one_side_and_takes_the_extremes_of_two() {
    const OLD: (&str, &str) = ("issued = 2026-11-19T08:00:00Z", "issued = 2026-11-18T08:00:00Z");
    let part = |scene, role, count: &str, state: &str, more: &[(&str, &str)]| {
        let (count, state) = (format!("count = {count}"), format!("\"{state}\""));
        let part = [("count = 8", count.as_str()), ("\"delivered\"", state.as_str())];
        shipped(scene, role, &[&part[..], more].concat())
    };
    // Half of 1,700 H100 stand in store: together they are too many, and either list alone is not.
    let halves = |role, second| {
        part(
            part(ifr(), role, "850", "delivered", &[OLD]),
            role,
            "850",
            second,
            &[],
        )
    };
    for role in [Role::Supplier, Role::Consignee] {
        halves(role, "spare").expect("CAP-03", Outcome::NotMet, "26,914,400 TPP arrived");
        halves(role, "in transit").expect("CAP-03", Outcome::CannotTell, "on its way");
        halves(role, "returned").expect("CAP-03", Outcome::CannotTell, "of 0 TPP");
        // Of two lists of one state the older is a part of its own, or was mended by the newer.
        let twice = halves(role, "delivered").expect("CAP-03", Outcome::CannotTell, "of 13,457,200 TPP");
        assert_eq!(twice.measured.unwrap().upper.as_deref(), Some("26914400"));
    }
    // What was on its way has arrived.
    let arrived = part(ifr(), Role::Supplier, "1699", "in transit", &[OLD]);
    let arrived = part(arrived, Role::Supplier, "1699", "delivered", &[]);
    let found = arrived.expect("CAP-03", Outcome::Met, "26,898,568 TPP arrived");
    assert_eq!(found.measured.unwrap().upper.as_deref(), Some("26898568"));
    // Two sides that say the same add nothing to each other.
    part(arrived, Role::Consignee, "1699", "delivered", &[]).expect("CAP-03", Outcome::Met, "");

    // By serial number a device that two lists name is one, and another is another, on its way or not.
    let named = |scene, state: &str, serials: &[u32], more: &[(&str, &str)]| {
        let list: Vec<String> = serials.iter().map(|n| format!("\"S{n}\"")).collect();
        let list = format!("serials = [{}]", list.join(", "));
        let serials_as = [("# serials = [\"1650123000117\"]", list.as_str())];
        let count = serials.len().to_string();
        part(
            scene,
            Role::Supplier,
            &count,
            state,
            &[&serials_as, more].concat(),
        )
    };
    let most = |scene: Scene| scene.finding("CAP-03").measured.unwrap().upper.unwrap();
    let first = || named(ifr(), "in transit", &[1, 2, 3, 4], &[OLD]);
    assert_eq!(most(named(first(), "delivered", &[1, 2, 3, 4], &[])), "63328");
    assert_eq!(most(named(first(), "delivered", &[3, 4, 5, 6], &[])), "94992");
    let unnamed = part(first(), Role::Supplier, "4", "delivered", &[]);
    assert_eq!(most(unnamed), "63328");
}

#[test]
fn cap_04_and_05_bind_universal_end_users_and_need_every_site() {
    for id in ["CAP-04", "CAP-05"] {
        ifr().expect(
            id,
            Outcome::CannotTell,
            "no authorisation about site harbour-1 is on file",
        );
        veu(ifr(), "licence").expect(id, Outcome::NotApplicable, "no universal validated end user");
        let all_here = veu(ifr(), "universal-veu").expect(id, Outcome::NotMet, "100.00 %");
        assert_eq!(all_here.measured.unwrap().lower.as_deref(), Some("1"), "{id}");
        assert_eq!(all_here.subjects, ["harbour-1"]);
    }
    // Four of 104 are 3.8 per cent; that site must report.
    let mostly_allied = || beside(veu(ifr(), "universal-veu"), "north-1", "US", 100, SAME);
    let met = mostly_allied().expect("CAP-04", Outcome::Met, "SG holds 3.84 %");
    assert_eq!(met.subjects, ["harbour-1", "north-1"]);
    assert_eq!(met.measured.unwrap().upper.as_deref(), Some("0.038462"));
    mostly_allied().expect("CAP-05", Outcome::Met, "stands outside Tier 1");
    let mut silent = mostly_allied();
    silent.now = start().plus(2 * DAY_SECONDS);
    for id in ["CAP-04", "CAP-05"] {
        silent.expect(id, Outcome::CannotTell, "did not report within 24 h");
    }
    let mut absent = mostly_allied();
    absent.estate.sites = Arc::new(absent.estate.sites[..1].to_vec());
    absent.expect(
        "CAP-04",
        Outcome::CannotTell,
        "no node of site north-1 reports here",
    );
    // Another consignee's site is none of its own.
    let other = ("consignee = \"Consignee\"", "consignee = \"Other\"");
    beside(veu(ifr(), "universal-veu"), "north-1", "US", 100, other).expect(
        "CAP-04",
        Outcome::NotMet,
        "1 site of",
    );
    let waived = veu(ifr(), "universal-veu").with("[[site]]", WAIVER);
    under(waived).expect("CAP-04", Outcome::Waived, "being moved");
    // A licence that sets the limit binds whoever holds it.
    ifr()
        .with("serial = 1", "serial = 1\ncountry_share_max = 0.5")
        .expect("CAP-04", Outcome::NotMet, "the licence allows 50.00 %");
}

#[test]
fn cap_05_asks_where_headquarters_are_before_it_asks_for_a_share_at_home() {
    // 100 in Canada and four in Singapore: enough in Tier 1, and nothing at home.
    let allied = || beside(veu(ifr(), "universal-veu"), "north-1", "CA", 100, SAME);
    allied().expect(
        "CAP-05",
        Outcome::CannotTell,
        "that says where Consignee has its headquarters",
    );
    owned(allied(), &[]).expect("CAP-05", Outcome::Met, "3.84 %");
    owned(allied(), &[("headquarters = \"SG\"", "headquarters = \"US\"")]).expect(
        "CAP-05",
        Outcome::NotMet,
        "0.00 % in US, where headquarters there ask for 50.00 %",
    );
}

#[test]
fn cap_06_judges_the_supplier_s_own_share_and_nothing_else_as_met() {
    ifr().expect(
        "CAP-06",
        Outcome::CannotTell,
        "what others hold there is not known here",
    );
    veu(ifr(), "national-veu").expect(
        "CAP-06",
        Outcome::CannotTell,
        "a national validated end user, may hold 4,274,640,000",
    );
    let share = |most: u64| ifr().with("serial = 1", &format!("serial = 1\ncountry_tpp_max = {most}"));
    share(63_328).expect(
        "CAP-06",
        Outcome::Met,
        "63,328 TPP were seen in SG; Issuer's own share is 63,328",
    );
    share(63_327).expect("CAP-06", Outcome::NotMet, "own share is 63,327");
    // The share is over all that the supplier supplied there, whoever holds it; another supplier's is not in it.
    let other = ("consignee = \"Consignee\"", "consignee = \"Other\"");
    beside(share(63_328), "south-1", "SG", 1, other).expect("CAP-06", Outcome::NotMet, "79,160 TPP");
    let issuer = ("issuer = \"Issuer\"", "issuer = \"Another\"");
    beside(share(63_328), "south-1", "SG", 1, issuer).expect("CAP-06", Outcome::Met, "63,328 TPP");
    let allied = ifr()
        .with("country = \"SG\"", "country = \"JP\"")
        .with("[\"SG\"]", "[\"JP\"]");
    allied.expect("CAP-06", Outcome::NotApplicable, "no Tier 2 country");
}

#[test]
fn no_licence_is_needed_where_place_and_parties_say_so() {
    let needed = |scene: &Scene, says: &str| scene.expect("SUP-02", Outcome::CannotTell, says);
    // As enforced: by destination and headquarters.
    needed(&Scene::honest(), "no authorisation");
    let found =
        owned(Scene::honest(), &[]).expect("SUP-02", Outcome::Met, "no licence is needed by 15 CFR 742.6");
    assert_eq!(found.message_id, "SUP-02.no-licence-needed");
    assert_eq!(
        (found.grade, found.evidence.len()),
        (crate::appraisal::Grade::Declared, 2)
    );
    let parent = [(
        "ultimate_parent_country = \"SG\"",
        "ultimate_parent_country = \"MO\"",
    )];
    needed(&owned(Scene::honest(), &parent), "no authorisation");
    let old = [("issued = 2026-11-19", "issued = 2026-08-01")];
    needed(&owned(Scene::honest(), &old), "no authorisation");
    for country in ["SA", "AE"] {
        let there = owned(Scene::honest(), &[]).with("country = \"SG\"", &format!("country = \"{country}\""));
        needed(&there, "no authorisation");
    }
    // By the rule for China and Macau nothing is cleared that way.
    let china = [("headquarters = \"SG\"", "headquarters = \"CN\"")];
    let cn = Scene::honest().with("us-ear-enforced-2026-05", "us-cn-h200-2026");
    needed(&owned(cn, &china), "no authorisation");

    // Under the framework: allies with headquarters among allies, or small orders.
    needed(&owned(ifr(), &[]), "no authorisation");
    let allies = [
        ("headquarters = \"SG\"", "headquarters = \"JP\""),
        (
            "ultimate_parent_country = \"SG\"",
            "ultimate_parent_country = \"US\"",
        ),
    ];
    let japan = || ifr().with("country = \"SG\"", "country = \"JP\"");
    owned(japan(), &allies).expect("SUP-02", Outcome::Met, "15 CFR 740.27 (in force, not enforced)");
    needed(&owned(japan(), &allies[..1]), "no authorisation");
    let small = |count| shipped(owned(ifr(), &[]), Role::Supplier, &[("count = 8", count)]);
    small("count = 1699").expect("SUP-02", Outcome::Met, "15 CFR 740.29");
    needed(&small("count = 1700"), "no authorisation");
}

#[test]
fn a_rule_set_that_was_superseded_tells_nothing_and_names_what_took_its_place() {
    let text = include_str!("../../rules/data/us-ear-enforced-2026-05.toml").replace(
        "valid_from = 2026-05-31\n\n#",
        "valid_from = 2026-05-31\nvalid_to = 2026-10-31\nsuperseded_by = \"us-ear-enforced-2026-11\"\n\n#",
    );
    let rules =
        crate::rules::RuleBook::carried().parse(&text.replace("version = 4\ntitle", "version = 5\ntitle"));
    let rules = rules.unwrap_or_else(|e| panic!("{e}"));
    let mut scene = Scene::honest();
    scene.labs[1].run(1, &[gpu(3), gpu(9)]);
    let licence = Licence::parse(&scene.licence).unwrap();
    let catalogue = Catalogue::embedded().unwrap();
    let judged =
        |licence: &Licence, at: UnixSeconds| evaluate(licence, &rules, &catalogue, &scene.facts(), at);
    for finding in judged(&licence, scene.now) {
        // What is broken stays broken.
        if finding.outcome != Outcome::NotMet {
            assert_eq!(finding.outcome, Outcome::CannotTell, "{}", finding.condition);
            let says = "ended just before 2026-11-01T00:00:00Z and was superseded by us-ear-enforced-2026-11";
            assert!(finding.sentence.contains(says), "{}", finding.sentence);
        }
        assert!(
            finding
                .rule_set
                .starts_with("us-ear-enforced-2026-05, version 5, SHA-256 ")
        );
    }
    // A licence that pins the text it was written for goes by no other.
    let pinned = scene.licence.replace(
        "serial = 1",
        &format!("serial = 1\nruleset_digest = \"{}\"", Digest([7; 32])),
    );
    let pinned = Licence::parse(&pinned).unwrap();
    let says = format!("and the licence pins the one with SHA-256 {}", Digest([7; 32]));
    let found = judged(&pinned, scene.now);
    assert!(found.iter().any(|f| f.sentence.contains(&says)));
    assert!(found.iter().all(|f| f.outcome != Outcome::Met));
}
