"""Starts real supervisors, or works as their engine processes do, and looks at what they leave."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.journal import read_journal, read_json
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_submission
from launch.worker.caution import Caution
from launch.worker.engine_process import work
from tests.runs import RUN_S

ROOT = Path(__file__).resolve().parents[2]
FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")
WORKER = ("-m", "launch.worker")
PATIENT_WORKER = (
    "-c",
    "import sys; from launch.worker import __main__, longest_prompt;"
    f" longest_prompt.ANSWER_S = {RUN_S / 2}; sys.exit(__main__.main(sys.argv[1:]))",
)
"""The same, with more time to count the prompts that are left: on a busy machine 20 s may not do."""
TORN = b'{"time":1.0,"ite'


def start_task(
    run: RunPaths, task: int = 0, *, program: Sequence[str] = WORKER, **environment: str
) -> subprocess.Popen[str]:
    """The supervisor of a task of submission 1, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, *program, str(run.root), "--submission", "1", "--task", str(task)],
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


def run_task(
    run: RunPaths,
    task: int = 0,
    timeout_s: float = RUN_S,
    *,
    program: Sequence[str] = WORKER,
    **environment: str,
) -> tuple[int, str]:
    """Runs a task to its end: exit code and stderr."""
    return finish(start_task(run, task, program=program, **environment), timeout_s)


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


@dataclass
class SilentChannel:
    """The engine process's side of the pipes with nobody at the other end."""

    drain_deadline: float | None = None
    drain_asked: threading.Event = field(default_factory=threading.Event)

    def send(self, **message: Any) -> None:
        """To nobody."""


def run_tasks(run: RunPaths, submission: int, kills: list[int | None]) -> None:
    """Every task of a submission, one after the other; `kills`: the step in which each dies, or None."""
    for task in range(load_submission(run, submission).num_tasks):
        attempt, _ = open_attempt(run, submission, task)
        at = EngineStart(submission, task, attempt, 0, 0)
        step = kills[task % len(kills)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VLLM_LAUNCH_STUB_FAIL", "" if step is None else f"step:{step}")
            died = not is_ended_well(run, at)
        if died:
            tear(run, at)


def is_ended_well(run: RunPaths, at: EngineStart) -> bool:
    """Works on a task; False when the stub ended it."""
    try:
        work(run, at, SilentChannel(), {}, Caution())  # type: ignore[arg-type]
    except RuntimeError as error:
        if "the stub was told to fail in step" not in str(error):
            raise
        return False
    return True


def tear(run: RunPaths, at: EngineStart) -> None:
    """The beginning of a line that never became whole, behind results and commits."""
    for path in (at.paths(run).results, at.paths(run).commits):
        with path.open("ab") as handle:
            handle.write(TORN)
