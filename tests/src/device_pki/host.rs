//! A host's evidence as files: what the replay library serves, and the collateral that a verifier holds it against.

use super::{Answer, Chip, Device, DevicePki, Said, Validity};
use nvidia_ml::evidence::Mode;
use nvidia_ml::profile::ProfileName;
use std::path::{Path, PathBuf};
use weighbridge::time::UnixSeconds;

/// Measurements that the driver's manifest demands; the VBIOS's demands those up to 32.
const OF_DRIVER: std::ops::Range<u8> = 0..21;
const OF_VBIOS: std::ops::Range<u8> = 21..33;

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It measures something else at this index. Below 21 the driver's manifest demands it, below 33 the VBIOS's; nobody demands the rest.
    Altered(u8),
    /// Its report names other firmware than its certificate.
    Firmware,
    /// Its boot ROM's certificate was revoked, since its key was compromised.
    Revoked,
    /// Its boot ROM's certificate is on hold.
    OnHold,
    /// The responder does not know its boot ROM's certificate.
    Unknown,
}

/// One device of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which device of its chip: one number is one device in everything that a PKI makes.
    pub number: u16,
    /// Which firmware runs on it; another one is another firmware's certificate below the same boot ROM.
    pub firmware: u8,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

impl Slot {
    /// So many devices in order, numbered from `first`, with nothing wrong.
    #[must_use]
    pub fn row(first: u16, count: u16) -> Vec<Self> {
        let slot = |number| Self {
            number,
            firmware: 0,
            flaw: None,
        };
        (first..first + count).map(slot).collect()
    }
}

/// What all devices of a host have in common.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Their chip.
    pub chip: Chip,
    /// The driver's version, as NVML gives it and as their reports do.
    pub driver: String,
    /// The VBIOS's version.
    pub vbios: String,
    /// How confidential computing is used.
    pub mode: Mode,
    /// When the OCSP replies hold.
    pub valid: Validity,
}

impl HostSpec {
    /// Devices as the replay library plays them under a profile, with confidential computing on. The replies hold for twelve hours
    /// before `at` and twelve after it.
    ///
    /// # Panics
    /// Where the profile is neither of Hopper nor of Blackwell.
    #[must_use]
    pub fn of(profile: ProfileName, at: UnixSeconds) -> Self {
        let chip = match profile {
            ProfileName::H100 | ProfileName::H200 | ProfileName::MIG => Chip::Gh100,
            ProfileName::B200 => Chip::Gb100,
            ProfileName::A100 | ProfileName::L40S => panic!("{profile:?} signs no reports"),
        };
        let profile = profile.profile();
        Self {
            chip,
            driver: profile.driver_version.to_owned(),
            vbios: profile.vbios.to_owned(),
            mode: Mode::Cc,
            valid: Validity::around(at),
        }
    }
}

/// A host whose files were written.
#[expect(missing_debug_implementations, reason = "its devices hold private keys")]
pub struct Host {
    /// Where its files are.
    pub dir: PathBuf,
    /// Its devices, by index.
    pub devices: Vec<Device>,
    mode: Mode,
}

impl Host {
    /// The section of a scenario that serves its devices. A table, so it stands behind the scenario's plain keys.
    #[must_use]
    pub fn section(&self) -> String {
        let mode = match self.mode {
            Mode::Cc => "cc",
            Mode::DevTools => "devtools",
            Mode::Ppcie => "ppcie",
        };
        format!(
            "\n[evidence]\ndevices = '{}'\nmode = '{mode}'\n",
            self.dir.display()
        )
    }

    /// Where its collateral is: manifests (`*.xml`) and OCSP replies (`*.der`).
    #[must_use]
    pub fn collateral(&self) -> PathBuf {
        self.dir.join("collateral")
    }
}

impl DevicePki {
    /// Writes what the replay library serves for a host (`gpu-N.pem`, `gpu-N.key`, `gpu-N.report`), the two roots (`root.pem`,
    /// `rim-root.pem`), and under `collateral/` the manifests for driver and VBIOS and an OCSP reply for every certificate that an
    /// appraisal asks about. Collateral that was there before is removed.
    ///
    /// # Panics
    /// Where a file cannot be written.
    pub fn write_host(&self, dir: &Path, slots: &[Slot], spec: &HostSpec) -> Host {
        let host = Host {
            dir: std::path::absolute(dir).unwrap(),
            devices: slots
                .iter()
                .map(|slot| self.device_running(spec.chip, slot.number, slot.firmware))
                .collect(),
            mode: spec.mode,
        };
        let collateral = host.collateral();
        if collateral.exists() {
            std::fs::remove_dir_all(&collateral).unwrap();
        }
        std::fs::create_dir_all(&collateral).unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
        put("root.pem", self.root().as_bytes());
        put("rim-root.pem", self.rim_root().as_bytes());
        for (index, (device, slot)) in host.devices.iter().zip(slots).enumerate() {
            put(&format!("gpu-{index}.pem"), device.chain.as_bytes());
            put(&format!("gpu-{index}.key"), &device.key);
            put(&format!("gpu-{index}.report"), &earlier(device, *slot, spec));
            let answer = match slot.flaw {
                Some(Flaw::Revoked) => Answer::Revoked(1),
                Some(Flaw::OnHold) => Answer::Revoked(6),
                Some(Flaw::Unknown) => Answer::Unknown,
                Some(Flaw::Altered(_) | Flaw::Firmware) | None => Answer::Good,
            };
            put(
                &format!("collateral/device-{:05}.der", slot.number),
                &self.rom_reply(device, &[(answer, spec.valid)]),
            );
        }
        let [provisioner, product] = self.authority_replies(spec.valid);
        let [signer, middle] = self.rim_replies(spec.valid);
        for (name, reply) in [
            ("provisioner", provisioner),
            ("product", product),
            ("rim-signer", signer),
            ("rim-authority", middle),
        ] {
            put(&format!("collateral/{name}.der"), &reply);
        }
        for (name, manifest) in self.manifests(spec) {
            put(&format!("collateral/{name}.xml"), manifest.as_bytes());
        }
        host
    }

    /// The manifests for driver and VBIOS, under the names that NVIDIA would publish them under.
    fn manifests(&self, spec: &HostSpec) -> [(String, String); 2] {
        let HostSpec { driver, vbios, .. } = spec;
        let (chip, kind) = match spec.chip {
            Chip::Gh100 => ("GH100", "DRIVER"),
            Chip::Gb100 => ("GB100", "CC_DRIVER"),
            Chip::Ls10 => panic!("a host's GPUs are no switches"),
        };
        let undotted = vbios.replace('.', "");
        [
            (
                format!("NV_GPU_{kind}_{chip}_{driver}"),
                self.rim(chip, driver, OF_DRIVER),
            ),
            (
                format!("NV_GPU_VBIOS_1010_0200_882_{undotted}"),
                self.rim(chip, vbios, OF_VBIOS),
            ),
        ]
    }
}

/// The report that lies in a device's file: it answers a nonce that nobody asks with.
fn earlier(device: &Device, slot: Slot, spec: &HostSpec) -> Vec<u8> {
    let mut device = device.clone();
    if slot.flaw == Some(Flaw::Firmware) {
        device.fwid[0] ^= 1;
    }
    device.report(&Said {
        nonce: [0; 32],
        feature: if spec.mode == Mode::Ppcie { 2 } else { 0 },
        driver: Some(spec.driver.clone()),
        vbios: spec.vbios.clone(),
        peers: Vec::new(),
        altered: match slot.flaw {
            Some(Flaw::Altered(index)) => Some(index),
            _ => None,
        },
    })
}
