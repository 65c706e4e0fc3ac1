//! Every function of NVML missing, refused or answering beyond its bounds: the agent goes on, and is whole again afterwards.

use std::collections::BTreeSet;
use weighbridge::telemetry::DeviceState;
use weighbridge::time::SECOND;
use weighbridge_testbed::in_process::{BURSTS, Played};

/// The functions that the replay library exports.
const SYMBOLS: &str = include_str!("../../replay/tests/interface/symbols.txt");

/// Without these no device can be found; then the driver is as good as gone, and said to be.
const INDISPENSABLE: [&str; 5] = [
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetUUID",
    "nvmlInit_v2",
];

#[test]
fn a_function_that_is_missing_costs_what_it_offers_and_no_more() {
    let needed = every_function("missing_symbol");
    assert_eq!(needed, INDISPENSABLE.map(str::to_owned).into());
}

#[test]
fn a_function_that_is_not_supported_costs_what_it_offers_and_no_more() {
    let needed = every_function("not_supported");
    assert_eq!(needed, INDISPENSABLE.map(str::to_owned).into());
}

#[test]
fn a_function_that_answers_beyond_its_bounds_harms_nobody() {
    let needed = every_function("oversize_answer");
    let named: BTreeSet<_> = INDISPENSABLE.map(str::to_owned).into();
    assert!(needed.is_subset(&named), "{needed:?}");
}

/// Befalls each function in turn with a fault of `kind`, at the start and once more while sampling. Returns those without which no device
/// was measured.
fn every_function(kind: &str) -> BTreeSet<String> {
    SYMBOLS
        .lines()
        .filter(|symbol| symbol.starts_with("nvml"))
        .filter(|symbol| befall(kind, symbol))
        .map(str::to_owned)
        .collect()
}

/// Whether the fault left the report without a device that answers.
fn befall(kind: &str, symbol: &str) -> bool {
    let fault =
        |at: u32| format!("[[fault]]\nat_s = {at}\nfor_s = 20\nkind = \"{kind}\"\nsymbol = \"{symbol}\"\n");
    let scenario = format!(
        "profile = \"H100\"\ntrace = \"training\"\n{}{}",
        fault(0),
        fault(40)
    );
    let bursts = weighbridge_agent::sampler::Bursts {
        period: 15 * SECOND,
        length: 3 * SECOND,
        ..BURSTS
    };
    let mut played = Played::reporting_every(symbol, &scenario, bursts, 20);
    played.until(125);
    let reports = played.reports();
    assert!(reports.len() >= 6, "{kind} {symbol}: {} reports", reports.len());
    for sealed in &reports {
        for device in sealed.report.accelerators() {
            let most = 20_000 * 700 * 11 / 10;
            let energy = device.delivered.measured.energy_mj.value().copied();
            assert!(
                energy.is_none_or(|mj| mj < most),
                "{kind} {symbol}: {energy:?} mJ"
            );
            let compute = device.delivered.compute.as_ref();
            assert!(compute.is_none_or(|c| c.upper <= c.upper_unconditional && c.lower <= c.upper));
        }
        // A device on the bus that does not report is never passed over.
        let bus = &sealed.report.claims().submods.host.host.bus;
        let answering = u16::try_from(sealed.report.accelerators().count()).unwrap();
        assert_eq!(bus.len(), 1, "{kind} {symbol}: {bus:?}");
        assert!(bus[0].reporting <= answering, "{kind} {symbol}: {bus:?}");
    }
    // The last report is of a time long after the fault.
    let last = &reports[5];
    let devices: Vec<_> = last.report.accelerators().collect();
    assert_eq!(devices.len(), 1, "{kind} {symbol}: it comes back");
    assert_eq!(devices[0].state, DeviceState::Present, "{kind} {symbol}");
    assert!(
        devices[0].delivered.covered_ms >= 15_000,
        "{kind} {symbol}: {} ms, {:?}",
        devices[0].delivered.covered_ms,
        devices[0].delivered.gaps
    );
    reports[0].report.accelerators().all(|d| d.delivered.samples < 10)
}
