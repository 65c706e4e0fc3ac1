use super::*;
use crate::appraisal::Grade;
use crate::appraisal::fixture::compute;
use crate::unit::MicroTppHours;

/// A limit that the peak of four H100 passes in a year: 2.50e23 operations.
fn tight(scene: Scene, limit: &str) -> Scene {
    scene.with("licensed_tpp", &format!("ops_limit = \"{limit}\"\nlicensed_tpp"))
}

fn busy(n: u8, lower: u128, upper: u128) -> AcceleratorClaims {
    let mut device = gpu(n);
    device.delivered.compute = Some(compute(lower, upper));
    device
}

/// An hour in which each of four devices computed 1,200 to 1,320 TPP-hours in each report.
fn hard_at_work() -> Scene {
    let mut scene = Scene::empty();
    let busy = |n| busy(n, 1_200, 1_320);
    scene.hour(&[busy(1), busy(2)], &[busy(3), busy(4)]);
    scene
}

#[test]
fn trn_02_is_settled_by_capacity_where_capacity_is_small() {
    let finding = Scene::honest().expect("TRN-02", Outcome::Met, "no group of them can have made more");
    assert!(
        finding.sentence.contains("no workload data was looked at"),
        "{}",
        finding.sentence
    );
    assert_eq!(finding.limit.unwrap().upper.unwrap(), 10u128.pow(26).to_string());
}

#[test]
fn trn_02_believes_the_drivers_where_the_site_could_do_more_and_says_so() {
    // 4 devices: 12 reports of at most 20 TPP-hours and 10 s at peak are 1,136 TPP-hours: 5.11e17 operations of 8 bits.
    let scene = tight(Scene::honest(), "1e23");
    let finding = scene.expect("TRN-02", Outcome::Met, "is as good as what the drivers report");
    assert_eq!(finding.grade, Grade::DriverReported);
    assert!(finding.sentence.contains("from counters"), "{}", finding.sentence);
    // No report told of pipes, so that all may have been FP64: 480 TPP-hours x 3.6e15 / 64 bits.
    let measured = finding.measured.unwrap();
    assert_eq!(
        measured.lower.unwrap(),
        (480u128 * 3_600_000_000_000_000 / 64).to_string()
    );
    assert_eq!(finding.window.unwrap().from, start());
    let doubted = scene.with("reported_bounds_suffice = true\n", "");
    doubted.expect(
        "TRN-02",
        Outcome::CannotTell,
        "whoever owns the hosts can falsify",
    );
}

#[test]
fn trn_02_convicts_no_group_of_what_the_site_did_as_a_whole() {
    // 4 x 12 x 1,200 TPP-hours are at least 3.24e18 operations of 64 bits.
    let scene = tight(hard_at_work(), "1e18");
    let finding = scene.expect("TRN-02", Outcome::CannotTell, "says nothing against any group");
    assert!(finding.sentence.contains("`ops_group`"), "{}", finding.sentence);
    assert!(finding.subjects.is_empty());
    let one = scene.with("licensed_tpp", "ops_group = \"site\"\nlicensed_tpp");
    let finding = one.expect(
        "TRN-02",
        Outcome::NotMet,
        "the licence takes the site for one group",
    );
    assert_eq!(finding.subjects, ["harbour-1"]);
    // Each node did half of it.
    let nodes = one.with("ops_group = \"site\"", "ops_group = \"node\"");
    let finding = nodes.expect(
        "TRN-02",
        Outcome::NotMet,
        "node n-1 computed at least 1.62e18 operations",
    );
    assert_eq!(finding.subjects.len(), 2);
    let above = nodes.with("ops_limit = \"1e18\"", "ops_limit = \"2e18\"");
    above.expect("TRN-02", Outcome::CannotTell, "says nothing against any group");
}

#[test]
fn trn_02_narrows_the_least_where_the_pipes_are_told() {
    let pipes = |n: u8, double: u128| {
        let mut device = busy(n, 1_200, 1_320);
        device.delivered.by_pipe = Some(crate::accounting::PipeCompute {
            hmma: MicroTppHours((1_200 - double) * 1_000_000),
            imma: MicroTppHours(0),
            dfma: MicroTppHours(double * 1_000_000),
            fp64: MicroTppHours(0),
            fp32: MicroTppHours(0),
            fp16: MicroTppHours(0),
        });
        device
    };
    let mut scene = Scene::empty();
    scene.hour(&[pipes(1, 0), pipes(2, 0)], &[pipes(3, 0), pipes(4, 400)]);
    let finding = tight(scene, "1e18").expect("TRN-02", Outcome::CannotTell, "");
    let bits = 3_600_000_000_000_000u128;
    let least = 12 * 3 * 1_200 * bits / 32 + 12 * 800 * bits / 32 + 12 * 400 * bits / 64;
    assert_eq!(finding.measured.unwrap().lower.unwrap(), least.to_string());
}

#[test]
fn trn_02_clears_nodes_by_their_peak_where_each_is_a_group() {
    // Two H100 make 1.25e23 operations in a year, four 2.50e23.
    let scene = tight(hard_at_work(), "2e23").with("licensed_tpp", "ops_group = \"node\"\nlicensed_tpp");
    scene.expect(
        "TRN-02",
        Outcome::Met,
        "the devices of one node, with those that were not seen, make at most 1.25e23",
    );
}

#[test]
fn trn_02_cannot_tell_without_a_report_a_limit_or_a_model() {
    Scene::empty().expect("TRN-02", Outcome::CannotTell, "no node of this site has reported");
    let open = Scene::honest().with("us-ear-enforced-2026-05", "contract-only");
    open.expect("TRN-02", Outcome::CannotTell, "`ops_limit`");
    let mut scene = Scene::empty();
    let mut stranger = gpu(9);
    stranger.identity.pci.device = 0xffff;
    stranger.identity.name = "Cray-1".to_owned();
    scene.hour(&[gpu(1), gpu(2), stranger], &[gpu(3), gpu(4)]);
    scene.expect("TRN-02", Outcome::CannotTell, "not bounded from above");
}

#[test]
fn trn_02_may_be_waived() {
    let waiver =
        "\n[[waivers]]\ncondition = \"TRN-02\"\nuntil = 2026-12-31\nreason = \"a benchmark of the maker\"\n";
    let mut scene = tight(hard_at_work(), "1e18");
    scene.licence.push_str(waiver);
    scene.expect("TRN-02", Outcome::Waived, "a benchmark of the maker");
}
