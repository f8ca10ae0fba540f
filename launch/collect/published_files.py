"""Writes the published files of a run in one pass over its users, in input order.

A line of generations.jsonl is a result line byte for byte, or says that its item is missing. That a run is
limited to a subset, or from the stub engine, stands in every other file; generations.jsonl has the manifest.

generations.jsonl, test_leaderboard.json and users/ hold no time, host, task or attempt: the same results give
the same bytes. provenance.jsonl has those, by key.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from launch.collect.digested_file import DigestedFile, write_digested
from launch.collect.filled import dump, fill_record, user_record
from launch.collect.manifest import FileDigest
from launch.collect.outcomes import Outcome
from launch.collect.summary import Sources, marks
from launch.collect.user_names import UserNames
from launch.rundir.journal import json_line, storage_errors
from launch.scenarios.records import JsonObject

LEADERBOARD_FILE = "test_leaderboard.json"
GENERATIONS_FILE = "generations.jsonl"
PROVENANCE_FILE = "provenance.jsonl"
SUMMARY_FILE = "inference_summary.json"
USERS_DIR = "users"


class PublishedFiles:
    """The files being written into `directory`; entered as a context they are durable when left."""

    def __init__(self, directory: Path, sources: Sources, *, user_files: bool) -> None:
        self._directory = directory
        self._sources = sources
        self._marks = record_marks(sources)
        self._engines = [_short(facts) for facts in sources.facts]
        self._names = UserNames() if user_files else None
        self._separator = b"[\n"
        self._stack = ExitStack()
        self._open: dict[str, DigestedFile] = {}
        self.files: dict[str, FileDigest] = {}

    def __enter__(self) -> "PublishedFiles":
        for name in (LEADERBOARD_FILE, GENERATIONS_FILE, PROVENANCE_FILE):
            self._open[name] = self._stack.enter_context(DigestedFile(self._directory / name))
        if self._names is not None:
            users = self._directory / USERS_DIR
            with storage_errors(users):
                users.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._open[LEADERBOARD_FILE].write(b"\n]\n")
        self._stack.__exit__(kind, error, trace)
        self.files.update({name: file.digest for name, file in self._open.items()})

    def add_user(self, user_hash: str, record: JsonObject, outcomes: list[Outcome]) -> None:
        """Writes one user and its items; users come in input order."""
        filled = fill_record(record, outcomes, self._marks)
        leaderboard = self._open[LEADERBOARD_FILE]
        leaderboard.write(self._separator)
        leaderboard.write(dump(filled))
        self._separator = b",\n"
        for outcome in outcomes:
            self._open[GENERATIONS_FILE].write(generations_line(outcome))
            where = _absent(outcome) if outcome.line is None else self._provenance(outcome)
            self._open[PROVENANCE_FILE].write(json_line(where | self._marks))
        if self._names is not None:
            name = f"{USERS_DIR}/{self._names.name(user_hash)}"
            content = dump(user_record(filled, outcomes)) + b"\n"
            self.files[name] = write_digested(self._directory / name, content)

    def _provenance(self, outcome: Outcome) -> dict[str, Any]:
        assert outcome.line is not None
        source = outcome.line.source
        start = self._sources.starts[source]
        return {
            "key": outcome.key,
            "submission": start.submission,
            "task": start.task,
            "attempt": start.attempt,
            "slot": start.slot,
            "start": start.start,
            "time": outcome.line.time,
            "host": self._sources.hosts[source],
            "engine": self._engines[source],
            **({} if outcome.failure is None else {"failed": outcome.failure["class"]}),
        }


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


def _short(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts.get(name) for name in ("kind", "version", "device")}


def write_value(directory: Path, name: str, value: Any) -> FileDigest:
    """Writes a JSON file, indented; its digest."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return write_digested(directory / name, orjson.dumps(value, option=options))
