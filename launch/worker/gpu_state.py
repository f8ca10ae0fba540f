"""What the sampling thread knows and the supervisor asks: how long GPUs have been idle, and their errors."""

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from launch.worker.gpu_xids import CLEANED_UP, Xid

IDLE_PERCENT = 5
OLD_S = 10.0
"""What was sampled longer ago says nothing of now: the sampler has stopped, or NVML hangs."""


class GpuError(NamedTuple):
    """A fault of a GPU, told at `time`; `is_cause`: it may kill who works on it."""

    time: float
    gpu: str | None
    what: str
    is_cause: bool

    @property
    def sentence(self) -> str:
        """`Xid 79 (GPU has fallen off the bus) on GPU 0`."""
        return self.what if self.gpu is None else f"{self.what} on GPU {self.gpu}"


class GpuState:
    """Written by one thread, read by another; `now` is everywhere that of time.monotonic()."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # keeps the two from seeing each other's half-made changes
        self._busy: dict[str, float] = {}
        self._sampled = 0.0
        self._uncorrected: dict[str, float] = {}
        self._errors: list[GpuError] = []
        self._num_taken = 0

    def add_sample(self, rows: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """Takes the readings of every GPU, by id."""
        with self._lock:
            self._sampled = now
            for gpu, row in rows.items():
                utilization = row.get("utilization_percent")
                if utilization is None:
                    self._busy.pop(gpu, None)  # nobody knows
                elif utilization > IDLE_PERCENT or gpu not in self._busy:
                    self._busy[gpu] = now
                self._note_ecc(gpu, row.get("ecc_uncorrected"), now)

    def _note_ecc(self, gpu: str, count: float | None, now: float) -> None:
        if count is None:
            return
        new = count - self._uncorrected.get(gpu, count)
        self._uncorrected[gpu] = count
        if new > 0:
            self._errors.append(GpuError(now, gpu, f"{new:g} uncorrectable ECC error(s)", is_cause=True))

    def add_xid(self, xid: Xid, now: float) -> None:
        """Takes an Xid."""
        with self._lock:
            self._errors.append(GpuError(now, xid.gpu, xid.text, is_cause=xid.code != CLEANED_UP))

    def idle_s(self, now: float) -> dict[str, float]:
        """Seconds for which each GPU has been at 5 % or less; without those that tell no utilisation.

        None at all when the last sample is old.
        """
        with self._lock:
            if now - self._sampled > OLD_S:
                return {}
            return {gpu: now - since for gpu, since in self._busy.items()}

    def take_errors(self) -> list[GpuError]:
        """Those that were not taken yet."""
        with self._lock:
            taken = self._errors[self._num_taken :]
            self._num_taken = len(self._errors)
            return taken

    def errors_since(self, when: float) -> list[GpuError]:
        """Those that may have killed an engine, told at `when` or later."""
        with self._lock:
            return [error for error in self._errors if error.is_cause and error.time >= when]
