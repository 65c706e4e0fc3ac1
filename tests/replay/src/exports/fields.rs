//! `nvmlDeviceGetFieldValues`: many readings in one call, each with its own result, time and scope.
//!
//! The scope decides what is meant: a link for NVLink fields (all ones for the sum of all links, where there is such
//! a sum), and for power fields the GPU (0), the module (1) or the base limit (2).

use std::ffi::c_int;

use nvml_wrapper_sys::bindings::{self as nvml, field_id};

use super::telemetry::whole;
use crate::play::milliwatts;
use crate::pointer::{Answer, Out};
use crate::session::Gpu;
use crate::trace::{Level, Totals};

/// The scope that means all links.
const ALL_LINKS: u32 = u32::MAX;

/// The most entries that one call may ask for; the driver's own bound is not documented.
const MOST_ENTRIES: usize = 1024;

/// What NVLink adds to the data it carries: headers and flow control, as a share of the data.
const NVLINK_OVERHEAD: f64 = 1.125;

/// What the driver needs for one entry, in microseconds.
const LATENCY_US: i64 = 12;

/// A reading with the member of the union that it stands in.
enum Value {
    Unsigned(u32),
    Signed(i32),
    Long(u64),
}

calls! { device:
    device_call nvmlDeviceGetFieldValues(gpu, count: c_int, values: Out<nvml::nvmlFieldValue_t>) {
        let count = usize::try_from(count).ok().filter(|count| (1..=MOST_ENTRIES).contains(count));
        let count = count.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        let reading = Reading { gpu, level: gpu.level(), counters: gpu.counters() };
        let timestamp = i64::try_from(gpu.wall_us(gpu.now.ns)).unwrap_or(i64::MAX);
        for place in (0..count).map(|index| values.nth(index)) {
            let asked = place.get()?;
            // What a driver does not know it leaves as it was, its result too.
            if asked.fieldId >= field_id::NVML_FI_MAX {
                continue;
            }
            place.put(answer(&reading, asked.fieldId, asked.scopeId, timestamp))?;
        }
        Ok(())
    }
}

fn answer(reading: &Reading<'_>, field: u32, scope: u32, timestamp: i64) -> nvml::nvmlFieldValue_t {
    let (code, kind, value) = match reading.field(field, scope) {
        Ok(Value::Unsigned(value)) => (
            nvml::nvmlReturn_enum_NVML_SUCCESS,
            nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT,
            nvml::nvmlValue_t {
                ullVal: u64::from(value),
            },
        ),
        Ok(Value::Signed(value)) => (
            nvml::nvmlReturn_enum_NVML_SUCCESS,
            nvml::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT,
            nvml::nvmlValue_t { siVal: value },
        ),
        Ok(Value::Long(value)) => (
            nvml::nvmlReturn_enum_NVML_SUCCESS,
            nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG,
            nvml::nvmlValue_t { ullVal: value },
        ),
        Err(code) => (
            code,
            nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT,
            nvml::nvmlValue_t { ullVal: 0 },
        ),
    };
    nvml::nvmlFieldValue_t {
        fieldId: field,
        scopeId: scope,
        timestamp,
        latencyUsec: LATENCY_US,
        valueType: kind,
        nvmlReturn: code,
        value,
    }
}

/// What a GPU shows at the moment of the call, read once for all entries.
struct Reading<'a> {
    gpu: &'a Gpu,
    level: Level,
    counters: Totals,
}

impl Reading<'_> {
    fn field(&self, field: u32, scope: u32) -> Answer<Value> {
        let profile = self.gpu.profile();
        let limit = Value::Unsigned(profile.power_limit_w.saturating_mul(1000));
        Ok(match field {
            field_id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION => Value::Long(whole(self.counters.energy_mj)),
            field_id::NVML_FI_DEV_ENERGY => {
                self.of_gpu(scope, Value::Long(whole(self.counters.energy_mj)))?
            }
            field_id::NVML_FI_DEV_POWER_AVERAGE => {
                self.gpu.require(profile.average_power)?;
                self.of_gpu(scope, Value::Unsigned(self.gpu.power_mw()))?
            }
            field_id::NVML_FI_DEV_POWER_INSTANT => {
                self.of_gpu(scope, Value::Unsigned(milliwatts(self.level)))?
            }
            field_id::NVML_FI_DEV_POWER_MIN_LIMIT => {
                self.of_gpu(scope, Value::Unsigned(profile.power_min_w.saturating_mul(1000)))?
            }
            field_id::NVML_FI_DEV_POWER_MAX_LIMIT
            | field_id::NVML_FI_DEV_POWER_DEFAULT_LIMIT
            | field_id::NVML_FI_DEV_POWER_CURRENT_LIMIT
            | field_id::NVML_FI_DEV_POWER_REQUESTED_LIMIT => self.of_gpu(scope, limit)?,
            field_id::NVML_FI_DEV_PERF_POLICY_POWER..=field_id::NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS => {
                Value::Long(0)
            }
            field_id::NVML_FI_DEV_MEMORY_TEMP => {
                Value::Unsigned(u32::from(self.level.temperature_c).saturating_add(7))
            }
            field_id::NVML_FI_DEV_REMAPPED_COR..=field_id::NVML_FI_DEV_REMAPPED_FAILURE => Value::Unsigned(0),
            field_id::NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT => Value::Signed(-8),
            field_id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT => Value::Signed(-2),
            field_id::NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT
            | field_id::NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT => Value::Signed(0),
            field_id::NVML_FI_DEV_PCIE_COUNT_TX_BYTES => self.pcie(self.counters.pcie_tx),
            field_id::NVML_FI_DEV_PCIE_COUNT_RX_BYTES => self.pcie(self.counters.pcie_rx),
            field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => Value::Unsigned(0),
            _ => self.link_field(field, scope)?,
        })
    }

    fn link_field(&self, field: u32, scope: u32) -> Answer<Value> {
        let profile = self.gpu.profile();
        // A GPU in MIG mode answers nothing about its links.
        self.gpu.require(profile.nvlinks > 0 && !profile.mig_enabled)?;
        let (sent, received) = (self.counters.nvlink_tx, self.counters.nvlink_rx);
        Ok(match field {
            field_id::NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON => Value::Unsigned(profile.nvlink_mbps),
            field_id::NVML_FI_DEV_NVLINK_LINK_COUNT => Value::Unsigned(profile.nvlinks),
            field_id::NVML_FI_DEV_NVLINK_GET_SPEED => {
                self.of_link(scope, Value::Unsigned(profile.nvlink_mbps))?
            }
            field_id::NVML_FI_DEV_NVLINK_GET_STATE => self.of_link(scope, Value::Unsigned(1))?,
            field_id::NVML_FI_DEV_NVLINK_GET_VERSION => {
                self.of_link(scope, Value::Unsigned(profile.nvlink_version))?
            }
            field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX => self.kib(scope, sent)?,
            field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX => self.kib(scope, received)?,
            field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_TX => self.kib(scope, sent * NVLINK_OVERHEAD)?,
            field_id::NVML_FI_DEV_NVLINK_THROUGHPUT_RAW_RX => self.kib(scope, received * NVLINK_OVERHEAD)?,
            field_id::NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES => self.link_bytes(scope, sent)?,
            field_id::NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES => self.link_bytes(scope, received)?,
            _ => return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED),
        })
    }

    /// Drivers count PCIe bytes in 32 bits, unless the scenario says otherwise.
    fn pcie(&self, bytes: f64) -> Value {
        if self.gpu.play().scenario.wide_pcie_counters {
            Value::Long(whole(bytes))
        } else {
            Value::Unsigned(u32::try_from(whole(bytes) & u64::from(u32::MAX)).unwrap_or_default())
        }
    }

    /// A value that exists for the GPU alone: these are no superchips with a module of their own.
    fn of_gpu(&self, scope: u32, value: Value) -> Answer<Value> {
        self.gpu.require(scope == 0).map(|()| value)
    }

    fn of_link(&self, scope: u32, value: Value) -> Answer<Value> {
        if scope < self.gpu.profile().nvlinks {
            Ok(value)
        } else {
            Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
        }
    }

    /// The KiB counters of Volta to Hopper: one link, or all of them.
    fn kib(&self, scope: u32, bytes: f64) -> Answer<Value> {
        self.gpu.require(self.gpu.profile().nvlink_kib_fields)?;
        if scope == ALL_LINKS {
            return Ok(Value::Long(whole(bytes / 1024.0)));
        }
        self.of_link(
            scope,
            Value::Long(whole(bytes / 1024.0 / f64::from(self.gpu.profile().nvlinks))),
        )
    }

    /// The byte counters of Blackwell: one link at a time.
    fn link_bytes(&self, scope: u32, bytes: f64) -> Answer<Value> {
        self.gpu.require(!self.gpu.profile().nvlink_kib_fields)?;
        self.of_link(
            scope,
            Value::Long(whole(bytes / f64::from(self.gpu.profile().nvlinks))),
        )
    }
}
