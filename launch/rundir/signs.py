"""What an attempt's own files say of whether it lives; launch.slurm.liveness judges.

Ages are measured by the clock of the file system, which the nodes share.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any

import psutil

from launch.rundir.attempts import filesystem_now, list_attempts
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """The job of an attempt: `<array>` and index as squeue has them, and the cluster that issued the id."""

    array: str
    index: int | None
    cluster: str | None

    @property
    def name(self) -> str:
        """`<array>_<index>`, as squeue writes it."""
        return self.array if self.index is None else f"{self.array}_{self.index}"


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of one attempt. Times are seconds by the file system's clock.

    `has_ended`: ended.json is there. `is_followed`: a later attempt of the task is. `is_gone_from_here`: it
    ran on this host and its process is no more. `beat` is its last sign of life, `beat_age_s` how old that
    is. `job` is None for what no array of ours runs. `owner` is the user whose directory it is.
    """

    has_ended: bool
    is_followed: bool
    is_gone_from_here: bool
    beat: float
    beat_age_s: float
    job: SlurmJob | None
    owner: int
    host: str | None

    @property
    def is_over(self) -> bool:
        """Whether the files alone prove that the attempt is no more."""
        return self.has_ended or self.is_followed or self.is_gone_from_here

    @property
    def now(self) -> float:
        """When the signs were read."""
        return self.beat + self.beat_age_s


def read_signs(run: RunPaths, submission: int, task: int, attempt: int) -> Signs:
    """The signs of an attempt; FileNotFoundError when there is none of that number."""
    paths = run.attempt(submission, task, attempt)
    about = read_json(paths.attempt_json) or {}
    beat = (paths.heartbeat if paths.heartbeat.exists() else paths.root).stat().st_mtime
    return Signs(
        has_ended=paths.ended.exists(),
        is_followed=any(later > attempt for later in list_attempts(run, submission, task)),
        is_gone_from_here=is_gone_from_here(about),
        beat=beat,
        beat_age_s=max(0.0, filesystem_now(run.root) - beat),
        job=job_of(about.get("slurm") or {}),
        owner=paths.root.stat().st_uid,
        host=about.get("host"),
    )


def job_of(variables: dict[str, str]) -> SlurmJob | None:
    """The array task that Slurm's variables name; None where they name none."""
    array, index = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    if array is None or index is None:
        return None
    return SlurmJob(array, int(index), variables.get("SLURM_CLUSTER_NAME"))


def pid_namespace() -> int | None:
    """The number of the namespace in which this process's pids mean something; None where /proc has none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def is_gone_from_here(about: dict[str, Any]) -> bool:
    """Whether the supervisor that attempt.json names ran on this very host and is no more.

    Said only of pids of this namespace: a container may have pids of its own and its host's name.
    """
    if about.get("host") != socket.gethostname() or about.get("pid_namespace") != pid_namespace():
        return False
    try:
        process = psutil.Process(about["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:  # killed, and in a container nobody may ever reap it
            return True
        return bool(process.create_time() > about["started"] + 1.0)  # the number is another process's now
    except psutil.NoSuchProcess:
        return True
