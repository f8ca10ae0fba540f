"""Attempts of tasks: taking a number, and telling whether one still lives."""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from launch.rundir.journal import read_json, storage_errors
from launch.rundir.layout import AttemptPaths, EnginePaths, RunPaths

HEARTBEAT_PERIOD_S = 30
HEARTBEAT_DEAD_S = 15 * 60


@dataclass(frozen=True, slots=True, order=True)
class EngineStart:
    """One start of one slot of one attempt of one task of one submission; the order decides who wins."""

    submission: int
    task: int
    attempt: int
    slot: int
    start: int

    def paths(self, run: RunPaths) -> EnginePaths:
        """Its files."""
        return run.attempt(self.submission, self.task, self.attempt).engine(self.slot, self.start)


def open_attempt(run: RunPaths, submission: int, task: int) -> tuple[int, AttemptPaths]:
    """Takes the next free attempt number of a task, by mkdir, so that two never share one."""
    directory = run.task(submission, task)
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        number = max(_numbers(directory), default=-1) + 1
        while True:
            try:
                run.attempt(submission, task, number).root.mkdir()
            except FileExistsError:
                number += 1
            else:
                return number, run.attempt(submission, task, number)


def list_attempts(run: RunPaths, submission: int, task: int) -> list[int]:
    """Attempt numbers of a task, ascending."""
    return sorted(_numbers(run.task(submission, task)))


def list_engine_starts(run: RunPaths) -> list[EngineStart]:
    """Every engine start of a run that has a results file, in the order that decides who wins."""
    starts = []
    for submission, submission_path in _numbered(run.tasks):
        for task, task_path in _numbered(submission_path):
            for attempt, attempt_path in _numbered(task_path):
                starts += [
                    EngineStart(submission, task, attempt, slot, start)
                    for slot, start in _starts_in(attempt_path)
                ]
    return sorted(starts)


def list_starts(run: RunPaths, submission: int, task: int, attempt: int, slot: int) -> list[EngineStart]:
    """The engine starts of one slot of one attempt, in order."""
    root = run.attempt(submission, task, attempt).root
    found = [start for number, start in _starts_in(root) if number == slot]
    return [EngineStart(submission, task, attempt, slot, start) for start in sorted(found)]


def is_attempt_alive(run: RunPaths, submission: int, task: int, attempt: int) -> bool:
    """Whether an attempt may still be working.

    Not when it has ended, when another followed it, when it ran on this host and its process is gone, or when
    its heartbeat is too old. Ages are measured by the clock of the file system, which the nodes share.
    """
    paths = run.attempt(submission, task, attempt)
    if paths.ended.exists() or any(later > attempt for later in _numbers(run.task(submission, task))):
        return False
    if _is_gone_from_here(read_json(paths.attempt_json)):
        return False
    try:
        beat = (paths.heartbeat if paths.heartbeat.exists() else paths.root).stat().st_mtime
    except FileNotFoundError:
        return False
    return filesystem_now(run.root) - beat < HEARTBEAT_DEAD_S


def list_alive_attempts(run: RunPaths, submission: int) -> list[tuple[int, int]]:
    """(task, attempt) of every attempt of a submission that may still be working."""
    alive = []
    for task in _numbers(run.tasks / str(submission)):
        attempts = list_attempts(run, submission, task)
        if attempts and is_attempt_alive(run, submission, task, attempts[-1]):
            alive.append((task, attempts[-1]))
    return sorted(alive)


def filesystem_now(directory: Path) -> float:
    """Seconds since the epoch as the file system of `directory` has it."""
    probe = directory / f".now.{os.getpid()}.{time.monotonic_ns()}"
    with storage_errors(probe):
        probe.touch()
        seconds = probe.stat().st_mtime
        probe.unlink()
    return seconds


def _is_gone_from_here(facts: dict[str, Any] | None) -> bool:
    """Whether the supervisor that attempt.json names ran on this very host and is no more."""
    if facts is None or facts.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(facts["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:  # killed, and in a container nobody may ever reap it
            return True
        return bool(process.create_time() > facts["started"] + 1.0)  # the number is another process's now
    except psutil.NoSuchProcess:
        return True


def _numbers(directory: Path) -> list[int]:
    return [number for number, _ in _numbered(directory)]


def _numbered(directory: Path) -> Iterator[tuple[int, Path]]:
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.isdecimal():
            yield int(entry.name), Path(entry.path)


def _starts_in(attempt: Path) -> Iterator[tuple[int, int]]:
    for entry in os.scandir(attempt):
        parts = entry.name.split(".", 2)
        if len(parts) == 3 and parts[2] == "results.jsonl":
            yield int(parts[0]), int(parts[1])
