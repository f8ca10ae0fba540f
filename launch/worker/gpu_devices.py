"""GPUs as NVML knows them: found by the ids of CUDA_VISIBLE_DEVICES, described in a line.

`nvml` is pynvml (nvidia-ml-py), or what takes its place.
"""

from collections.abc import Callable, Iterator
from typing import Any

MIB = 1 << 20


def find_handle(nvml: Any, device_id: str) -> Any:
    """NVML's handle of an id of CUDA_VISIBLE_DEVICES: an index as NVML sees them, or a GPU- or MIG- UUID.

    Indices count what this process may see: a Slurm step in a device cgroup numbers from 0, as CUDA does.
    A UUID may be cut, as CUDA allows. Raises NVMLError when there is none.
    """
    if device_id.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(device_id))
    try:
        return nvml.nvmlDeviceGetHandleByUUID(device_id)
    except nvml.NVMLError:
        for handle in _all_handles(nvml):
            if _string(nvml.nvmlDeviceGetUUID(handle)).startswith(device_id):
                return handle
        raise


def list_ids(nvml: Any) -> list[str]:
    """The indices of all GPUs that NVML sees."""
    return [str(index) for index in range(nvml.nvmlDeviceGetCount())]


def describe(nvml: Any, device_id: str, handle: Any) -> dict[str, Any]:
    """What the `devices` line says of a GPU; None for what it does not say."""
    return {
        "id": device_id,
        "uuid": _optional(lambda: _string(nvml.nvmlDeviceGetUUID(handle))),
        "name": _optional(lambda: _string(nvml.nvmlDeviceGetName(handle))),
        "memory_total_mib": _optional(lambda: round(nvml.nvmlDeviceGetMemoryInfo(handle).total / MIB, 1)),
    }


def _all_handles(nvml: Any) -> Iterator[Any]:
    """Every GPU, each followed by its MIG devices."""
    for index in range(nvml.nvmlDeviceGetCount()):
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        yield gpu
        for part in range(_optional(nvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0):
            device = _optional(nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, part)
            if device is not None:
                yield device


def _optional(call: Callable[..., Any], *arguments: Any) -> Any:
    """None where it fails: with an NVMLError, or with what a broken driver makes pynvml raise."""
    try:
        return call(*arguments)
    except Exception:  # noqa: BLE001
        return None


def _string(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def compiler_target(nvml: Any, device_id: str) -> dict[str, str]:
    """What kernels are compiled for: a GPU's name, its compute capability and the driver; NVML is open."""
    handle = find_handle(nvml, device_id)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "device": _string(nvml.nvmlDeviceGetName(handle)),
        "compute_capability": f"{major}.{minor}",
        "driver": _string(nvml.nvmlSystemGetDriverVersion()),
    }
