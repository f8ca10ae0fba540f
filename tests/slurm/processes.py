"""What the jobs of a private Slurm have running: found through /proc, ended by pid, never by name.

A job's process shows the cluster's SLURM_CONF, its job id and its node in the environment that it was started
with. A slurmstepd overwrites its own environment, but keeps the log of its node's slurmd open.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

JOB_IDS = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID")
NODE = "SLURMD_NODENAME"


def list_processes(conf: Path, node: str | None = None) -> list[psutil.Process]:
    """The living processes of a cluster's steps and jobs (never its clients), of one node if given."""
    found = []
    for process in psutil.process_iter():
        env = _job_environment(process, conf)
        of_node = env.get(NODE) if env else _node_of_stepd(process, conf.parent)
        if of_node is not None and node in (None, of_node):
            found.append(process)
    return _with_descendants(found)


def list_job_processes(conf: Path, job_id: str) -> list[psutil.Process]:
    """The living processes that a job (or any task of an array) started, without Slurm's own slurmstepd."""
    found = []
    for process in psutil.process_iter():
        env = _job_environment(process, conf)
        if job_id in [env.get(name) for name in JOB_IDS]:
            found.append(process)
    return [process for process in _with_descendants(found) if not _is_stepd(process)]


def end_processes(conf: Path, node: str | None = None, timeout_s: float = 30) -> None:
    """Kill what list_processes() finds until nothing is left; AssertionError naming it after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while remaining := list_processes(conf, node):
        if time.monotonic() > deadline:
            raise AssertionError(f"processes of a private Slurm that do not end: {remaining}")
        kill_all(remaining)
        psutil.wait_procs(remaining, timeout=0.2)


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to each; one that has ended meanwhile is left out."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def list_family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants, those that live."""
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return [member for member in members if _is_alive(member)]


def _job_environment(process: psutil.Process, conf: Path) -> Mapping[str, str]:
    """The environment of a process of one of the cluster's jobs; empty for any other process."""
    try:
        env: Mapping[str, str] = process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}
    return env if env.get("SLURM_CONF") == str(conf) and JOB_IDS[0] in env else {}


def _node_of_stepd(process: psutil.Process, root: Path) -> str | None:
    """The node of a slurmstepd whose cluster lives in root; None for any other process."""
    if not _is_stepd(process):
        return None
    try:
        logs = [Path(file.path) for file in process.open_files()]
    except psutil.NoSuchProcess:
        return None
    nodes = [log.name.removeprefix("slurmd.").removesuffix(".log") for log in logs if log.parent == root]
    return nodes[0] if nodes else None


def _is_stepd(process: psutil.Process) -> bool:
    try:
        return bool(process.name() == "slurmstepd")
    except psutil.NoSuchProcess:
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Also those that no longer show their environment: a process that sets its own title overwrites it."""
    members = {member.pid: member for process in processes for member in list_family(process)}
    return list(members.values())
