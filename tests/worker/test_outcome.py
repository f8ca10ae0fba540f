"""How a task ends, from how its slots ended."""

from pathlib import Path
from typing import Any

import pytest

from launch.errors import ExitCode
from launch.rundir.attempts import EngineStart, open_attempt
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from launch.worker.outcome import Outcome, judge, stop_without_progress
from launch.worker.slot_record import SlotEnd

FAILURE = {"class": "RuntimeError", "message": "RuntimeError: no"}
CONTINUE = Outcome(ExitCode.CONTINUE, "drained")


def end(returncode: int, said: str | None, **more: object) -> SlotEnd:
    """A slot's end with the rest as it mostly is."""
    values = {"was_drained": False, "was_killed": False, "failure": None, "log": "0.0.log", **more}
    return SlotEnd(slot=0, start=0, returncode=returncode, said=said, **values)  # type: ignore[arg-type]


EMPTY, DRAINED = end(0, "empty"), end(75, "drained", was_drained=True)
KILLED = end(-9, None, was_drained=True, was_killed=True)
REFUSED, FAILED = end(2, "failed", failure=FAILURE), end(1, "failed", failure=FAILURE)


@pytest.mark.parametrize(
    ("ends", "code", "reason"),
    [
        ([EMPTY, EMPTY], 0, "empty"),
        ([EMPTY, DRAINED], 75, "drained"),
        ([KILLED, EMPTY], 75, "killed"),
        ([DRAINED, REFUSED], 2, "refused"),
        ([REFUSED, FAILED, DRAINED], 1, "failed"),
        ([end(0, None)], 1, "failed"),
        ([end(-9, "drained", was_drained=True)], 1, "failed"),
    ],
)
def test_the_worst_end_counts(ends: list[SlotEnd], code: int, reason: str):
    outcome = judge(ends)
    assert (outcome.code, outcome.reason) == (code, reason)
    assert (outcome.failure is None) == (code in (0, 75))


@pytest.mark.parametrize(
    ("returncode", "text"),
    [(-11, "was killed by SIGSEGV"), (-63, "was killed by signal 63"), (3, "exited with 3")],
)
def test_an_end_without_a_word_says_what_the_kernel_says(returncode: int, text: str):
    failure = judge([end(returncode, None)]).failure
    assert failure == {
        "class": "engine_lost",
        "message": f"slot 0: the engine process {text} without a word: 0.0.log",
    }


def make_attempts(run: RunPaths, *commits: bytes | None) -> EngineStart:
    """An attempt per entry: None ran no engine, bytes are its commits; the place of the last."""
    for content in commits:
        number, paths = open_attempt(run, 1, 0)
        if content is not None:
            paths.engine(0, 0).log.touch()
            paths.engine(0, 0).results.touch()
            paths.engine(0, 0).commits.write_bytes(content)
            write_json(paths.ended, {"code": 75})
    return EngineStart(1, 0, number, 0, 0)


@pytest.mark.parametrize(
    ("commits", "code"),
    [
        ([b""], 75),
        ([b"", b""], 1),
        ([b"line\n", b""], 75),
        ([b"", b"line\n"], 75),
        ([None, b""], 75),
        ([b"line\n", b"", b""], 1),
    ],
)
def test_two_attempts_without_a_commit_stop(tmp_path: Path, commits: list[bytes | None], code: int):
    run = RunPaths(tmp_path)
    outcome = stop_without_progress(CONTINUE, run, make_attempts(run, *commits), num_slots=1)
    assert outcome.code == code


@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        ((["SIGUSR2"], ["SIGUSR2", "SIGTERM"]), "no_progress"),
        ((["SIGUSR2"], ["SIGTERM"]), "drained"),  # preempted, requeued or cancelled: no lack of time
        ((["SIGTERM"], ["SIGUSR2"]), "drained"),
        (([], ["SIGUSR2"]), "no_progress"),
        ((None, ["SIGUSR2"]), "drained"),  # it was lost with its node
    ],
)
def test_attempts_that_were_taken_away_do_not_count(tmp_path: Path, heard: Any, reason: str):
    run = RunPaths(tmp_path)
    at = make_attempts(run, b"", b"")
    for attempt, names in enumerate(heard):
        paths = run.attempt(1, 0, attempt)
        if names is None:
            paths.ended.unlink()
        events = Journal(paths.events)
        for name in names or []:
            events.append({"time": 1.0, "event": "signal", "name": name})
        events.close()
    assert stop_without_progress(CONTINUE, run, at, num_slots=1).reason == reason


def test_an_engine_killed_before_it_wrote_anything_ran_in_vain(tmp_path: Path):
    run = RunPaths(tmp_path)
    at = make_attempts(run, b"", b"")
    for attempt in (0, 1):
        paths = run.attempt(1, 0, attempt).engine(0, 0)
        paths.commits.unlink()
        paths.results.unlink()
    assert stop_without_progress(CONTINUE, run, at, num_slots=1).reason == "no_progress"


def test_a_task_that_found_nothing_left_is_not_stopped(tmp_path: Path):
    run = RunPaths(tmp_path)
    done = Outcome(ExitCode.OK, "empty")
    assert stop_without_progress(done, run, make_attempts(run, b"", b""), num_slots=1) is done
