//! What a device signs: its certificates, and its report over a nonce.
//!
//! Decides: which bytes of the driver's answers are evidence, and what a refusal means. Trusts the library to write no further than some way past
//! the structures of the interface: one that does harms the collector's process, which holds neither keys nor network. Does not look into the
//! evidence: who signed it, over what, is for the verifier.
//!
//! Only GPUs are asked. An NVSwitch answers through another library (NSCQ, `libnvidia-nscq`), which is not asked here: rounds hold no evidence
//! of switches.
#![expect(
    unsafe_code,
    reason = "NVML is a C interface; each call passes pointers to memory that outlives it"
)]

use super::fault::Fault;
use super::session::{Handle, OpenError, Session};
use crate::devices::library::{Library, LibraryError};
use nvml_wrapper_sys::bindings as sys;
use std::path::Path;
use weighbridge::cbor::Bytes;
use weighbridge::id::{DeviceUuid, Digest};
use weighbridge::report::{NoEvidence, NvidiaEvidence};

/// Bytes behind each structure that nothing of ours stands in, so that a library which is off by some bytes harms nobody.
const SPARE: usize = 64 << 10;

/// The driver, opened to ask what its devices sign.
#[derive(Debug)]
pub struct EvidenceSource {
    session: Session,
    /// Held, so that what was identified is what is loaded.
    _library: Library,
}

/// Why no device can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoSource {
    /// The library.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The driver.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is another library than the one that the sampler loaded, which is the one that reports name.
    #[error("the NVML library on disk is not the one in use (its SHA-256 is {found}): restart the agent")]
    Other {
        /// SHA-256 of the file.
        found: Digest,
    },
}

impl EvidenceSource {
    /// Opens the library at `configured`, or the one that the system would load, if its digest is `expected`.
    ///
    /// # Errors
    /// [`NoSource`].
    pub fn open(configured: Option<&Path>, expected: &Digest) -> Result<Self, NoSource> {
        let library = Library::open(configured)?;
        if library.digest() != *expected {
            return Err(NoSource::Other {
                found: library.digest(),
            });
        }
        let session = Session::open(&library.load_path(), library.path())?;
        Ok(Self {
            session,
            _library: library,
        })
    }

    /// Asks the device with this driver index for its certificates and for a report over `nonce`. A device of another UUID there is
    /// not asked.
    ///
    /// # Errors
    /// [`NoEvidence`]. What is returned is untrusted, and no longer than the interface allows.
    pub fn attest(
        &self,
        index: u16,
        uuid: &DeviceUuid,
        nonce: &[u8; 32],
    ) -> Result<NvidiaEvidence, NoEvidence> {
        let device = self.session.handle(u32::from(index)).map_err(why)?;
        let found = self.session.uuid(device).map_err(why)?;
        if DeviceUuid::parse_nvml(&found).ok().as_ref() != Some(uuid) {
            return Err(NoEvidence::Failed);
        }
        // Where confidential computing is off a device that could sign answers "unknown error" (999), which is no failure of its.
        // With protected PCIe the feature itself is told as off.
        if self
            .session
            .confidential_compute()
            .is_ok_and(|(feature, _, multi_gpu)| (feature, multi_gpu) == (0, 0))
        {
            return Err(NoEvidence::NotOffered);
        }
        // The report first: a device that signs nothing need not show certificates.
        let report = self.report(device, nonce)?;
        let chain = self.chain(device)?;
        Ok(NvidiaEvidence {
            report: Bytes(report),
            chain: Bytes(chain),
        })
    }

    /// Lets go of the driver.
    pub fn close(self) {
        // A driver that will not be shut down is unloaded by the end of this process.
        self.session.close().ok();
    }

    /// `nvmlDeviceGetConfComputeGpuAttestationReport`: an SPDM request and the response to it. The report of the CEC, a companion chip of
    /// Ampere's, is left where it is: nothing here appraises it.
    fn report(&self, device: Handle, nonce: &[u8; 32]) -> Result<Vec<u8>, NoEvidence> {
        let lib = self.session.nvml().lib();
        let Ok(ask) = lib.nvmlDeviceGetConfComputeGpuAttestationReport.as_ref() else {
            return Err(NoEvidence::NotOffered);
        };
        let mut roomy: Box<Roomy<sys::nvmlConfComputeGpuAttestationReport_t>> = blank();
        roomy.value.nonce = *nonce;
        // SAFETY: the function has the signature of the header it was generated from, the session keeps the library loaded and initialised,
        // the handle is the library's own, and the pointer is to a live structure with spare bytes behind it.
        check(unsafe { ask(device.raw(), &raw mut roomy.value) })?;
        taken(&roomy.value.attestationReport, roomy.value.attestationReportSize)
    }

    /// `nvmlDeviceGetConfComputeGpuCertificate`: of its two chains the one under which reports are signed, PEM text, the firmware's
    /// certificate first. It ends where its size says, or with the first zero byte.
    fn chain(&self, device: Handle) -> Result<Vec<u8>, NoEvidence> {
        let lib = self.session.nvml().lib();
        let Ok(ask) = lib.nvmlDeviceGetConfComputeGpuCertificate.as_ref() else {
            return Err(NoEvidence::NotOffered);
        };
        let mut roomy: Box<Roomy<sys::nvmlConfComputeGpuCertificate_t>> = blank();
        // SAFETY: as above.
        check(unsafe { ask(device.raw(), &raw mut roomy.value) })?;
        let told = taken(
            &roomy.value.attestationCertChain,
            roomy.value.attestationCertChainSize,
        )?;
        let text: Vec<u8> = told.into_iter().take_while(|byte| *byte != 0).collect();
        if text.is_empty() {
            return Err(NoEvidence::Failed);
        }
        Ok(text)
    }
}

/// A structure of the interface, and room behind it.
#[repr(C)]
struct Roomy<T> {
    value: T,
    spare: [u8; SPARE],
}

/// The structures that the two calls fill: integers and byte arrays alone.
trait Plain {}
impl Plain for sys::nvmlConfComputeGpuAttestationReport_t {}
impl Plain for sys::nvmlConfComputeGpuCertificate_t {}

/// A structure with every bit zero, and so is the room behind it.
fn blank<T: Plain>() -> Box<Roomy<T>> {
    // SAFETY: all zero bits are a valid value of integers and of arrays of them, which is all that a plain structure holds.
    unsafe { Box::<Roomy<T>>::new_zeroed().assume_init() }
}

fn check(code: u32) -> Result<(), NoEvidence> {
    Fault::check(code).map_err(why)
}

/// The first `size` bytes of `array`, if it has so many.
fn taken(array: &[u8], size: u32) -> Result<Vec<u8>, NoEvidence> {
    if size == 0 {
        return Err(NoEvidence::Failed);
    }
    let size = usize::try_from(size).map_err(|_| NoEvidence::Oversized)?;
    let told = array.get(..size).ok_or(NoEvidence::Oversized)?;
    Ok(told.to_vec())
}

/// What a refusal of the driver's means for a round.
fn why(fault: Fault) -> NoEvidence {
    match fault {
        Fault::Unsupported => NoEvidence::NotOffered,
        Fault::NoPermission => NoEvidence::NoPermission,
        Fault::DeviceLost => NoEvidence::Lost,
        Fault::Malformed | Fault::DriverGone | Fault::Failed(_) => NoEvidence::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_beyond_the_array_is_told_and_never_read() {
        assert_eq!(taken(&[7; 8], 3), Ok(vec![7; 3]));
        assert_eq!(taken(&[7; 8], 8), Ok(vec![7; 8]));
        for size in [9, u32::MAX] {
            assert_eq!(taken(&[7; 8], size), Err(NoEvidence::Oversized));
        }
        assert_eq!(taken(&[7; 8], 0), Err(NoEvidence::Failed));
    }

    #[test]
    fn each_refusal_of_the_driver_has_its_reason() {
        for (code, reason) in [
            (3, NoEvidence::NotOffered),
            (13, NoEvidence::NotOffered),
            (4, NoEvidence::NoPermission),
            (15, NoEvidence::Lost),
            (1, NoEvidence::Failed),
            (999, NoEvidence::Failed),
        ] {
            assert_eq!(check(code), Err(reason), "{code}");
        }
        assert_eq!(check(0), Ok(()));
    }

    #[test]
    fn the_structures_are_those_of_the_interface() {
        let report = blank::<sys::nvmlConfComputeGpuAttestationReport_t>();
        let certificate = blank::<sys::nvmlConfComputeGpuCertificate_t>();
        assert_eq!(
            report.value.attestationReport.len(),
            weighbridge::hardware::nvidia::MAX_REPORT
        );
        assert_eq!(
            certificate.value.attestationCertChain.len(),
            NvidiaEvidence::MAX_CHAIN
        );
        assert!(report.spare.iter().all(|byte| *byte == 0) && report.value.nonce == [0; 32]);
    }
}
