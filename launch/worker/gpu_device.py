"""One visible GPU while it is sampled: what it reads, what it does not have, what it told already."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from launch.worker.gpu_readings import READINGS

Told = Callable[[str, Exception], None]


@dataclass(slots=True)
class Device:
    """`id`: of CUDA_VISIBLE_DEVICES; `unsupported`: readings it does not have; `failing`: those told."""

    id: str
    handle: Any
    unsupported: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    last: dict[str, Any] = field(default_factory=dict)

    def read(self, nvml: Any, number: int, tell: Told, *, all_of_them: bool = False) -> dict[str, Any]:
        """Every reading as of the `number`-th sample; None for one that fails, of which the first is told.

        What is read at every n-th sample keeps its value between, unless `all_of_them` are asked for.
        """
        row: dict[str, Any] = {}
        for name, reading in READINGS.items():
            if number % reading.every and not all_of_them and name in self.last:
                row[name] = self.last[name]
                continue
            row[name] = None
            if name in self.unsupported:
                continue
            try:
                row[name] = reading.read(nvml, self.handle)
            except Exception as error:  # noqa: BLE001  (an NVMLError, or whatever a broken driver raises)
                if _is_unsupported(nvml, error):
                    self.unsupported.add(name)
                if name not in self.failing:
                    self.failing.add(name)
                    tell(name, error)
        self.last = row
        return row


def _is_unsupported(nvml: Any, error: Exception) -> bool:
    """Also where an older nvidia-ml-py lacks a function."""
    codes = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    return isinstance(error, AttributeError) or getattr(error, "value", None) in codes
