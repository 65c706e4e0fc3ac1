//! What devices sign, and what goes wrong with it. Whose certificates they are and whether a report is in order, the
//! testbed's end-to-end tests decide; here a key and a number are enough.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::nvmlDevice_t;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

use crate::replay::Replay;

const UNSUPPORTED: u32 = nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
const NO_PERMISSION: u32 = nvml::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION;
/// As much of a certificate as the library reads: a version, and the serial number 0x41 11 22 33 44 55 66 77 88.
const CERTIFICATE: &str =
    "-----BEGIN CERTIFICATE-----\nMBIwEKADAgECAglBESIzRFVmd4g=\n-----END CERTIFICATE-----\n";
/// The nonce that the report in the file answers.
const EARLIER: [u8; 32] = [1; 32];
/// Measurements of a report here, in bytes.
const RECORD: usize = 55;

/// A folder with the files of one GPU or more.
struct Devices {
    folder: tempfile::TempDir,
    public: Vec<u8>,
    report: Vec<u8>,
}

impl Devices {
    #[expect(clippy::disallowed_methods, reason = "a key for a test")]
    fn new(gpus: usize) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let mut report = [&[0x11, 0xe0, 0x01, 0xff][..], &EARLIER].concat();
        report.extend([0, 0x11, 0x60, 0, 0, 1, u8::try_from(RECORD).unwrap(), 0, 0]);
        report.extend([0x33; RECORD]);
        report.extend([2; 32]);
        report.extend([0, 0]);
        let signature = key.sign(&random, &report).unwrap();
        report.extend(signature.as_ref());
        let folder = tempfile::tempdir().unwrap();
        for gpu in 0..gpus {
            let file = |end| folder.path().join(format!("gpu-{gpu}.{end}"));
            fs::write(file("pem"), CERTIFICATE.repeat(5)).unwrap();
            fs::write(file("key"), pkcs8.as_ref()).unwrap();
            fs::write(file("report"), &report).unwrap();
        }
        Self {
            folder,
            public: key.public_key().as_ref().to_vec(),
            report,
        }
    }

    fn scenario(&self, more: &str) -> String {
        format!(
            "profile = 'H100'\ngpus = 2\n{more}\n[evidence]\ndevices = '{}'\n",
            self.folder.path().display()
        )
    }

    /// A scenario with one fault of the second GPU, from 10 s to 20 s.
    fn with_fault(&self, kind: &str) -> Replay {
        let fault = format!("[[fault]]\nat_s = 10\nfor_s = 10\ngpu = 1\nkind = '{kind}'\n");
        Replay::play(&format!("{}{fault}", self.scenario("")))
    }

    fn is_signed(&self, report: &[u8]) -> bool {
        let (said, signature) = report.split_at(report.len() - 96);
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &self.public)
            .verify(said, signature)
            .is_ok()
    }
}

fn report(replay: &Replay, device: nvmlDevice_t, nonce: [u8; 32]) -> Result<Vec<u8>, u32> {
    // SAFETY: a struct of numbers and bytes.
    let mut answer: nvml::nvmlConfComputeGpuAttestationReport_t = unsafe { std::mem::zeroed() };
    answer.nonce = nonce;
    match call!(
        replay.lib,
        nvmlDeviceGetConfComputeGpuAttestationReport(device, &raw mut answer)
    ) {
        0 => {
            assert_eq!(answer.nonce, nonce, "what was asked stays as it was");
            let size = usize::try_from(answer.attestationReportSize).unwrap();
            Ok(answer.attestationReport[..size.min(8192)].to_vec())
        }
        code => Err(code),
    }
}

fn certificate(replay: &Replay, device: nvmlDevice_t) -> Result<nvml::nvmlConfComputeGpuCertificate_t, u32> {
    // SAFETY: a struct of numbers and bytes.
    let mut answer: nvml::nvmlConfComputeGpuCertificate_t = unsafe { std::mem::zeroed() };
    match call!(
        replay.lib,
        nvmlDeviceGetConfComputeGpuCertificate(device, &raw mut answer)
    ) {
        0 => Ok(answer),
        code => Err(code),
    }
}

/// Environment, feature, developers' tools, multi-GPU mode, and whether the GPUs take work.
fn state(replay: &Replay) -> [u32; 5] {
    let mut settings = nvml::nvmlSystemConfComputeSettings_v1_t {
        version: u32::try_from(size_of::<nvml::nvmlSystemConfComputeSettings_v1_t>()).unwrap() | (1 << 24),
        environment: 99,
        ccFeature: 99,
        devToolsMode: 99,
        multiGpuMode: 99,
    };
    assert_eq!(
        call!(replay.lib, nvmlSystemGetConfComputeSettings(&raw mut settings)),
        0
    );
    let mut state = nvml::nvmlConfComputeSystemState_t {
        environment: 99,
        ccFeature: 99,
        devToolsMode: 99,
    };
    assert_eq!(
        call!(replay.lib, nvmlSystemGetConfComputeState(&raw mut state)),
        0
    );
    assert_eq!(
        (state.environment, state.ccFeature, state.devToolsMode),
        (settings.environment, settings.ccFeature, settings.devToolsMode)
    );
    let mut ready = 99;
    assert_eq!(
        call!(replay.lib, nvmlSystemGetConfComputeGpusReadyState(&raw mut ready)),
        0
    );
    [
        settings.environment,
        settings.ccFeature,
        settings.devToolsMode,
        settings.multiGpuMode,
        ready,
    ]
}

#[test]
fn a_driver_with_confidential_computing_off_has_no_evidence() {
    let replay = Replay::play("profile = 'H100'");
    let gpu = replay.gpu(0);
    assert_eq!(report(&replay, gpu, [9; 32]), Err(999), "unknown, as drivers say");
    assert_eq!(certificate(&replay, gpu).err(), Some(999));
    let older = Replay::play("profile = 'A100'");
    assert_eq!(
        report(&older, older.gpu(0), [9; 32]),
        Err(UNSUPPORTED),
        "it could not sign"
    );
    assert_eq!(state(&replay), [0; 5]);
}

#[test]
fn each_mode_is_told_as_the_driver_tells_it() {
    let devices = Devices::new(2);
    for (mode, expected) in [
        ("cc", [2, 1, 0, 0, 1]),
        ("devtools", [1, 1, 1, 0, 1]),
        ("ppcie", [2, 0, 0, 1, 1]),
    ] {
        let replay = Replay::play(&format!("{}mode = '{mode}'\n", devices.scenario("")));
        assert_eq!(state(&replay), expected, "{mode}");
        let mut capabilities = nvml::nvmlConfComputeSystemCaps_t {
            cpuCaps: 99,
            gpusCaps: 99,
        };
        assert_eq!(
            call!(
                replay.lib,
                nvmlSystemGetConfComputeCapabilities(&raw mut capabilities)
            ),
            0
        );
        assert_eq!(capabilities.gpusCaps, 1);
        assert!(report(&replay, replay.gpu(0), [9; 32]).is_ok(), "{mode}");
    }
}

#[test]
fn a_report_answers_the_nonce_and_is_signed_by_the_device() {
    let devices = Devices::new(2);
    let replay = Replay::play(&devices.scenario(""));
    let gpu = replay.gpu(1);
    let (one, two) = (
        report(&replay, gpu, [9; 32]).unwrap(),
        report(&replay, gpu, [9; 32]).unwrap(),
    );
    assert_eq!(one[4..36], [9; 32]);
    assert!(devices.is_signed(&one) && devices.is_signed(&two) && devices.is_signed(&devices.report));
    let responder = 45 + RECORD..77 + RECORD;
    assert_ne!(
        one[responder.clone()],
        two[responder.clone()],
        "drawn for each report"
    );
    let rest = responder.end..one.len() - 96;
    assert_eq!(
        (&one[36..45 + RECORD], &one[rest.clone()]),
        (&devices.report[36..45 + RECORD], &devices.report[rest]),
        "all else is the device's"
    );
    let chain = certificate(&replay, gpu).unwrap();
    let size = usize::try_from(chain.attestationCertChainSize).unwrap();
    assert_eq!(
        &chain.attestationCertChain[..size],
        CERTIFICATE.repeat(5).as_bytes()
    );
}

#[test]
fn the_driver_names_a_device_as_its_boot_rom_is_named() {
    let replay = Replay::play(&Devices::new(2).scenario(""));
    let mut pdi = nvml::nvmlPdi_v1_t {
        version: u32::try_from(size_of::<nvml::nvmlPdi_v1_t>()).unwrap() | (1 << 24),
        value: 0,
    };
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetPdi(replay.gpu(1), &raw mut pdi)),
        0
    );
    assert_eq!(pdi.value, 0x1122_3344_5566_7788);
}

#[test]
fn one_gpu_refuses_for_a_while_and_the_other_does_not() {
    let devices = Devices::new(2);
    let replay = devices.with_fault("evidence-refused");
    let (first, second) = (replay.gpu(0), replay.gpu(1));
    assert!(report(&replay, second, [9; 32]).is_ok());
    replay.at(10.0);
    assert_eq!(report(&replay, second, [9; 32]), Err(NO_PERMISSION));
    assert_eq!(certificate(&replay, second).err(), Some(NO_PERMISSION));
    assert!(report(&replay, first, [9; 32]).is_ok());
    assert!(replay.power(second).is_ok(), "only its evidence is refused");
    replay.at(20.0);
    assert!(report(&replay, second, [9; 32]).is_ok());
}

#[test]
fn sizes_can_be_larger_than_the_arrays() {
    let replay = Devices::new(2).with_fault("evidence-oversize");
    replay.at(10.0);
    let gpu = replay.gpu(1);
    assert!(certificate(&replay, gpu).unwrap().attestationCertChainSize > 0x1400);
    // SAFETY: a struct of numbers and bytes.
    let mut answer: nvml::nvmlConfComputeGpuAttestationReport_t = unsafe { std::mem::zeroed() };
    assert_eq!(
        call!(
            replay.lib,
            nvmlDeviceGetConfComputeGpuAttestationReport(gpu, &raw mut answer)
        ),
        0
    );
    assert!(answer.attestationReportSize > 0x2000);
    assert!(replay.uuid(gpu).is_ok(), "what is no evidence keeps its size");
}

#[test]
fn a_stale_report_answers_another_nonce_and_its_signature_holds() {
    let devices = Devices::new(2);
    let replay = devices.with_fault("evidence-stale");
    replay.at(10.0);
    let stale = report(&replay, replay.gpu(1), [9; 32]).unwrap();
    assert_eq!(stale[4..36], EARLIER);
    assert!(devices.is_signed(&stale));
    assert_eq!(report(&replay, replay.gpu(0), [9; 32]).unwrap()[4..36], [9; 32]);
}

#[test]
fn a_call_for_evidence_can_hang_while_the_device_answers() {
    let replay = Devices::new(2).with_fault("evidence-hang");
    let gpu = replay.gpu(1).addr();
    replay.at(10.0);
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let replay = &replay;
        scope.spawn(move || done.send(report(replay, std::ptr::without_provenance_mut(gpu), [9; 32])));
        assert!(replay.power(std::ptr::without_provenance_mut(gpu)).is_ok());
        assert!(
            is_done.recv_timeout(Duration::from_millis(100)).is_err(),
            "it must hang"
        );
        replay.at(20.0);
        assert!(is_done.recv_timeout(Duration::from_secs(20)).unwrap().is_ok());
    });
}

/// The crash needs a process of its own: this test runs itself again there.
#[test]
fn a_call_for_evidence_can_end_the_process() {
    const INSIDE: &str = "WEIGHBRIDGE_REPLAY_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let replay = Devices::new(2).with_fault("evidence-crash");
        replay.at(10.0);
        assert!(report(&replay, replay.gpu(0), [9; 32]).is_ok());
        let answer = report(&replay, replay.gpu(1), [9; 32]);
        panic!("it came back: {answer:?}");
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "evidence::a_call_for_evidence_can_end_the_process",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
}

#[test]
fn evidence_that_cannot_be_read_fails_the_start() {
    let spoil = |spoil: &dyn Fn(&Path)| -> u32 {
        let devices = Devices::new(2);
        spoil(devices.folder.path());
        let replay = Replay::named(&devices.scenario(""));
        call!(replay.lib, nvmlInit_v2())
    };
    let file = |folder: &Path, name: &str| -> PathBuf { folder.join(name) };
    assert_eq!(spoil(&|_| ()), 0);
    assert_eq!(
        spoil(&|folder| fs::remove_file(file(folder, "gpu-1.pem")).unwrap()),
        999
    );
    for (name, content) in [
        ("gpu-1.pem", &b"no certificate"[..]),
        ("gpu-1.key", b"no key"),
        ("gpu-1.report", &[0xff; 200]),
        ("gpu-1.report", &[0; 9000]),
    ] {
        assert_eq!(
            spoil(&|folder| fs::write(file(folder, name), content).unwrap()),
            999,
            "{name}"
        );
    }
}
