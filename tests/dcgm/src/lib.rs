//! A stand-in for DCGM's client library: the few calls that the agent makes, answered from a scenario file.
//!
//! Decides nothing: the file says what a host engine would have answered, and is read anew at every call. Trusts the file,
//! which belongs to whoever runs the test, and the caller's pointers, as the real library does. Establishes nothing about
//! DCGM: layouts and codes are those of its public headers, written down here a second time, so that a slip in the agent's own does not
//! agree with itself.
#![allow(
    unsafe_code,
    reason = "a C interface takes and fills raw pointers; each export says what its caller vouches for"
)]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ushort};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

const OK: c_int = 0;
const BAD_PARAMETER: c_int = -1;
const UNINITIALISED: c_int = -10;
const VERSION_MISMATCH: c_int = -12;
const NO_DATA: c_int = -14;
const NOT_WATCHED: c_int = -16;
const NO_PERMISSION: c_int = -17;
const CONNECTION_NOT_VALID: c_int = -21;

/// `DCGM_FP64_BLANK`, and the blank that says "not supported".
const BLANK: f64 = 140_737_488_355_328.0;
const BLANK_NOT_SUPPORTED: f64 = BLANK + 2.0;

/// Versions are the size with the number of the layout above it.
const CONNECT_VERSION: c_uint = 0x0200_0010;
const ATTRIBUTES_VERSION: c_uint = 0x0300_1464;
const VALUE_VERSION: c_uint = 0x0200_1020;

/// Where the UUID stands in the attributes.
const UUID_AT: usize = 4_148;
/// How long it may be, without the NUL.
const MOST_TEXT: usize = 255;

const HANDLE: usize = 0x7fff_0001;
const GPU: c_uint = 1;
const DOUBLE: c_ushort = 100;
const MOST_GPUS: usize = 32;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[serde(default)]
    state: State,
    address: Option<String>,
    every_ms: Option<i64>,
    #[serde(default)]
    at_us: i64,
    #[serde(default, rename = "gpu")]
    gpus: Vec<Gpu>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Up,
    Away,
    Old,
    Hang,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gpu {
    uuid: String,
    #[serde(default)]
    values: BTreeMap<String, Said>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Ratio(f64),
    Word(String),
}

impl Said {
    /// Status and value.
    fn answer(&self) -> (c_int, f64) {
        match self {
            Self::Ratio(ratio) => (OK, *ratio),
            Self::Word(word) => match word.as_str() {
                "no data" => (NO_DATA, BLANK),
                "no permission" => (NO_PERMISSION, BLANK),
                "blank" => (OK, BLANK),
                "not supported" => (OK, BLANK_NOT_SUPPORTED),
                "malformed" => (OK, 7.5),
                _ => (NOT_WATCHED, BLANK),
            },
        }
    }
}

/// The scenario that was named in process, whether the library was started, and whether there is a connection.
static NAMED: Mutex<(Option<PathBuf>, bool, bool)> = Mutex::new((None, false, false));

fn known() -> (Option<PathBuf>, bool, bool) {
    NAMED.lock().map(|known| known.clone()).unwrap_or_default()
}

/// Reads the scenario; one that cannot be read is an engine that is away.
fn scenario() -> Scenario {
    let path = known()
        .0
        .or_else(|| std::env::var_os("WEIGHBRIDGE_DCGM_SCENARIO").map(PathBuf::from));
    path.and_then(|path| read(&path)).unwrap_or_else(|| Scenario {
        state: State::Away,
        ..Scenario::default()
    })
}

#[expect(clippy::disallowed_methods, reason = "the scenario belongs to the test")]
fn read(path: &Path) -> Option<Scenario> {
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    match toml::from_str(&text) {
        Ok(scenario) => Some(scenario),
        Err(e) => {
            eprintln!("{}: {e}", path.display());
            None
        }
    }
}

/// Notes a call where a test wants to see them, and says how the engine stands.
fn enter(call: &str) -> Result<Scenario, c_int> {
    if let Some(log) = std::env::var_os("WEIGHBRIDGE_DCGM_LOG") {
        let file = fs::File::options().create(true).append(true).open(log);
        file.and_then(|mut file| writeln!(file, "{call}")).ok();
    }
    let scenario = scenario();
    match scenario.state {
        State::Old => Err(VERSION_MISMATCH),
        _ => Ok(scenario),
    }
}

/// The same for a call on a connection.
fn on_connection(call: &str, handle: usize) -> Result<Scenario, c_int> {
    let scenario = enter(call)?;
    let (_, started, connected) = known();
    if !started {
        return Err(UNINITIALISED);
    }
    if scenario.state == State::Away || !connected || handle != HANDLE {
        return Err(CONNECTION_NOT_VALID);
    }
    Ok(scenario)
}

fn code(answer: Result<(), c_int>) -> c_int {
    answer.err().unwrap_or(OK)
}

fn index(number: c_uint) -> Result<usize, c_int> {
    usize::try_from(number).map_err(|_| BAD_PARAMETER)
}

fn remember(change: impl FnOnce(&mut (Option<PathBuf>, bool, bool))) {
    if let Ok(mut known) = NAMED.lock() {
        change(&mut known);
    }
}

/// Microseconds since 1970.
fn wall_us() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec` through a pointer to one that lives on this stack.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec.div_euclid(1_000))
}

impl Scenario {
    fn stamp(&self) -> i64 {
        let Some(every) = self.every_ms.map(|ms| ms.saturating_mul(1_000)) else {
            return self.at_us;
        };
        let now = wall_us();
        now.saturating_sub(now.checked_rem(every).unwrap_or(0))
    }
}

/// Names the scenario, instead of the environment.
///
/// # Safety
/// `path` is a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weighbridge_dcgm_scenario(path: *const c_char) -> c_int {
    if path.is_null() {
        return BAD_PARAMETER;
    }
    // SAFETY: the caller's.
    let text: CString = unsafe { CStr::from_ptr(path) }.to_owned();
    let Ok(text) = text.into_string() else {
        return BAD_PARAMETER;
    };
    remember(|known| known.0 = Some(PathBuf::from(text)));
    OK
}

#[unsafe(no_mangle)]
extern "C" fn dcgmInit() -> c_int {
    code(enter("dcgmInit").map(|_| remember(|known| known.1 = true)))
}

#[unsafe(no_mangle)]
extern "C" fn dcgmShutdown() -> c_int {
    code(enter("dcgmShutdown").map(|_| {
        remember(|known| {
            known.1 = false;
            known.2 = false;
        });
    }))
}

#[repr(C)]
struct Connect {
    version: c_uint,
    persist: c_uint,
    timeout_ms: c_uint,
    unix_socket: c_uint,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dcgmConnect_v2(
    address: *const c_char,
    parameters: *mut Connect,
    handle: *mut usize,
) -> c_int {
    let connect = || {
        let scenario = enter("dcgmConnect_v2")?;
        if address.is_null() || parameters.is_null() || handle.is_null() {
            return Err(BAD_PARAMETER);
        }
        if !known().1 {
            return Err(UNINITIALISED);
        }
        // SAFETY: not null, so the caller vouched for parameters and for a string that ends with NUL.
        let (parameters, address) = unsafe { (parameters.read(), CStr::from_ptr(address)) };
        if parameters.version != CONNECT_VERSION {
            return Err(VERSION_MISMATCH);
        }
        let named = address.to_string_lossy();
        let is_path = named.starts_with('/');
        if is_path != (parameters.unix_socket == 1) || parameters.persist != 0 || parameters.timeout_ms == 0 {
            return Err(BAD_PARAMETER);
        }
        let expected = scenario.address.as_deref().unwrap_or(&named);
        if scenario.state == State::Away || expected != named {
            return Err(CONNECTION_NOT_VALID);
        }
        remember(|known| known.2 = true);
        // SAFETY: not null, so the caller vouched for a place for a handle.
        unsafe { handle.write(HANDLE) };
        Ok(())
    };
    code(connect())
}

#[unsafe(no_mangle)]
extern "C" fn dcgmDisconnect(handle: usize) -> c_int {
    code(on_connection("dcgmDisconnect", handle).map(|_| remember(|known| known.2 = false)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dcgmGetAllDevices(handle: usize, ids: *mut c_uint, count: *mut c_int) -> c_int {
    let list = || {
        let scenario = on_connection("dcgmGetAllDevices", handle)?;
        let mut listed: c_int = 0;
        for (place, _) in scenario.gpus.iter().take(MOST_GPUS).enumerate() {
            let id = c_uint::try_from(place).map_err(|_| BAD_PARAMETER)?;
            // SAFETY: the caller gave room for 32 numbers.
            unsafe { ids.add(place).write(id) };
            listed = listed.saturating_add(1);
        }
        // SAFETY: the caller gave a place for the count.
        unsafe { count.write(listed) };
        Ok(())
    };
    code(list())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dcgmGetDeviceAttributes(handle: usize, gpu: c_uint, attributes: *mut u8) -> c_int {
    let fill = || {
        let scenario = on_connection("dcgmGetDeviceAttributes", handle)?;
        // SAFETY: the caller gave attributes, which begin with their version.
        if unsafe { attributes.cast::<c_uint>().read_unaligned() } != ATTRIBUTES_VERSION {
            return Err(VERSION_MISMATCH);
        }
        let place = usize::try_from(gpu).map_err(|_| BAD_PARAMETER)?;
        let gpu = scenario.gpus.get(place).ok_or(BAD_PARAMETER)?;
        for (at, byte) in gpu.uuid.bytes().take(MOST_TEXT).chain([0]).enumerate() {
            // SAFETY: the attributes of this version are 5,220 bytes long, and the text within them 256.
            unsafe { attributes.add(UUID_AT).add(at).write(byte) };
        }
        Ok(())
    };
    code(fill())
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Entity {
    group: c_uint,
    id: c_uint,
}

#[repr(C)]
struct Value {
    version: c_uint,
    group: c_uint,
    id: c_uint,
    field: c_ushort,
    kind: c_ushort,
    status: c_int,
    unused: c_uint,
    stamp: i64,
    double: f64,
    rest: [u8; 4_088],
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dcgmEntitiesGetLatestValues(
    handle: usize,
    entities: *mut Entity,
    entity_count: c_uint,
    fields: *mut c_ushort,
    field_count: c_uint,
    flags: c_uint,
    values: *mut Value,
) -> c_int {
    let fill = || {
        let scenario = on_connection("dcgmEntitiesGetLatestValues", handle)?;
        while self::scenario().state == State::Hang {
            std::thread::sleep(Duration::from_secs(1));
        }
        if flags != 0 {
            return Err(BAD_PARAMETER);
        }
        let stamp = scenario.stamp();
        let mut next = values;
        // From the last to the first: no order is promised.
        for entity in (0..index(entity_count)?).rev() {
            // SAFETY: the caller gave as many entities as it said.
            let entity = unsafe { entities.add(entity).read() };
            let gpu = scenario
                .gpus
                .get(index(entity.id)?)
                .filter(|_| entity.group == GPU);
            for field in (0..index(field_count)?).rev() {
                // SAFETY: the caller gave as many fields as it said.
                let field = unsafe { fields.add(field).read() };
                let said = gpu.and_then(|gpu| gpu.values.get(&field.to_string()));
                let (status, double) = said.map_or((NOT_WATCHED, BLANK), Said::answer);
                let value = Value {
                    version: VALUE_VERSION,
                    group: entity.group,
                    id: entity.id,
                    field,
                    kind: DOUBLE,
                    status,
                    unused: 0,
                    stamp: if status == OK { stamp } else { 0 },
                    double,
                    rest: [0; 4_088],
                };
                // SAFETY: the caller gave room for a value of each field of each entity.
                unsafe {
                    next.write(value);
                    next = next.add(1);
                }
            }
        }
        Ok(())
    };
    code(fill())
}
