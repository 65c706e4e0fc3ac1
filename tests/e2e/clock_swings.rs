//! An operator who may set clocks, and does so in step with the second: low where the agent's ticks are known to fall and high in between,
//! or the other way about. The truth is worked out from what was played.

use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use weighbridge_testbed::in_process::{NO_BURSTS, Played};
use weighbridge_testbed::process::Agent;

/// Total Processing Performance of an H100 SXM5, and the clock at which its tensor pipes reach it.
const H100_TPP: f64 = 15_832.0;
const TENSOR_MHZ: f64 = 1_830.0;
/// What a busy pipe does of the data sheet's rate, as measured.
const YIELD: f64 = 0.899;
/// Tensor activity, all the time.
const ACTIVITY: f64 = 0.9;
/// For how long before and after each whole second the one clock holds; the other holds in between.
const AROUND_S: f64 = 0.06;

/// A machine under steady load whose clock is `at_ticks` around each whole second of the play and `between` otherwise.
fn scenario(folder: &Path, at_ticks: u32, between: u32, seconds: u32, more: &str) -> String {
    let row = |at: f64| {
        format!(
            "{at},0,600,60,9000,100,50,0.95,{ACTIVITY},0.4,0,0,0,0,0,{energy},{ACTIVITY},0,0,0,0,0,0\n",
            energy = at * 6e5
        )
    };
    let trace = folder.join("steady.csv");
    let columns = "timestamp,gpu,power_w,temp_c,mem_used_mib,gpu_util_pct,mem_util_pct,sm_active,tensor_active,dram_active,\
        pcie_tx_bytes_s,pcie_rx_bytes_s,nvlink_tx_bytes_s,nvlink_rx_bytes_s,throttle_reasons,energy_mj,\
        hmma_active,imma_active,dfma_active,fp64_active,fp32_active,fp16_active,integer_active\n";
    std::fs::write(
        &trace,
        format!("{columns}{}{}{}", row(0.0), row(500.0), row(1_000.0)),
    )
    .unwrap();
    let mut series = format!("[0, {at_ticks}], ");
    for second in 0..seconds {
        let second = f64::from(second);
        let (from, to) = (second + AROUND_S, second + 1.0 - AROUND_S);
        write!(series, "[{from:.3}, {between}], [{to:.3}, {at_ticks}], ").unwrap();
    }
    format!("profile = \"H100\"\ngpus = 1\ntrace = {trace:?}\nclock_series = [{series}]\n{more}")
}

/// TPP-hours that were truly delivered in so many seconds.
fn truth(at_ticks: u32, between: u32, seconds: f64) -> f64 {
    let share = |mhz: u32| f64::from(mhz).min(TENSOR_MHZ) / TENSOR_MHZ;
    let mean = share(at_ticks) * 2.0 * AROUND_S + share(between) * (1.0 - 2.0 * AROUND_S);
    H100_TPP * ACTIVITY * mean * YIELD * seconds / 3_600.0
}

/// Low at the ticks and high in between, which hides compute; and the other way about, which pretends to some.
const SWINGS: [(u32, u32); 2] = [(345, 1_830), (1_830, 345)];

#[test]
fn a_report_holds_what_was_computed_between_ticks() {
    for (at_ticks, between) in SWINGS {
        let dir = tempfile::tempdir().unwrap();
        let text = scenario(dir.path(), at_ticks, between, 330, "");
        let mut played = Played::new("swings", &text, NO_BURSTS);
        played.until(310);
        let reports = played.reports();
        let device = reports[0].report.accelerators().next().unwrap();
        let compute = device.delivered.compute.as_ref().unwrap();
        let time = &reports[0].report.claims().report.time;
        let seconds = (time.end.0 - time.start.0) as f64 / 1e9;
        let truth = truth(at_ticks, between, seconds);
        let of = |micro: u128| micro as f64 / 1e6;
        let told = format!("{at_ticks} MHz at the ticks: {compute:?}, truly {truth}");
        assert!(
            of(compute.lower.0) <= truth && truth <= of(compute.upper.0),
            "{told}"
        );
        // The data sheet's rate at the mean of the looks, of which those around the tick are as few as its time is short.
        assert!(
            (of(compute.counter.0) * YIELD / truth - 1.0).abs() < 0.05,
            "{told}"
        );
        let clock = device.delivered.measured.sm_clock_mhz.value().unwrap();
        assert_eq!((clock.min, clock.max), (345, 1_830));
    }
}

#[test]
fn measure_holds_what_was_computed_between_ticks() {
    for (at_ticks, between) in SWINGS {
        let dir = tempfile::tempdir().unwrap();
        // The play began at a whole second since boot, as the ticks fall.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: u64 = uptime.split('.').next().unwrap().parse().unwrap();
        let start = dir.path().join("start");
        std::fs::write(&start, format!("{}\n", seconds * 1_000_000_000)).unwrap();
        let more = format!("start_file = {start:?}\n");
        let text = scenario(dir.path(), at_ticks, between, 600, &more);
        let agent = Agent::new(dir.path(), "node", &text);
        let output = agent
            .command()
            .args(["measure", "--format", "json", "--window", "4"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let window: Value = serde_json::from_str(text.lines().next().unwrap_or_default())
            .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)));
        let compute = &window["tpp_hours"];
        let told = |member: &str| -> f64 {
            let value = &compute[member];
            value
                .as_str()
                .map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
        };
        let truth = truth(at_ticks, between, 4.0);
        println!("{window}");
        assert!(
            told("lower") <= truth && truth <= told("upper"),
            "{truth}: {compute}"
        );
    }
}
