//! Synthetic reports: whole, typed and deterministic, for tests and benchmarks that need a report but no node.

use weighbridge::accounting::{
    Compute, ComputeMethod, Observation, ObservationKind, PipeCompute, UpperBound,
};
use weighbridge::id::{
    BootId, ChainId, Challenge, DeviceUuid, Digest, NodeId, PciId, TenantPseudonym, VerifierId,
};
use weighbridge::report::{
    AcceleratorClaims, Answer, Attester, ClockSource, Delivered, EvidenceClaims, HostClaims, HostSubmodule,
    KeyProtection, NoEvidence, NvidiaEvidence, PROFILE, ReportClaims, ReportTime, RoundClaims, Submodules,
    TenantList, TenantShare, TenantShares, TokenClaims,
};
use weighbridge::telemetry::{
    AcceleratorIdentity, BusDevice, BusDriver, BusSource, BusSwitch, DeviceState, Fabric, Gap, GapReason,
    HostDriver, HostTraffic, LibraryOrigin, Measured, MeterKind, NvlinkLinks, PipeTimes, PowerMeter, Reading,
    Spread, Traffic,
};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge::unit::MicroTppHours;
use weighbridge::workload::{LevelTimes, WorkloadScores};

/// Where a synthetic report stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// The verifier it is for.
    pub verifier: VerifierId,
    /// The node.
    pub node: NodeId,
    /// The chain.
    pub chain: ChainId,
    /// Its number, from 1.
    pub sequence: u64,
    /// The digest of the one before.
    pub previous: Option<Digest>,
    /// Wall time at its end.
    pub wall_end: UnixSeconds,
    /// The challenge answered.
    pub challenge: Option<Challenge>,
    /// Its length.
    pub seconds: u32,
}

/// The PCI identifiers of an H100 SXM5 80GB.
pub const H100: PciId = PciId {
    vendor: 0x10de,
    device: 0x2330,
    subsystem_vendor: 0x10de,
    subsystem_device: 0x16c1,
};

/// The token's claims of an ordinary node with `gpus` H100.
#[must_use]
pub fn token(place: &Place, gpus: u16) -> TokenClaims {
    let length = u64::from(place.seconds).saturating_mul(SECOND);
    let start = BootNanos(
        place
            .sequence
            .saturating_sub(1)
            .saturating_mul(length)
            .saturating_add(90 * SECOND),
    );
    TokenClaims {
        audience: place.verifier.to_string(),
        issued_at: place.wall_end,
        nonce: place.challenge,
        node: place.node,
        profile: PROFILE.to_owned(),
        submods: Submodules {
            host: HostSubmodule {
                host: HostClaims {
                    agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                    agent_digest: Digest([0xa9; 32]),
                    key_protection: KeyProtection::File,
                    kernel: "6.12.0-amd64".to_owned(),
                    cpus: 192,
                    memory_mib: 2_064_000,
                    driver: Some(HostDriver {
                        driver_version: "590.48.01".to_owned(),
                        nvml_version: "13.590.48.01".to_owned(),
                        cuda_version: Some(13010),
                        library_digest: Digest([0x1b; 32]),
                        library_origin: LibraryOrigin::System,
                        library_changed: false,
                        confidential_compute: None,
                    }),
                    bus: vec![BusDevice {
                        id: H100,
                        driver: BusDriver::Vendor,
                        count: gpus,
                        reporting: gpus,
                        state: DeviceState::Present,
                    }],
                    clock_source: ClockSource::Synchronised,
                    model_digest: Digest([0x3d; 32]),
                    catalogue_digest: Digest([0xca; 32]),
                    released: false,
                    sampler_restarts: 0,
                    bus_source: BusSource::System,
                    former_drivers: Vec::new(),
                    switches: vec![BusSwitch {
                        id: PciId {
                            vendor: 0x10de,
                            device: 0x22a3,
                            subsystem_vendor: 0x10de,
                            subsystem_device: 0x1796,
                        },
                        driver: BusDriver::Vendor,
                        count: 4,
                    }],
                    traffic: HostTraffic {
                        infiniband: Reading::Value(Traffic {
                            tx: 1_234_567_890_123,
                            rx: 1_234_567_890_456,
                        }),
                        ethernet: Reading::Value(Traffic {
                            tx: 23_456_789,
                            rx: 34_567_890,
                        }),
                    },
                    meters: vec![PowerMeter {
                        kind: MeterKind::Bmc,
                        energy_mj: 1_830_000_000,
                        covered_ms: 300_000,
                        readings: 30,
                        lowest_mw: 5_900_000,
                        highest_mw: 6_400_000,
                    }],
                    observations: vec![Observation {
                        kind: ObservationKind::LinkAgainstLink,
                        size: 130_000,
                        windows: 1,
                    }],
                    tenants: None,
                },
            },
            accelerators: Vec::new(),
            evidence: Vec::new(),
        },
        report: ReportClaims {
            chain: place.chain,
            sequence: place.sequence,
            previous: place.previous,
            successor: None,
            boot: BootId([0xb0; 16]),
            time: ReportTime {
                start,
                end: start.plus(length),
                wall_end: place.wall_end,
                wall_steps: 0,
                wall_step_seconds: 0,
            },
            checkpoint: None,
            report_seconds: place.seconds,
            trial: place.seconds < 60,
            agent_starts: 0,
            round: None,
        },
    }
}

/// A round that froze the chain at the report before, on the challenge of `place`.
#[must_use]
pub fn round(place: &Place) -> RoundClaims {
    let begun = token(place, 0).report.time.start.plus(3 * SECOND);
    RoundClaims {
        challenge: place.challenge.unwrap_or(Challenge([0x44; 32])),
        chain: place.chain,
        sequence: place.sequence.saturating_sub(1),
        digest: place.previous.unwrap_or(Digest([0; 32])),
        covers_to: begun.before(3 * SECOND),
        begun,
        ended: begun.plus(SECOND),
    }
}

/// A GPU's answer: evidence if it is given, else that the platform offers none.
#[must_use]
pub fn answer(index: u16, evidence: Option<&NvidiaEvidence>) -> EvidenceClaims {
    EvidenceClaims {
        salt: [0x5b; 16],
        attester: Attester::Gpu,
        device: Some(accelerator(index, 300, [0; 16]).identity.uuid),
        answer: evidence.map_or(Answer::None(NoEvidence::NotOffered), |e| {
            Answer::Evidence(e.wrap())
        }),
    }
}

/// The claims of the accelerator at `index`, as a training job of so many seconds would leave them.
#[must_use]
pub fn accelerator(index: u16, seconds: u32, salt: [u8; 16]) -> AcceleratorClaims {
    let ms = u64::from(seconds).saturating_mul(1000);
    let mut uuid = [0x51; 16];
    uuid[14..].copy_from_slice(&index.to_be_bytes());
    // 15,832 TPP at 58 % tensor activity, in millionths of a TPP-hour.
    let peak = u128::from(seconds).saturating_mul(15_832_000_000) / 3600;
    let counter = peak * 58 / 100;
    let compute = Compute {
        lower: MicroTppHours(counter * 9 / 10),
        counter: MicroTppHours(counter),
        upper: MicroTppHours(counter * 102 / 100),
        upper_unconditional: MicroTppHours(peak),
        method: ComputeMethod::PipeActivity,
        bound: UpperBound::Counter,
    };
    AcceleratorClaims {
        salt,
        identity: AcceleratorIdentity {
            index,
            uuid: DeviceUuid(uuid),
            serial: Some(format!("16530423{index:05}")),
            pci: H100,
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            board_part: Some("692-2G520-0200-000".to_owned()),
            vbios: Some("96.00.99.00.01".to_owned()),
            gsp_firmware: Some("590.48.01".to_owned()),
            memory_mib: Reading::Value(81_559),
            cores: Reading::Value(16_896),
            max_sm_clock_mhz: Reading::Value(1980),
            power_limit_mw: Reading::Value(700_000),
            pdi: Some(0x737b_0000_0000_0000 | u64::from(index)),
            module_id: Some(u32::from(index) + 1),
            fabric: Some(Fabric {
                state: 3,
                cluster: [0; 16],
                clique: 0,
            }),
            nvlink_links: Some(NvlinkLinks {
                to_gpus: 0,
                to_switches: 18,
                to_others: 0,
                ends: Reading::Value(4),
            }),
            mig: Some(Vec::new()),
            ecc: Some(true),
            pipe_activity: true,
        },
        state: DeviceState::Present,
        delivered: Delivered {
            covered_ms: seconds.saturating_mul(1000),
            samples: seconds,
            gaps: if index == 3 {
                vec![Gap {
                    start_ms: 1000,
                    length_ms: 2500,
                    reason: GapReason::SamplerLate,
                }]
            } else {
                Vec::new()
            },
            measured: Measured {
                energy_mj: Reading::Value(ms * 687),
                power_integral_mj: Reading::Value(ms * 688),
                busy_ms: Reading::Value(ms),
                pipes: Reading::Value(PipeTimes {
                    sm: Reading::Value(ms * 87 / 100),
                    tensor: Reading::Value(ms * 58 / 100),
                    dfma: Reading::Value(0),
                    hmma: Reading::Value(ms * 58 / 100),
                    imma: Reading::Value(0),
                    dram: Reading::Value(ms * 37 / 100),
                    fp64: Reading::Value(0),
                    fp32: Reading::Value(ms * 6 / 100),
                    fp16: Reading::Value(ms / 100),
                    integer: Reading::Value(ms * 9 / 100),
                }),
                power_mw: Reading::Value(Spread {
                    mean: 687_000,
                    min: 512_344,
                    max: 699_871,
                }),
                sm_clock_mhz: Reading::Value(Spread {
                    mean: 1755,
                    min: 1710,
                    max: 1980,
                }),
                memory_used_mib: Reading::Value(Spread {
                    mean: 71_002,
                    min: 70_944,
                    max: 71_120,
                }),
                temperature_max_c: Reading::Value(64),
                clock_events: Reading::Value(4),
                nvlink: Reading::Value(Traffic {
                    tx: ms * 1_500_000,
                    rx: ms * 1_490_000,
                }),
                pcie: Reading::Value(Traffic {
                    tx: ms * 2_100,
                    rx: ms * 1_900,
                }),
                counter_resets: 0,
                pcie_method: weighbridge::telemetry::Method::Counter,
                activity_source: weighbridge::telemetry::ActivitySource::Gpm,
                jobs: None,
            },
            compute: Some(compute.clone()),
            training: Some(compute),
            workload: WorkloadScores {
                centinats: vec![-400, 310, -120, -60, -210, -390, -150],
                windows: vec![0, 5, 0, 0, 0, 0, 0, 0],
                levels: Some(LevelTimes {
                    established_ms: seconds.saturating_mul(1000),
                    ..LevelTimes::default()
                }),
                run_windows: Some(57),
            },
            windows_root: Digest([0x77; 32]),
            windows_leaves: 300,
            by_pipe: Some(PipeCompute {
                hmma: MicroTppHours(counter),
                imma: MicroTppHours(0),
                dfma: MicroTppHours(0),
                fp64: MicroTppHours(0),
                fp32: MicroTppHours(counter / 200),
                fp16: MicroTppHours(0),
            }),
            observations: Vec::new(),
            tenants: None,
        },
    }
}

/// Has two tenants hold a device, the second for the last third with the first, and gives the report's list of them.
pub fn tenants(accelerator: &mut AcceleratorClaims) -> Option<TenantList> {
    let delivered = &mut accelerator.delivered;
    let compute = delivered.compute.as_ref()?;
    let whole_ms = u64::from(delivered.covered_ms);
    let share = |place: u16, thirds: u128, lower: u128| TenantShare {
        place,
        attributed_ms: whole_ms.saturating_mul(u64::try_from(thirds).unwrap_or(0)) / 3,
        busy_ms: whole_ms.saturating_mul(if place == 0 { 5 } else { 1 }) / 6,
        lower: MicroTppHours(compute.lower.0 * lower / 3),
        counter: MicroTppHours(compute.counter.0 * lower / 3),
        upper: MicroTppHours(compute.upper.0 * thirds / 3),
        upper_unconditional: MicroTppHours(compute.upper_unconditional.0 * thirds / 3),
    };
    delivered.tenants = TenantShares::of(vec![share(0, 3, 2), share(1, 1, 0)]);
    TenantList::of(vec![TenantPseudonym([0x7e; 16]), TenantPseudonym([0x7f; 16])])
}

/// The claims of `gpus` accelerators, with salts that differ.
#[must_use]
pub fn accelerators(gpus: u16, seconds: u32) -> Vec<AcceleratorClaims> {
    (0..gpus)
        .map(|i| {
            let mut salt = [0x5a; 16];
            salt[14..].copy_from_slice(&i.to_be_bytes());
            accelerator(i, seconds, salt)
        })
        .collect()
}

/// The other valid form of an ECDSA P-256 signature: (r, n - s) in place of (r, s). Anyone can compute it.
///
/// # Panics
/// Where the signature is not 64 bytes.
#[must_use]
pub fn other_signature(signature: &[u8]) -> Vec<u8> {
    /// The order of the group of P-256 (SP 800-186).
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    assert_eq!(signature.len(), 64, "an ES256 signature has 64 bytes");
    let mut out = signature.to_vec();
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let mut digit = i16::from(ORDER[i]) - i16::from(signature[32 + i]) - borrow;
        borrow = i16::from(digit < 0);
        if digit < 0 {
            digit += 256;
        }
        out[32 + i] = u8::try_from(digit).unwrap_or(0);
    }
    out
}
