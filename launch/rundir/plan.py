"""The frozen plan of a run as it is read: its users, their history, and an index with no text in it.

users.jsonl and history.jsonl are read by byte span, so that a task needs no scan and no scenario; index.jsonl
is all that planning, status and merge read. plan.json holds the digests of all three. What is read is
checked: the index as a whole, a user or history by the crc32 of its line.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.errors import RunError
from launch.rundir.journal import FieldTypes, has_fields, read_json
from launch.rundir.layout import RunPaths
from launch.scenarios.exact_json import Dump, load_exactly
from launch.scenarios.records import JsonObject, item_key

Span = tuple[int, int, int | None]
"""Offset and length of a line without its newline, and its crc32 (None: planned before there was one)."""
HistoryEntries = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A user without text: where it lies, which items it has, and their expected prompts in tokens."""

    position: int
    user_hash: str
    first_item: int
    span: Span
    history_span: Span | None
    places: tuple[tuple[int, int], ...]
    digests: tuple[str, ...]
    prompt_tokens: tuple[float, ...]

    @property
    def num_items(self) -> int:
        """Items of this user in the run."""
        return len(self.places)

    @property
    def keys(self) -> tuple[str, ...]:
        """Item keys in order of number."""
        return tuple(item_key(self.user_hash, *place) for place in self.places)


@dataclass(frozen=True, slots=True)
class PlannedUser:
    """A line of users.jsonl: the record as it was read and the places of the items that the run generates.

    `dump` writes the record, and what is made of its parts, as it was written.
    """

    user_hash: str
    first_item: int
    places: tuple[tuple[int, int], ...]
    digests: tuple[str, ...]
    record: JsonObject
    dump: Dump


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """plan.json: what the plan holds; the digests are sha256 over the whole files."""

    num_users: int
    num_items: int
    users_sha256: str
    history_sha256: str
    index_sha256: str


_COUNTS: FieldTypes = {
    "num_users": int,
    "num_items": int,
    "users_sha256": str,
    "history_sha256": str,
    "index_sha256": str,
}


def damaged(path: Path, what: str) -> RunError:
    """The error for a file of a plan that is not as it was planned."""
    return RunError(
        f"{path}: {what}; it was damaged or edited. Restore it from a copy: `vllm-launch submit --dry-run`"
        " with the run's settings and data makes the same file."
    )


def load_counts(paths: RunPaths) -> PlanCounts:
    """plan.json; RunError when the plan is not whole."""
    value = read_json(paths.plan_json)
    if value is None or value.keys() != _COUNTS.keys() or not has_fields(value, _COUNTS):
        found = "does not hold the counts of a plan" if paths.plan_json.exists() else "not found"
        raise damaged(paths.plan_json, found)
    return PlanCounts(**value)


def read_index(paths: RunPaths) -> Iterator[IndexEntry]:
    """The users of a run in input order, without text; RunError first when it is not as it was planned."""
    counts, num_items = load_counts(paths), 0
    check_planned(paths.index, counts.index_sha256)
    with paths.index.open("rb") as handle:
        for line in handle:
            row = orjson.loads(line)
            history_span = row["history_span"]
            yield IndexEntry(
                position=row["position"],
                user_hash=row["user_hash"],
                first_item=row["first_item"],
                span=as_span(row["span"]),
                history_span=as_span(history_span) if history_span else None,
                places=tuple((place[0], place[1]) for place in row["places"]),
                digests=tuple(row["digests"]),
                prompt_tokens=tuple(row["prompt_tokens"]),
            )
            num_items += len(row["places"])
    if num_items != counts.num_items:
        raise damaged(paths.plan_json, f"says {counts.num_items} items, {paths.index.name} holds {num_items}")


def check_planned(path: Path, sha256: str) -> None:
    """RunError when a file is not, byte for byte, the one that plan.json was written for."""
    try:
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError):
        raise damaged(path, "not found") from None
    if found != sha256:
        raise damaged(path, "is not as it was planned (sha256)")


def as_span(value: Sequence[int]) -> Span:
    """A span out of JSON."""
    offset, length, *crc32 = value
    return (offset, length, crc32[0] if crc32 else None)


class PlanReader:
    """Reads users and history by span. Safe for several threads: it uses pread only.

    RunError for a file that is not there and for a line that is not as it was planned.
    """

    def __init__(self, paths: RunPaths, *, users: bool = True) -> None:
        self._users_path, self._history_path = paths.users, paths.history
        self._history = _open(self._history_path)
        self._users = _open(self._users_path) if users else None

    def user(self, span: Span) -> PlannedUser:
        """The user whose line lies at `span` of users.jsonl."""
        assert self._users is not None
        row, dump = load_exactly(_read(self._users, span, self._users_path))
        return PlannedUser(
            user_hash=row["user_hash"],
            first_item=row["first_item"],
            places=tuple((place[0], place[1]) for place in row["places"]),
            digests=tuple(row["digests"]),
            record=row["record"],
            dump=dump,
        )

    def history(self, span: Span | None) -> HistoryEntries:
        """The history entries at `span` of history.jsonl, oldest first; none for None."""
        if span is None:
            return []
        entries: HistoryEntries = load_exactly(_read(self._history, span, self._history_path))[0]["entries"]
        return entries

    def close(self) -> None:
        """Closes both files."""
        for descriptor in (self._users, self._history):
            if descriptor is not None:
                os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise damaged(path, "not found") from None
    except PermissionError:
        raise RunError(f"{path}: reading is not allowed. Ask its owner for permission.") from None


def _read(descriptor: int, span: Span, path: Path) -> bytes:
    offset, length, crc32 = span
    line = os.pread(descriptor, length, offset)
    if len(line) != length or zlib.crc32(line) != (zlib.crc32(line) if crc32 is None else crc32):
        raise damaged(path, f"the line at byte {offset} is not as it was planned")
    return line


class KeyIndex:
    """Finds the number and digest of an item by key; reads the index on its first question only."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._rows: dict[str, tuple[int, str]] | None = None
        self.num_items = load_counts(paths).num_items

    def find(self, key: str) -> tuple[int, str] | None:
        """(item number, item digest), or None for a key that is not of this run."""
        if self._rows is None:
            self._rows = {
                key: (entry.first_item + place, entry.digests[place])
                for entry in read_index(self._paths)
                for place, key in enumerate(entry.keys)
            }
        return self._rows.get(key)
