"""Samples the task's GPUs through NVML once a second into gpu.jsonl, in a thread of the supervisor.

Lines: `devices` once, then `gpus` per sample in the same order; `failed` when a reading first fails, `no_gpu`
when there is nothing to sample. None of these is ever an error: monitoring stops no work.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.errors import StorageError
from launch.rundir.journal import Journal
from launch.worker.gpu_devices import MIB, describe, find_handle, list_ids
from launch.worker.gpu_summary import GpuSummary

PERIOD_S = 1.0
MAX_EMPTY_SAMPLES = 30
STOP_TIMEOUT_S = 5.0

# NVML's own units: bytes, milliwatts, millijoules since the driver was loaded.
_READERS: dict[str, Callable[[Any, Any], float]] = {
    "utilization_percent": lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    "memory_used_mib": lambda nvml, handle: round(nvml.nvmlDeviceGetMemoryInfo(handle).used / MIB, 1),
    "power_w": lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    "energy_j": lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,
    "temperature_c": lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
}


@dataclass(slots=True)
class _Device:
    """A visible GPU; `unsupported` are the readings it does not have, `failing` those already reported."""

    id: str
    handle: Any
    unsupported: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)


class GpuSampler:
    """The sampling thread. `visible` are the ids of CUDA_VISIBLE_DEVICES, None for all that NVML sees."""

    def __init__(
        self, path: Path, visible: Sequence[str] | None, nvml: Any = None, period_s: float = PERIOD_S
    ) -> None:
        """`nvml` is pynvml, or what takes its place; it is imported in the thread unless given."""
        self._path = path
        self._visible = visible
        self._nvml = nvml
        self._period_s = period_s
        self._summary = GpuSummary()
        self._lock = threading.Lock()  # keeps `stop` from reading a summary that is being written
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Ends the thread, waiting 5 s at most since a call into a hung driver never returns; the summary."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)
        with self._lock:
            return self._summary.as_json()

    def _run(self) -> None:
        try:
            journal = Journal(self._path)
        except StorageError as error:
            self._note({"time": _now(), "no_gpu": str(error)}, None)
            return
        try:
            self._sample(journal)
        except StorageError as error:  # the disk is full: the engine process says so where it matters
            self._note({"time": _now(), "failed": {"gpu": None, "reading": None, "error": str(error)}}, None)
        finally:
            journal.close()

    def _note(self, line: dict[str, Any], journal: Journal | None) -> None:
        with self._lock:
            self._summary.add(line)
        if journal is not None:
            journal.append(line)

    def _sample(self, journal: Journal) -> None:
        if self._visible is not None and not self._visible:
            self._note({"time": _now(), "no_gpu": "no GPU is visible to this task"}, journal)
            return
        try:
            nvml = self._nvml or _import_nvml()
            nvml.nvmlInit()
        except Exception as error:  # noqa: BLE001  (ImportError, an NVMLError, whatever a broken driver raises)
            self._note({"time": _now(), "no_gpu": f"NVML is not usable: {_text(error)}"}, journal)
            return
        try:
            self._sample_devices(nvml, journal)
            nvml.nvmlShutdown()
        except nvml.NVMLError as error:
            self._note(_failed(None, None, error), journal)

    def _sample_devices(self, nvml: Any, journal: Journal) -> None:
        devices = []
        for device_id in list_ids(nvml) if self._visible is None else self._visible:
            try:
                devices.append(_Device(device_id, find_handle(nvml, device_id)))
            except nvml.NVMLError as error:
                self._note(_failed(device_id, None, error), journal)
        if not devices:
            self._note({"time": _now(), "no_gpu": "NVML knows none of the visible GPUs"}, journal)
            return
        described = [describe(nvml, device.id, device.handle) for device in devices]
        self._note({"time": _now(), "devices": described}, journal)
        num_empty = 0
        due = time.monotonic()
        while num_empty < MAX_EMPTY_SAMPLES and not self._stop.wait(max(due - time.monotonic(), 0)):
            due += self._period_s
            if due < time.monotonic():  # late by more than a period: what was missed is not made up
                due = time.monotonic() + self._period_s
            now = _now()
            readings = [self._read(nvml, device, journal) for device in devices]
            self._note({"time": now, "gpus": readings}, journal)
            has_value = any(value is not None for reading in readings for value in reading.values())
            num_empty = 0 if has_value else num_empty + 1
        if num_empty == MAX_EMPTY_SAMPLES:
            why = f"no reading for {num_empty} samples; sampling has ended"
            self._note({"time": _now(), "failed": {"gpu": None, "reading": None, "error": why}}, journal)

    def _read(self, nvml: Any, device: _Device, journal: Journal) -> dict[str, float | None]:
        row: dict[str, float | None] = {}
        for name, read in _READERS.items():
            row[name] = None
            if name in device.unsupported:
                continue
            try:
                row[name] = read(nvml, device.handle)
            except nvml.NVMLError as error:
                if _is_unsupported(nvml, error):
                    device.unsupported.add(name)
                if name not in device.failing:
                    device.failing.add(name)
                    self._note(_failed(device.id, name, error), journal)
        return row


def _failed(device_id: str | None, reading: str | None, error: Exception) -> dict[str, Any]:
    return {"time": _now(), "failed": {"gpu": device_id, "reading": reading, "error": _text(error)}}


def _is_unsupported(nvml: Any, error: Exception) -> bool:
    codes = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    return getattr(error, "value", None) in codes


def _import_nvml() -> Any:
    import pynvml

    return pynvml


def _now() -> float:
    return round(time.time(), 3)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
