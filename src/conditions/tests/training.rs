use super::*;
use crate::appraisal::fixture::{bus, compute};
use crate::telemetry::DeviceState;

fn trainer(n: u8, lower: u128, upper: u128) -> AcceleratorClaims {
    let mut device = gpu(n);
    device.delivered.compute = Some(compute(lower, upper));
    device.delivered.training = Some(compute(lower, upper));
    device
}

#[test]
fn trn_01_clears_a_small_site_and_says_nothing_against_a_large_one() {
    // 4 x 1,979 T operations a second (FP8) x 365 days = 2.50e23.
    let finding = Scene::honest().expect("TRN-01", Outcome::Met, "at most 2.50e23 operations in 365 days");
    assert!(
        finding.sentence.contains("no workload data was looked at"),
        "{}",
        finding.sentence
    );
    let tight = Scene::honest().with("licensed_tpp", "ops_limit = \"2e23\"\nlicensed_tpp");
    let finding = tight.expect("TRN-01", Outcome::CannotTell, "says nothing against the site");
    assert!(!finding.needs_a_person());
}

#[test]
fn trn_01_counts_devices_of_the_manifest_that_were_never_seen() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3)]);
    scene.expect("TRN-01", Outcome::Met, "4 devices at the peak");
    let nameless = scene.with("pci = \"10de:2330\"\nmodel = \"H100 SXM5 80GB\"\n", "");
    nameless.expect(
        "TRN-01",
        Outcome::CannotTell,
        "which was not seen and has no known model",
    );
}

#[test]
fn trn_04_compares_an_interval_with_the_allowance() {
    let mut above = Scene::empty();
    above.hour(&[trainer(1, 1_100, 1_200), gpu(2)], &[gpu(3), gpu(4)]);
    let above = above.with("tpp_hours_max = 50_000", "tpp_hours_max = 13_000");
    let finding = above.expect("TRN-04", Outcome::NotMet, "between 13,200.000 and");
    assert_eq!(finding.subjects, [gpu(1).identity.uuid.nvml()]);
    let straddling = above.with("tpp_hours_max = 13_000", "tpp_hours_max = 14_000");
    straddling.expect(
        "TRN-04",
        Outcome::CannotTell,
        "the allowance lies between the bounds",
    );
    let within = straddling.with("tpp_hours_max = 14_000", "tpp_hours_max = 15_000");
    within.expect("TRN-04", Outcome::Met, "as good as what the drivers report");
    let doubted = within.with("reported_bounds_suffice = true\n", "");
    let finding = doubted.expect(
        "TRN-04",
        Outcome::CannotTell,
        "whoever owns the hosts can falsify",
    );
    assert!(finding.measured.is_some(), "the interval is shown");
}

#[test]
fn trn_04_believes_no_upper_bound_by_figures_that_an_operator_signed() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    scene.expect("TRN-04", Outcome::Met, "as good as what the drivers report");
    let newest = |scene: &mut Scene, digest| {
        let facts = &mut scene.labs[0].record.facts;
        facts.newest.as_mut().unwrap().catalogue_digest = digest;
    };
    newest(&mut scene, Digest([7; 32]));
    scene.expect(
        "TRN-04",
        Outcome::CannotTell,
        "rests on figures of another catalogue: node",
    );
    // The same TPP for a tenth of the peak that the catalogue has is no bound whatever its digest.
    let mut small = gpu(1);
    if let Some(compute) = &mut small.delivered.compute {
        compute.upper_unconditional = crate::unit::MicroTppHours(compute.upper_unconditional.0 / 10);
    }
    let mut scene = Scene::empty();
    scene.hour(&[small, gpu(2)], &[gpu(3), gpu(4)]);
    scene.expect("TRN-04", Outcome::CannotTell, "go by a lower peak than 15832");
}

#[test]
fn trn_04_is_settled_by_capacity_where_capacity_is_small() {
    // 4 devices x 15,832 TPP x 3,610 s = 63,503.911... TPP-hours.
    let scene = Scene::honest().with("tpp_hours_max = 50_000", "tpp_hours_max = 64_000");
    let finding = scene.expect(
        "TRN-04",
        Outcome::Met,
        "could have made at most 63,503.911 TPP-hours",
    );
    assert!(finding.sentence.contains("no workload data was needed"));
}

#[test]
fn trn_04_takes_time_without_reports_at_peak() {
    let mut scene = Scene::honest();
    scene.now = start().plus(4 * 3_600);
    // Three hours of four silent devices: 190,000 TPP-hours that may have been training.
    scene.expect(
        "TRN-04",
        Outcome::CannotTell,
        "of which 189,984.000 are for time that no report speaks of, taken at peak",
    );
    let mut unseen = Scene::empty();
    unseen.hour(&[gpu(1), gpu(2)], &[gpu(3)]);
    let finding = unseen.expect("TRN-04", Outcome::Met, "");
    assert_eq!(finding.measured.unwrap().upper.unwrap(), "16007.911");
}

#[test]
fn trn_04_begins_anew_with_each_calendar_period() {
    let mut scene = Scene::empty()
        .with("\"term\"", "\"day\"")
        .with("50_000", "14_000");
    scene.hour(&[trainer(1, 1_200, 1_210), gpu(2)], &[gpu(3), gpu(4)]);
    scene.expect("TRN-04", Outcome::NotMet, "within one day");
    for lab in &mut scene.labs {
        lab.sleep(86_400);
    }
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    let finding = scene.finding("TRN-04");
    assert_eq!(finding.window.unwrap().from, start().plus(86_400));
    assert_ne!(finding.outcome, Outcome::NotMet, "{}", finding.sentence);
}

#[test]
fn trn_04_drops_a_day_that_began_before_the_period_from_the_lower_bound_only() {
    let mut scene = Scene::empty()
        .with("valid_from = 2026-11-20", "valid_from = 2026-11-20T00:30:00Z")
        .with("50_000", "20_000");
    scene.hour(&[trainer(1, 1_200, 1_210), gpu(2)], &[gpu(3), gpu(4)]);
    let measured = scene.finding("TRN-04").measured.unwrap();
    assert_eq!(measured.lower.as_deref(), Some("0.000"));
}

/// An hour in which the first node's bus shows this, of NVIDIA, beside its two devices.
fn with_a_guest(device: u16, number: u16) -> Scene {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        let guest = bus(device, number, 0, DeviceState::PassedThrough);
        c.submods.host.host.bus.push(guest);
    });
    scene
}

#[test]
fn accelerators_that_nobody_manages_may_train_from_when_they_were_seen() {
    let scene = with_a_guest(0x2330, 1);
    scene.expect("TRN-01", Outcome::Met, "5 devices at the peak");
    // 4 devices x 15,832 TPP x 3,610 s, and one more for the 3,310 s since the end of the first report.
    let met = scene.with("50_000", "79_000");
    met.expect(
        "TRN-04",
        Outcome::Met,
        "could have made at most 78,060.555 TPP-hours",
    );
    let open = met.with("79_000", "70_000");
    let finding = open.expect("TRN-04", Outcome::Met, "of which");
    assert_eq!(finding.measured.unwrap().upper.unwrap(), "14732.555");
    let tight = open.with("70_000", "14_000");
    tight.expect(
        "TRN-04",
        Outcome::CannotTell,
        "the allowance lies between the bounds",
    );
    let unknown = with_a_guest(0xfff0, 2);
    for id in ["TRN-01", "TRN-04"] {
        unknown.expect(
            id,
            Outcome::CannotTell,
            "2 accelerators with PCI id 10de:fff0 on node n-1",
        );
    }
}

#[test]
fn a_device_of_the_node_that_does_not_answer_explains_one_on_its_bus() {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.labs[0].run_with(6, &[gpu(1)], |c| {
        let guest = bus(0x2330, 1, 0, DeviceState::PassedThrough);
        c.submods.host.host.bus.push(guest);
    });
    scene.expect("TRN-01", Outcome::Met, "4 devices at the peak");
    let scene = scene.with("50_000", "64_000");
    scene.expect(
        "TRN-04",
        Outcome::Met,
        "could have made at most 63,503.911 TPP-hours",
    );
}

#[test]
fn trn_01_counts_all_that_was_seen_in_its_own_window() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    for lab in &mut scene.labs {
        lab.sleep(100 * 86_400);
    }
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect("TRN-01", Outcome::Met, "5 devices at the peak");
    scene.expect("INV-01", Outcome::Met, "each of 4 devices");
}
