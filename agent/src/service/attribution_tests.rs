use super::*;
use crate::sentence::Sentence;
use weighbridge::report::ClockSource;
use weighbridge::telemetry::{AcceleratorIdentity, BusSource, HostDriver, LibraryOrigin, MigDevice, Reading};

const WALL: i64 = 1_795_320_600;

fn now(seconds: u64) -> Now {
    Now {
        boot: BootNanos((1_000 + seconds) * SECOND),
        wall: UnixSeconds(WALL + i64::try_from(seconds).unwrap()),
        source: ClockSource::Synchronised,
    }
}

fn gpu(n: u8) -> DeviceUuid {
    DeviceUuid([n; 16])
}

fn inventory() -> Inventory {
    let device = |index: u16| AcceleratorIdentity {
        index,
        uuid: gpu(u8::try_from(index).unwrap() + 1),
        serial: None,
        pci: weighbridge::id::PciId::default(),
        name: String::new(),
        board_part: None,
        vbios: None,
        gsp_firmware: None,
        memory_mib: Reading::Unsupported,
        cores: Reading::Unsupported,
        max_sm_clock_mhz: Reading::Unsupported,
        power_limit_mw: Reading::Unsupported,
        pdi: None,
        module_id: None,
        fabric: None,
        nvlink_links: None,
        mig: None,
        ecc: None,
        pipe_activity: false,
    };
    Inventory {
        at: BootNanos(0),
        driver: Some(HostDriver {
            driver_version: "590".into(),
            nvml_version: "13".into(),
            cuda_version: None,
            library_digest: weighbridge::id::Digest([0; 32]),
            library_origin: LibraryOrigin::System,
            library_changed: false,
            confidential_compute: None,
        }),
        devices: vec![device(0), device(1)],
        bus: Vec::new(),
        bus_source: BusSource::System,
        switches: Vec::new(),
        mig_devices: Some(vec![MigDevice {
            uuid: gpu(0xf1),
            index: 1,
            part: Ppm(142_858),
        }]),
    }
}

struct Node {
    dir: tempfile::TempDir,
    boot: BootId,
}

impl Node {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            boot: BootId([1; 16]),
        }
    }

    fn open(&self, key: Option<&Path>, at: Now) -> Result<Attributions, AttributionsError> {
        let state = StateDir::open(&self.dir.path().join("state")).unwrap();
        Attributions::open(&state, key, self.boot, Entropy::system(), at)
    }
}

fn asking(all: &mut Attributions, ask: Ask, at: Now, asked: Attribution) -> Result<String, String> {
    let request = Request {
        attribution: Some(asked),
        ..Request::plain(ask)
    };
    match all.answer(&request, at, &inventory()) {
        Ok(answer) => Ok(answer.text.unwrap()),
        Err(e) => Err(Sentence(&e).to_string()),
    }
}

fn attribution(device: &str, tenant: &str) -> Attribution {
    Attribution {
        device: device.to_owned(),
        tenant: Some(tenant.to_owned()),
        from: None,
        to: None,
    }
}

fn begin(all: &mut Attributions, at: Now, asked: Attribution) -> Result<String, String> {
    asking(all, Ask::Attribute, at, asked)
}

#[test]
fn a_tenant_holds_a_device_from_now_until_it_is_ended() {
    let node = Node::new();
    let mut all = node.open(None, now(0)).unwrap();
    let said = begin(&mut all, now(0), attribution(&gpu(1).nvml(), "acme")).unwrap();
    let pseudonym = all.listed(now(0))[0].pseudonym;
    assert!(
        said.contains(&pseudonym.to_string()) && !said.contains("acme"),
        "{said}"
    );
    let held = all.holdings();
    assert_eq!((held[0].from, held[0].to), (now(0).boot, BootNanos(u64::MAX)));
    // Said twice, it is the same; a second tenant holds it too.
    assert!(
        begin(&mut all, now(1), attribution("0", "acme"))
            .unwrap()
            .ends_with("already")
    );
    begin(&mut all, now(1), attribution("0", "beta")).unwrap();
    assert_eq!(all.holdings().len(), 2);
    asking(&mut all, Ask::EndAttribution, now(5), attribution("0", "acme")).unwrap();
    assert_eq!(all.holdings()[0].to, now(5).boot);
    assert_eq!(all.listed(now(5)).len(), 1);
    let whole = Attribution {
        tenant: None,
        ..attribution("0", "")
    };
    asking(&mut all, Ask::EndAttribution, now(6), whole.clone()).unwrap();
    assert!(all.listed(now(6)).is_empty());
    assert_eq!(
        asking(&mut all, Ask::EndAttribution, now(7), whole).unwrap(),
        "nobody held it"
    );
    // The report in the making still needs to know.
    all.forget(now(2).boot);
    assert_eq!(all.holdings().len(), 2);
    all.forget(now(6).boot);
    assert!(all.holdings().is_empty());
    assert!(node.open(None, now(8)).unwrap().holdings().is_empty());
}

#[test]
fn what_cannot_be_attributed_is_refused_in_a_sentence_that_helps() {
    let node = Node::new();
    let mut all = node.open(None, now(0)).unwrap();
    let from = |seconds: i64| Attribution {
        from: Some(UnixSeconds(WALL + seconds)),
        ..attribution("0", "acme")
    };
    for (asked, why) in [
        (
            from(-60),
            "--from lies 60 s in the past, and what was measured is not attributed afterwards",
        ),
        (
            attribution("7", "acme"),
            "no device `7`; `weighbridge-agent inventory` lists them",
        ),
        (attribution(&gpu(9).nvml(), "acme"), "no device `GPU-09090909"),
        (attribution(&gpu(1).nvml_mig(), "acme"), "no device `MIG-"),
        (attribution("0", ""), "1 to 256 bytes"),
        (attribution("0", "a\nb"), "no control characters"),
        (attribution("0", &"x".repeat(257)), "1 to 256 bytes"),
        (
            Attribution {
                to: Some(UnixSeconds(WALL)),
                ..attribution("0", "acme")
            },
            "--to lies before the start",
        ),
    ] {
        let said = begin(&mut all, now(0), asked).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    assert!(all.holdings().is_empty());
    // A few seconds are a script's; they count from now on.
    begin(&mut all, now(0), from(-3)).unwrap();
    assert_eq!(all.holdings()[0].from, now(0).boot);
    let later = Attribution {
        tenant: Some("beta".to_owned()),
        ..from(90)
    };
    begin(&mut all, now(0), later).unwrap();
    assert_eq!(all.holdings()[1].from, now(90).boot);
    for n in 0..MOST - 2 {
        begin(&mut all, now(0), attribution("1", &n.to_string())).unwrap();
    }
    let said = begin(&mut all, now(0), attribution("1", "one more")).unwrap_err();
    assert!(said.contains("end some with `attribute --end`"), "{said}");
    assert!(all.listed(now(0)).len() == MOST);
}

#[test]
fn a_mig_device_is_the_part_of_its_gpu_that_its_slices_are() {
    let node = Node::new();
    let mut all = node.open(None, now(0)).unwrap();
    begin(&mut all, now(0), attribution(&gpu(0xf1).nvml_mig(), "acme")).unwrap();
    let held = all.holdings();
    assert_eq!((held[0].device, held[0].part), (gpu(2), Some(Ppm(142_858))));
    assert!(all.listed(now(0))[0].device.starts_with("MIG-f1f1f1f1"));
}

#[test]
fn attributions_outlive_the_agent_and_a_reboot_and_pseudonyms_are_those_of_the_key() {
    let mut node = Node::new();
    let shared = node.dir.path().join("shared.key");
    state::create_private(&shared, format!("{}\n", "2a".repeat(32)).as_bytes()).unwrap();
    let key = Some(shared.as_path());
    let mut all = node.open(key, now(0)).unwrap();
    let until = Attribution {
        to: Some(UnixSeconds(WALL + 500)),
        ..attribution("0", "acme")
    };
    begin(&mut all, now(0), until).unwrap();
    let before = all.holdings();
    assert_eq!(before[0].tenant, TenantPseudonym::of(&[0x2a; 32], "acme"));
    // The wall clock was turned meanwhile; boot time was not.
    let turned = Now {
        wall: UnixSeconds(WALL + 40_000),
        ..now(30)
    };
    assert_eq!(node.open(key, turned).unwrap().holdings(), before);
    node.boot = BootId([2; 16]);
    let anew = Now {
        boot: BootNanos(20 * SECOND),
        ..now(100)
    };
    let held = node.open(key, anew).unwrap().holdings();
    assert_eq!(
        (held[0].from, held[0].to),
        (BootNanos(0), BootNanos(420 * SECOND))
    );
    // Another node with the same key gives the same pseudonym; one with a key of its own another.
    let (other, own) = (Node::new(), Node::new());
    for (node, key, same) in [(&other, key, true), (&own, None, false)] {
        let mut all = node.open(key, now(0)).unwrap();
        begin(&mut all, now(0), attribution("0", "acme")).unwrap();
        assert_eq!(all.holdings()[0].tenant == before[0].tenant, same);
    }
}

#[test]
fn a_key_that_others_may_read_or_that_is_none_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new();
    let path = node.dir.path().join("shared.key");
    let said = |node: &Node| Sentence(&node.open(Some(&path), now(0)).unwrap_err()).to_string();
    assert!(said(&node).contains("openssl rand -hex 32"));
    state::create_private(&path, b"short").unwrap();
    assert!(said(&node).contains("neither 32 bytes nor 64 hexadecimal digits"));
    state::replace_private(&path, &[7; 32]).unwrap();
    node.open(Some(&path), now(0)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(said(&node).contains("chmod 600"));
}
