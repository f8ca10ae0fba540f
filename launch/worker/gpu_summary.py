"""Mean and peak figures and energy out of the lines of gpu.jsonl, in constant memory.

A figure that no sample held is None, never 0. Energy is the difference of the device's own counter where it
has one (NVML counts it since Volta), else the integral of power over time by trapezoids; `energy_from` says
which. The counter is read now and then, and at the end; what came after its last reading, in an attempt that
was killed, is the integral.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from launch.worker.gpu_lines import Unfolder

_FIGURES = ("utilization_percent", "memory_used_mib", "power_w", "temperature_c", "sm_clock_mhz")
ECC = ("ecc_corrected", "ecc_uncorrected")
MAX_XIDS = 20


@dataclass(slots=True)
class _Figure:
    """Mean and peak of one reading."""

    count: int = 0
    total: float = 0.0
    peak: float | None = None

    def add(self, value: float | None) -> None:
        if value is not None:
            self.count += 1
            self.total += value
            self.peak = value if self.peak is None else max(self.peak, value)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class _Energy:
    """Joules by counter and by integral; the counter counts until it ever runs backwards.

    `since_counter`: by integral, since the sample at which the counter last had another value.
    """

    by_counter: float | None = None
    by_power: float | None = None
    since_counter: float = 0.0
    counter_broken: bool = False
    last_counter: float | None = None
    last_power: tuple[float, float] | None = None

    def add(self, time: float, counter: float | None, power: float | None) -> None:
        if power is not None:
            if self.last_power is not None:
                then, before = self.last_power
                joules = (time - then) * (power + before) / 2
                self.by_power = (self.by_power or 0.0) + joules
                self.since_counter += joules
            self.last_power = (time, power)
        if counter is not None:
            if counter != self.last_counter:
                self.since_counter = 0.0
            if self.last_counter is not None:
                self.counter_broken |= counter < self.last_counter
                self.by_counter = (self.by_counter or 0.0) + counter - self.last_counter
            self.last_counter = counter

    @property
    def result(self) -> tuple[float | None, str | None]:
        if self.by_counter is not None and not self.counter_broken:
            return self.by_counter + self.since_counter, "counter"
        return self.by_power, None if self.by_power is None else "power"


@dataclass(slots=True)
class _Gpu:
    """One GPU's device line and its figures so far."""

    device: dict[str, Any]
    figures: dict[str, _Figure] = field(default_factory=lambda: {name: _Figure() for name in _FIGURES})
    energy: _Energy = field(default_factory=_Energy)
    num_throttled: Counter[str] = field(default_factory=Counter)
    num_throttle_samples: int = 0
    ecc: dict[str, int] = field(default_factory=dict)
    last_ecc: dict[str, int] = field(default_factory=dict)

    def add(self, time: float, reading: Mapping[str, Any]) -> None:
        for name, figure in self.figures.items():
            figure.add(reading.get(name))
        self.energy.add(time, reading.get("energy_j"), reading.get("power_w"))
        reasons = reading.get("throttle")
        if reasons is not None:
            self.num_throttle_samples += 1
            self.num_throttled.update(reasons)
        for name in ECC:
            self._add_ecc(name, reading.get(name))

    def _add_ecc(self, name: str, count: int | None) -> None:
        """Errors since the first sample; the driver's own count is of all since it was loaded."""
        if count is not None:
            new = count - self.last_ecc.get(name, count)
            self.ecc[name] = self.ecc.get(name, 0) + max(0, new)
            self.last_ecc[name] = count

    def as_json(self) -> dict[str, Any]:
        row = dict(self.device)
        for name, figure in self.figures.items():
            row[f"mean_{name}"] = _rounded(figure.mean)
            row[f"peak_{name}"] = _rounded(figure.peak)
        energy, source = self.energy.result
        row |= {"energy_j": _rounded(energy), "energy_from": source, "throttle": self._throttle()}
        return row | {name: self.ecc.get(name) for name in ECC}

    def _throttle(self) -> dict[str, float] | None:
        """The part of samples in which each reason kept the clocks down; None where it was never told."""
        if not self.num_throttle_samples:
            return None
        return {
            name: round(count / self.num_throttle_samples, 4)
            for name, count in sorted(self.num_throttled.items())
        }


class GpuSummary:
    """Takes the lines of gpu.jsonl one by one, as the sampler writes them or as they are read back."""

    def __init__(self) -> None:
        self._gpus: list[_Gpu] = []
        self._num_samples = 0
        self._first: float | None = None
        self._last: float | None = None
        self._power = _Figure()
        self._memory = _Figure()
        self._no_gpu: str | None = None
        self._failed: list[dict[str, Any]] = []
        self._unfolder = Unfolder()
        self._xids: list[dict[str, Any]] = []
        self._num_xids = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Takes one line; a line of another form changes nothing."""
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            self._add(line)

    def _add(self, line: Mapping[str, Any]) -> None:
        rows = self._unfolder.unfold(line)
        if "devices" in line:
            self._gpus = [_Gpu(dict(device)) for device in line["devices"]]
        elif rows is not None:
            self._add_sample(line["time"], rows)
        elif "xid" in line:
            self._num_xids += 1
            self._xids += [{"time": line["time"], **line["xid"]}] if len(self._xids) < MAX_XIDS else []
        elif "no_gpu" in line:
            self._no_gpu = line["no_gpu"]
        elif "failed" in line:
            self._failed.append(dict(line["failed"]))

    def _add_sample(self, time: float, readings: list[dict[str, Any]]) -> None:
        self._num_samples += 1
        self._first = time if self._first is None else self._first
        self._last = time
        for gpu, reading in zip(self._gpus, readings, strict=True):
            gpu.add(time, reading)
        self._power.add(_sum([reading.get("power_w") for reading in readings]))
        self._memory.add(_sum([reading.get("memory_used_mib") for reading in readings]))

    def as_json(self) -> dict[str, Any]:
        """Figures per GPU and in total, and why there are none."""
        gpus = [gpu.as_json() for gpu in self._gpus]
        sampled_s = None if self._first is None or self._last is None else self._last - self._first
        return {
            "num_samples": self._num_samples,
            "sampled_s": _rounded(sampled_s),
            "gpus": gpus,
            "total": self._total(gpus) if self._num_samples else None,
            "num_xids": self._num_xids,
            "xids": self._xids,
            "no_gpu": self._no_gpu,
            "failed": self._failed,
        }

    def _total(self, gpus: list[dict[str, Any]]) -> dict[str, Any]:
        """Over all GPUs: utilisation and temperature are their means, power, memory and energy their sums."""
        sources = {gpu["energy_from"] for gpu in gpus}
        return {
            "num_gpus": len(gpus),
            "mean_utilization_percent": _rounded(_mean([gpu["mean_utilization_percent"] for gpu in gpus])),
            "mean_memory_used_mib": _rounded(self._memory.mean),
            "peak_memory_used_mib": _rounded(self._memory.peak),
            "mean_power_w": _rounded(self._power.mean),
            "peak_power_w": _rounded(self._power.peak),
            "mean_temperature_c": _rounded(_mean([gpu["mean_temperature_c"] for gpu in gpus])),
            "peak_temperature_c": max(
                (gpu["peak_temperature_c"] for gpu in gpus if gpu["peak_temperature_c"] is not None),
                default=None,
            ),
            "mean_sm_clock_mhz": _rounded(_mean([gpu["mean_sm_clock_mhz"] for gpu in gpus])),
            "energy_j": _rounded(_sum([gpu["energy_j"] for gpu in gpus])),
            "energy_from": sources.pop() if len(sources) == 1 else "mixed",
        }


def summarise_gpu(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of the lines of a gpu.jsonl, in order."""
    summary = GpuSummary()
    for line in lines:
        summary.add(line)
    return summary.as_json()


def _sum(values: list[float | None]) -> float | None:
    """None where one is missing: a sum over some GPUs would pass for all of them."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _mean(values: list[float | None]) -> float | None:
    """None where one is missing, as for a sum."""
    total = _sum(values)
    return None if total is None else total / len(values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
