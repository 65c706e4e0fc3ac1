//! What stands outside the devices: power meters over Redfish, and the host's network links.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use weighbridge::accounting::ObservationKind;
use weighbridge::report::{HostClaims, OpenedReport};
use weighbridge::telemetry::{LossReason, MeterKind, Reading};
use weighbridge_agent::service::{Ask, Request, ask};
use weighbridge_testbed::licence::Terms;
use weighbridge_testbed::process::{Agent, Verifier, must, said, wait_for};
use weighbridge_testbed::redfish::{Redfish, Says};

const PASSWORD: &str = "correct-horse-battery";
const SCENARIO: &str = "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n";

fn host(report: &OpenedReport) -> &HostClaims {
    &report.claims.submods.host.host
}

/// Adds a meter to the agent's configuration, with credentials in a private file.
fn add_meter(agent: &Agent, kind: &str, meter: &Redfish, trust: &str) {
    let credentials = agent.config.with_file_name("bmc.credentials");
    fs::write(&credentials, format!("reader:{PASSWORD}\n")).unwrap();
    fs::set_permissions(&credentials, PermissionsExt::from_mode(0o600)).unwrap();
    let mut text = fs::read_to_string(&agent.config).unwrap();
    text.push_str(&format!(
        "[[meter]]\nkind = \"{kind}\"\nurl = \"{}\"\n{trust}\ncredentials = {credentials:?}\nevery_s = 2\n",
        meter.url()
    ));
    fs::write(&agent.config, text).unwrap();
}

/// The line by which a meter is known through its authority.
fn authority(agent: &Agent, meter: &Redfish) -> String {
    let path = agent.config.with_file_name(format!("{}.pem", meter.certificate));
    fs::write(&path, &meter.authority).unwrap();
    format!("ca = {path:?}")
}

/// An InfiniBand port and a network card, as the kernel lays them out.
fn write_links(sysfs: &Path, infiniband: u64, ethernet: u64) {
    let write = |path: &str, value: u64| {
        let path = sysfs.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In one step, as the kernel gives it.
        let staged = path.with_extension("new");
        fs::write(&staged, format!("{value}\n")).unwrap();
        fs::rename(staged, path).unwrap();
    };
    for counter in ["port_xmit_data", "port_rcv_data"] {
        write(
            &format!("class/infiniband/mlx5_0/ports/1/counters/{counter}"),
            infiniband,
        );
    }
    for counter in ["tx_bytes", "rx_bytes"] {
        write(&format!("class/net/ens1/statistics/{counter}"), ethernet);
        write(&format!("class/net/lo/statistics/{counter}"), ethernet * 7);
    }
    fs::write(
        sysfs.join("class/infiniband/mlx5_0/ports/1/link_layer"),
        "InfiniBand\n",
    )
    .unwrap();
    for (interface, kind) in [("ens1", "1\n"), ("lo", "772\n")] {
        fs::write(sysfs.join("class/net").join(interface).join("type"), kind).unwrap();
    }
    for (device, function) in [
        ("infiniband/mlx5_0", "0000:f1:00.0"),
        ("net/ens1", "0000:f2:00.0"),
    ] {
        let function = sysfs.join("devices").join(function);
        fs::create_dir_all(&function).unwrap();
        symlink(function, sysfs.join("class").join(device).join("device")).ok();
    }
}

#[test]
fn readings_of_meters_and_bytes_of_links_arrive_in_the_report_and_nothing_else_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = Terms {
        report_seconds: 6,
        ..Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(dir.path(), "node", SCENARIO);
    agent.enrol(&verifier.token("harbour-1", &[]));
    let bmc = Redfish::start(&rustls::version::TLS13, Says::watts(4_711.25));
    let pdu = Redfish::start(&rustls::version::TLS12, Says::watts(5_000.0));
    add_meter(&agent, "bmc", &bmc, &authority(&agent, &bmc));
    add_meter(
        &agent,
        "pdu",
        &pdu,
        &format!("certificate_sha256 = \"{}\"", pdu.certificate),
    );
    let sysfs = agent.config.with_file_name("sys");
    write_links(&sysfs, 1_000_000, 500);
    agent.run();

    let mut reports: Vec<OpenedReport> = Vec::new();
    wait_for("a report with readings", || {
        agent.read_sealed(&mut reports);
        let last = reports.last()?;
        host(last).meters.iter().all(|m| m.readings >= 2).then_some(())
    });
    let last = host(reports.last().unwrap());
    let kinds: Vec<_> = last.meters.iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [MeterKind::Bmc, MeterKind::Pdu]);
    for (meter, mw) in last.meters.iter().zip([4_711_250, 5_000_000]) {
        assert_eq!((meter.lowest_mw, meter.highest_mw), (mw, mw));
        assert!((1_000..=9_000).contains(&meter.covered_ms), "{meter:?}");
        let exact = mw * u64::from(meter.covered_ms) / 1_000;
        assert!(meter.energy_mj.abs_diff(exact) <= mw / 1_000 + 1, "{meter:?}");
    }

    // Both counters move, are reset, and move on: 4,000 bytes and then 40 over InfiniBand, 8 and 2 over Ethernet.
    let moved = |reports: &[OpenedReport]| {
        let sums = reports.iter().map(|report| {
            let traffic = &host(report).traffic;
            let of = |reading: &Reading<weighbridge::telemetry::Traffic>| reading.value().map_or(0, |t| t.tx);
            (of(&traffic.infiniband), of(&traffic.ethernet))
        });
        sums.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
    };
    let mut until = |what: &str, is: &dyn Fn(&[OpenedReport]) -> bool| {
        wait_for(what, || {
            agent.read_sealed(&mut reports);
            is(&reports).then_some(reports.len())
        })
    };
    write_links(&sysfs, 1_001_000, 508);
    until("the bytes in a report", &|reports| moved(reports) == (4_000, 8));
    write_links(&sysfs, 5, 3);
    let before = until("a report", &|_| true);
    until("a whole report after the reset", &|reports| {
        reports.len() > before + 1
    });
    write_links(&sysfs, 15, 5);
    until("the bytes after the reset", &|reports| {
        moved(reports) == (4_040, 10)
    });

    // Authorised as configured; and neither address nor password is in what leaves, what is shown, or what is logged.
    assert!(
        bmc.heard()
            .iter()
            .all(|head| head.contains("uthorization: Basic cmVhZGVyOmNvcn"))
    );
    let shown = must(agent.command().arg("preview"));
    assert!(
        shown.contains("\"kind\": \"bmc\"") && shown.contains("\"ethernet\""),
        "{shown}"
    );
    let now = must(agent.command().args(["preview", "--now", "--seconds", "3"]));
    assert!(now.contains("\"highest_mw\": 4711250"), "{now}");
    let log = agent.process().log();
    for text in [&shown, &now, &log] {
        for secret in [PASSWORD, "cmVhZGVy", "127.0.0.1", "mlx5", "ens1", "f1:00"] {
            assert!(
                !text.contains(secret) || (secret == "127.0.0.1" && std::ptr::eq(text, &log)),
                "{secret}: {text}"
            );
        }
    }
}

#[test]
fn a_meter_that_reads_less_than_the_devices_took_is_observed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = Terms {
        report_seconds: 10,
        ..Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(dir.path(), "node", SCENARIO);
    agent.enrol(&verifier.token("harbour-1", &[]));
    // An H100 at rest takes some seventy watts.
    let bmc = Redfish::start(&rustls::version::TLS13, Says::watts(9.0));
    add_meter(&agent, "bmc", &bmc, &authority(&agent, &bmc));
    agent.run();
    let mut reports = Vec::new();
    wait_for("an observation of the meter", || {
        agent.read_sealed(&mut reports);
        let of = |report: &OpenedReport| {
            let kinds = host(report).observations.iter().map(|o| o.kind);
            kinds
                .into_iter()
                .any(|k| k == ObservationKind::MeterAgainstDevices)
        };
        reports.iter().any(of).then_some(())
    });
    let show = |format: &[&str]| {
        let node = reports[0].claims.node.to_string();
        must(verifier.command().args(["node", "show", &node]).args(format))
    };
    let shown = wait_for("the verifier to show it", || {
        let shown = show(&[]);
        shown
            .contains("host: meter against devices, by ")
            .then_some(shown)
    });
    assert!(
        shown.contains("An observation by itself fails nobody."),
        "{shown}"
    );
    let machines = wait_for("the verifier to show it to machines", || {
        let shown: serde_json::Value = serde_json::from_str(&show(&["--format", "json"])).unwrap();
        let found = shown["observations"]["inconsistencies_of_host"]
            .as_array()?
            .clone();
        (!found.is_empty()).then_some(shown["observations"].clone())
    });
    let found = &machines["inconsistencies_of_host"][0];
    assert_eq!(found["kind"], "meter against devices");
    assert!(
        found["size"].as_u64() > Some(100_000) && found["windows"] == 1,
        "{found}"
    );
    assert!(machines["devices"][0]["inconsistencies"].is_array(), "{machines}");
}

#[test]
fn what_keeps_a_meter_from_answering_is_named_and_costs_no_report() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::new(dir.path(), "node", SCENARIO);
    let plain = fs::read_to_string(&agent.config).unwrap();
    let bmc = Redfish::start(&rustls::version::TLS13, Says::watts(300.5));
    let other = Redfish::start(&rustls::version::TLS13, Says::watts(1.0));
    let known = authority(&agent, &bmc);
    let unknown = authority(&agent, &other);
    let pinned = format!("certificate_sha256 = \"{}\"", bmc.certificate);
    let foreign = format!("certificate_sha256 = \"{}\"", other.certificate);
    let watts = || Says::watts(300.5);
    for (trust, says, found) in [
        (&known, watts(), "reads 300.500 W"),
        (&pinned, watts(), "reads 300.500 W"),
        (&unknown, watts(), "its certificate is not trusted"),
        (
            &foreign,
            watts(),
            "its certificate is not trusted: it is not the pinned one",
        ),
        (&known, Says::Endless, "its answer is longer than 65536 bytes"),
        (&known, Says::Nothing, "it did not answer within 2 s"),
        (
            &known,
            Says::Status(401),
            "it refuses the credentials (status 401)",
        ),
        (&known, Says::Status(302), "it redirects elsewhere"),
        (&known, Says::Status(503), "it answered with status 503"),
        (
            &known,
            Says::Resource("{\"@odata.type\":\"#Chassis.v1_0_0.Chassis\"}".to_owned()),
            "its answer is #Chassis.v1_0_0.Chassis",
        ),
    ] {
        fs::write(&agent.config, &plain).unwrap();
        add_meter(&agent, "bmc", &bmc, trust);
        bmc.say(says);
        let told = said(&agent.command().arg("doctor").output().unwrap());
        let line = told.lines().find(|l| l.starts_with(" meter ")).unwrap_or(&told);
        assert!(
            line.contains("meter 1 (BMC)") && line.contains(found),
            "`{found}`: {told}"
        );
        assert!(!told.contains(PASSWORD), "{told}");
    }
    // Nobody who does not trust it was asked.
    assert!(other.heard().is_empty());
}

#[test]
fn a_meter_that_fails_is_a_state_of_the_running_agent_until_it_answers_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = Terms {
        report_seconds: 2,
        ..Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(dir.path(), "node", SCENARIO);
    agent.enrol(&verifier.token("harbour-1", &[]));
    let bmc = Redfish::start(&rustls::version::TLS13, Says::Nothing);
    add_meter(&agent, "bmc", &bmc, &authority(&agent, &bmc));
    agent.run();
    let socket = agent.state.join("control.sock");
    let status = || ask(&socket, &Request::plain(Ask::Status)).ok()?.text;
    let reaches = |what: &str| {
        wait_for(what, || status().filter(|said| said.contains(what)));
    };
    reaches("degraded: meter 1 (BMC) gives no reading: it did not answer within 2 s");
    let mut reports = Vec::new();
    wait_for("three reports without a reading", || {
        agent.read_sealed(&mut reports);
        (reports.len() >= 3).then_some(())
    });
    for report in &reports {
        let meters = &host(report).meters;
        assert_eq!(
            (meters.len(), meters[0].readings, meters[0].covered_ms),
            (1, 0, 0)
        );
        assert!(report.accelerators[0].is_some());
        // The replayed host has no network card.
        let traffic = &host(report).traffic;
        assert!(!matches!(traffic.ethernet, Reading::Value(_)), "{traffic:?}");
        assert!(!matches!(
            traffic.infiniband,
            Reading::Lost(LossReason::Malformed)
        ));
    }
    bmc.say(Says::Status(401));
    reaches("it refuses the credentials (status 401)");
    bmc.say(Says::watts(250.0));
    wait_for("the state to pass", || {
        status().filter(|said| said == "reporting")
    });
}
