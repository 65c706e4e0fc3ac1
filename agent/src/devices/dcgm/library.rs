//! DCGM's client library, and every call into it.
//!
//! Decides: which calls are made at all: to connect, to list devices, and to read the latest of what others watch. None starts
//! an engine, adds a watch or asks for a reading of its own, so that the performance monitor, which only one program may use before
//! Hopper, stays with whoever has it. Trusts the library to write no further than its interface allows; one that does can
//! only harm the sampler's process. Does not establish that an answer is true.
//!
//! Layouts and codes are those of DCGM 3 and 4 (`dcgm_structs.h`); they did not change in between.
#![expect(
    unsafe_code,
    reason = "DCGM is a C interface; each call passes pointers to memory that outlives it"
)]

use super::endpoint::Endpoint;
use super::fault::EngineFault;
use super::stream::{Answer, Value, share};
use std::ffi::{CString, c_char, c_int, c_uint, c_ushort};
use std::mem::ManuallyDrop;
use std::path::Path;
use weighbridge::telemetry::LossReason;

/// How long a connection may take, in milliseconds: well below what a call of the sampler may.
const CONNECT_MS: c_uint = 500;

/// The most GPUs of an engine (`DCGM_MAX_NUM_DEVICES`).
const MOST_GPUS: usize = 32;

/// `DCGM_FE_GPU`: an entity that is a GPU.
const GPU: c_uint = 1;

/// `DCGM_FT_DOUBLE`: a value in floating point.
const DOUBLE: c_ushort = 100;

/// `DCGM_FP64_BLANK`: from here on it is no value, but says that there is none and why.
const BLANK: f64 = 140_737_488_355_328.0;
const BLANK_NOT_PERMISSIONED: f64 = BLANK + 3.0;

const OK: c_int = 0;

/// A connection, as the library names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection(usize);

/// `dcgmConnectV2Params_v2`.
#[repr(C)]
struct ConnectParameters {
    version: c_uint,
    /// Zero: what belongs to the connection ends with it.
    persist: c_uint,
    timeout_ms: c_uint,
    unix_socket: c_uint,
}

/// `dcgmGroupEntityPair_t`.
#[repr(C)]
struct Entity {
    group: c_uint,
    id: c_uint,
}

/// `dcgmFieldValue_v2`. A value is a number, or up to 4,096 bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct FieldValue {
    version: c_uint,
    group: c_uint,
    id: c_uint,
    field: c_ushort,
    kind: c_ushort,
    status: c_int,
    unused: c_uint,
    stamp_us: i64,
    value: [u64; 512],
}

impl FieldValue {
    const NONE: Self = Self {
        version: version::<Self>(2),
        group: 0,
        id: 0,
        field: 0,
        kind: 0,
        status: NOT_ANSWERED,
        unused: 0,
        stamp_us: 0,
        value: [0; 512],
    };
}

/// `dcgmDeviceAttributes_v3`, of which the version and the UUID are looked at.
#[repr(C)]
struct Attributes {
    version: c_uint,
    /// Clocks, thermal settings and power limits, then of the identifiers: version, brand, name, PCI place and serial number.
    before: [u8; 4_144],
    uuid: [u8; 256],
    after: [u8; 816],
}

/// A status that no engine gives.
const NOT_ANSWERED: c_int = c_int::MIN;

/// A structure's size, with the number of its layout in the top byte.
#[expect(
    clippy::as_conversions,
    reason = "sizes of small structures, known when this is compiled"
)]
const fn version<T>(number: u32) -> c_uint {
    size_of::<T>() as u32 | (number << 24)
}

// What the headers state of them, so that a layout that slipped does not compile.
const _: () = {
    assert!(version::<ConnectParameters>(2) == 0x0200_0010);
    assert!(version::<FieldValue>(2) == 0x0200_1020);
    assert!(version::<Attributes>(3) == 0x0300_1464);
};

type Connect = unsafe extern "C" fn(*const c_char, *mut ConnectParameters, *mut usize) -> c_int;
type Devices = unsafe extern "C" fn(usize, *mut c_uint, *mut c_int) -> c_int;
type Describe = unsafe extern "C" fn(usize, c_uint, *mut Attributes) -> c_int;
type Latest =
    unsafe extern "C" fn(usize, *mut Entity, c_uint, *mut c_ushort, c_uint, c_uint, *mut FieldValue) -> c_int;

/// The library, started.
pub(super) struct Client {
    shutdown: unsafe extern "C" fn() -> c_int,
    connect: Connect,
    disconnect: unsafe extern "C" fn(usize) -> c_int,
    devices: Devices,
    describe: Describe,
    latest: Latest,
    room: Vec<FieldValue>,
    /// Never unloaded: threads of its own may still run in it. The process ends over it.
    _library: ManuallyDrop<libloading::Library>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Loads the library at `path` and starts it. Its name for people is `known_as`.
    pub(super) fn start(path: &Path, known_as: &Path) -> Result<Self, EngineFault> {
        // SAFETY: loading runs the library's own start; that it is DCGM's is the operator's word, as with NVML.
        let library = unsafe { libloading::Library::new(path) }
            .map_err(|e| EngineFault::NotLoaded(said(&e, path, known_as)))?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the function has the signature of the public header, and the library is never unloaded.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }
                    .map_err(|e| EngineFault::NotLoaded(said(&e, path, known_as)))?
            };
        }
        let init: unsafe extern "C" fn() -> c_int = function!("dcgmInit");
        let client = Self {
            shutdown: function!("dcgmShutdown"),
            connect: function!("dcgmConnect_v2"),
            disconnect: function!("dcgmDisconnect"),
            devices: function!("dcgmGetAllDevices"),
            describe: function!("dcgmGetDeviceAttributes"),
            latest: function!("dcgmEntitiesGetLatestValues"),
            room: Vec::new(),
            _library: ManuallyDrop::new(library),
        };
        // SAFETY: it takes nothing, and may be called at any time.
        check("dcgmInit", unsafe { init() })?;
        Ok(client)
    }

    /// Connects to an engine that runs already.
    pub(super) fn connect(&self, endpoint: &Endpoint) -> Result<Connection, EngineFault> {
        let (address, unix_socket) = match endpoint {
            Endpoint::Unix(path) => (path.display().to_string(), 1),
            Endpoint::Loopback(address) => (address.to_string(), 0),
        };
        let address = CString::new(address).map_err(|_| EngineFault::Malformed)?;
        let mut parameters = ConnectParameters {
            version: version::<ConnectParameters>(2),
            persist: 0,
            timeout_ms: CONNECT_MS,
            unix_socket,
        };
        let mut handle = 0;
        // SAFETY: a string that ends with a zero, and two live values.
        let code = unsafe { (self.connect)(address.as_ptr(), &raw mut parameters, &raw mut handle) };
        check("dcgmConnect_v2", code)?;
        Ok(Connection(handle))
    }

    /// Ends a connection; one that is broken is ended already.
    pub(super) fn disconnect(&self, connection: Connection) {
        // SAFETY: the handle came from this library, which refuses one that it does not know.
        unsafe { (self.disconnect)(connection.0) };
    }

    /// The engine's numbers of its GPUs.
    pub(super) fn devices(&self, connection: Connection) -> Result<Vec<c_uint>, EngineFault> {
        let mut ids = [0; MOST_GPUS];
        let mut count = 0;
        // SAFETY: room for `DCGM_MAX_NUM_DEVICES` numbers, and a live value for their count.
        let code = unsafe { (self.devices)(connection.0, ids.as_mut_ptr(), &raw mut count) };
        check("dcgmGetAllDevices", code)?;
        let count = usize::try_from(count).map_err(|_| EngineFault::Malformed)?;
        ids.get(..count)
            .map(<[c_uint]>::to_vec)
            .ok_or(EngineFault::Malformed)
    }

    /// The UUID of a GPU, as the driver spells it.
    pub(super) fn uuid(&self, connection: Connection, gpu: c_uint) -> Result<String, EngineFault> {
        let mut attributes = Box::new(Attributes {
            version: version::<Attributes>(3),
            before: [0; 4_144],
            uuid: [0; 256],
            after: [0; 816],
        });
        // SAFETY: a live structure of the version that it names.
        let code = unsafe { (self.describe)(connection.0, gpu, &raw mut *attributes) };
        check("dcgmGetDeviceAttributes", code)?;
        let text = attributes.uuid.split(|b| *b == 0).next().unwrap_or_default();
        String::from_utf8(text.to_vec()).map_err(|_| EngineFault::Malformed)
    }

    /// The latest values of `fields` that somebody watches, for each of `gpus`: the GPU, the field, and what it is. Their
    /// order is the engine's.
    pub(super) fn latest(
        &mut self,
        connection: Connection,
        gpus: &[c_uint],
        fields: &[c_ushort],
    ) -> Result<impl Iterator<Item = (c_uint, c_ushort, Value)>, EngineFault> {
        /// Not `DCGM_FV_FLAG_LIVE_DATA`, which would read the driver.
        const CACHED: c_uint = 0;
        let mut entities: Vec<_> = gpus.iter().map(|id| Entity { group: GPU, id: *id }).collect();
        let mut fields = fields.to_vec();
        let count = |of: usize| c_uint::try_from(of).map_err(|_| EngineFault::Malformed);
        let (entity_count, field_count) = (count(entities.len())?, count(fields.len())?);
        self.room.clear();
        self.room
            .resize(entities.len().saturating_mul(fields.len()), FieldValue::NONE);
        // SAFETY: arrays of the lengths that are named, and room for a value of each field of each entity.
        let code = unsafe {
            (self.latest)(
                connection.0,
                entities.as_mut_ptr(),
                entity_count,
                fields.as_mut_ptr(),
                field_count,
                CACHED,
                self.room.as_mut_ptr(),
            )
        };
        check("dcgmEntitiesGetLatestValues", code)?;
        let ours = self.room.iter().filter(|value| value.group == GPU);
        Ok(ours.map(|value| (value.id, value.field, value.told())))
    }

    /// Stops the library. Every connection ends with it.
    pub(super) fn stop(self) {
        // SAFETY: it was started, and nothing of it is used any more.
        unsafe { (self.shutdown)() };
    }
}

impl FieldValue {
    fn told(&self) -> Value {
        Value {
            stamp_us: self.stamp_us,
            share: self.share(),
        }
    }

    fn share(&self) -> Answer {
        match self.status {
            OK => {}
            // NOT_SUPPORTED, UNKNOWN_FIELD, NOT_WATCHED, GPU_NOT_SUPPORTED, MODULE_NOT_LOADED, PROFILING_NOT_SUPPORTED.
            -6 | -13 | -16 | -22 | -33 | -36 => return Answer::Unsupported,
            // NO_PERMISSION, REQUIRES_ROOT.
            -17 | -29 => return Answer::Lost(LossReason::NoPermission),
            -18 => return Answer::Lost(LossReason::DeviceLost),
            _ => return Answer::Lost(LossReason::Failed),
        }
        let [first, ..] = self.value;
        let ratio = f64::from_bits(first);
        if self.kind != DOUBLE {
            return Answer::Lost(LossReason::Malformed);
        }
        if (BLANK_NOT_PERMISSIONED..BLANK + 4.0).contains(&ratio) {
            return Answer::Lost(LossReason::NoPermission);
        }
        if ratio >= BLANK {
            return Answer::Unsupported;
        }
        share(ratio)
    }
}

fn check(call: &'static str, code: c_int) -> Result<(), EngineFault> {
    match code {
        OK => Ok(()),
        // VER_MISMATCH.
        -12 => Err(EngineFault::OtherVersion),
        // CONNECTION_NOT_VALID.
        -21 => Err(EngineFault::NoConnection),
        code => Err(EngineFault::Refused { call, code }),
    }
}

/// What the linker said, with the name that a person knows the library by.
fn said(error: &libloading::Error, path: &Path, known_as: &Path) -> String {
    let text = error.to_string();
    text.replace(&*path.to_string_lossy(), &known_as.to_string_lossy())
}
