"""Finds the run a command names, its logs, and the process that drives it."""

from pathlib import Path

import psutil

from launch.errors import RunError
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.process_mark import read_mark

RUNS_DIR = Path("outputs/runs")


def find_run(name: str, wanted: str = "a run directory or a run id") -> RunPaths:
    """The run of a directory, or of an id below outputs/runs; RunError names what was looked at.

    An empty name, which would be the current directory, is refused: a variable that is not set.
    """
    if not name:
        raise RunError(f"expected {wanted}, got ''. Write . for the current directory.")
    places = [Path(name), RUNS_DIR / name]
    for place in places:
        if (place / "run.yaml").is_file():
            return RunPaths(place.resolve())
    raise RunError(
        f"{name}: no run here; looked for run.yaml in {' and '.join(str(place) for place in places)}."
        f" Give {wanted}."
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


def find_driver(run: RunPaths, submission: int) -> psutil.Process | None:
    """The process that drives a submission's tasks, if it lives on this machine."""
    mark = read_mark(read_json(run.submission(submission).driver))
    if mark is None or not mark.is_here:
        return None
    try:
        return psutil.Process(mark.pid)
    except psutil.NoSuchProcess:  # just now
        return None
