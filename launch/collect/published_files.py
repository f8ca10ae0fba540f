"""Writes the published files of a run in one pass over its users, in input order.

A line of generations.jsonl is a result line byte for byte, or says that its item is missing. That a run is
limited to a subset, or from the stub engine, stands in every other file; generations.jsonl has the manifest.

generations.jsonl, test_leaderboard.json and users/ (or users.zip) hold no time, host, task or attempt: the
same results give the same bytes. provenance.jsonl has those, by key.
"""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from launch.collect.digested_file import DigestedFile, write_digested
from launch.collect.filled import fill_record, user_record
from launch.collect.manifest import GENERATIONS_FILE, LEADERBOARD_FILE, PROVENANCE_FILE, FileDigest
from launch.collect.outcomes import Outcome
from launch.collect.summary import Sources, marks
from launch.collect.user_files import UserWriter, open_user_writer
from launch.config.schema import UserFiles
from launch.rundir.journal import json_line
from launch.rundir.plan import PlannedUser


class PublishedFiles:
    """The files being written into `directory`; entered as a context they are durable when left."""

    def __init__(self, directory: Path, sources: Sources, user_files: UserFiles) -> None:
        self._directory = directory
        self._sources = sources
        self._marks = record_marks(sources)
        self._provenance = [
            {"key": "", **asdict(start), "time": None, "host": about["host"], "engine": _short(facts)}
            for start, about, facts in zip(sources.starts, sources.abouts, sources.facts, strict=True)
        ]
        self._user_files = user_files
        self._users: UserWriter | None = None
        self._separator = b"[\n"
        self._stack = ExitStack()
        self._open: dict[str, DigestedFile] = {}
        self.files: dict[str, FileDigest] = {}

    def __enter__(self) -> "PublishedFiles":
        with ExitStack() as stack:  # what is open is closed when the next cannot be made
            for name in (LEADERBOARD_FILE, GENERATIONS_FILE, PROVENANCE_FILE):
                self._open[name] = stack.enter_context(DigestedFile(self._directory / name))
            self._users = stack.enter_context(open_user_writer(self._directory, self._user_files))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._open[LEADERBOARD_FILE].write(b"\n]\n")
        self._stack.__exit__(kind, error, trace)
        if error is None:
            self.files.update({name: file.digest for name, file in self._open.items()})
            self.files.update({} if self._users is None else self._users.files)

    def add_user(self, user: PlannedUser, outcomes: list[Outcome]) -> None:
        """Writes one user and its items; users come in input order."""
        filled = fill_record(user.record, outcomes, self._marks)
        leaderboard = self._open[LEADERBOARD_FILE]
        leaderboard.write(self._separator)
        leaderboard.write(user.dump(filled))
        self._separator = b",\n"
        for outcome in outcomes:
            self._open[GENERATIONS_FILE].write(generations_line(outcome))
            self._open[PROVENANCE_FILE].write(json_line(self._where(outcome) | self._marks))
        if self._users is not None:
            self._users.add(user.user_hash, user.dump(user_record(filled, outcomes)) + b"\n")

    def _where(self, outcome: Outcome) -> dict[str, Any]:
        """Where the line of an item came from."""
        line, failure = outcome.line, outcome.failure
        if line is None:
            return _absent(outcome)
        time = _by_shared_clock(line.time, self._sources.abouts[line.source])
        where = self._provenance[line.source] | {"key": outcome.key, "time": time}
        return where if failure is None else where | {"failed": failure["class"]}


def generations_line(outcome: Outcome) -> bytes:
    """The line of generations.jsonl: the result line byte for byte, or that the item is missing."""
    return json_line(_absent(outcome)) if outcome.line is None else outcome.line.data


def _absent(outcome: Outcome) -> dict[str, Any]:
    return {"key": outcome.key, "missing": True}


def record_marks(sources: Sources) -> dict[str, Any]:
    """What every published record says of itself: only what applies."""
    said = marks(sources.record)
    stub = {"stub": True} if said["stub"] else {}
    return stub | ({"limited": said["subset"]} if said["subset"] else {})


def _by_shared_clock(time: float | None, about: dict[str, Any]) -> float | None:
    """A time by a node's clock as the file system's clock has it."""
    return time if time is None or not about["clock_ahead_s"] else round(time - about["clock_ahead_s"], 3)


def _short(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts.get(name) for name in ("kind", "version", "device")}


def write_value(directory: Path, name: str, value: Any) -> FileDigest:
    """Writes a JSON file, indented; its digest."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return write_digested(directory / name, orjson.dumps(value, option=options))
