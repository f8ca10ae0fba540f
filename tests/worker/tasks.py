"""Starts real supervisors and looks at what they leave."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from tests.runs import RUN_S

ROOT = Path(__file__).resolve().parents[2]
FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


def start_task(run: RunPaths, task: int = 0, **environment: str) -> subprocess.Popen[str]:
    """The supervisor of a task of submission 1, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "launch.worker", str(run.root), "--submission", "1", "--task", str(task)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = RUN_S) -> tuple[int, str]:
    """Exit code and stderr; the test fails when it takes longer."""
    _, errors = process.communicate(timeout=timeout_s)
    return process.returncode, errors


def run_task(run: RunPaths, task: int = 0, timeout_s: float = 60, **environment: str) -> tuple[int, str]:
    """Runs a task to its end: exit code and stderr."""
    return finish(start_task(run, task, **environment), timeout_s)


def ended(run: RunPaths, task: int = 0, attempt: int = 0) -> dict[str, Any]:
    """ended.json of an attempt."""
    value = read_json(run.attempt(1, task, attempt).ended)
    assert value is not None, "no ended.json"
    return value


def events(run: RunPaths, name: str, task: int = 0, attempt: int = 0) -> list[dict[str, Any]]:
    """The events of one name."""
    lines = read_journal(run.attempt(1, task, attempt).events)
    return [line for line in lines if line["event"] == name]


def wait_for_phase(run: RunPaths, phase: str, task: int = 0, attempt: int = 0) -> None:
    """Until a slot of the attempt is in `phase`."""
    wait_until(lambda: any(event["phase"] == phase for event in events(run, "phase", task, attempt)), phase)


def num_committed(run: RunPaths, task: int = 0, attempt: int = 0, slot: int = 0, start: int = 0) -> int:
    """Items in the commits of an engine start."""
    commits = run.attempt(1, task, attempt).engine(slot, start).commits
    return sum(len(line["items"]) for line in read_journal(commits))


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = RUN_S) -> None:
    """Until the condition holds; the test fails with `what` when it does not in time."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def processes_with(mark: str) -> list[int]:
    """Pids of living processes with `mark` in their command line or environment: all that a run started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and _has(entry, mark.encode()):
            found.append(int(entry.name))
    return found


def _has(entry: Path, mark: bytes) -> bool:
    try:
        if re.search(r"^State:\s+Z", (entry / "status").read_text(), re.MULTILINE):
            return False
        return mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def kill_9(process: subprocess.Popen[Any]) -> None:
    """What no handler sees."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
