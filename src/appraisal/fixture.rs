//! A node for the tests of this room and the next: it makes and signs reports, and a desk that receives them.

use super::NodeRecord;
use super::evidence::{
    AppraisedDevice, AppraisedRound, Check, CheckName, CheckOutcome, LastRound, NoneCount, RoundStanding,
};
use crate::accounting::{Compute, ComputeMethod, UpperBound};
use crate::crypto::{Algorithm, Entropy, SecretKey, Signer};
use crate::hardware::nvidia::{DEVICE_ROOT, RIM_ROOT};
use crate::id::{BootId, ChainId, DeviceUuid, Digest, NodeId, PciId};
use crate::report::{
    AcceleratorClaims, Attester, ChainLink, ClockSource, Continuity, Delivered, HostClaims, HostSubmodule,
    KeyProtection, NoEvidence, OpenedReport, PROFILE, ReportClaims, ReportTime, Submodules, TokenClaims,
    VerifiedReport, continuity, sign,
};
use crate::telemetry::{
    AcceleratorIdentity, BusDevice, BusDriver, BusSource, ConfidentialCompute, DeviceState, HostDriver,
    HostTraffic, LibraryOrigin, Measured, Reading, h100,
};
use crate::time::{BootNanos, SECOND, UnixSeconds};
use crate::unit::MicroTppHours;
use crate::workload::WorkloadScores;
use std::collections::BTreeMap;

/// Length of a report.
pub(crate) const LENGTH: i64 = 300;

/// The digest of the catalogue that this build carries.
static CARRIED: std::sync::LazyLock<Digest> =
    std::sync::LazyLock::new(|| crate::accelerator::Catalogue::embedded().unwrap().digest());

pub(crate) fn hours(n: u128) -> MicroTppHours {
    MicroTppHours(n * 1_000_000)
}

pub(crate) fn compute(lower: u128, upper: u128) -> Compute {
    Compute {
        lower: hours(lower),
        counter: hours(lower),
        upper: hours(upper),
        upper_unconditional: hours(1_320),
        method: ComputeMethod::PipeActivity,
        bound: UpperBound::Counter,
    }
}

/// An H100 that did a little, none of it training.
pub(crate) fn gpu(n: u8) -> AcceleratorClaims {
    AcceleratorClaims {
        salt: [n; 16],
        identity: AcceleratorIdentity {
            index: u16::from(n),
            uuid: DeviceUuid([n; 16]),
            serial: Some(format!("S{n}")),
            pci: PciId {
                vendor: 0x10de,
                device: 0x2330,
                subsystem_vendor: 0x10de,
                subsystem_device: 0x16c1,
            },
            ecc: None,
            ..h100()
        },
        state: DeviceState::Present,
        delivered: Delivered {
            covered_ms: 300_000,
            samples: 300,
            gaps: Vec::new(),
            measured: Measured {
                energy_mj: Reading::Value(60_000_000),
                power_integral_mj: Reading::Value(60_000_000),
                busy_ms: Reading::Value(100_000),
                pipes: Reading::Unsupported,
                power_mw: Reading::Unsupported,
                sm_clock_mhz: Reading::Unsupported,
                memory_used_mib: Reading::Unsupported,
                temperature_max_c: Reading::Unsupported,
                clock_events: Reading::Unsupported,
                nvlink: Reading::Unsupported,
                pcie: Reading::Unsupported,
                counter_resets: 0,
                pcie_method: crate::telemetry::Method::Counter,
                activity_source: crate::telemetry::ActivitySource::Gpm,
                jobs: None,
            },
            compute: Some(compute(10, 20)),
            training: Some(compute(0, 0)),
            workload: WorkloadScores {
                centinats: vec![0; 7],
                windows: vec![0; 8],
                levels: None,
                run_windows: None,
            },
            windows_root: Digest([0; 32]),
            windows_leaves: 0,
            by_pipe: None,
            observations: Vec::new(),
            tenants: None,
        },
    }
}

pub(crate) fn driver() -> HostDriver {
    HostDriver {
        driver_version: "590.48.01".to_owned(),
        nvml_version: "13.590.48".to_owned(),
        cuda_version: Some(13_010),
        library_digest: Digest([7; 32]),
        library_origin: LibraryOrigin::System,
        library_changed: false,
        confidential_compute: Some(ConfidentialCompute {
            enabled: true,
            developer_mode: false,
            multi_gpu_mode: 0,
        }),
    }
}

pub(crate) fn bus(device: u16, count: u16, reporting: u16, state: DeviceState) -> BusDevice {
    BusDevice {
        id: PciId {
            vendor: 0x10de,
            device,
            subsystem_vendor: 0x10de,
            subsystem_device: 0x16c1,
        },
        driver: BusDriver::Vendor,
        count,
        reporting,
        state,
    }
}

/// The answer of the device of [`gpu`] in a round in which everything was checked and holds.
pub(crate) fn answer(n: u8) -> AppraisedDevice {
    let passed = [
        CheckName::Signature,
        CheckName::Chain,
        CheckName::Fwid,
        CheckName::Nonce,
        CheckName::Rim,
        CheckName::Measurements,
        CheckName::Revocation,
        CheckName::Pdi,
    ];
    let check = |name| Check {
        name,
        outcome: CheckOutcome::Pass,
        why: String::new(),
    };
    AppraisedDevice {
        attester: Attester::Gpu,
        device: Some(DeviceUuid([n; 16])),
        none: None,
        evidence: Some(Digest([n | 0x40; 32])),
        identity: Some(Digest([n | 0x80; 32])),
        pdi: Some(format!("{n:016x}")),
        arch: Some("hopper".to_owned()),
        mode: Some("spt".to_owned()),
        driver: Some(driver().driver_version),
        vbios: Some("96.00.9F.00.01".to_owned()),
        checks: passed.map(check).into(),
        mismatches: Vec::new(),
        whole: true,
        collateral: Vec::new(),
        measured: Some(Digest([0x4d; 32])),
    }
}

/// The answer of a device that signed nothing.
pub(crate) fn no_answer(n: u8, why: NoEvidence) -> AppraisedDevice {
    let mut device = answer(n);
    device.none = Some(why);
    (device.evidence, device.identity, device.pdi, device.arch) = (None, None, None, None);
    (device.mode, device.driver, device.vbios, device.whole) = (None, None, None, false);
    device.measured = None;
    device.checks = vec![Check {
        name: CheckName::Signature,
        outcome: CheckOutcome::NotChecked,
        why: why.text().to_owned(),
    }];
    device
}

/// Changes what a check came to.
pub(crate) fn came_to(device: &mut AppraisedDevice, name: CheckName, outcome: CheckOutcome, why: &str) {
    device.checks.retain(|c| c.name != name);
    device.checks.push(Check {
        name,
        outcome,
        why: why.to_owned(),
    });
}

/// A node with a key and a chain, and what the verifier holds of it.
pub(crate) struct Lab {
    pub(crate) node: NodeId,
    key: SecretKey,
    pub(crate) chain: ChainId,
    pub(crate) sequence: u64,
    pub(crate) previous: Option<Digest>,
    held: BTreeMap<([u8; 16], u64), Digest>,
    pub(crate) record: NodeRecord,
    start: UnixSeconds,
    boot_seconds: u64,
}

impl Lab {
    pub(crate) fn new(n: u8, start: UnixSeconds) -> Self {
        let mut id = [n; 17];
        id[0] = 1;
        Self {
            node: NodeId(id),
            key: SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap(),
            chain: ChainId([n; 16]),
            sequence: 0,
            previous: None,
            held: BTreeMap::new(),
            record: NodeRecord::new(NodeId(id)),
            start,
            boot_seconds: 0,
        }
    }

    /// The wall time up to which reports were made.
    pub(crate) fn wall(&self) -> UnixSeconds {
        self.start.plus(i64::try_from(self.boot_seconds).unwrap())
    }

    /// Lets time pass in which the agent makes no report.
    pub(crate) fn sleep(&mut self, seconds: u64) {
        self.boot_seconds += seconds;
    }

    /// Makes the next report, with the changes that `edit` wants.
    pub(crate) fn make(
        &mut self,
        devices: &[AcceleratorClaims],
        edit: impl FnOnce(&mut TokenClaims),
    ) -> VerifiedReport {
        let from = self.boot_seconds;
        self.boot_seconds += u64::try_from(LENGTH).unwrap();
        self.sequence += 1;
        let count = u16::try_from(devices.len()).unwrap();
        let mut claims = TokenClaims {
            audience: "00".repeat(32),
            issued_at: self.wall(),
            nonce: None,
            node: self.node,
            profile: PROFILE.to_owned(),
            submods: Submodules {
                host: HostSubmodule {
                    host: HostClaims {
                        agent_version: "0.1.0".to_owned(),
                        agent_digest: Digest([1; 32]),
                        key_protection: KeyProtection::Tpm,
                        kernel: "6.12".to_owned(),
                        cpus: 64,
                        memory_mib: 1 << 20,
                        driver: Some(driver()),
                        bus: vec![bus(0x2330, count, count, DeviceState::Present)],
                        clock_source: ClockSource::Synchronised,
                        model_digest: Digest([2; 32]),
                        catalogue_digest: *CARRIED,
                        released: false,
                        sampler_restarts: 0,
                        bus_source: BusSource::System,
                        former_drivers: Vec::new(),
                        switches: Vec::new(),
                        traffic: HostTraffic::UNTOLD,
                        meters: Vec::new(),
                        observations: Vec::new(),
                        tenants: None,
                    },
                },
                accelerators: Vec::new(),
                evidence: Vec::new(),
            },
            report: ReportClaims {
                chain: self.chain,
                sequence: self.sequence,
                previous: self.previous,
                successor: None,
                boot: BootId([9; 16]),
                time: ReportTime {
                    start: BootNanos(from * SECOND),
                    end: BootNanos(self.boot_seconds * SECOND),
                    wall_end: self.wall(),
                    wall_steps: 0,
                    wall_step_seconds: 0,
                },
                checkpoint: None,
                report_seconds: 300,
                trial: false,
                agent_starts: 0,
                round: None,
            },
        };
        edit(&mut claims);
        let (bytes, digest) = sign(claims, devices.to_vec(), Vec::new(), &self.key).unwrap();
        self.previous = Some(digest);
        OpenedReport::open(&bytes)
            .unwrap()
            .verify(self.key.public_key())
            .unwrap()
    }

    /// Receives a report as the verifier does.
    pub(crate) fn receive(&mut self, report: &VerifiedReport, received: UnixSeconds) -> Continuity {
        let claims = &report.claims().report;
        let link = ChainLink {
            chain: claims.chain,
            sequence: claims.sequence,
            digest: report.digest(),
        };
        let at = |s: u64| self.held.get(&(claims.chain.0, s)).copied();
        let highest = self
            .held
            .keys()
            .filter(|(c, _)| *c == claims.chain.0)
            .map(|(_, s)| *s)
            .max();
        let before = claims.sequence.checked_sub(1).and_then(at);
        let how = continuity(&link, claims.previous, at(claims.sequence), before, None, highest);
        if !matches!(how, Continuity::Fork { .. } | Continuity::Repeated) {
            self.held.insert((claims.chain.0, claims.sequence), link.digest);
        }
        // It answers the challenge that came with the receipt of the report before.
        let given = received.plus(-LENGTH);
        self.record.absorb(report, received, how, None, Some(given));
        how
    }

    /// Makes and delivers reports, each received five seconds after its end.
    pub(crate) fn run(&mut self, count: u32, devices: &[AcceleratorClaims]) {
        self.run_with(count, devices, |_| {});
    }

    pub(crate) fn run_with(
        &mut self,
        count: u32,
        devices: &[AcceleratorClaims],
        edit: impl Fn(&mut TokenClaims),
    ) {
        for _ in 0..count {
            let report = self.make(devices, &edit);
            self.receive(&report, self.wall().plus(5));
        }
    }

    /// A round that the newest report carries and that froze the one before it.
    pub(crate) fn round(&self, standing: RoundStanding, devices: Vec<AppraisedDevice>) -> AppraisedRound {
        let received = self.wall().plus(5);
        AppraisedRound {
            report: self.previous.unwrap(),
            given: self.wall().plus(5 - LENGTH),
            received,
            standing,
            boot: BootId([9; 16]),
            covers_to: self.wall().plus(-LENGTH),
            ended: self.wall().plus(10 - LENGTH),
            at: received,
            root: DEVICE_ROOT,
            rim_root: RIM_ROOT,
            devices,
            host: Vec::new(),
        }
    }

    /// Receives a round, as its report and its appraisal tell of it.
    pub(crate) fn take(&mut self, round: AppraisedRound) {
        let none = |d: &&AppraisedDevice| d.none.is_some();
        let silent = round.devices.iter().filter(none).count();
        let why = round.devices.iter().find_map(|d| d.none);
        let counted = |n: usize| u16::try_from(n).unwrap();
        self.record.facts.round = Some(LastRound {
            report: round.report,
            received: round.received,
            standing: round.standing,
            signed: counted(round.devices.len() - silent),
            none: why
                .map(|why| NoneCount {
                    why,
                    count: counted(silent),
                })
                .into_iter()
                .collect(),
        });
        self.record.evidence.take(round);
    }

    /// A good round of these devices.
    pub(crate) fn prove(&mut self, devices: Vec<AppraisedDevice>) {
        let round = self.round(RoundStanding::Good, devices);
        self.take(round);
    }
}
