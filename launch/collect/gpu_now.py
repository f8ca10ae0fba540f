"""What the GPUs of running tasks do now: the newest sample of each task's gpu.jsonl, read from its end.

Of tasks that are over nothing is told but that they had no GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launch.collect.task_status import TaskStatus
from launch.rundir.journal import NUMBER
from launch.rundir.layout import AttemptPaths
from launch.rundir.one_look import keep_answer
from launch.rundir.tails import last_timed, tail_records
from launch.worker.gpu_lines import read_samples

TAIL_BYTES = 16 << 10
MAX_AGE_S = 60.0


@dataclass(frozen=True, slots=True)
class GpuNow:
    """Over all GPUs with a sample of the last minute; a mean or sum is None where no GPU tells it.

    `busy_percent` is (lowest, mean, highest) of NVML's utilisation, `memory_gib` what is used of all
    together, `power_w` their power together. `no_gpu` says why tasks have none, where all that tell have
    none. `num_silent` of the GPUs tell no utilisation: NVML has none of a MIG device.
    """

    num_gpus: int
    num_tasks: int
    busy_percent: tuple[float, float, float] | None
    memory_gib: float | None
    power_w: float | None
    no_gpu: str | None = None
    num_silent: int = 0


def read_gpus(attempts: Sequence[tuple[AttemptPaths, float]]) -> GpuNow | None:
    """The newest samples of attempts, each with the time by its node's clock; None where there is none."""
    samples: list[list[dict[str, Any]]] = []
    reasons = []
    for paths, now in attempts:
        sample, why = _newest(paths, now)
        samples += [] if sample is None else [sample]
        reasons += [] if why is None else [why]
    if not samples:
        return GpuNow(0, len(reasons), None, None, None, reasons[0]) if reasons else None
    gpus = [gpu for sample in samples for gpu in sample]
    busy, memory, power = (
        [float(gpu[name]) for gpu in gpus if isinstance(gpu.get(name), NUMBER)]
        for name in ("utilization_percent", "memory_used_mib", "power_w")
    )
    return GpuNow(
        num_gpus=len(gpus),
        num_tasks=len(samples),
        busy_percent=(min(busy), sum(busy) / len(busy), max(busy)) if busy else None,
        memory_gib=sum(memory) / 1024 if memory else None,
        power_w=sum(power) if power else None,
        num_silent=len(gpus) - len(busy),
    )


def no_gpus(tasks: Sequence[TaskStatus]) -> GpuNow | None:
    """Of tasks that are over: why they had no GPU; None where one had any, or none of them tells."""
    told = [task for task in tasks if task.num_gpus is not None]
    reasons = [task.no_gpu for task in told if task.no_gpu is not None]
    if not reasons or any(task.num_gpus for task in told):
        return None
    return GpuNow(0, len(reasons), None, None, None, reasons[0])


def _newest(paths: AttemptPaths, now: float) -> tuple[list[dict[str, Any]] | None, str | None]:
    """The readings of the newest sample, if it is young, or why there is no GPU."""
    rows = tail_records(paths.gpu, TAIL_BYTES)
    timed = [row for row in rows if isinstance(row.get("time"), NUMBER)]
    if timed:  # the ledger asks for it
        keep_answer(last_timed, paths.gpu, timed[-1])
    samples = list(read_samples(rows))
    if not samples:
        return None, next((row["no_gpu"] for row in rows if isinstance(row.get("no_gpu"), str)), None)
    time, gpus = samples[-1]
    return (gpus if abs(now - time) <= MAX_AGE_S else None), None
