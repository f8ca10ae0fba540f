"""Samples the task's GPUs through NVML once a second into gpu.jsonl, in a thread of the supervisor.

Lines: `devices` once, then `gpus` per sample in the same order (launch.worker.gpu_lines says how); `xid` for
an error that the driver told; `failed` when a reading first fails, `no_gpu` when there is nothing to sample.
None of these is ever an error: monitoring stops no work. What a disk has no room for waits.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.worker.gpu_device import Device
from launch.worker.gpu_devices import describe, find_handle, list_ids
from launch.worker.gpu_lines import Folder
from launch.worker.gpu_state import GpuState
from launch.worker.gpu_summary import GpuSummary
from launch.worker.gpu_xids import XidWatch
from launch.worker.monitoring import FailedWrites, PatientJournal

PERIOD_S = 1.0
MAX_EMPTY_SAMPLES = 30
STOP_TIMEOUT_S = 5.0
HANGS = "a call of NVML has not returned: the driver hangs"


class GpuSampler:
    """The sampling thread. `visible` are the ids of CUDA_VISIBLE_DEVICES, None for all that NVML sees."""

    def __init__(
        self, path: Path, visible: Sequence[str] | None, nvml: Any = None, period_s: float = PERIOD_S
    ) -> None:
        """`nvml` is pynvml, or what takes its place; it is imported in the thread unless given."""
        self.state = GpuState()
        self._path = path
        self._visible = visible
        self._nvml = nvml
        self._period_s = period_s
        self._summary = GpuSummary()
        self._lock = threading.Lock()  # keeps `stop` from reading a summary that is being written
        self._wake = threading.Event()
        self._is_stopped = False
        self._wanted = False
        self._fresh = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Ends the thread, waiting 5 s at most since a call into a hung driver never returns; the summary."""
        self._is_stopped = True
        self._wake.set()
        self._thread.join(STOP_TIMEOUT_S)
        with self._lock:
            if self._thread.is_alive():
                self._summary.add(_failed(None, None, HANGS))
            return self._summary.as_json()

    def refresh(self, timeout_s: float) -> None:
        """Has every reading taken now and waits for that, unless there is nothing to sample or NVML hangs."""
        self._fresh.clear()
        self._wanted = True
        self._wake.set()
        deadline = time.monotonic() + timeout_s
        while self._thread.is_alive() and not self._fresh.wait(0.05) and time.monotonic() < deadline:
            pass

    def _run(self) -> None:
        journal = PatientJournal(self._path, FailedWrites(self._summarise_trouble))
        try:
            self._open(journal)
        finally:
            journal.close()

    def _summarise_trouble(self, message: str) -> None:
        with self._lock:
            self._summary.add(_failed(None, None, message))

    def _note(self, line: dict[str, Any], journal: PatientJournal) -> None:
        with self._lock:
            self._summary.add(line)
        journal.append(line)

    def _open(self, journal: PatientJournal) -> None:
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
        except Exception as error:  # noqa: BLE001  (as above: monitoring ends, and says why)
            self._note(_failed(None, None, error), journal)

    def _sample_devices(self, nvml: Any, journal: PatientJournal) -> None:
        devices = []
        for device_id in list_ids(nvml) if self._visible is None else self._visible:
            try:
                devices.append(Device(device_id, find_handle(nvml, device_id)))
            except Exception as error:  # noqa: BLE001
                self._note(_failed(device_id, None, error), journal)
        if not devices:
            self._note({"time": _now(), "no_gpu": "NVML knows none of the visible GPUs"}, journal)
            return
        described = [describe(nvml, device.id, device.handle) for device in devices]
        self._note({"time": _now(), "devices": described}, journal)
        self._sample(nvml, devices, journal)

    def _watch_xids(self, nvml: Any, devices: Sequence[Device], journal: PatientJournal) -> XidWatch | None:
        try:
            return XidWatch(nvml, {device.id: device.handle for device in devices})
        except Exception as error:  # noqa: BLE001  (an older nvidia-ml-py lacks a function)
            self._note(_failed(None, "xid", error), journal)
            return None

    def _sample(self, nvml: Any, devices: Sequence[Device], journal: PatientJournal) -> None:
        folder, xids = Folder(), self._watch_xids(nvml, devices, journal)
        number = num_empty = 0
        due, is_last = time.monotonic(), False
        while num_empty < MAX_EMPTY_SAMPLES and not is_last:
            is_last = self._wait(due)
            due += self._period_s
            if due < time.monotonic():  # late by more than a period: what was missed is not made up
                due = time.monotonic() + self._period_s
            now, wanted = _now(), self._wanted or is_last
            self._wanted = False
            if xids is not None:
                xids = self._take_xids(xids, journal)
            rows = [self._read(nvml, device, number, journal, wanted=wanted) for device in devices]
            self.state.add_sample(
                dict(zip((device.id for device in devices), rows, strict=True)), time.monotonic()
            )
            self._note({"time": now, "gpus": folder.fold(rows)}, journal)
            if wanted:
                self._fresh.set()
            number += 1
            has_value = any(value is not None for row in rows for value in row.values())
            num_empty = 0 if has_value else num_empty + 1
        if xids is not None:
            xids.close()
        if num_empty == MAX_EMPTY_SAMPLES:
            why = f"no reading for {num_empty} samples; sampling has ended"
            self._note(_failed(None, None, why), journal)

    def _wait(self, due: float) -> bool:
        """Until the next sample is due or wanted; whether the thread is to end instead."""
        if not self._is_stopped and not self._wanted:
            self._wake.wait(max(due - time.monotonic(), 0))
        self._wake.clear()
        return self._is_stopped

    def _read(
        self, nvml: Any, device: Device, number: int, journal: PatientJournal, *, wanted: bool
    ) -> dict[str, Any]:
        def tell(name: str, error: Exception) -> None:
            self._note(_failed(device.id, name, error), journal)

        return device.read(nvml, number, tell, all_of_them=wanted)

    def _take_xids(self, xids: XidWatch, journal: PatientJournal) -> XidWatch | None:
        """Notes what came; the watch, or None when it fails, which is not tried again."""
        try:
            for xid in xids.poll():
                self.state.add_xid(xid, time.monotonic())
                self._note({"time": _now(), "xid": {"gpu": xid.gpu, "code": xid.code}}, journal)
        except Exception as error:  # noqa: BLE001
            self._note(_failed(None, "xid", error), journal)
            xids.close()
            return None
        return xids


def _failed(device_id: str | None, reading: str | None, error: Exception | str) -> dict[str, Any]:
    why = error if isinstance(error, str) else _text(error)
    return {"time": _now(), "failed": {"gpu": device_id, "reading": reading, "error": why}}


def _import_nvml() -> Any:
    import pynvml

    return pynvml


def _now() -> float:
    return round(time.time(), 3)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
