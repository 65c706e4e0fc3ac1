use super::*;
use crate::rules::RuleBook;

const EXAMPLE: &str = include_str!("../../docs/examples/licence.toml");

#[test]
fn the_example_is_clean_and_says_what_it_means() {
    let licence = match Licence::parse(EXAMPLE) {
        Ok(l) => l,
        Err(mistakes) => panic!("{mistakes}"),
    };
    assert_eq!(licence.licence_id, "HX-2026-0042");
    assert_eq!(licence.limits.ops_limit.unwrap().0, 10u128.pow(26));
    assert_eq!(licence.manifest("harbour-1").count(), 2);
    let text = licence.explain();
    assert!(
        text.contains("Site harbour-1 lies in SG; 2 devices may stand there."),
        "{text}"
    );
    assert!(text.contains("within one calendar quarter (TRN-04)"), "{text}");
    assert!(text.contains("must be rated for 1.3 times the power"), "{text}");
    // No node of this version meets "tpm": who copies the example must not fail SEC-04 for it.
    assert!(text.contains("may lie in a file (SEC-04)"), "{text}");
}

#[test]
fn a_manifest_of_the_largest_site_is_read() {
    let mut text = EXAMPLE.to_owned();
    for i in 0..4_000 {
        text.push_str(&format!("[[device]]\nserial = \"S{i}\"\nsite = \"harbour-1\"\n"));
    }
    assert_eq!(Licence::parse(&text).unwrap().devices.len(), 4_002);
}

#[test]
fn more_sites_than_one_consignee_has_are_refused_before_they_are_compared() {
    let ids: Vec<String> = (0..100_000).map(|i| format!("\"s{i}\"")).collect();
    let text = EXAMPLE.replace(
        "site_ids = [\"harbour-1\"]",
        &format!("site_ids = [{}]", ids.join(", ")),
    );
    let found = Licence::parse(&text).unwrap_err().to_string();
    assert!(found.contains("more than 1000 sites are named"), "{found}");
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let text = "licence_id = \"x\"\nserial = 0\nissuer = \"a\"\nconsignee = \"b\"\nvalid_from = 2026-11-01\n\
                valid_to = 2026-10-01\nruleset_id = \"r\"\nfreshnes_max = \"24 h\"\nops_limit = 1e26\nreport_seconds = 5\n\
                tpp_hours_max = 10\n[[site]]\nid = \"s\"\ncountry = \"Singapore\"\n[[device]]\nmodel = \"x\"\n\
                [[waivers]]\ncondition = \"inv-1\"\nuntil = 2027-01-01\nreason = \"r\"\n";
    let found = Licence::parse(text).unwrap_err().to_string();
    for expected in [
        "line 2: `serial` is 0, and must be 1 to 4294967295",
        "line 6: `valid_to` does not lie after `valid_from`",
        "line 8: `freshnes_max` is not a key: did you mean `freshness_max`?",
        "line 9: `ops_limit` must stand in quotation marks to stay exact: write \"1e26\"",
        "line 10: `report_seconds` below 60 needs `trial = true`",
        "`tpp_hours_max` and `tpp_hours_period` belong together",
        "line 14: `site.country` is `Singapore`, and must be a country as two capital letters",
        "line 15: a device needs `uuid`, `serial` or both",
        "line 18: `waivers.condition` is `inv-1`, which is not the id of a condition",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
}

#[test]
fn a_name_that_means_nothing_is_found_before_it_binds_nothing() {
    let catalogue = Catalogue::embedded().unwrap();
    let names = Names::Known {
        catalogue: &catalogue,
        conditions: &["INV-11", "TRN-04"],
    };
    assert!(Licence::parse_with(EXAMPLE, names).is_ok());
    let line = |start: &str| 1 + EXAMPLE.lines().position(|l| l.starts_with(start)).unwrap();
    let text = EXAMPLE
        .replace(
            "catalogue_id = \"H100 SXM5 80GB\"",
            "catalogue_id = \"H100 SMX5 80GB\"",
        )
        .replacen("model = \"H100 SXM5 80GB\"", "model = \"Cray-1\"", 1)
        .replace("condition = \"INV-11\"", "condition = \"INV-12\"");
    assert!(
        Licence::parse(&text).is_ok(),
        "a licence that was loaded stays readable"
    );
    assert_eq!(
        Licence::parse_with(&text, names).unwrap_err().to_string(),
        format!(
            "line {}: `models.catalogue_id` is `H100 SMX5 80GB`, which the catalogue does not hold: did you mean `H100 SXM5 80GB`?\n\
             line {}: `device.model` is `Cray-1`, and the catalogue of this version holds no such model\n\
             line {}: `waivers.condition` is `INV-12`, and no condition has this id: did you mean `INV-11`?",
            line("catalogue_id"),
            line("model ="),
            line("condition ="),
        )
    );
}

#[test]
fn a_country_that_is_none_and_a_pci_id_of_another_model_are_mistakes() {
    let catalogue = Catalogue::embedded().unwrap();
    let names = Names::Known {
        catalogue: &catalogue,
        conditions: &["INV-11"],
    };
    let line = |start: &str| 1 + EXAMPLE.lines().position(|l| l.starts_with(start)).unwrap();
    let text = EXAMPLE
        .replace("country = \"SG\"", "country = \"XX\"")
        .replace("countries_allowed = [\"SG\"", "countries_allowed = [\"UK\"")
        .replacen("pci = \"10de:2330\"", "pci = \"10de:20b2\"", 1);
    assert!(
        Licence::parse(&text).is_ok(),
        "a licence that was loaded stays readable"
    );
    let found = Licence::parse_with(&text, names).unwrap_err().to_string();
    assert_eq!(
        found,
        format!(
            "line {}: `countries_allowed` has an item that is `UK`, which ISO 3166-1 assigns to no country\n\
             line {}: `site.country` is `XX`, which ISO 3166-1 assigns to no country\n\
             line {}: `device.pci` is `10de:20b2`, and the catalogue knows H100 SXM5 80GB by 10de:2330",
            line("countries_allowed"),
            line("country ="),
            line("pci ="),
        )
    );
    // Without a model the catalogue has nothing to compare an id with.
    let unnamed = EXAMPLE
        .replace("pci = \"10de:2330\"", "pci = \"10de:20b2\"")
        .replace("\nmodel = \"H100 SXM5 80GB\"", "");
    assert!(Licence::parse_with(&unnamed, names).is_ok());
}

#[test]
fn every_country_that_a_rule_set_lists_is_one() {
    for rules in RuleBook::carried().all() {
        for member in rules.countries.iter().flat_map(|list| &list.members) {
            assert!(crate::document::is_country(member), "{member}");
        }
    }
}

#[test]
fn a_trial_may_report_often_and_a_word_too_near_is_suggested() {
    let short = EXAMPLE.replace("report_seconds = 300", "report_seconds = 5");
    assert!(Licence::parse(&short).is_err());
    let trial = short.replace("trial = false", "trial = true");
    assert_eq!(Licence::parse(&trial).unwrap().report_seconds, 5);
    let second = EXAMPLE.replace("site_ids = [\"harbour-1\"]", "site_ids = [\"harbour-1\", \"b\"]");
    assert!(Licence::parse(&second).is_ok());
    let open = second.replace("site = \"harbour-1\"\n", "");
    assert!(
        Licence::parse(&open)
            .unwrap_err()
            .to_string()
            .contains("each device needs its `site`")
    );
    let plural = EXAMPLE.replace("[[waivers]]", "[[waiver]]");
    assert!(
        Licence::parse(&plural)
            .unwrap_err()
            .to_string()
            .contains("did you mean `waivers`?")
    );
}

#[test]
fn a_manifest_holds_within_its_licence() {
    let with = |day: &str| {
        Licence::parse(&EXAMPLE.replace("# manifest_from = 2026-11-08", &format!("manifest_from = {day}")))
    };
    let text = with("2026-11-08").unwrap().explain();
    assert!(
        text.contains("hold from 2026-11-08T00:00:00Z; what was seen before is not judged"),
        "{text}"
    );
    for outside in ["2026-10-31", "2027-11-01"] {
        let found = with(outside).unwrap_err().to_string();
        assert!(
            found.contains("`manifest_from` does not lie within the licence"),
            "{found}"
        );
    }
}

#[test]
fn a_device_that_stands_twice_on_the_manifest_is_a_mistake() {
    let text = format!("{EXAMPLE}\n[[device]]\nserial = \"1650123000117\"\n");
    assert!(
        Licence::parse(&text)
            .unwrap_err()
            .to_string()
            .contains("serial number 1650123000117 stands twice")
    );
}

#[test]
fn what_devices_must_sign_is_read_and_said() {
    let uncommented = EXAMPLE
        .replace("# driver_versions", "driver_versions")
        .replace("# vbios_versions", "vbios_versions")
        .replace("# confidential_compute", "confidential_compute")
        .replace("# device_id", "device_id");
    let licence = Licence::parse(&uncommented).unwrap();
    assert_eq!(licence.limits.proof_max_age, Some(3 * 86_400));
    assert_eq!(licence.driver_versions, ["580.95.05", "590.48.01"]);
    assert_eq!(licence.vbios_versions, ["96.00.9F.00.01"]);
    assert_eq!(licence.confidential_compute, Some(ConfidentialTerm::On));
    assert_eq!(licence.devices[0].device_id, Some(Digest([0; 32])));
    let text = licence.explain();
    for sentence in [
        "A device must have proved its key within 3 days (INV-05).",
        "The manifest names the key of 1 of 2 devices;",
        "Drivers may be of version 580.95.05, 590.48.01 and no other (SEC-01).",
        "The VBIOS may be of version 96.00.9F.00.01 and no other (SEC-01).",
        "Confidential computing must be on (SEC-02).",
    ] {
        assert!(text.contains(sentence), "{sentence}\nnot in\n{text}");
    }
    let wrong = uncommented
        .replace("[\"580.95.05\", \"590.48.01\"]", "[]")
        .replace("confidential_compute = \"on\"", "confidential_compute = \"yes\"")
        .replace(
            "serial = \"1650123000988\"",
            &format!("serial = \"1650123000988\"\ndevice_id = \"{}\"", Digest([0; 32])),
        );
    let found = Licence::parse(&wrong).unwrap_err().to_string();
    for expected in [
        "`driver_versions` lists no version: leave it out to allow any",
        "`confidential_compute` is `yes`",
        "stands twice on the manifest",
    ] {
        assert!(found.contains(expected), "{expected}\nnot in\n{found}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(at in 0usize..6_000, noise in ".{0,40}") {
        let text: String = EXAMPLE.chars().take(at).chain(noise.chars()).chain(EXAMPLE.chars().skip(at)).collect();
        drop(Licence::parse(&text));
        drop(Licence::parse(&noise));
    }
}

#[test]
fn a_catalogue_is_pinned_in_one_of_two_ways() {
    let zeros = "0".repeat(64);
    let pin = |table: &str| {
        Licence::parse(&EXAMPLE.replacen("\n[[site]]\n", &format!("\n[catalogue]\n{table}\n[[site]]\n"), 1))
    };
    let by_digest = pin(&format!("digest = \"{zeros}\"")).unwrap();
    assert_eq!(by_digest.catalogue, Some(CataloguePin::Digest(Digest([0; 32]))));
    assert!(
        by_digest
            .explain()
            .contains("Findings rest on the catalogue of accelerators with SHA-256 0000")
    );
    let by_key = pin(&format!("key = \"{zeros}\"\nleast_serial = 3")).unwrap();
    let signed = CataloguePin::Signed {
        key: Digest([0; 32]),
        least_serial: 3,
    };
    assert_eq!(by_key.catalogue, Some(signed));
    assert!(by_key.explain().contains("of serial 3 or newer"));
    assert_eq!(Licence::parse(EXAMPLE).unwrap().catalogue, None);
    for wrong in [
        "",
        "least_serial = 3",
        &format!("key = \"{zeros}\""),
        &format!("digest = \"{zeros}\"\nleast_serial = 3"),
    ] {
        let mistakes = pin(wrong).unwrap_err().to_string();
        assert!(
            mistakes.contains("pinned by `digest`, or by `key` and `least_serial` together"),
            "{wrong}: {mistakes}"
        );
    }
    for (unreadable, named) in [
        (
            format!("key = \"{zeros}\"\nleast_serial = 0"),
            "`catalogue.least_serial`",
        ),
        ("digest = \"0\"".to_owned(), "`catalogue.digest`"),
    ] {
        let mistakes = pin(&unreadable).unwrap_err().to_string();
        assert!(mistakes.contains(named), "{mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    }
    let shown = EXAMPLE
        .replace("# [catalogue]", "[catalogue]")
        .replacen("# key = ", "key = ", 1)
        .replace("# least_serial", "least_serial");
    assert_eq!(
        Licence::parse(&shown).unwrap().catalogue.map(|_| ()),
        Some(()),
        "the example shows the table as it is read"
    );
}

#[test]
fn a_rule_set_is_pinned_by_its_digest_or_by_its_signer_and_never_by_both() {
    let zeros = "0".repeat(64);
    let with = |head: &str, table: &str| {
        let text = EXAMPLE.replacen("ruleset_id", &format!("{head}\nruleset_id"), 1);
        Licence::parse(&text.replacen("\n[[site]]\n", &format!("\n{table}\n[[site]]\n"), 1))
    };
    let digest = RuleSetPin::Digest(Digest([0; 32]));
    let short = with(&format!("ruleset_digest = \"{zeros}\""), "").unwrap();
    let table = with("", &format!("[ruleset]\ndigest = \"{zeros}\"")).unwrap();
    assert_eq!((short.ruleset, table.ruleset), (Some(digest), Some(digest)));
    assert!(short.explain().contains("That must be the one with SHA-256 0000"));
    let both = with(
        &format!("ruleset_digest = \"{zeros}\""),
        &format!("[ruleset]\ndigest = \"{zeros}\""),
    );
    assert!(both.unwrap_err().to_string().contains("both pin the rule set"));
    let part = with("", &format!("[ruleset]\nkey = \"{zeros}\""));
    let said = part.unwrap_err().to_string();
    assert!(
        said.contains("the rule set is pinned by `digest`, or by `key` and `least_version`"),
        "{said}"
    );
    let shown = EXAMPLE
        .replace("# [ruleset]\n# key", "[ruleset]\nkey")
        .replace("# least_version", "least_version");
    let signed = RuleSetPin::Signed {
        key: Digest([0; 32]),
        least_version: 4,
    };
    assert_eq!(Licence::parse(&shown).unwrap().ruleset, Some(signed));
    // The carried one is signed by nobody: it is shown, and allowed by no pin of a key.
    let book = RuleBook::carried();
    let licence = Licence::parse(&shown).unwrap();
    assert!(!signed.allows(&licence.rules_in(&book).unwrap()));
}

#[test]
fn a_signer_is_heard_by_its_key_in_its_role() {
    use crate::crypto::{Algorithm, Entropy, SecretKey, Signer};
    let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    let spki = data_encoding::BASE64.encode(key.public_key().spki());
    let table = format!(
        "\n[[signers]]\nname = \"Assessors LLP\"\nrole = \"assessor\"\nkey = \"{spki}\"\naccreditation = \"A-1\"\nsites = [\"harbour-1\"]\nvalid_to = 2027-12-31\n"
    );
    let with = |table: &str| Licence::parse(&format!("{EXAMPLE}{table}"));
    let licence = with(&table).unwrap();
    assert_eq!(licence.signers.len(), 1);
    assert_eq!(licence.signers[0].key, *key.public_key());
    let said = licence.explain();
    assert!(
        said.contains("Statements of Assessors LLP are heard as those of the assessor under accreditation A-1, about harbour-1"),
        "{said}"
    );
    for (old, new, expected) in [
        (
            spki.as_str(),
            "MCowBQYDK2Vw",
            "`signers.key` must be a public key in base64",
        ),
        ("\"assessor\"", "\"asessor\"", "did you mean `assessor`?"),
        (
            "harbour-1",
            "harbour-9",
            "site `harbour-9`, which the licence does not name",
        ),
        ("accreditation", "acreditation", "did you mean `accreditation`?"),
    ] {
        let mistakes = with(&table.replace(old, new)).unwrap_err().to_string();
        assert!(mistakes.contains(expected), "{mistakes}");
    }
    assert!(
        Licence::parse(EXAMPLE).unwrap().signers.is_empty(),
        "an example hears nobody"
    );
}

#[test]
fn a_condition_of_its_own_is_explained_with_what_it_looks_at() {
    let own = "\n[[conditions]]\nid = \"OWN-01\"\ntitle = \"All is well\"\nseverity = \"major\"\npolicy = \"package weighbridge\"\n";
    let licence = Licence::parse(&format!("{EXAMPLE}{own}")).unwrap();
    let says = "one condition more, OWN-01 (major): All is well; a policy of its own decides that by the facts of a site.";
    assert!(licence.explain().contains(says), "{}", licence.explain());
}
