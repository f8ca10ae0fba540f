"""A case: a failure that is provoked, what is expected of the task, and what was seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from tests.worker.tasks import events, processes_with

StepRow = tuple[str, str]
"""Class and action of a step; a setting that is changed goes behind the action."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a task did: its exit code, the class in ended.json, the ladder's steps, the items it settled.

    `facts` are what tells that the failure was real; `log` is that of the engine start that failed first.
    """

    code: int
    failure_class: str | None
    message: str | None
    steps: tuple[StepRow, ...]
    num_done: int
    num_failed: int
    num_left: int
    """Processes that outlived the task."""
    log: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """`failure_class` None: the task mended it and ended well. `or_class` is as good: vLLM's words vary."""

    code: int
    failure_class: str | None
    steps: tuple[StepRow, ...] = ()
    num_done: int = 0
    num_failed: int = 0
    or_class: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A failure: the class that its first log is given, how it is provoked, what is expected."""

    name: str
    failure_class: str
    how: str
    provoke: Callable[[Path], Seen]
    expected: Expected


def look(
    run: RunPaths, code: int, facts: Mapping[str, Any] | None = None, problems: Sequence[str] = ()
) -> Seen:
    """What the first attempt of task 0 left, with what the case itself found."""
    survey = survey_settled(run)
    paths = run.attempt(1, 0, 0)
    failure = (read_json(paths.ended) or {}).get("failure") or {}
    return Seen(
        code=code,
        failure_class=failure.get("class"),
        message=failure.get("message"),
        steps=tuple(_row(step) for step in events(run, "ladder")),
        num_done=survey.num_done,
        num_failed=survey.num_failed,
        num_left=len(processes_with(str(run.root))),
        log=paths.engine(0, 0).log.read_text(encoding="utf-8", errors="replace"),
        facts=facts or {},
        problems=problems,
    )


def find_problems(case: Case, seen: Seen) -> list[str]:
    """Where what was seen is not what is expected, a sentence each."""
    wanted = case.expected
    found = seen.failure_class
    if wanted.or_class is not None and found == wanted.or_class:
        found = wanted.failure_class
    problems = [
        f"{name}: expected {expected}, got {got}"
        for name, expected, got in (
            ("exit code", wanted.code, seen.code),
            ("class", wanted.failure_class, found),
            ("steps", wanted.steps, seen.steps),
            ("items done", wanted.num_done, seen.num_done),
            ("items failed", wanted.num_failed, seen.num_failed),
            ("processes left", 0, seen.num_left),
        )
        if expected != got
    ]
    return problems + list(seen.problems)


def _row(step: Mapping[str, Any]) -> StepRow:
    setting = f" {step['setting']}" if "setting" in step else ""
    return step["class"], f"{step['action']}{setting}"
