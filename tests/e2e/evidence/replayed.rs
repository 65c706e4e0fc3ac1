//! Devices that sign through NVML: the safe wrapper asks the replay library, and the library appraises the answer.

use nvml_wrapper::Nvml;
use std::path::Path;
use weighbridge::hardware::nvidia::{Appraisal, Collateral, DeviceChain, Presented, Rim, Terms, appraise};
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use weighbridge::x509::Links;
use weighbridge::x509::ocsp::Reply;
use weighbridge_testbed::device_pki::{DevicePki, Flaw, Host, HostSpec, Slot};
use weighbridge_testbed::in_process::Machine;

use nvidia_ml::profile::ProfileName;

/// Neither in the past nor in the month of the other tests: everything that is written follows from it.
const AT: UnixSeconds = UnixSeconds(1_850_000_000);
const NONCE: [u8; 32] = [0x5a; 32];

/// A machine of these devices, and the wrapper that asks it.
struct Asked {
    machine: Machine,
    nvml: Nvml,
}

impl Asked {
    fn new(profile: ProfileName, host: &Host) -> Self {
        let text = format!(
            "profile = '{profile:?}'\ngpus = {}\n{}",
            host.devices.len(),
            host.section()
        );
        let machine = Machine::new("asked", &text);
        let nvml = Nvml::builder()
            .lib_path(machine.library.as_os_str())
            .init()
            .unwrap();
        Self { machine, nvml }
    }

    fn appraise(&self, index: u32, pki: &DevicePki, host: &Host, at: UnixSeconds) -> Appraisal {
        let gpu = self.nvml.device_by_index(index).unwrap();
        let chain = gpu.confidential_compute_gpu_certificate().unwrap();
        let report = gpu.confidential_compute_gpu_attestation_report(NONCE).unwrap();
        appraised(
            &report.attestation_report,
            &chain.attestation_cert_chain,
            pki,
            &host.collateral(),
            at,
        )
    }
}

/// Appraises a report under everything that lies in `collateral`.
fn appraised(report: &[u8], chain: &[u8], pki: &DevicePki, collateral: &Path, at: UnixSeconds) -> Appraisal {
    let mut links = Links::default();
    let (mut rims, mut replies) = (Vec::new(), Vec::new());
    for entry in collateral.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let (name, bytes) = (path.to_str().unwrap(), std::fs::read(&path).unwrap());
        match path.extension().and_then(|e| e.to_str()) {
            Some("xml") => rims.push(Presented::read(name, &bytes, |b| {
                Rim::verify(b, &pki.rim_root_id(), &mut links)
            })),
            _ => replies.push(Presented::read(name, &bytes, Reply::parse)),
        }
    }
    let chain = Presented::read("chain", chain, |b| {
        DeviceChain::parse(std::str::from_utf8(b).unwrap())
    });
    let collateral = Collateral {
        rims: rims.iter().collect(),
        replies: replies.iter().collect(),
    };
    let terms = Terms {
        at,
        nonce: Some(NONCE),
        root: pki.root_id(),
    };
    appraise(report, &chain, &collateral, &terms, &mut links)
}

fn not_passed(appraisal: &Appraisal) -> Vec<&'static str> {
    let steps = appraisal.steps().into_iter();
    steps
        .filter(|(_, step)| !step.passed())
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn what_a_device_signs_through_nvml_passes_every_step() {
    for profile in [ProfileName::H100, ProfileName::B200] {
        let pki = DevicePki::at(AT);
        let dir = tempfile::tempdir().unwrap();
        let host = pki.write_host(dir.path(), &Slot::row(40, 2), &HostSpec::of(profile, AT));
        let asked = Asked::new(profile, &host);
        let play = nvidia_ml::Play::open(asked.machine.scenario.clone()).unwrap();
        for index in 0..2 {
            let appraisal = asked.appraise(index, &pki, &host, AT);
            assert_eq!(
                not_passed(&appraisal),
                [""; 0],
                "{profile:?}: {:?}",
                appraisal.why
            );
            assert!(appraisal.compared_whole());
            let gpu = asked.nvml.device_by_index(index).unwrap();
            assert_eq!(
                (appraisal.driver, appraisal.vbios),
                (asked.nvml.sys_driver_version().ok(), gpu.vbios_version().ok()),
                "the report and NVML name one driver and one VBIOS"
            );
            let place = usize::try_from(index).unwrap();
            assert_eq!(
                appraisal.pdi.unwrap().0,
                play.identities[place].pdi.to_be_bytes(),
                "and one device"
            );
            assert_eq!(appraisal.pdi, Some(host.devices[place].pdi));
        }
    }
}

#[test]
fn each_flaw_fails_its_step_and_no_other() {
    let pki = DevicePki::at(AT);
    let flaws = [
        (Flaw::Altered(5), "measurements", "5"),
        (Flaw::Altered(30), "measurements", "30"),
        (Flaw::Firmware, "fwid", "other firmware"),
        (Flaw::Revoked, "revocation", "is revoked"),
        (Flaw::OnHold, "revocation", "on hold"),
        (Flaw::Unknown, "revocation", "does not know"),
    ];
    let mut slots = Slot::row(0, 7);
    for (slot, (flaw, _, _)) in slots.iter_mut().skip(1).zip(flaws) {
        slot.flaw = Some(flaw);
    }
    let dir = tempfile::tempdir().unwrap();
    let host = pki.write_host(dir.path(), &slots, &HostSpec::of(ProfileName::H100, AT));
    let asked = Asked::new(ProfileName::H100, &host);
    assert_eq!(not_passed(&asked.appraise(0, &pki, &host, AT)), [""; 0]);
    for (index, (flaw, step, word)) in (1..).zip(flaws) {
        let appraisal = asked.appraise(index, &pki, &host, AT);
        assert_eq!(not_passed(&appraisal), [step], "{flaw:?}: {:?}", appraisal.why);
        assert!(
            appraisal.why[step].contains(word),
            "{flaw:?}: {:?}",
            appraisal.why
        );
    }
}

#[test]
fn a_device_under_other_firmware_is_the_same_device() {
    let pki = DevicePki::at(AT);
    let dir = tempfile::tempdir().unwrap();
    let spec = HostSpec::of(ProfileName::H200, AT);
    let mut slots = Slot::row(3, 1);
    let mut asked = |firmware| {
        slots[0].firmware = firmware;
        let host = pki.write_host(dir.path(), &slots, &spec);
        let appraisal = Asked::new(ProfileName::H200, &host).appraise(0, &pki, &host, AT);
        assert_eq!(not_passed(&appraisal), [""; 0], "{:?}", appraisal.why);
        (appraisal.device_id, host.devices[0].chain.clone())
    };
    let (before, after, again) = (asked(0), asked(1), asked(0));
    assert_eq!(before.0, after.0, "named by its boot ROM");
    assert_ne!(before.1, after.1, "with another certificate of its firmware");
    assert_eq!(before, again, "and the same one under the same firmware");
}

#[test]
fn collateral_holds_for_its_time_only() {
    let pki = DevicePki::at(AT);
    let dir = tempfile::tempdir().unwrap();
    let host = pki.write_host(dir.path(), &Slot::row(0, 1), &HostSpec::of(ProfileName::H100, AT));
    let asked = Asked::new(ProfileName::H100, &host);
    let later = |days| not_passed(&asked.appraise(0, &pki, &host, AT.plus(days * DAY_SECONDS)));
    assert_eq!(later(1), ["revocation"]);
    assert_eq!(later(400), ["rim", "revocation"]);
}
