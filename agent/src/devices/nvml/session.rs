//! One opened driver, and every call into it.
//!
//! Decides: what of an answer may be looked at. Trusts the library to write no further than the interface allows; a
//! library that does can only harm the sampler's process, which holds neither keys nor network. Does not establish that
//! an answer is true.
//!
//! Counts, clocks and the like go through `nvml-wrapper`. It falls short in three ways, and there the calls are made
//! through `nvml-wrapper-sys`: it reads texts up to a zero byte wherever that stands, it sends no scope with field
//! values, and its GPM samples and its shutdown panic when a symbol is missing.
#![expect(
    unsafe_code,
    reason = "NVML is a C interface; each call passes pointers to memory that outlives it"
)]

use super::fault::{Answer, Fault, UNANSWERED};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings as sys;
use std::ffi::{c_char, c_uint};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;

/// A device as the driver names it. It is valid until the session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(sys::nvmlDevice_t);

impl Handle {
    /// As the library's functions take it.
    pub(super) fn raw(self) -> sys::nvmlDevice_t {
        self.0
    }
}

/// A GPM sample that the driver has allocated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GpmSample(sys::nvmlGpmSample_t);

/// The metrics of one GPM request, as many as are asked for.
pub(super) type Metrics = sys::nvmlGpmMetricsGet_t;

/// One field value, as it is asked and answered.
pub(super) type FieldValue = sys::nvmlFieldValue_t;

/// One sample of a ring.
pub(super) type Sample = sys::nvmlSample_t;

/// The rings of samples that the driver fills by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// Power, in milliwatts.
    Power,
    /// Share of time in which a kernel was resident, in percent.
    Utilisation,
}

impl Ring {
    fn code(self) -> sys::nvmlSamplingType_t {
        match self {
            Self::Power => sys::nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES,
            Self::Utilisation => sys::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES,
        }
    }
}

/// The most processes that are listed; the driver's own ring holds 4,000 unless someone made it larger.
const MOST_PROCESSES: usize = 4_096;

/// Calls a function of the library, if the library has it.
macro_rules! call {
    ($session:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $session.nvml.lib().$name.as_ref() {
            // SAFETY: the function has the signature of the header it was generated from, the session keeps the
            // library loaded and initialised, handles are the library's own, and every pointer is to a live value.
            Ok(function) => Fault::check(unsafe { function($($argument),*) }),
            Err(_) => Err(Fault::Unsupported),
        }
    };
}

/// A structure of the interface with every bit zero.
///
/// # Safety
/// All zero bits must be a valid value of `T`: true of C structures of integers, floats and pointers.
unsafe fn zeroed<T>() -> T {
    // SAFETY: the caller's.
    unsafe { std::mem::zeroed() }
}

macro_rules! blank {
    ($type:ty) => {{
        // SAFETY: a C structure of integers, floats, byte arrays and raw pointers.
        let blank: $type = unsafe { zeroed() };
        blank
    }};
}

/// `NVML_STRUCT_VERSION`: the size of the structure with its version in the top byte.
fn version<T>(number: u32) -> u32 {
    let size = u32::try_from(size_of::<T>()).unwrap_or(0);
    size | number.checked_shl(24).unwrap_or(0)
}

/// What stands at the other end of a link.
pub(super) const LINK_TO_GPU: u32 = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU;
pub(super) const LINK_TO_SWITCH: u32 = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH;

/// An initialised driver library.
#[derive(Debug)]
pub(super) struct Session {
    /// Closed by [`Session::close`] only: its own destructor panics where the library has no `nvmlShutdown`.
    nvml: ManuallyDrop<Nvml>,
}

/// Why the driver could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be loaded, or refused to start.
    #[error("the NVIDIA driver could not be used: {0}")]
    Refused(String),
    /// The library is not a whole NVML.
    #[error("the NVML library has no nvmlShutdown, so it is not the driver's")]
    NotNvml,
}

impl Session {
    /// Loads the library at `path` and initialises it. Its name for people is `known_as`: the linker is given one that nobody wrote.
    pub(super) fn open(path: &Path, known_as: &Path) -> Result<Self, OpenError> {
        let nvml = Nvml::builder()
            .lib_path(path.as_os_str())
            .init()
            .map(ManuallyDrop::new)
            .map_err(|e| {
                let said = e.to_string();
                OpenError::Refused(said.replace(&*path.to_string_lossy(), &known_as.to_string_lossy()))
            })?;
        if nvml.lib().nvmlShutdown.is_err() {
            return Err(OpenError::NotNvml);
        }
        Ok(Self { nvml })
    }

    /// Shuts the library down and unloads it. Every handle and sample must have been given up before.
    pub(super) fn close(self) -> Answer<()> {
        ManuallyDrop::into_inner(self.nvml)
            .shutdown()
            .map_err(Fault::from)
    }

    /// The library, for calls that need no handle.
    pub(super) fn nvml(&self) -> &Nvml {
        &self.nvml
    }

    /// The device, for calls that the wrapper makes.
    pub(super) fn device(&self, handle: Handle) -> Device<'_> {
        // SAFETY: the handle came from this session's library; the borrow ends before the session does.
        unsafe { Device::new(handle.0, &self.nvml) }
    }

    pub(super) fn handle(&self, index: u32) -> Answer<Handle> {
        let mut handle = ptr::null_mut();
        call!(self, nvmlDeviceGetHandleByIndex_v2(index, &raw mut handle))?;
        non_null(handle)
    }

    /// The device that MIG made at `index` of `parent`.
    pub(super) fn mig_handle(&self, parent: Handle, index: u32) -> Answer<Handle> {
        let mut handle = ptr::null_mut();
        call!(
            self,
            nvmlDeviceGetMigDeviceHandleByIndex(parent.0, index, &raw mut handle)
        )?;
        non_null(handle)
    }

    /// Texts, each bounded by the length that the header gives for it.
    pub(super) fn driver_version(&self) -> Answer<String> {
        text(80, |to, len| call!(self, nvmlSystemGetDriverVersion(to, len)))
    }

    pub(super) fn nvml_version(&self) -> Answer<String> {
        text(80, |to, len| call!(self, nvmlSystemGetNVMLVersion(to, len)))
    }

    pub(super) fn uuid(&self, device: Handle) -> Answer<String> {
        text(96, |to, len| call!(self, nvmlDeviceGetUUID(device.0, to, len)))
    }

    pub(super) fn name(&self, device: Handle) -> Answer<String> {
        text(96, |to, len| call!(self, nvmlDeviceGetName(device.0, to, len)))
    }

    pub(super) fn serial(&self, device: Handle) -> Answer<String> {
        text(30, |to, len| call!(self, nvmlDeviceGetSerial(device.0, to, len)))
    }

    pub(super) fn board_part(&self, device: Handle) -> Answer<String> {
        text(80, |to, len| {
            call!(self, nvmlDeviceGetBoardPartNumber(device.0, to, len))
        })
    }

    pub(super) fn vbios(&self, device: Handle) -> Answer<String> {
        text(32, |to, len| {
            call!(self, nvmlDeviceGetVbiosVersion(device.0, to, len))
        })
    }

    pub(super) fn gsp_firmware(&self, device: Handle) -> Answer<String> {
        text(64, |to, _| {
            call!(self, nvmlDeviceGetGspFirmwareVersion(device.0, to))
        })
    }

    pub(super) fn pci(&self, device: Handle) -> Answer<sys::nvmlPciInfo_t> {
        let mut info = blank!(sys::nvmlPciInfo_t);
        call!(self, nvmlDeviceGetPciInfo_v3(device.0, &raw mut info))?;
        Ok(info)
    }

    pub(super) fn pdi(&self, device: Handle) -> Answer<u64> {
        let mut pdi = blank!(sys::nvmlPdi_t);
        pdi.version = version::<sys::nvmlPdi_t>(1);
        call!(self, nvmlDeviceGetPdi(device.0, &raw mut pdi))?;
        Ok(pdi.value)
    }

    /// Slot on the baseboard: asked directly, else from the platform information of Blackwell and later.
    pub(super) fn module_id(&self, device: Handle) -> Answer<u32> {
        let mut id = 0;
        if call!(self, nvmlDeviceGetModuleId(device.0, &raw mut id)).is_ok() {
            return Ok(id);
        }
        let mut info = blank!(sys::nvmlPlatformInfo_t);
        info.version = version::<sys::nvmlPlatformInfo_t>(2);
        call!(self, nvmlDeviceGetPlatformInfo(device.0, &raw mut info))?;
        Ok(u32::from(info.moduleId))
    }

    /// Version 3 of the structure, or version 2 where the driver is older; the fields read are common to both.
    pub(super) fn fabric(&self, device: Handle) -> Answer<sys::nvmlGpuFabricInfoV_t> {
        let mut info = blank!(sys::nvmlGpuFabricInfoV_t);
        info.version = version::<sys::nvmlGpuFabricInfo_v3_t>(3);
        let newest = call!(self, nvmlDeviceGetGpuFabricInfoV(device.0, &raw mut info));
        if newest == Err(Fault::Unsupported) {
            info.version = version::<sys::nvmlGpuFabricInfo_v2_t>(2);
            call!(self, nvmlDeviceGetGpuFabricInfoV(device.0, &raw mut info))?;
            return Ok(info);
        }
        newest.map(|()| info)
    }

    pub(super) fn nvlink_active(&self, device: Handle, link: u32) -> Answer<bool> {
        let mut state = 0;
        call!(self, nvmlDeviceGetNvLinkState(device.0, link, &raw mut state))?;
        Ok(state == sys::nvmlEnableState_enum_NVML_FEATURE_ENABLED)
    }

    /// What stands at the other end of a link (`nvmlIntNvLinkDeviceType_t`).
    pub(super) fn nvlink_remote_type(&self, device: Handle, link: u32) -> Answer<u32> {
        let mut kind = 0;
        call!(
            self,
            nvmlDeviceGetNvLinkRemoteDeviceType(device.0, link, &raw mut kind)
        )?;
        Ok(kind)
    }

    /// The domain, bus and device of what stands there.
    pub(super) fn nvlink_remote_place(&self, device: Handle, link: u32) -> Answer<(u32, u32, u32)> {
        let mut info = blank!(sys::nvmlPciInfo_t);
        call!(
            self,
            nvmlDeviceGetNvLinkRemotePciInfo_v2(device.0, link, &raw mut info)
        )?;
        Ok((info.domain, info.bus, info.device))
    }

    pub(super) fn ecc(&self, device: Handle) -> Answer<bool> {
        let (mut now, mut pending) = (0, 0);
        call!(
            self,
            nvmlDeviceGetEccMode(device.0, &raw mut now, &raw mut pending)
        )?;
        Ok(now == sys::nvmlEnableState_enum_NVML_FEATURE_ENABLED)
    }

    /// Whether MIG mode is on.
    pub(super) fn mig_mode(&self, device: Handle) -> Answer<bool> {
        let (mut now, mut pending) = (0, 0);
        call!(
            self,
            nvmlDeviceGetMigMode(device.0, &raw mut now, &raw mut pending)
        )?;
        Ok(now == 1)
    }

    pub(super) fn mig_places(&self, device: Handle) -> Answer<u32> {
        let mut count = 0;
        call!(self, nvmlDeviceGetMaxMigDeviceCount(device.0, &raw mut count))?;
        Ok(count)
    }

    /// The GPU instance behind a MIG device, and the device's size.
    pub(super) fn gpu_instance(&self, mig: Handle) -> Answer<(u32, sys::nvmlDeviceAttributes_t)> {
        let mut id = 0;
        call!(self, nvmlDeviceGetGpuInstanceId(mig.0, &raw mut id))?;
        let mut attributes = blank!(sys::nvmlDeviceAttributes_t);
        call!(self, nvmlDeviceGetAttributes_v2(mig.0, &raw mut attributes))?;
        Ok((id, attributes))
    }

    /// The reasons why the clock is held back, by their newer or older name.
    pub(super) fn clock_events(&self, device: Handle) -> Answer<u64> {
        let mut reasons = 0;
        let newer = call!(
            self,
            nvmlDeviceGetCurrentClocksEventReasons(device.0, &raw mut reasons)
        );
        if newer == Err(Fault::Unsupported) {
            call!(
                self,
                nvmlDeviceGetCurrentClocksThrottleReasons(device.0, &raw mut reasons)
            )?;
            return Ok(reasons);
        }
        newer.map(|()| reasons)
    }

    /// Feature, developer tools and multi-GPU mode of confidential computing.
    pub(super) fn confidential_compute(&self) -> Answer<(u32, u32, u32)> {
        let mut settings = blank!(sys::nvmlSystemConfComputeSettings_t);
        settings.version = version::<sys::nvmlSystemConfComputeSettings_t>(1);
        if call!(self, nvmlSystemGetConfComputeSettings(&raw mut settings)).is_ok() {
            return Ok((settings.ccFeature, settings.devToolsMode, settings.multiGpuMode));
        }
        let mut state = blank!(sys::nvmlConfComputeSystemState_t);
        call!(self, nvmlSystemGetConfComputeState(&raw mut state))?;
        Ok((state.ccFeature, state.devToolsMode, 0))
    }

    /// Asks for all `fields` in one call; each answer has a code of its own.
    pub(super) fn fields(&self, device: Handle, fields: &mut [FieldValue]) -> Answer<()> {
        let count = i32::try_from(fields.len()).map_err(|_| Fault::Malformed)?;
        call!(
            self,
            nvmlDeviceGetFieldValues(device.0, count, fields.as_mut_ptr())
        )
    }

    /// Whether accounting mode is on.
    pub(super) fn accounting(&self, device: Handle) -> Answer<bool> {
        let mut mode = 0;
        call!(self, nvmlDeviceGetAccountingMode(device.0, &raw mut mode))?;
        Ok(mode == sys::nvmlEnableState_enum_NVML_FEATURE_ENABLED)
    }

    /// The numbers of the processes, running or ended, that accounting lists.
    pub(super) fn accounted(&self, device: Handle) -> Answer<Vec<u32>> {
        let mut processes = vec![0; MOST_PROCESSES];
        let mut count = u32::try_from(processes.len()).map_err(|_| Fault::Malformed)?;
        call!(
            self,
            nvmlDeviceGetAccountingPids(device.0, &raw mut count, processes.as_mut_ptr())
        )?;
        let count = usize::try_from(count).map_err(|_| Fault::Malformed)?;
        if count > processes.len() {
            return Err(Fault::Malformed);
        }
        processes.truncate(count);
        Ok(processes)
    }

    /// How long a process lived, in milliseconds; `None` while it runs.
    pub(super) fn lifetime_ms(&self, device: Handle, process: u32) -> Answer<Option<u64>> {
        let mut stats = blank!(sys::nvmlAccountingStats_t);
        call!(
            self,
            nvmlDeviceGetAccountingStats(device.0, process, &raw mut stats)
        )?;
        Ok((stats.isRunning == 0).then_some(stats.time))
    }

    /// How many samples of a kind the driver's ring may hold.
    pub(super) fn samples_held(&self, device: Handle, kind: Ring) -> Answer<u32> {
        let (mut value_type, mut count) = (0, 0);
        call!(
            self,
            nvmlDeviceGetSamples(
                device.0,
                kind.code(),
                0,
                &raw mut value_type,
                &raw mut count,
                ptr::null_mut()
            )
        )?;
        Ok(count)
    }

    /// Fills `room` with the samples newer than `since_us`. Returns how many there are, and the type of their values.
    pub(super) fn samples(
        &self,
        device: Handle,
        kind: Ring,
        since_us: u64,
        room: &mut [Sample],
    ) -> Answer<(usize, u32)> {
        let mut value_type = u32::MAX;
        let mut count = u32::try_from(room.len()).map_err(|_| Fault::Malformed)?;
        call!(
            self,
            nvmlDeviceGetSamples(
                device.0,
                kind.code(),
                since_us,
                &raw mut value_type,
                &raw mut count,
                room.as_mut_ptr()
            )
        )?;
        let count = usize::try_from(count).map_err(|_| Fault::Malformed)?;
        if count > room.len() {
            return Err(Fault::Malformed);
        }
        Ok((count, value_type))
    }

    pub(super) fn gpm_supported(&self, device: Handle) -> bool {
        let lib = self.nvml.lib();
        // What cannot be freed is not taken.
        if lib.nvmlGpmSampleFree.is_err() {
            return false;
        }
        let mut support = blank!(sys::nvmlGpmSupport_t);
        support.version = 1;
        call!(self, nvmlGpmQueryDeviceSupport(device.0, &raw mut support)).is_ok()
            && support.isSupportedDevice != 0
    }

    pub(super) fn gpm_allocate(&self) -> Answer<GpmSample> {
        let mut sample = ptr::null_mut();
        call!(self, nvmlGpmSampleAlloc(&raw mut sample))?;
        if sample.is_null() {
            return Err(Fault::Malformed);
        }
        Ok(GpmSample(sample))
    }

    /// Fills `sample`, for the whole device or for one GPU instance of it.
    pub(super) fn gpm_take(
        &self,
        device: Handle,
        instance: Option<u32>,
        sample: &mut GpmSample,
    ) -> Answer<()> {
        match instance {
            None => call!(self, nvmlGpmSampleGet(device.0, sample.0)),
            Some(id) => call!(self, nvmlGpmMigSampleGet(device.0, id, sample.0)),
        }
    }

    /// The metrics between two samples.
    pub(super) fn gpm_metrics(&self, from: &GpmSample, to: &GpmSample, request: &mut Metrics) -> Answer<()> {
        request.sample1 = from.0;
        request.sample2 = to.0;
        call!(self, nvmlGpmMetricsGet(ptr::from_mut(request)))
    }

    pub(super) fn gpm_free(&self, sample: GpmSample) {
        // A sample that the driver will not free is the driver's to keep; there is nothing left to do about it.
        call!(self, nvmlGpmSampleFree(sample.0)).ok();
    }
}

/// An empty request for metrics.
pub(super) fn metrics() -> Box<Metrics> {
    Box::new(blank!(Metrics))
}

/// A field value to ask for.
pub(super) fn field(id: u32, scope: u32) -> FieldValue {
    let mut field = blank!(FieldValue);
    field.fieldId = id;
    field.scopeId = scope;
    field.nvmlReturn = UNANSWERED;
    field
}

/// The answer in `field` as an unsigned number, and whether its type is only 32 bits wide.
pub(super) fn number(field: &FieldValue) -> Answer<(u64, bool)> {
    Fault::check(field.nvmlReturn)?;
    plain(&field.value, field.valueType)
}

/// An empty sample.
pub(super) fn blank_sample() -> Sample {
    blank!(Sample)
}

/// The value of a sample.
pub(super) fn sampled(sample: &Sample, value_type: u32) -> Answer<u64> {
    plain(&sample.sampleValue, value_type).map(|(value, _)| value)
}

/// A value of the type that is told, and whether that is only 32 bits wide.
fn plain(value: &sys::nvmlValue_t, value_type: u32) -> Answer<(u64, bool)> {
    // SAFETY: every member of the union is a plain number no wider than the union, whose bits are all initialised by
    // `field`, by `blank_sample` or by the library; any bits are a valid value of each.
    let (signed, narrow) = unsafe {
        match value_type {
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT => {
                return Ok((u64::from(value.uiVal), true));
            }
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG
            | sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG => return Ok((value.ullVal, false)),
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG => (value.sllVal, false),
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT => (i64::from(value.siVal), true),
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT => (i64::from(value.usVal), false),
            _ => return Err(Fault::Malformed),
        }
    };
    u64::try_from(signed)
        .map(|v| (v, narrow))
        .map_err(|_| Fault::Malformed)
}

fn non_null(handle: sys::nvmlDevice_t) -> Answer<Handle> {
    if handle.is_null() {
        return Err(Fault::Malformed);
    }
    Ok(Handle(handle))
}

/// Reads a text of at most `limit` bytes, its zero byte counted.
///
/// The buffer is larger than what the library is told, so that a library that is off by some bytes harms nobody; a
/// text without an end within its limit is malformed, and what cannot be printed becomes `?`.
fn text(limit: c_uint, call: impl FnOnce(*mut c_char, c_uint) -> Answer<()>) -> Answer<String> {
    let mut buffer = [0u8; 1024];
    call(buffer.as_mut_ptr().cast(), limit)?;
    let limit = usize::try_from(limit).map_err(|_| Fault::Malformed)?;
    let end = buffer
        .iter()
        .take(limit)
        .position(|b| *b == 0)
        .ok_or(Fault::Malformed)?;
    let told = buffer.get(..end).ok_or(Fault::Malformed)?;
    Ok(told
        .iter()
        .map(|b| {
            if (b' '..=b'~').contains(b) {
                char::from(*b)
            } else {
                '?'
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8], limit: c_uint) -> Answer<String> {
        text(limit, |to, _| {
            for (i, b) in bytes.iter().enumerate() {
                // SAFETY: the buffer holds 1024 bytes, and the tests write fewer.
                unsafe { to.add(i).cast::<u8>().write(*b) };
            }
            Ok(())
        })
    }

    #[test]
    fn a_text_ends_within_its_limit_or_is_malformed() {
        assert_eq!(told(b"H100\0rest", 96), Ok("H100".to_owned()));
        assert_eq!(told(&[b'x'; 200], 96), Err(Fault::Malformed));
        assert_eq!(told(b"a\x07\xff\0", 96), Ok("a??".to_owned()));
    }

    #[test]
    fn a_field_that_nobody_answered_is_no_value() {
        assert_eq!(number(&field(83, 0)), Err(Fault::Unsupported));
        let mut negative = field(83, 0);
        negative.nvmlReturn = 0;
        negative.valueType = sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG;
        negative.value.sllVal = -1;
        assert_eq!(number(&negative), Err(Fault::Malformed));
        negative.valueType = 77;
        assert_eq!(number(&negative), Err(Fault::Malformed));
    }
}
