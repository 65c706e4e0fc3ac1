//! A host engine against the fake library, where it was built (`make replay`), on readings whose times are given.
#![expect(
    unsafe_code,
    reason = "the fake library is told its scenario through a function that it exports"
)]

use super::*;
use std::fs;
use weighbridge::unit::Ppm;

const UUID: &str = "GPU-00112233-4455-6677-8899-aabbccddeeff";

/// A copy of the fake library that plays one scenario, for one test.
struct Fake {
    dir: tempfile::TempDir,
    /// Keeps the copy loaded, so that what it was told lasts.
    _loaded: libloading::Library,
}

fn built() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let profile = exe.parent()?.parent()?;
    [
        profile.join("libdcgm.so"),
        profile.parent()?.join("replay/libdcgm.so.4"),
    ]
    .into_iter()
    .find(|path| path.is_file())
}

impl Fake {
    fn playing(scenario: &str) -> Option<Self> {
        let Some(built) = built() else {
            println!("skipped: the fake DCGM library is not built; run `make replay`");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libdcgm.so.4");
        fs::copy(built, &library).unwrap();
        // SAFETY: the fake library runs no code when it is loaded, and its function takes a path that ends in a zero.
        let loaded = unsafe {
            let loaded = libloading::Library::new(&library).unwrap();
            let path = std::ffi::CString::new(dir.path().join("scenario.toml").to_str().unwrap()).unwrap();
            let name: libloading::Symbol<'_, unsafe extern "C" fn(*const std::ffi::c_char) -> i32> =
                loaded.get(b"weighbridge_dcgm_scenario\0").unwrap();
            assert_eq!(name(path.as_ptr()), 0);
            loaded
        };
        let fake = Self { dir, _loaded: loaded };
        fake.play(scenario);
        Some(fake)
    }

    fn play(&self, scenario: &str) {
        fs::write(self.dir.path().join("scenario.toml"), scenario).unwrap();
    }

    fn engine(&self) -> HostEngine {
        HostEngine::new(HostEngineOptions {
            endpoint: Endpoint::parse("unix:///run/dcgm/sock").unwrap(),
            library: Some(self.dir.path().join("libdcgm.so.4")),
        })
    }

    /// An engine that was asked for the device of the scenario.
    fn surveyed(&self) -> HostEngine {
        let mut engine = self.engine();
        engine.want(vec![uuid()]);
        engine.survey(LibraryOrigin::Writable, BootNanos(0));
        engine
    }
}

fn uuid() -> DeviceUuid {
    DeviceUuid::parse_nvml(UUID).unwrap()
}

/// An engine that watches `values` of the device, at the second `at`.
fn up(at: i64, values: &str) -> String {
    let at_us = 1_763_000_000_000_000 + at * 1_000_000;
    format!(
        "at_us = {at_us}\naddress = \"/run/dcgm/sock\"\n[[gpu]]\nuuid = \"GPU-0\"\n[[gpu]]\nuuid = \"{UUID}\"\nvalues = {{ {values} }}\n"
    )
}

fn told(engine: &mut HostEngine, second: u64) -> Reading<Activity> {
    engine.read(BootNanos(second * SECOND)).remove(&uuid()).unwrap()
}

fn news(engine: &mut HostEngine) -> Vec<(NoticeKind, String)> {
    engine.notices().into_iter().map(|n| (n.kind, n.text)).collect()
}

#[test]
fn what_others_watch_is_read_and_nothing_else_is_made_up() {
    let values = "\"1002\" = 0.9, \"1004\" = 0.5, \"1014\" = 0.5, \"1013\" = 0.0, \"1015\" = \"blank\", \"1005\" = \"not supported\", \
                  \"1006\" = \"malformed\", \"1007\" = \"no permission\", \"1008\" = \"no data\"";
    let Some(fake) = Fake::playing(&up(0, values)) else {
        return;
    };
    let mut engine = fake.surveyed();
    let (kind, text) = news(&mut engine).remove(0);
    assert_eq!(kind, NoticeKind::HostEngine);
    assert_eq!(
        text,
        "per-pipe activity from DCGM (host engine at unix:///run/dcgm/sock)"
    );
    fake.play(&up(1, values));
    assert!(told(&mut engine, 1).value().is_none());
    fake.play(&up(2, values));
    let Reading::Value(activity) = told(&mut engine, 2) else {
        panic!("no activity")
    };
    let lost = Reading::Lost;
    assert_eq!(
        activity,
        Activity {
            interval_ns: SECOND,
            sm: Reading::Value(Ppm(900_000)),
            tensor_any: Reading::Value(Ppm(500_000)),
            dfma: Reading::Unsupported,
            hmma: Reading::Value(Ppm(500_000)),
            imma: Reading::Value(Ppm(0)),
            dram: Reading::Unsupported,
            fp64: lost(LossReason::Malformed),
            fp32: lost(LossReason::NoPermission),
            fp16: lost(LossReason::Failed),
            integer: Reading::Unsupported,
        }
    );
    assert!(told(&mut engine, 3).value().is_none(), "a value counts once");
    for second in 4..10 {
        assert!(told(&mut engine, second).value().is_none());
    }
    fake.play(&up(10, values));
    assert!(
        told(&mut engine, 10).value().is_none(),
        "what is stale speaks for no time"
    );
    assert!(news(&mut engine).is_empty());
}

#[test]
fn an_engine_that_goes_away_is_asked_again_ever_more_seldom() {
    let Some(fake) = Fake::playing("state = \"away\"\n") else {
        return;
    };
    let mut engine = fake.surveyed();
    assert_eq!(
        news(&mut engine),
        [(
            NoticeKind::HostEngineAway,
            "no activity from the DCGM host engine at unix:///run/dcgm/sock: nothing answers there"
                .to_owned()
        )]
    );
    // It was asked in the seconds 0, 1, 3, 7 and 15; it is asked in 31 next.
    for second in 1..=15 {
        assert_eq!(told(&mut engine, second), Reading::Lost(LossReason::Failed));
    }
    assert!(news(&mut engine).is_empty(), "told once");
    let values = "\"1004\" = 0.25";
    let play = |second: u64| fake.play(&up(i64::try_from(second).unwrap(), values));
    for second in 16..31 {
        play(second);
        assert_eq!(told(&mut engine, second), Reading::Lost(LossReason::Failed));
        assert!(engine.connected.is_none(), "{second}");
    }
    for second in 31..34 {
        play(second);
        assert_eq!(
            told(&mut engine, second).value().is_some(),
            second == 33,
            "{second}"
        );
    }
    assert_eq!(news(&mut engine).remove(0).0, NoticeKind::HostEngine);
    // An engine that is started anew refuses the old connection.
    fake.play("state = \"away\"\n");
    assert_eq!(told(&mut engine, 34), Reading::Lost(LossReason::Failed));
    play(35);
    told(&mut engine, 35);
    assert!(engine.connected.is_some());
    let kinds: Vec<_> = news(&mut engine).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [NoticeKind::HostEngineAway, NoticeKind::HostEngine]);
}

#[test]
fn an_engine_that_watches_nothing_or_knows_no_such_device_offers_nothing() {
    let Some(fake) = Fake::playing(&up(0, "\"1002\" = \"not watched\"")) else {
        return;
    };
    let mut engine = fake.surveyed();
    assert_eq!(told(&mut engine, 1), Reading::Unsupported);
    let (kind, text) = news(&mut engine).remove(0);
    assert_eq!(kind, NoticeKind::HostEngineAway);
    assert!(
        text.contains("watches no pipes") && text.contains("1002 to 1008"),
        "{text}"
    );
    fake.play("[[gpu]]\nuuid = \"GPU-ffffffff-4455-6677-8899-aabbccddeeff\"\nvalues = { \"1002\" = 0.5 }\n");
    engine.want(vec![uuid()]);
    engine.survey(LibraryOrigin::Writable, BootNanos(2 * SECOND));
    assert_eq!(told(&mut engine, 3), Reading::Unsupported);
}

#[test]
fn a_library_that_does_not_go_with_the_engine_or_is_not_dcgms_is_said_to_be_so() {
    let Some(fake) = Fake::playing("state = \"old\"\n") else {
        return;
    };
    let said = |mut engine: HostEngine| {
        assert_eq!(told(&mut engine, 1), Reading::Lost(LossReason::Failed));
        news(&mut engine).remove(0).1
    };
    let old = said(fake.surveyed());
    assert!(old.contains("versions that do not go together"), "{old}");
    let mut refused = fake.engine();
    refused.want(vec![uuid()]);
    refused.survey(LibraryOrigin::System, BootNanos(0));
    let refused = said(refused);
    assert!(
        refused.contains("is writable") && refused.contains("none but the system's own"),
        "{refused}"
    );
    // Another file in its place: the one that is mapped must stay as it is.
    let library = fake.dir.path().join("libdcgm.so.4");
    fs::remove_file(&library).unwrap();
    fs::write(&library, "no library").unwrap();
    let broken = said(fake.surveyed());
    assert!(
        broken.contains("could not be loaded") && broken.contains("libdcgm.so.4"),
        "{broken}"
    );
    fs::remove_file(&library).unwrap();
    let missing = said(fake.surveyed());
    assert!(
        missing.contains("the DCGM library") && missing.contains("could not be read"),
        "{missing}"
    );
}

#[test]
fn nothing_is_loaded_before_a_device_wants_it() {
    let Some(fake) = Fake::playing(&up(0, "\"1002\" = 0.5")) else {
        return;
    };
    let mut engine = fake.engine();
    engine.want(Vec::new());
    engine.survey(LibraryOrigin::Writable, BootNanos(0));
    assert!(engine.read(BootNanos(SECOND)).is_empty());
    assert!(engine.client.is_none() && news(&mut engine).is_empty());
    engine.want(vec![uuid()]);
    engine.survey(LibraryOrigin::Writable, BootNanos(2 * SECOND));
    assert!(engine.client.is_some());
    engine.release();
    assert!(engine.client.is_none());
}
