"""What the GPU monitor costs, and on a GPU host whether it says what nvidia-smi says.

    python -m benchmarks.gpu_monitor [--seconds 60] [--gpus 8] [--real] [--out FILE]

Without --real the sampler runs over an NVML in memory with so many GPUs whose power, energy and clock change
with every sample: that is our part alone, without what NVML's own calls take. With --real it samples the GPUs
of this host while a matrix product keeps the first one busy (PyTorch), beside `nvidia-smi -lms 1000`; the CPU
seconds are those of NVML's calls too. It is busy for 0.22 s and waits for 0.15, in no step with the samples.

CPU is that of the whole process, whose other threads sleep, as a part of one core, from 2 s after the sampler
began; what was used before, NVML's own start among it, is told apart in CPU seconds. With --real a second
table says what each reading costs. Bytes are of gpu.jsonl.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.record import table, write_record
from launch.rundir.journal import read_journal
from launch.worker.gpu import GpuSampler
from launch.worker.gpu_readings import READINGS
from launch.worker.gpu_summary import summarise_gpu

START_S = 2.0
NUM_CALLS = 100
FIELDS = "utilization.gpu,memory.used,power.draw"
LOAD = """
import sys, time, torch
left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
kept = torch.empty(4 << 30, dtype=torch.uint8, device="cuda")
until = time.monotonic() + float(sys.argv[1])
print("ready", flush=True)
while time.monotonic() < until:
    pause = time.monotonic() + 0.22
    while time.monotonic() < pause:
        left @ left
        torch.cuda.synchronize()
    time.sleep(0.15)
"""


class MemoryNvml:
    """Answers at once; readings of a GPU change with the number of calls."""

    NVMLError = type("NVMLError", (Exception,), {"value": 10})
    NVML_ERROR_TIMEOUT = 10
    NVML_ERROR_FUNCTION_NOT_FOUND = NVML_ERROR_NOT_SUPPORTED = NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = 0
    NVML_MEMORY_ERROR_TYPE_CORRECTED = NVML_MEMORY_ERROR_TYPE_UNCORRECTED = NVML_VOLATILE_ECC = 0
    nvmlEventTypeXidCriticalError = 8
    nvmlMemory_v2 = 0

    def __init__(self, num_gpus: int) -> None:
        self._num_gpus = num_gpus
        self._num_calls = 0

    def nvmlDeviceGetCount(self) -> int:
        return self._num_gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:
        return SimpleNamespace(gpu=98)

    def nvmlDeviceGetMemoryInfo(self, *_: int) -> Any:
        return SimpleNamespace(used=130 << 30, total=141 << 30)

    def nvmlDeviceGetTotalEccErrors(self, *_: Any) -> int:
        return 0

    def nvmlDeviceGetTemperature(self, *_: Any) -> int:
        return 61

    def nvmlDeviceGetCurrentClocksEventReasons(self, _: int) -> int:
        return 4

    def nvmlDeviceGetName(self, _: int) -> str:
        return "in memory"

    def nvmlEventSetWait_v2(self, *_: Any) -> Any:
        raise self.NVMLError

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, _: int) -> Any:
        raise self.NVMLError

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        self._num_calls += 1
        return lambda *_: 690_000 + self._num_calls


def main() -> None:
    """Measures, prints a row or two, writes the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu-monitor.json"))
    values = parser.parse_args()
    load = _start_load(values.seconds + START_S + 5) if values.real else None
    smi = _start_smi(values.seconds) if values.real else None
    nvml = None if values.real else MemoryNvml(values.gpus)
    cost, summary = measure(nvml, values.seconds)
    rows = [cost]
    print(table(rows))
    found: dict[str, Any] = {"seconds": values.seconds, "is_real": values.real, "cost": cost}
    if load is not None and smi is not None:
        found["beside_nvidia_smi"] = compare(summary["gpus"], _end_smi(smi))
        print(table(found["beside_nvidia_smi"]))
        found["failed"] = summary["failed"]
        found["readings"] = price_of_readings()
        print(table(found["readings"]))
        load.wait()
    write_record(values.out, found)


def measure(nvml: Any, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """What sampling for so long cost, and the summary."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gpu.jsonl"
        cpu_before = time.process_time()
        sampler = GpuSampler(path, None, nvml)
        time.sleep(START_S)
        began, cpu = time.monotonic(), time.process_time()
        time.sleep(seconds)
        used, lasted = time.process_time() - cpu, time.monotonic() - began
        summary = sampler.stop()
        assert summary["num_samples"] >= seconds - 2, summary
        assert summarise_gpu(read_journal(path)) == summary
        size = path.stat().st_size
    cost = {
        "gpus": len(summary["gpus"]),
        "samples": summary["num_samples"],
        "start_cpu_s": round(cpu - cpu_before, 3),
        "cpu_percent_of_a_core": round(100 * used / lasted, 4),
        "bytes_per_gpu_second": round(size / summary["num_samples"] / len(summary["gpus"]), 1),
    }
    return cost, summary


def price_of_readings() -> list[dict[str, Any]]:
    """What a reading of the first GPU takes, by the clock and of CPU, over many calls."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    rows = []
    for name, reading in READINGS.items():
        began, cpu = time.monotonic(), time.process_time()
        try:
            for _ in range(NUM_CALLS):
                reading.read(pynvml, handle)
        except pynvml.NVMLError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        cpu, wall = time.process_time() - cpu, time.monotonic() - began
        scale = 1e6 / NUM_CALLS
        rows.append({"reading": name, "wall us": round(wall * scale, 1), "CPU us": round(cpu * scale, 1)})
    pynvml.nvmlShutdown()
    return rows


def compare(gpus: list[dict[str, Any]], told: list[list[tuple[float, ...]]]) -> list[dict[str, Any]]:
    """Means of ours beside those of nvidia-smi, a row a GPU and figure."""
    names = ("mean_utilization_percent", "mean_memory_used_mib", "mean_power_w")
    rows = []
    for index, (gpu, lines) in enumerate(zip(gpus, told, strict=True)):
        for column, name in enumerate(names):
            theirs = sum(line[column] for line in lines) / len(lines)
            off = round(gpu[name] - theirs, 2)
            rows.append(
                {"gpu": index, "figure": name, "ours": gpu[name], "nvidia-smi": round(theirs, 2), "off": off}
            )
    return rows


def _start_load(seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", LOAD, str(seconds)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert load.stdout is not None and load.stdout.readline().strip() == "ready"
    return load


def _start_smi(seconds: float) -> "subprocess.Popen[str]":
    query = ["nvidia-smi", f"--query-gpu=index,{FIELDS}", "--format=csv,noheader,nounits", "-lms", "1000"]
    return subprocess.Popen(["timeout", str(seconds), *query], stdout=subprocess.PIPE, text=True)


def _end_smi(smi: "subprocess.Popen[str]") -> list[list[tuple[float, ...]]]:
    """By GPU, the figures of every line."""
    told: dict[int, list[tuple[float, ...]]] = {}
    for line in smi.communicate()[0].splitlines():
        index, *figures = line.split(",")
        told.setdefault(int(index), []).append(tuple(map(float, figures)))
    return [told[index] for index in sorted(told)]


if __name__ == "__main__":
    main()
