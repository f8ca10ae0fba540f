"""NVML as a small one in memory: as much of pynvml as the sampler calls, and the failures it may have."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from launch.rundir.journal import read_journal
from launch.worker.gpu import GpuSampler
from tests.worker.tasks import wait_until

GIB = 1 << 30
FAST_S = 0.01


class FakeError(Exception):
    """NVML's error with its code."""

    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = value


NOT_SUPPORTED = FakeError(3, "Not Supported")
NOT_FOUND = FakeError(6, "Not Found")
LOST = FakeError(15, "GPU is lost")
TIMEOUT = FakeError(10, "Timeout")
FUNCTION_NOT_FOUND = FakeError(13, "Function Not Found")


@dataclass
class FakeGpu:
    """A device: its readings, and the errors that calls raise instead."""

    uuid: str
    errors: dict[str, Exception] = field(default_factory=dict)
    mig: tuple["FakeGpu", ...] = ()
    power_mw: int = 300_000
    busy: int = 90
    throttle: int = 0x4
    ecc: list[int] = field(default_factory=lambda: [7, 0])
    energy_mj: int = 5_000_000
    name: bytes = b"Fake H200"

    def answer(self, name: str, value: Any) -> Any:
        """The value, or the error set for this call."""
        if name in self.errors:
            raise self.errors[name]
        return value


CALLS = ("utilization", "memory", "power", "energy", "temperature", "clock", "throttle", "ecc")


class FakeNvml:
    """As much of pynvml as the sampler calls."""

    NVMLError = FakeError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_FUNCTION_NOT_FOUND = 13
    NVML_TEMPERATURE_GPU = 0
    NVML_ERROR_TIMEOUT = 10
    NVML_CLOCK_SM = 1
    NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    nvmlEventTypeXidCriticalError = 8
    nvmlMemory_v2 = 0x2000028

    def __init__(self, *gpus: FakeGpu, init: Exception | None = None, count: Exception | None = None) -> None:
        self.gpus = gpus
        self.init = init
        self.count = count
        self.num_open = 0
        self.xids: list[tuple[FakeGpu, int]] = []
        self.no_events: Exception | None = None
        self.wait_error: Exception = TIMEOUT

    def nvmlInit(self) -> None:
        if self.init is not None:
            raise self.init
        self.num_open += 1

    def nvmlShutdown(self) -> None:
        self.num_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        if self.count is not None:
            raise self.count
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        if index >= len(self.gpus):
            raise NOT_FOUND
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:
        parts = [part for gpu in self.gpus for part in gpu.mig]
        for device in (*self.gpus, *parts):
            if device.uuid == uuid:
                return device
        raise NOT_FOUND

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: FakeGpu) -> int:
        return len(gpu.mig) + 1

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: FakeGpu, index: int) -> FakeGpu:
        if index >= len(gpu.mig):
            raise NOT_FOUND
        return gpu.mig[index]

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.answer("uuid", gpu.uuid)

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> bytes:
        return gpu.name

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:
        return gpu.answer("utilization", SimpleNamespace(gpu=gpu.busy, memory=50))

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> Any:
        """The second version has what the driver keeps for itself apart."""
        if version is None:
            return gpu.answer("old memory", SimpleNamespace(used=3 * GIB, total=80 * GIB))
        assert version == self.nvmlMemory_v2
        return gpu.answer("memory", SimpleNamespace(used=2 * GIB, reserved=GIB, total=80 * GIB))

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        return gpu.answer("power", gpu.power_mw)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:
        gpu.energy_mj += 1_500
        return gpu.answer("energy", gpu.energy_mj)

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:
        return gpu.answer("temperature", 61)

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: int) -> int:
        assert kind == self.NVML_CLOCK_SM
        return gpu.answer("clock", 1980)

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu) -> int:
        return gpu.answer("throttle", gpu.throttle)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:
        return gpu.answer("old throttle", gpu.throttle)

    def nvmlDeviceGetTotalEccErrors(self, gpu: FakeGpu, kind: int, counter: int) -> int:
        assert counter == self.NVML_VOLATILE_ECC
        return gpu.answer("ecc", gpu.ecc[kind])

    def nvmlEventSetCreate(self) -> list[FakeGpu]:
        if self.no_events is not None:
            raise self.no_events
        self.num_open += 1
        return []

    def nvmlEventSetFree(self, events: list[FakeGpu]) -> None:
        self.num_open -= 1

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, gpu: FakeGpu) -> FakeGpu:
        for whole in self.gpus:
            if gpu in whole.mig:
                return whole
        raise NOT_FOUND

    def nvmlDeviceRegisterEvents(self, gpu: FakeGpu, kinds: int, events: list[FakeGpu]) -> None:
        assert kinds == self.nvmlEventTypeXidCriticalError
        events.append(gpu)

    def nvmlEventSetWait_v2(self, events: list[FakeGpu], timeout_ms: int) -> Any:
        assert timeout_ms == 0
        while self.xids:
            gpu, code = self.xids.pop(0)
            if gpu in events:
                return SimpleNamespace(device=gpu, eventData=code)
        raise self.wait_error


def sample(
    path: Path, nvml: Any, visible: list[str] | None, num_lines: int
) -> tuple[list[Any], dict[str, Any]]:
    """The lines of gpu.jsonl once there are so many, and the summary."""
    sampler = GpuSampler(path, visible, nvml, period_s=FAST_S)
    wait_until(lambda: len(list(read_journal(path))) >= num_lines, f"{num_lines} lines")
    summary = sampler.stop()
    return list(read_journal(path)), summary


def with_key(lines: list[Any], key: str) -> list[Any]:
    """The values under `key` of the lines that have it."""
    return [line[key] for line in lines if key in line]
