//! What confidential computing's calls answer: certificates and reports of devices that were made for a test.
//!
//! It decides how a report comes to answer a nonce: the nonce and the responder's nonce are put into the device's own
//! report, and the whole is signed anew with the device's key, as the firmware of a GPU does it. It trusts the files,
//! which belong to whoever runs the test, and bounds only their size. Under which root their certificates stand is the
//! test's affair; nobody else trusts it.
//!
//! Layouts are those of SPDM 1.1 `GET_MEASUREMENTS` and `MEASUREMENTS` (DMTF DSP0274) as NVIDIA's devices fill them.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use nvml_wrapper_sys::bindings::{NVML_CC_GPU_ATTESTATION_REPORT_SIZE, nvmlConfComputeGpuCertificate_t};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;

/// Bytes of a nonce, the verifier's and the responder's.
pub const NONCE: usize = 32;
/// Where the verifier's nonce stands in a report.
const REQUESTED: Range<usize> = 4..36;
/// Where the length of the measurements stands, 24 bits, and where the measurements begin.
const RECORD: Range<usize> = 42..45;
/// Bytes of a signature, `r` and `s`.
const SIGNATURE: usize = 96;
/// The longest chain: the array of `nvmlConfComputeGpuCertificate_t` that it stands in.
const LONGEST_CHAIN: usize = size_of_field(|c: &nvmlConfComputeGpuCertificate_t| &c.attestationCertChain);
/// The longest key; PKCS#8 of a P-384 key has some 190 bytes.
const LONGEST_KEY: usize = 1024;

/// What a scenario says of evidence.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceSource {
    /// A folder with `gpu-N.pem`, `gpu-N.key` and `gpu-N.report` for each GPU: its chain in PEM, the firmware's
    /// certificate first; the firmware's P-384 key, PKCS#8 in DER; a report of genuine layout.
    pub devices: PathBuf,
    /// How confidential computing is used; `"cc"` if absent.
    #[serde(default)]
    pub mode: Mode,
}

/// How confidential computing is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// On, as in production.
    #[default]
    Cc,
    /// On, with the locks for developers' tools lifted: it protects nothing.
    DevTools,
    /// Protected PCIe. The driver then says that confidential computing itself is off (open-gpu-kernel-modules,
    /// `confComputeApiCtrlCmdSystemGetCapabilities_IMPL`).
    Ppcie,
}

/// Why evidence cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A file could not be opened or read.
    #[error("cannot read the evidence file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("the evidence file `{}` is not {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
}

/// The evidence of a machine: one [`Attester`] for each GPU.
#[derive(Debug)]
pub struct Evidence {
    /// How confidential computing is used.
    pub mode: Mode,
    /// By the index of the GPU.
    pub attesters: Vec<Attester>,
}

impl Evidence {
    /// Reads the files of `gpus` GPUs.
    ///
    /// # Errors
    /// When a file cannot be read or is not what its name says.
    pub fn open(source: &EvidenceSource, gpus: u32) -> Result<Self, EvidenceError> {
        let attesters = (0..gpus).map(|gpu| Attester::open(&source.devices, gpu));
        Ok(Self {
            mode: source.mode,
            attesters: attesters.collect::<Result<_, _>>()?,
        })
    }
}

/// A device that signs reports.
#[derive(Debug)]
pub struct Attester {
    chain: Vec<u8>,
    report: Vec<u8>,
    responder: Range<usize>,
    key: EcdsaKeyPair,
    pdi: u64,
}

impl Attester {
    fn open(folder: &Path, gpu: u32) -> Result<Self, EvidenceError> {
        let file = |end: &str| folder.join(format!("gpu-{gpu}.{end}"));
        let malformed = |path, expected| EvidenceError::Malformed { path, expected };
        let chain = read(&file("pem"), LONGEST_CHAIN)?;
        let pdi = boot_rom(&chain).and_then(|rom| pdi(&rom)).ok_or_else(|| {
            malformed(
                file("pem"),
                "a chain of certificates in PEM whose second names a device",
            )
        })?;
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            &read(&file("key"), LONGEST_KEY)?,
            &random(),
        )
        .map_err(|_| malformed(file("key"), "a P-384 key (PKCS#8 in DER)"))?;
        let longest = usize::try_from(NVML_CC_GPU_ATTESTATION_REPORT_SIZE).unwrap_or_default();
        let report = read(&file("report"), longest)?;
        let responder =
            responder(&report).ok_or_else(|| malformed(file("report"), "a report of a GPU's layout"))?;
        Ok(Self {
            chain,
            report,
            responder,
            key,
            pdi,
        })
    }

    /// The chain in PEM, the firmware's certificate first.
    #[must_use]
    pub fn chain(&self) -> &[u8] {
        &self.chain
    }

    /// The report as it lies in its file: the answer to a nonce that was asked with some other time.
    #[must_use]
    pub fn stale(&self) -> &[u8] {
        &self.report
    }

    /// A report that answers `nonce`, with a responder's nonce of its own, signed by the device.
    ///
    /// # Errors
    /// When no random bytes can be had.
    pub fn answer(&self, nonce: &[u8; NONCE]) -> Result<Vec<u8>, Unspecified> {
        let random = random();
        let mut report = self.report.clone();
        let place = report.get_mut(REQUESTED).ok_or(Unspecified)?;
        place.copy_from_slice(nonce);
        random.fill(report.get_mut(self.responder.clone()).ok_or(Unspecified)?)?;
        report.truncate(report.len().saturating_sub(SIGNATURE));
        let signature = self.key.sign(&random, &report)?;
        report.extend(signature.as_ref());
        Ok(report)
    }

    /// The device's identifier as `nvmlDeviceGetPdi` gives it: the last eight bytes of the serial number of its boot
    /// ROM's certificate, the first of them the highest.
    #[must_use]
    pub fn pdi(&self) -> u64 {
        self.pdi
    }
}

/// Where the responder's nonce stands: behind the measurements. `None` where the report has no room for it.
fn responder(report: &[u8]) -> Option<Range<usize>> {
    let [low, middle, high] = *report.get(RECORD)?.first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).ok()?;
    let start = RECORD.end.checked_add(length)?;
    let end = start.checked_add(NONCE)?;
    // The length of the opaque data, and the signature, stand behind it.
    (end.checked_add(2 + SIGNATURE)? <= report.len()).then_some(start..end)
}

/// The second certificate of a chain.
fn boot_rom(chain: &[u8]) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(chain).nth(1)?.ok()
}

/// The end of a certificate's serial number (RFC 5280 §4.1: a version, then the number).
fn pdi(certificate: &[u8]) -> Option<u64> {
    let (_, whole, _) = der(certificate)?;
    let (_, signed, _) = der(whole)?;
    let (_, _, after_version) = der(signed)?;
    let (_, serial, _) = der(after_version)?;
    serial.last_chunk().map(|end| u64::from_be_bytes(*end))
}

/// The tag and the content of the first value in DER, and what follows it.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0x81 => rest.split_at_checked(1)?,
        0x82 => rest.split_at_checked(2)?,
        short => (std::slice::from_ref(short), rest),
    };
    let length = length
        .iter()
        .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn read(path: &Path, longest: usize) -> Result<Vec<u8>, EvidenceError> {
    let unreadable = |source| EvidenceError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let limit = u64::try_from(longest).unwrap_or_default().saturating_add(1);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > longest {
        return Err(EvidenceError::Malformed {
            path: path.to_owned(),
            expected: "short enough for NVML's array",
        });
    }
    Ok(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a device draws its own random bytes; this one stands in for its firmware"
)]
fn random() -> SystemRandom {
    SystemRandom::new()
}

/// The size of an array in a struct.
const fn size_of_field<S, const N: usize>(_: fn(&S) -> &[u8; N]) -> usize {
    N
}
