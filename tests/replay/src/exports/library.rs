//! The library itself: start, stop, versions, error texts, and what only a replay has.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::Path;

use nvml_wrapper_sys::bindings as nvml;

use crate::clock;
use crate::pointer::{Out, Text, fixed, struct_version};
use crate::session::{self, code};

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlInit_v2() -> nvml::nvmlReturn_t {
    code(session::init("nvmlInit_v2"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvml::nvmlReturn_t {
    code(session::init("nvmlInitWithFlags"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlShutdown() -> nvml::nvmlReturn_t {
    code(session::shutdown())
}

/// Sets the virtual time of this copy of the library: nanoseconds since the play began. From the first call on, only
/// this time counts.
#[unsafe(no_mangle)]
extern "C" fn weighbridge_replay_set_time_ns(now: u64) {
    clock::set_virtual_ns(now);
}

/// Names the scenario file for this copy of the library, for programs that must not change their environment. It
/// takes effect at the next initialisation.
#[unsafe(no_mangle)]
unsafe extern "C" fn weighbridge_replay_scenario(path: Text) -> nvml::nvmlReturn_t {
    code(path.get().map(|path| session::choose(Path::new(path))))
}

calls! { system:
    nvmlSystemGetDriverVersion(call, version: Out<c_char>, length: c_uint) {
        call.text(version, length, call.play().driver_version())
    }

    nvmlSystemGetNVMLVersion(call, version: Out<c_char>, length: c_uint) {
        call.text(version, length, &format!("13.{}", call.play().driver_version()))
    }

    nvmlSystemGetCudaDriverVersion(call, version: Out<c_int>) {
        version.put(cuda_version(call.play().driver_version()))
    }

    nvmlSystemGetCudaDriverVersion_v2(call, version: Out<c_int>) {
        version.put(cuda_version(call.play().driver_version()))
    }

    nvmlSystemGetDriverBranch(call, branch: Out<nvml::nvmlSystemDriverBranchInfo_t>, _length: c_uint) {
        let asked = branch.cast::<c_uint>().get()?;
        if asked != struct_version::<nvml::nvmlSystemDriverBranchInfo_v1_t>(1) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let major = call.play().driver_version().split('.').next().unwrap_or_default().to_owned();
        branch.put(nvml::nvmlSystemDriverBranchInfo_v1_t { version: asked, branch: fixed(&format!("r{major}_00")) })
    }
}

/// The CUDA version of a driver: 13.1 with branch 590, 13.2 with 595, 12.x before 580.
fn cuda_version(driver: &str) -> c_int {
    match driver
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok())
        .unwrap_or_default()
    {
        595.. => 13_020,
        590..595 => 13_010,
        580..590 => 13_000,
        570..580 => 12_080,
        550..570 => 12_040,
        _ => 12_000,
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: nvml::nvmlReturn_t) -> *const c_char {
    error_text(result).as_ptr()
}

fn error_text(result: nvml::nvmlReturn_t) -> &'static CStr {
    match result {
        0 => c"Success",
        1 => c"Uninitialized",
        2 => c"Invalid Argument",
        3 => c"Not Supported",
        4 => c"Insufficient Permissions",
        5 => c"Already Initialized",
        6 => c"Not Found",
        7 => c"Insufficient Size",
        8 => c"Insufficient External Power",
        9 => c"Driver Not Loaded",
        10 => c"Timeout",
        11 => c"Interrupt Request Issue",
        12 => c"NVML Shared Library Not Found",
        13 => c"Function Not Found",
        14 => c"Corrupted infoROM",
        15 => c"GPU is lost",
        16 => c"GPU requires reset",
        17 => c"GPU access blocked by the operating system",
        18 => c"Driver/library version mismatch",
        19 => c"In use by another client",
        20 => c"Insufficient Memory",
        21 => c"No data",
        22 => c"vGPU ECC not supported",
        23 => c"Insufficient resources",
        24 => c"Frequency not supported",
        25 => c"Argument version mismatch",
        26 => c"Deprecated",
        27 => c"Not ready",
        28 => c"GPU not found",
        29 => c"Invalid state",
        _ => c"Unknown Error",
    }
}
