use super::*;
use crate::accelerator::{Confidence, ExportClass};
use crate::bounded::MAX_DOCUMENT;
use crate::crypto::{Algorithm, Entropy, SecretKey, Signer};
use crate::unit::Tpp;
use proptest::prelude::*;

/// A row of the embedded catalogue for synthetic ones, with the cells of these columns replaced.
fn table(rows: &[&[(&str, &str)]]) -> String {
    let heading = EMBEDDED.lines().find(|l| !l.starts_with('#')).unwrap();
    let columns: Vec<&str> = heading.split(',').collect();
    let base = EMBEDDED
        .lines()
        .find(|l| l.starts_with("NVIDIA,H200 SXM,"))
        .unwrap();
    let base: Vec<&str> = base.split(',').collect();
    let mut text = format!("# weighbridge-catalogue serial 9 of 2026-12-01\n{heading}\n");
    for changes in rows {
        let mut cells = base.clone();
        for (column, value) in *changes {
            let at = columns.iter().position(|c| c == column).unwrap();
            cells[at] = value;
        }
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn refused(text: &str) -> String {
    Catalogue::parse(text).unwrap_err().to_string()
}

fn key() -> SecretKey {
    SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap()
}

fn sign(text: &str, key: &SecretKey) -> String {
    dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &[key]).unwrap()
}

fn nvidia(device: u16) -> PciId {
    PciId {
        vendor: 0x10de,
        device,
        ..PciId::default()
    }
}

#[test]
fn the_embedded_catalogue_reads_and_its_classes_follow_from_its_figures() {
    let catalogue = Catalogue::embedded().unwrap();
    assert!(catalogue.models().len() > 60);
    for m in catalogue.models() {
        let stated = &m.eccn_stated;
        match m.export_class_now() {
            ExportClass::A => assert!(stated.starts_with("3A090.a"), "{}: {stated}", m.name),
            ExportClass::B => assert!(stated.starts_with("3A090.b"), "{}: {stated}", m.name),
            ExportClass::Neither => assert!(stated.starts_with("not 3A090"), "{}: {stated}", m.name),
            ExportClass::Undetermined => assert!(stated.starts_with("unknown"), "{}: {stated}", m.name),
        }
    }
}

#[test]
fn the_constant_of_hopper_is_65536_bit_operations_per_clock() {
    let catalogue = Catalogue::embedded().unwrap();
    for (device, constant) in [(0x20b2, 32_768u64), (0x2330, 65_536), (0x2335, 65_536)] {
        let model = catalogue.find(&nvidia(device), "").model().unwrap();
        let found = model.bit_operations_per_clock().unwrap();
        assert!(
            found.abs_diff(constant) * 1_000 < constant * 2,
            "{}: {found}",
            model.name
        );
    }
    let h100 = catalogue.find(&nvidia(0x2330), "").model().unwrap();
    assert_eq!(
        (h100.tpp(), h100.tensor_clock_mhz),
        (Some(Tpp(15_832)), Some(1_830))
    );
    assert_eq!(h100.rates.narrowest_bits(), Some(8));
}

#[test]
fn pci_identifiers_come_first_and_a_disagreement_is_its_own_outcome() {
    let c = Catalogue::embedded().unwrap();
    let named = |m: Match<'_>| m.model().map(|m| m.name.clone());
    assert!(matches!(
        c.find(&nvidia(0x2330), "NVIDIA H100 80GB HBM3"),
        Match::Pci(_)
    ));
    // A name that the catalogue has never heard does not speak against the identifiers.
    assert!(matches!(
        c.find(&nvidia(0x2330), "NVIDIA Something"),
        Match::Pci(_)
    ));
    assert!(matches!(c.find(&nvidia(0xffff), "NVIDIA H200"), Match::Name(_)));
    let swapped = c.find(&nvidia(0x2329), "NVIDIA H200");
    assert!(matches!(swapped, Match::Disagree { .. }));
    assert_eq!(named(swapped).as_deref(), Some("H200 SXM"));
    assert_eq!(c.find(&nvidia(0xffff), "NVIDIA Something"), Match::Unknown);
    let amd = PciId {
        vendor: 0x1002,
        device: 0x740c,
        ..PciId::default()
    };
    assert_eq!(
        named(c.find(&amd, "AMD Instinct MI250X")).as_deref(),
        Some("Instinct MI250X")
    );
    assert_eq!(
        named(c.find(&amd, "AMD Instinct MI250")).as_deref(),
        Some("Instinct MI250")
    );
}

#[test]
fn an_entry_whose_tpp_is_not_its_own_is_refused_by_name() {
    let forged = EMBEDDED.replace(",15832,814,", ",15000,814,");
    let error = Catalogue::parse(&forged).unwrap_err().to_string();
    assert!(
        error.contains("H100 SXM5 80GB") && error.contains("15000"),
        "{error}"
    );
    assert!(Catalogue::parse("vendor,model\nx").is_err());
}

#[test]
fn a_clock_or_a_yield_of_zero_is_refused_for_it_would_bound_everything_by_zero() {
    for (from, to, column) in [
        (",132,1830,700,", ",132,0,700,", "spec_clock_mhz"),
        ("899000,450000,225000,490000,1000000,", ",,,,0,", "yield_most_ppm"),
    ] {
        let changed = EMBEDDED.replacen(from, to, 1);
        assert_ne!(changed, EMBEDDED, "{column} stands otherwise by now");
        assert!(refused(&changed).contains(column), "{column}");
    }
}

#[test]
fn the_digest_is_that_of_the_file_and_a_change_of_the_file_is_a_new_serial() {
    let catalogue = Catalogue::embedded().unwrap();
    // Whoever changes the file raises its serial, and writes the digest of the new file here: nodes in the field hold the old one.
    let known = [
        (
            1,
            "bca11273d5e9b8d515b750a13a28134c6db89e1c249c93e6cd2ac4ecb6ea7943",
        ),
        (
            2,
            "ee96adc9a99c39a045b9b7c5f81824a1d6d08035a2006995f7b0eb35a7d4167c",
        ),
        (
            3,
            "c6ce6e535535cb98495ca6f487f1d1c4508216c14056ae954444557fe83e6d29",
        ),
        (
            4,
            "c649a4968a8ec205faf0281c54a76d7af3105ed57c8b341373631e235d642b42",
        ),
        (
            5,
            "b551387dcb75aa32060c4cfa3f12b912bb6f0fc16cbaf12222c780c8be8f46f4",
        ),
    ];
    let (serial, digest) = known[known.len() - 1];
    assert_eq!(
        (
            catalogue.version().serial,
            catalogue.digest().to_string().as_str()
        ),
        (serial, digest),
        "raise the serial of catalogue.csv, and add its digest to this list"
    );
}

#[test]
fn the_h200_that_was_measured_is_found_by_its_board() {
    let catalogue = Catalogue::embedded().unwrap();
    let measured = PciId {
        vendor: 0x10de,
        device: 0x2335,
        subsystem_vendor: 0x10de,
        subsystem_device: 0x18bf,
    };
    let Match::Pci(model) = catalogue.find(&measured, "NVIDIA H200") else {
        panic!("{:?}", catalogue.find(&measured, "NVIDIA H200"));
    };
    assert_eq!(
        (model.name.as_str(), model.sm_count, model.tdp_w),
        ("H200 SXM", Some(132), Some(700))
    );
    assert!(model.boards.contains(&measured));
    // A board that no list names, as makers of servers have them, is told by vendor and device.
    let unlisted = PciId {
        subsystem_vendor: 0x1028,
        subsystem_device: 1,
        ..measured
    };
    assert_eq!(catalogue.find(&unlisted, "NVIDIA H200"), Match::Pci(model));
}

#[test]
fn a_board_comes_before_vendor_and_device_and_these_before_the_name() {
    let text = table(&[
        &[
            ("model", "Wide"),
            ("driver_reported_names", "Acme Wide"),
            ("pci_boards", "10de:2335:10de:0001"),
        ],
        &[
            ("model", "Narrow"),
            ("driver_reported_names", "Acme Narrow"),
            ("pci_boards", "10de:2335:10de:0002"),
            ("fp16_bf16_dense_tflops", "100"),
            ("tf32_dense_tflops", "50"),
            ("fp8_dense_tflops", "200"),
            ("int8_dense_tops", "200"),
            ("fp64_matrix_tflops", "1"),
            ("tpp", "1600"),
        ],
    ]);
    let c = Catalogue::parse(&text).unwrap();
    let id = |subsystem_device| PciId {
        vendor: 0x10de,
        device: 0x2335,
        subsystem_vendor: 0x10de,
        subsystem_device,
    };
    let found = |subsystem, name| c.find(&id(subsystem), name).model().unwrap().name.clone();
    // The same vendor and device: the subsystem tells them apart, without a name and with one that says nothing.
    assert_eq!((found(1, "").as_str(), found(2, "").as_str()), ("Wide", "Narrow"));
    assert!(matches!(c.find(&id(2), "Acme Narrow"), Match::Pci(m) if m.name == "Narrow"));
    // The board says one, the name the other: that is said, and the larger counts.
    let Match::Disagree { pci, name } = c.find(&id(2), "Acme Wide") else {
        panic!("{:?}", c.find(&id(2), "Acme Wide"));
    };
    assert_eq!((pci.name.as_str(), name.name.as_str()), ("Narrow", "Wide"));
    assert_eq!(found(2, "Acme Wide"), "Wide");
    // A board that neither lists: the name decides, and where it does not, the larger.
    assert!(matches!(c.find(&id(7), "Acme Narrow"), Match::Pci(m) if m.name == "Narrow"));
    assert_eq!(found(7, "Acme Other"), "Wide");
}

#[test]
fn a_card_of_two_devices_counts_once_and_a_card_of_two_dies_behind_one_function_is_one_device() {
    let c = Catalogue::embedded().unwrap();
    let model = |name: &str| c.models().iter().find(|m| m.name == name).unwrap();
    for (name, devices, card, device) in [
        ("Instinct MI250X", 2, 6_128, 3_064),
        ("Instinct MI250", 2, 5_794, 2_897),
        ("Ascend 910C", 2, 12_496, 6_248),
        // Two dies each, and one function on the bus.
        ("B200 SXM (HGX)", 1, 36_000, 36_000),
        ("GB300 (per GPU)", 1, 60_000, 60_000),
        ("Gaudi 3", 1, 29_360, 29_360),
        ("Data Center GPU Max 1550", 1, 13_424, 13_424),
        ("H100 SXM5 80GB", 1, 15_832, 15_832),
    ] {
        let m = model(name);
        assert_eq!(
            (m.devices_per_card, m.tpp(), m.device_tpp()),
            (devices, Some(Tpp(card)), Some(Tpp(device))),
            "{name}"
        );
    }
    let dual = model("Instinct MI250X");
    assert_eq!([0, 1, 2, 7, 8].map(|n| dual.cards(n)), [0, 1, 1, 4, 4]);
    // The die area is that of the card too, so that the density is as the rule counts it.
    assert_eq!(dual.density().map(|d| d.0), Some(4_232));
}

#[test]
fn the_two_public_conversions_from_tpp_to_cards_hold() {
    let c = Catalogue::embedded().unwrap();
    let tpp = |name: &str| {
        c.models()
            .iter()
            .find(|m| m.name == name)
            .unwrap()
            .tpp()
            .unwrap()
            .0
    };
    // 26.9 million TPP were published as 1,699 H100, and 790 million as 49,901 H100 and as 13,166 GB300.
    assert_eq!(26_900_000 / tpp("H100 SXM5 80GB"), 1_699);
    assert_eq!(790_000_000 / tpp("GB300 (per GPU)"), 13_166);
    let by_h100 = 790_000_000 / tpp("H100 SXM5 80GB");
    assert!(
        by_h100.abs_diff(49_901) * 10_000 < 49_901,
        "{by_h100}: within the rounding of a data sheet"
    );
}

#[test]
fn h20_lies_outside_by_its_figures_although_a_public_table_has_it_inside() {
    let c = Catalogue::embedded().unwrap();
    let h20 = c.models().iter().find(|m| m.name == "H20").unwrap();
    // One public table calls it 3A090.b.2, which asks for a density of 3.2. A letter to its maker controls it, not the entry.
    assert_eq!(
        (h20.tpp(), h20.density().map(|d| d.0)),
        (Some(Tpp(2_368)), Some(2_909))
    );
    assert_eq!(h20.export_class_now(), ExportClass::Neither);
    assert!(h20.notes.contains("is-informed letter"), "{}", h20.notes);
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_place() {
    assert!(Catalogue::parse(&table(&[&[]])).is_ok());
    for (changes, said) in [
        (("pci_device_ids", "10de2335"), "`10de2335` for pci_device_ids"),
        (("pci_device_ids", "10de:+335"), "`10de:+335` for pci_device_ids"),
        (("pci_boards", "10de:2335"), "`10de:2335` for pci_boards"),
        (("devices_per_card", "0"), "`0` for devices_per_card"),
        (("devices_per_card", "9"), "`9` for devices_per_card"),
        (("devices_per_card", "two"), "`two` for devices_per_card"),
        (("tdp_w", "99999999999"), "`99999999999` for tdp_w"),
        (
            ("fp16_bf16_dense_tflops", "1e9"),
            "`1e9` for fp16_bf16_dense_tflops",
        ),
        (
            ("fp16_bf16_dense_tflops", "99999999999999999999"),
            "for fp16_bf16_dense_tflops",
        ),
        (
            ("tpp", "15833"),
            "states a TPP of 15833, but its rates give 15832",
        ),
        (
            ("notes", "=HYPERLINK(1)"),
            "line 3 holds a cell that begins like a formula",
        ),
        (
            ("model", "+H200"),
            "line 3 holds a cell that begins like a formula",
        ),
        (("notes", "a\u{7}b"), "line 3 holds a cell"),
        (("confidence", "certain"), "not the table"),
    ] {
        let said_of = refused(&table(&[&[changes]]));
        assert!(said_of.contains(said), "{changes:?}: {said_of}");
    }
    let twice = refused(&table(&[&[], &[]]));
    assert_eq!(twice, "it has the entry `H200 SXM` twice");
    let boards = refused(&table(&[&[], &[("model", "Other")]]));
    assert_eq!(boards, "it has the board 10de:2335 (10de:18be) twice");

    let good = table(&[&[]]);
    for (from, to, said) in [
        ("serial 9", "serial 0", "its first line must be like"),
        ("serial 9", "serial 09", "its first line must be like"),
        ("of 2026-12-01", "of 2026-13-01", "its first line must be like"),
        ("# weighbridge", "weighbridge", "its first line must be like"),
        (
            "devices_per_card",
            "devices_per_crad",
            "did you mean `devices_per_card`?",
        ),
        (",tdp_w,", ",tdp,", "`tdp` is no column of it"),
        ("pci_boards", "notes", "it has the column `notes` twice"),
        (",tdp_w", "", "it has no column `tdp_w`"),
        (",700,", ",", "not the table"),
    ] {
        let said_of = refused(&good.replacen(from, to, 1));
        assert!(said_of.contains(said), "{from} -> {to}: {said_of}");
    }
    assert!(refused("").contains("its first line must be like"));
    assert_eq!(
        refused(&" ".repeat(MAX_CATALOGUE + 1)),
        CatalogueError::TooLarge.to_string()
    );
}

#[test]
fn a_column_that_may_be_left_out_is_empty_in_every_line() {
    // The last column of the longest catalogue, and of one that an older hand wrote.
    let mut text = String::new();
    for line in table(&[&[]]).lines() {
        let mut cells: Vec<&str> = line.split(',').collect();
        if cells.len() > 2 {
            let columns = EMBEDDED.lines().find(|l| !l.starts_with('#')).unwrap().split(',');
            let places: Vec<usize> = columns
                .enumerate()
                .filter(|(_, c)| ["pci_boards", "devices_per_card"].contains(c))
                .map(|(i, _)| i)
                .collect();
            for place in places.iter().rev() {
                cells.remove(*place);
            }
        }
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    let c = Catalogue::parse(&text).unwrap();
    assert_eq!(
        (c.models()[0].devices_per_card, c.models()[0].boards.len()),
        (1, 0)
    );
    assert_eq!(c.models()[0].confidence, Confidence::High);
}

#[test]
fn a_signed_catalogue_takes_the_place_of_the_carried_one_and_nothing_else_does() {
    let (maker, stranger) = (key(), key());
    let keys = [maker.public_key().clone()];
    let text = table(&[&[("model", "H300"), ("driver_reported_names", "NVIDIA H300")]]);
    let envelope = sign(&text, &maker);
    let c = Catalogue::open(&envelope, &keys).unwrap();
    assert_eq!(
        (c.version().to_string().as_str(), c.models().len()),
        ("serial 9 of 2026-12-01", 1)
    );
    assert_eq!(
        (c.signers(), c.digest()),
        (&[maker.public_key().id()][..], sha256(text.as_bytes()))
    );
    assert!(matches!(c.find(&PciId::default(), "NVIDIA H300"), Match::Name(_)));

    let said = |envelope: &str| {
        let error = Catalogue::open(envelope, &keys).unwrap_err();
        format!(
            "{error}: {}",
            std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default()
        )
    };
    let payload = |t: &str| data_encoding::BASE64.encode(t.as_bytes());
    let altered = envelope.replace(&payload(&text), &payload(&text.replace("989.5", "100.5")));
    assert_ne!(altered, envelope);
    for (wrong, expected) in [
        (
            altered,
            "it is not signed by a key that is trusted to sign catalogues: none of the 1 keys",
        ),
        (
            sign(&text, &stranger),
            "it is not signed by a key that is trusted to sign catalogues: none of the 1 keys",
        ),
        (
            dsse::sign(
                "application/vnd.weighbridge.licence+toml",
                text.as_bytes(),
                &[&maker],
            )
            .unwrap(),
            "the envelope holds `application/vnd.weighbridge.licence+toml`",
        ),
        (text.clone(), "not a DSSE envelope"),
        (
            dsse::sign(PAYLOAD_TYPE, b"# weighbridge\xff", &[&maker]).unwrap(),
            "it is not UTF-8 text",
        ),
        (sign(&"#".repeat(MAX_CATALOGUE + 1), &maker), "it is larger than"),
        (" ".repeat(MAX_DOCUMENT + 1), "the envelope is larger than"),
        (
            sign(&text.replace("15832", "15833"), &maker),
            "states a TPP of 15833",
        ),
        (
            sign(&EMBEDDED.replace("H20 NVL16,", "H20 NVL17,"), &maker),
            "differs from it: a change needs a new serial",
        ),
    ] {
        let said = said(&wrong);
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // The carried one itself, signed, is the same catalogue with a signer.
    let same = Catalogue::open(&sign(EMBEDDED, &maker), &keys).unwrap();
    assert_eq!(same.digest(), Catalogue::embedded().unwrap().digest());
    // No key is trusted: nothing is.
    assert!(matches!(
        Catalogue::open(&envelope, &[]),
        Err(CatalogueError::Untrusted(_))
    ));
}

#[test]
fn one_that_is_older_than_the_carried_one_is_refused() {
    let older = CatalogueError::Older {
        found: CatalogueVersion::parse_line("# weighbridge-catalogue serial 1 of 2026-11-26").unwrap(),
        carried: CatalogueVersion::parse_line("# weighbridge-catalogue serial 2 of 2026-12-24").unwrap(),
    };
    assert_eq!(
        older.to_string(),
        "it is serial 1 of 2026-11-26, which is older than serial 2 of 2026-12-24, which this program carries"
    );
    let carried = Catalogue::embedded().unwrap().version();
    let maker = key();
    let versions = [
        carried.serial.saturating_sub(1),
        carried.serial,
        carried.serial + 1,
    ];
    for serial in versions.into_iter().filter(|s| *s > 0) {
        let text = table(&[&[]]).replacen("serial 9", &format!("serial {serial}"), 1);
        let found = Catalogue::open(&sign(&text, &maker), &[maker.public_key().clone()]);
        assert_eq!(found.is_ok(), serial > carried.serial, "{serial}: {found:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_read_says_no_two_things_of_a_device(
        id in any::<(u16, u16, u16, u16)>(),
        pick in 0usize..200,
        name in "[A-Za-z0-9 -]{0,24}",
    ) {
        let c = Catalogue::embedded().unwrap();
        let (vendor, device, subsystem_vendor, subsystem_device) = id;
        let any_id = PciId { vendor, device, subsystem_vendor, subsystem_device };
        let known = c.models().get(pick % c.models().len()).unwrap();
        let of_known = known.pci.first().map_or(any_id, |(vendor, device)| PciId { vendor: *vendor, device: *device, ..any_id });
        for id in [any_id, of_known] {
            let found = c.find(&id, &name);
            prop_assert_eq!(found, c.find(&id, &name));
            if let (Match::Disagree { pci, name }, Some(model)) = (found, found.model()) {
                prop_assert!(pci.name != name.name && model.tpp() >= pci.tpp().min(name.tpp()));
            }
        }
        // Whatever its subsystem, a known vendor and device is never unknown.
        prop_assert!(known.pci.is_empty() || c.find(&of_known, &name) != Match::Unknown);
    }

    #[test]
    fn any_text_is_read_or_refused_and_read_the_same_again(
        cut_at in 0usize..3_000,
        insert in "[\\PC\n\",#]{0,40}",
    ) {
        let base = table(&[&[], &[("model", "Other"), ("pci_boards", "")]]);
        let place = base.char_indices().map(|(i, _)| i).nth(cut_at % base.chars().count()).unwrap();
        let text = {
            let (before, after) = base.split_at(place);
            format!("{before}{insert}{after}")
        };
        if let Ok(first) = Catalogue::parse(&text) {
            let again = Catalogue::parse(&text).unwrap();
            prop_assert_eq!(first.models(), again.models());
            prop_assert_eq!(first.digest(), sha256(text.as_bytes()));
            for model in first.models() {
                prop_assert!(model.cards(u64::MAX) >= 1 && model.device_tpp() <= model.tpp());
            }
        }
    }

    #[test]
    fn cards_and_devices_agree(devices in 0u64..1_000_000, pick in 0usize..200) {
        let c = Catalogue::embedded().unwrap();
        let model = c.models().get(pick % c.models().len()).unwrap();
        let cards = model.cards(devices);
        let per_card = u64::from(model.devices_per_card);
        prop_assert!(cards * per_card >= devices && cards * per_card < devices + per_card);
        if let (Some(card), Some(device)) = (model.tpp(), model.device_tpp()) {
            prop_assert!(device.0 * per_card >= card.0 && device.0 * per_card < card.0 + per_card);
        }
    }
}
