"""gpu.jsonl of every attempt, thinned to one row of readings over the whole run.

The figures of inference_summary.json are over all samples; these are to look at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.collect.run_page.bins import time_width_s
from launch.collect.run_page.timeline_record import GpuSeries
from launch.rundir.journal import read_journal
from launch.worker.gpu_lines import Row, Unfolder

SAMPLES_A_BIN = 30
"""Of a GPU at most: hours of samples have no more to say in a bin."""
MIB_OF_A_GIB = 1024
Matrix = NDArray[np.float64]
_READINGS = ("utilization_percent", "memory_used_mib")


@dataclass(frozen=True, slots=True)
class GpuFile:
    """The samples of one attempt, and by how many seconds its clock was ahead of the file system's."""

    path: Path
    ahead_s: float


@dataclass(slots=True)
class _Sums:
    """Over GPUs, in each bin: how many told anything and each reading; sum, least and most of their means.

    Not every GPU tells every reading: NVML has no utilisation of a MIG device.
    """

    num_bins: int
    num_gpus: NDArray[np.int64] = field(init=False)
    num_telling: dict[str, NDArray[np.int64]] = field(init=False)
    total: dict[str, Matrix] = field(init=False)
    low: dict[str, Matrix] = field(init=False)
    high: dict[str, Matrix] = field(init=False)

    def __post_init__(self) -> None:
        self.num_gpus = np.zeros(self.num_bins, np.int64)
        self.num_telling = {name: np.zeros(self.num_bins, np.int64) for name in _READINGS}
        self.total = {name: np.zeros(self.num_bins) for name in _READINGS}
        self.low = {name: np.full(self.num_bins, np.inf) for name in _READINGS}
        self.high = {name: np.full(self.num_bins, -np.inf) for name in _READINGS}

    def add(self, means: dict[str, Matrix]) -> None:
        """Takes one attempt: for each reading a row of bins a GPU, NaN where there was no sample."""
        self.num_gpus += np.any([np.isfinite(rows) for rows in means.values()], axis=0).sum(axis=0)
        for name, rows in means.items():
            self.num_telling[name] += np.isfinite(rows).sum(axis=0)
            self.total[name] += np.nansum(rows, axis=0)
            self.low[name] = np.fmin(self.low[name], np.fmin.reduce(rows, axis=0))
            self.high[name] = np.fmax(self.high[name], np.fmax.reduce(rows, axis=0))

    def mean(self, name: str) -> Matrix:
        """Over those that told it; NaN where none did."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total[name] / self.num_telling[name]


def gpu_series(files: Sequence[GpuFile], begin: float, end: float) -> tuple[GpuSeries | None, str | None]:
    """The readings of all GPUs between two times, seconds since the epoch; or None and why there are none.

    GPUs that were sampled and told none of the readings make a series without values.
    """
    width = time_width_s(end - begin)
    num_bins = int((end - begin) // width) + 1
    sums, devices, reasons, is_sampled = _Sums(num_bins), set[str](), set[str](), False
    for file in files:
        reading = _Reading(begin + file.ahead_s, width, num_bins)
        for line in read_journal(file.path):
            reading.add(line)
        devices |= reading.devices
        reasons |= reading.reasons
        is_sampled |= reading.is_sampled
        if (means := reading.means()) is not None:
            sums.add(means)
    if not is_sampled:
        return None, "; ".join(sorted(reasons)) or "no attempt was sampled"
    memory = 1 / MIB_OF_A_GIB
    series = GpuSeries(
        begin_s=0.0,
        bin_s=width,
        devices=tuple(sorted(devices)),
        num_gpus=tuple(sums.num_gpus.tolist()),
        num_utilization_gpus=tuple(sums.num_telling["utilization_percent"].tolist()),
        num_memory_gpus=tuple(sums.num_telling["memory_used_mib"].tolist()),
        utilization_mean=_row(sums.mean("utilization_percent")),
        utilization_low=_row(sums.low["utilization_percent"]),
        utilization_high=_row(sums.high["utilization_percent"]),
        memory_mean_gib=_row(sums.mean("memory_used_mib") * memory),
        memory_high_gib=_row(sums.high["memory_used_mib"] * memory),
    )
    return series, None


class _Reading:
    """The lines of one attempt put into bins from `begin`, by its own clock."""

    def __init__(self, begin: float, width: int, num_bins: int) -> None:
        self._begin, self._width, self._num_bins = begin, width, num_bins
        self._unfolder = Unfolder()
        self._sums: dict[str, Matrix] = {}
        self._counts: dict[str, Matrix] = {}
        self._last = float("-inf")
        self.devices: set[str] = set()
        self.reasons: set[str] = set()
        self.is_sampled = False

    def add(self, line: dict[str, Any]) -> None:
        """Takes a line; one of another form changes nothing."""
        rows, time = self._unfolder.unfold(line), line.get("time")
        devices, reason = line.get("devices"), line.get("no_gpu")
        if rows is not None and isinstance(time, int | float):
            self._add_sample(time, rows)
        elif isinstance(devices, list):
            self.devices |= {str(each.get("name")) for each in devices if isinstance(each, dict)}
            shape = (len(devices), self._num_bins)
            self._sums = {name: np.zeros(shape) for name in _READINGS}
            self._counts = {name: np.zeros(shape) for name in _READINGS}
        elif isinstance(reason, str):
            self.reasons.add(reason)

    def _add_sample(self, time: float, rows: list[Row]) -> None:
        place = int((time - self._begin) // self._width)
        is_soon = 0 <= time - self._last < self._width / SAMPLES_A_BIN
        if is_soon or not self._sums or not 0 <= place < self._num_bins:
            return
        self._last = time
        self.is_sampled = True
        for name in _READINGS:
            sums, counts = self._sums[name], self._counts[name]
            for number, row in enumerate(rows[: len(sums)]):
                value = row.get(name)
                if isinstance(value, int | float):
                    sums[number, place] += value
                    counts[number, place] += 1

    def means(self) -> dict[str, Matrix] | None:
        """A row of bins a GPU for each reading, NaN without a sample; None without any device."""
        if not self._sums:
            return None
        with np.errstate(invalid="ignore"):
            return {name: self._sums[name] / self._counts[name] for name in _READINGS}


def _row(values: Matrix) -> tuple[float | None, ...]:
    return tuple(round(value, 2) if np.isfinite(value) else None for value in values.tolist())
