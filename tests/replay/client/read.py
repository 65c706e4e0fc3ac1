"""Reads every GPU through nvidia-ml-py, as any monitoring script would, and prints one JSON line for each."""

import json

import pynvml

pynvml.nvmlInit()
print(json.dumps({"driver": pynvml.nvmlSystemGetDriverVersion(), "count": pynvml.nvmlDeviceGetCount()}))
for index in range(pynvml.nvmlDeviceGetCount()):
    gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    reserving = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2)
    try:
        utilisation = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
    except pynvml.NVMLError_NotSupported:
        utilisation = None
    fields = pynvml.nvmlDeviceGetFieldValues(gpu, [pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION])
    print(
        json.dumps(
            {
                "name": pynvml.nvmlDeviceGetName(gpu),
                "uuid": pynvml.nvmlDeviceGetUUID(gpu),
                "bus": pynvml.nvmlDeviceGetPciInfo(gpu).busId,
                "power_mw": pynvml.nvmlDeviceGetPowerUsage(gpu),
                "energy_mj": pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu),
                "field_energy_mj": fields[0].value.ullVal,
                "utilisation_pct": utilisation,
                "memory_used": memory.used,
                "memory_reserved": reserving.reserved,
                "sm_mhz": pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
                "temperature_c": pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
            }
        )
    )
pynvml.nvmlShutdown()
