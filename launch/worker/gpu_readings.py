"""What is read of a GPU, by name, with units in the names; NVML's own units are changed here alone.

`nvml` is pynvml (nvidia-ml-py), or what takes its place. A reading raises NVMLError where a GPU has none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from launch.worker.gpu_devices import MIB

Value = float | list[str]

THROTTLE_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of nvml.h (nvmlClocksEventReason*, nvmlClocksThrottleReason*): why clocks are not the highest."""


class Reading(NamedTuple):
    """How a value is read, and at every how many-th sample: what hardly changes is asked for less often."""

    read: Callable[[Any, Any], Value]
    every: int = 1


def throttle_names(bits: int) -> list[str]:
    """Names of the reasons; a bit that nvml.h had not when this was written is told as it is."""
    names = [name for bit, name in THROTTLE_REASONS.items() if bits & bit]
    unknown = bits & ~sum(THROTTLE_REASONS)
    return [*names, hex(unknown)] if unknown else names


def _throttle(nvml: Any, handle: Any) -> list[str]:
    """Drivers before 535 know the call by its older name only."""
    try:
        return throttle_names(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        return throttle_names(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _memory_mib(nvml: Any, handle: Any) -> float:
    """What programs hold, as nvidia-smi says; drivers before 510 count what they keep themselves, too."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    used: int = memory.used
    return round(used / MIB, 1)


def _ecc(nvml: Any, handle: Any, kind: int) -> int:
    """Errors since the driver was loaded."""
    errors: int = nvml.nvmlDeviceGetTotalEccErrors(handle, kind, nvml.NVML_VOLATILE_ECC)
    return errors


READINGS = {
    "utilization_percent": Reading(lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
    "memory_used_mib": Reading(_memory_mib),
    # milliwatts; millijoules since the driver was loaded: one reading took 5 ms of CPU time on an H200
    "power_w": Reading(lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
    "energy_j": Reading(
        lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, every=30
    ),
    "temperature_c": Reading(
        lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
    ),
    "sm_clock_mhz": Reading(lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
    "throttle": Reading(_throttle),
    "ecc_corrected": Reading(
        lambda nvml, handle: _ecc(nvml, handle, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED), every=10
    ),
    "ecc_uncorrected": Reading(
        lambda nvml, handle: _ecc(nvml, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED), every=10
    ),
}
