use super::*;
use crate::telemetry::Reading;

/// The licence draws the lines itself.
fn lines(scene: Scene, tpp: &str, bandwidth: &str) -> Scene {
    let set = format!("device_tpp_below = {tpp}\ndevice_bandwidth_below = {bandwidth}\nlicensed_tpp");
    scene.with("licensed_tpp", &set)
}

#[test]
fn cap_07_holds_each_device_against_the_lines_of_the_rule() {
    Scene::honest().expect(
        "CAP-07",
        Outcome::NotApplicable,
        "belongs to the profile cn-h200-2026",
    );
    let named = Scene::honest().with("[[site]]", "profiles = [\"cn-h200-2026\"]\n[[site]]");
    named.expect("CAP-07", Outcome::NotApplicable, "draws a line");
    let ruled = Scene::honest().with("us-ear-enforced-2026-05", "us-cn-h200-2026");
    let finding = ruled.expect(
        "CAP-07",
        Outcome::Met,
        "less than 21,000 TPP and 6,500 GB/s of memory bandwidth",
    );
    assert_eq!(finding.measured.unwrap().upper.unwrap(), "15832");
    assert_eq!(finding.limit.unwrap().upper.unwrap(), "20999");
    // A line belongs to what is above it.
    let finding = lines(Scene::honest(), "15_832", "6_500").expect(
        "CAP-07",
        Outcome::NotMet,
        "4 of H100 SXM5 80GB with 15,832 TPP, where the licence asks for less than 15,832",
    );
    assert_eq!(finding.subjects.len(), 4);
    let finding = lines(Scene::honest(), "15_833", "3_000").expect(
        "CAP-07",
        Outcome::NotMet,
        "GB/s of memory bandwidth",
    );
    // What failed is what was measured, against its own limit.
    let (measured, limit) = (finding.measured.unwrap(), finding.limit.unwrap());
    assert_eq!(
        (measured.upper.as_deref(), measured.unit.as_str()),
        (Some("3350"), "GB/s")
    );
    assert_eq!(
        (limit.upper.as_deref(), limit.unit.as_str()),
        (Some("2999"), "GB/s")
    );
}

#[test]
fn cap_07_cannot_tell_of_what_the_catalogue_does_not_know_or_nobody_saw() {
    let mut scene = lines(Scene::empty(), "21_000", "6_500");
    let mut stranger = gpu(9);
    stranger.identity.pci.device = 0xffff;
    stranger.identity.name = "Cray-1".to_owned();
    scene.hour(&[gpu(1), gpu(2), stranger], &[gpu(3), gpu(4)]);
    scene.expect("CAP-07", Outcome::CannotTell, "is not in the catalogue");
    let silent = lines(Scene::empty(), "21_000", "6_500");
    silent.expect("CAP-07", Outcome::CannotTell, "no node of this site has reported");
    let mut waived = lines(Scene::honest(), "15_832", "6_500");
    waived.licence.push_str(
        "\n[[waivers]]\ncondition = \"CAP-07\"\nuntil = 2026-12-31\nreason = \"licensed before the line\"\n",
    );
    waived.expect("CAP-07", Outcome::Waived, "licensed before the line");
}

#[test]
fn cap_08_finds_a_device_that_is_set_above_its_model() {
    let scene = |edit: fn(&mut AcceleratorClaims)| {
        let mut altered = gpu(1);
        edit(&mut altered);
        let mut scene = Scene::empty();
        scene.hour(&[altered, gpu(2)], &[gpu(3), gpu(4)]);
        scene
    };
    Scene::honest().expect(
        "CAP-08",
        Outcome::Met,
        "are within what its model allows, as the drivers report",
    );
    // One per cent is within the tolerance.
    scene(|d| d.identity.max_sm_clock_mhz = Reading::Value(1_999)).expect("CAP-08", Outcome::Met, "");
    let clock = scene(|d| d.identity.max_sm_clock_mhz = Reading::Value(2_000));
    let finding = clock.expect(
        "CAP-08",
        Outcome::NotMet,
        "has a highest SM clock of 2,000 MHz, where H100 SXM5 80GB has 1,980",
    );
    assert_eq!(finding.subjects, [gpu(1).identity.uuid.nvml()]);
    scene(|d| d.identity.power_limit_mw = Reading::Value(800_000)).expect(
        "CAP-08",
        Outcome::NotMet,
        "power limit of 800 W",
    );
    scene(|d| d.identity.cores = Reading::Value(16_897)).expect("CAP-08", Outcome::NotMet, "16,897 cores");
    scene(|d| d.identity.power_limit_mw = Reading::Unsupported).expect(
        "CAP-08",
        Outcome::CannotTell,
        "the driver does not tell the power limit of 1 device",
    );
    let loose = clock.with("licensed_tpp", "performance_tolerance = 0.02\nlicensed_tpp");
    loose.expect("CAP-08", Outcome::Met, "the licence allows 2.00 %");
    let mut waived = scene(|d| d.identity.max_sm_clock_mhz = Reading::Value(2_500));
    waived.licence.push_str(
        "\n[[waivers]]\ncondition = \"CAP-08\"\nuntil = 2026-12-31\nreason = \"a trial of the maker\"\n",
    );
    waived.expect("CAP-08", Outcome::Waived, "a trial of the maker");
}

#[test]
fn cap_08_cannot_tell_where_the_catalogue_has_no_figure() {
    let mut pcie = gpu(1);
    pcie.identity.pci.device = 0x2331;
    pcie.identity.name = "NVIDIA H100 PCIe".to_owned();
    pcie.identity.max_sm_clock_mhz = Reading::Value(1_755);
    pcie.identity.power_limit_mw = Reading::Value(350_000);
    pcie.identity.cores = Reading::Value(114 * 128);
    let mut scene = Scene::empty();
    scene.hour(&[pcie, gpu(2)], &[gpu(3), gpu(4)]);
    scene.expect(
        "CAP-08",
        Outcome::CannotTell,
        "the catalogue has no highest SM clock for H100 PCIe, with which to compare that of 1 device",
    );
    let lone = Scene::empty();
    lone.expect("CAP-08", Outcome::CannotTell, "no node of this site has reported");
}
