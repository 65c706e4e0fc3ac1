//! Events: they can be asked for and waited for, and none comes. A lost GPU often yields none in reality either.

use std::ffi::{c_uint, c_ulonglong};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;

use crate::clock;
use crate::pointer::{Answer, Out, struct_version};

/// Single and double bit errors, Xid, MIG changes, recovery action.
const SUPPORTED: c_ulonglong = 0x1 | 0x2 | 0x8 | 0x100 | 0x8000;

/// The last handle given out.
static LAST_SET: AtomicUsize = AtomicUsize::new(0x5744_0000);

fn new_set<T>() -> *mut T {
    std::ptr::without_provenance_mut(LAST_SET.fetch_add(1, Ordering::Relaxed))
}

fn check<T>(set: *mut T) -> Answer {
    if set.is_null() {
        Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    } else {
        Ok(())
    }
}

fn wait(timeout_ms: c_uint) -> Answer {
    clock::pause(Duration::from_millis(u64::from(timeout_ms)));
    Err(nvml::nvmlReturn_enum_NVML_ERROR_TIMEOUT)
}

calls! { device:
    device_call nvmlDeviceGetSupportedEventTypes(gpu, types: Out<c_ulonglong>) {
        let _ = gpu;
        types.put(SUPPORTED)
    }

    device_call nvmlDeviceRegisterEvents(gpu, types: c_ulonglong, set: nvml::nvmlEventSet_t) {
        check(set)?;
        gpu.require(types & !SUPPORTED == 0)
    }
}

calls! { system:
    nvmlEventSetCreate(call, set: Out<nvml::nvmlEventSet_t>) {
        let _ = call;
        set.put(new_set())
    }

    nvmlEventSetWait_v2(call, set: nvml::nvmlEventSet_t, _data: Out<nvml::nvmlEventData_t>, timeout_ms: c_uint) {
        let _ = call;
        check(set)?;
        wait(timeout_ms)
    }

    nvmlSystemEventSetCreate(call, request: Out<nvml::nvmlSystemEventSetCreateRequest_t>) {
        let _ = call;
        let version = versioned(request)?;
        request.put(nvml::nvmlSystemEventSetCreateRequest_v1_t { version, set: new_set() })
    }

    nvmlSystemRegisterEvents(call, request: Out<nvml::nvmlSystemRegisterEventRequest_t>) {
        let _ = call;
        versioned(request)?;
        check(request.get()?.set)
    }

    nvmlSystemEventSetWait(call, request: Out<nvml::nvmlSystemEventSetWaitRequest_t>) {
        let _ = call;
        versioned(request)?;
        let asked = request.get()?;
        check(asked.set)?;
        request.put(nvml::nvmlSystemEventSetWaitRequest_v1_t { numEvent: 0, ..asked })?;
        wait(asked.timeoutms)
    }

    nvmlSystemEventSetFree(call, request: Out<nvml::nvmlSystemEventSetFreeRequest_t>) {
        let _ = call;
        versioned(request)?;
        check(request.get()?.set)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetFree(set: nvml::nvmlEventSet_t) -> nvml::nvmlReturn_t {
    crate::session::code(check(set))
}

/// The version of a request, if it is the first and only one.
fn versioned<T: Copy>(request: Out<T>) -> Answer<c_uint> {
    let version = request.cast::<c_uint>().get()?;
    if version == struct_version::<T>(1) {
        Ok(version)
    } else {
        Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    }
}
