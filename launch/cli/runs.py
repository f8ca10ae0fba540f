"""Finds the run a command names, its logs, and the process that drives it."""

import socket
from pathlib import Path

import psutil

from launch.errors import RunError
from launch.rundir.layout import RunPaths

RUNS_DIR = Path("outputs/runs")


def find_run(name: str) -> RunPaths:
    """The run of a directory, or of an id below outputs/runs; RunError names what was looked at."""
    places = [Path(name), RUNS_DIR / name]
    for place in places:
        if (place / "run.yaml").is_file():
            return RunPaths(place.resolve())
    raise RunError(
        f"{name}: no run here; looked for run.yaml in {' and '.join(str(place) for place in places)}."
        " Give a run directory or a run id."
    )


def logs_dir(run: RunPaths) -> Path:
    """Where a run's tasks log: its own logs/ where it has one (a run of the single-node commands).

    Else slurm_logs/<run id> beside outputs/ for a run in outputs/runs/, else in the directory above the run.
    """
    if run.logs.is_dir():
        return run.logs
    runs = run.root.resolve().parent
    base = runs.parent.parent if (runs.name, runs.parent.name) == ("runs", "outputs") else runs
    return base / "slurm_logs" / run.root.name


def describe_process(pid: int | None = None) -> dict[str, str | int | float]:
    """Host, pid and start time of a process, this one unless another is named.

    Enough to find it again and not another of its number.
    """
    process = psutil.Process(pid)
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def find_process(described: dict[str, object] | None) -> psutil.Process | None:
    """The process described, if it lives on this machine."""
    if not described or described.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(str(described["pid"])))
        same = abs(process.create_time() - float(str(described["started"]))) < 1.0
        same = same and process.status() != psutil.STATUS_ZOMBIE
    except (KeyError, psutil.NoSuchProcess):
        return None
    return process if same else None
