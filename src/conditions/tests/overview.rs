use super::*;
use crate::time::DAY_SECONDS;

#[test]
fn the_overview_says_who_reports_now_and_bounds_what_was_computed() {
    let mut scene = Scene::honest();
    // Each of four devices: 12 reports of 10 to 20 TPP-hours, and 10 s unreported at the peak of 15,832 TPP.
    let overview = scene.overview();
    assert_eq!(
        overview.lines,
        [
            "2 of 2 nodes report · 4 of 4 GPUs on the manifest were seen within 24 hours · samples cover 100.00 % of device time",
            "between 480 and 1,136 TPP-hours since 2026-11-20T00:00:00Z, 0.75 % to 1.78 % of what these devices could have done, from counters, coverage 100.00 %",
        ]
    );
    assert_eq!(
        overview.compute,
        Some(Quantity::between("480.000", "1135.911", "TPP-hours"))
    );

    // Days later, nothing is fresh, whatever was seen once.
    scene.now = start().plus(3 * DAY_SECONDS);
    let overview = scene.overview();
    assert_eq!(
        (overview.nodes_reporting, overview.devices_seen),
        (Some(0), Some(0))
    );
    assert!(
        overview.lines[0].starts_with("0 of 2 nodes report · 0 of 4 GPUs"),
        "{:?}",
        overview.lines
    );

    let silent = Scene::empty().overview();
    assert_eq!((silent.compute, silent.lines.len()), (None, 1));
}

#[test]
fn without_a_limit_or_a_peak_the_overview_says_what_is_missing() {
    // A rule set other than the one that the licence pins sets nothing.
    let pinned = format!("serial = 1\nruleset_digest = \"{}\"\n", "0".repeat(64));
    let open = Scene::honest().with("serial = 1\n", &pinned).overview();
    assert_eq!((open.nodes_reporting, open.devices_seen), (None, None));
    assert!(
        open.lines[0].contains("how fresh a report must be"),
        "{:?}",
        open.lines
    );
    let mut scene = Scene::honest();
    let mut stranger = gpu(9);
    stranger.identity.pci.device = 0xffff;
    stranger.identity.name = "Cray-1".to_owned();
    scene.labs[0].run(1, &[gpu(1), stranger]);
    let overview = scene.overview();
    assert!(overview.compute.unwrap().upper.is_none() && overview.share.is_none());
    assert!(overview.lines[1].starts_with("at least "), "{:?}", overview.lines);
}
