"""Xid errors as NVML reports them: what the driver says when a GPU, or a program on it, has failed.

Source of the numbers' meanings: NVIDIA, "XID Errors", docs.nvidia.com/deploy/xid-errors.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MEANINGS = {
    13: "graphics engine exception",
    31: "GPU memory page fault",
    43: "GPU stopped processing",
    45: "work was cleaned up after another error or a kill",
    48: "double bit ECC error",
    62: "internal micro-controller halt",
    63: "a row of memory was remapped",
    64: "a row of memory could not be remapped",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "high rate of corrected ECC errors",
    94: "contained ECC error",
    95: "uncontained ECC error",
    119: "GSP did not answer",
    120: "GSP error",
}
CLEANED_UP = 45
"""Follows the death of a process and causes none."""
MAX_AT_ONCE = 100


class Xid(NamedTuple):
    """An error; `gpu` is the id of the visible GPU that it is of, None where that is not known.

    An error of a GPU of which several MIG devices are visible may be any one's: it is not known.
    """

    gpu: str | None
    code: int

    @property
    def text(self) -> str:
        """`Xid 79 (GPU has fallen off the bus)`."""
        meaning = MEANINGS.get(self.code)
        return f"Xid {self.code}" if meaning is None else f"Xid {self.code} ({meaning})"


class XidWatch:
    """An event set of NVML in which the GPUs of `devices` (id to handle) are registered.

    Raises NVMLError where events are not supported: in a VM, for some GPUs, without the rights. A broken
    driver may raise anything.
    """

    def __init__(self, nvml: Any, devices: Mapping[str, Any]) -> None:
        self._nvml = nvml
        self._ids: dict[str, str | None] = {}
        self._set = nvml.nvmlEventSetCreate()
        try:
            for device_id, handle in devices.items():
                whole = _whole_gpu(nvml, handle)
                nvml.nvmlDeviceRegisterEvents(whole, nvml.nvmlEventTypeXidCriticalError, self._set)
                uuid = str(nvml.nvmlDeviceGetUUID(whole))
                self._ids[uuid] = None if uuid in self._ids else device_id
        except Exception:
            self.close()
            raise

    def poll(self) -> Iterator[Xid]:
        """Those that came since the last call; it does not wait. Raises NVMLError for any other failure."""
        for _ in range(MAX_AT_ONCE):
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._set, 0)
            except self._nvml.NVMLError as error:
                if error.value == self._nvml.NVML_ERROR_TIMEOUT:
                    return
                raise
            yield Xid(self._id_of(event.device), int(event.eventData))

    def close(self) -> None:
        """Frees the event set; a driver that fails here is let be, as the set ends with the process."""
        with contextlib.suppress(Exception):
            self._nvml.nvmlEventSetFree(self._set)

    def _id_of(self, handle: Any) -> str | None:
        try:
            return self._ids.get(str(self._nvml.nvmlDeviceGetUUID(handle)))
        except Exception:  # noqa: BLE001  (it is gone, or does not tell its name; the error is still one)
            return next(iter(self._ids.values())) if len(self._ids) == 1 else None


def _whole_gpu(nvml: Any, handle: Any) -> Any:
    """The GPU that a MIG device is a part of; a GPU itself."""
    try:
        return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    except nvml.NVMLError:
        return handle
