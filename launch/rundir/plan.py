"""The frozen plan of a run: its users, their history, and an index with no text in it.

users.jsonl and history.jsonl are read by byte span, so that a task needs no scan and no scenario; index.jsonl
is all that planning, status and merge read. plan.json is written last: without it there is no plan.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

from launch.errors import RunError
from launch.rundir.journal import fsync_directory, read_json, storage_errors, write_json
from launch.rundir.layout import RunPaths
from launch.scenarios.records import Item, JsonObject, User, item_key

Span = tuple[int, int]
HistoryEntries = list[dict[str, Any]]
Estimate = Callable[[User, Sequence[Item], HistoryEntries], Sequence[float]]


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
    """A line of users.jsonl: the record as it was read and the places of the items that the run generates."""

    user_hash: str
    first_item: int
    places: tuple[tuple[int, int], ...]
    digests: tuple[str, ...]
    record: JsonObject


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """plan.json: what the plan holds; the digests are sha256 over the whole files."""

    num_users: int
    num_items: int
    users_sha256: str
    history_sha256: str
    index_sha256: str


class _SpanFile:
    """A file written line by line, which says where each line lies and digests what it holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._offset = 0
        with storage_errors(path):
            self._file: BinaryIO = path.open("wb", buffering=1 << 20)

    def __enter__(self) -> "_SpanFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets go of a file that is given up: an open one cannot be removed from NFS."""
        with suppress(OSError):
            self._file.close()

    def append(self, line: bytes) -> Span:
        """Writes a line (without newline); its offset and length in bytes."""
        with storage_errors(self._path):
            self._file.write(line)
            self._file.write(b"\n")
        self._digest.update(line)
        self._digest.update(b"\n")
        span = (self._offset, len(line))
        self._offset += len(line) + 1
        return span

    def close(self) -> str:
        """Makes the file durable; its sha256."""
        with storage_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._digest.hexdigest()


def write_plan(
    paths: RunPaths,
    users: Iterable[tuple[User, Sequence[Item]]],
    history: Iterable[tuple[str, HistoryEntries]],
    estimate: Estimate,
) -> PlanCounts:
    """Freezes the items of a run.

    `users` are the users in input order, each with those of its items that the run generates (all, or a
    subset); `history` the entries by user_hash; `estimate` the expected prompt tokens of a user's items.
    """
    paths.users.parent.mkdir(parents=True, exist_ok=True)
    spans: dict[str, Span] = {}
    with _SpanFile(paths.history) as history_file:
        for user_hash, entries in history:
            spans[user_hash] = history_file.append(_dump({"user_hash": user_hash, "entries": entries}))
        history_sha256 = history_file.close()
    with (
        closing(PlanReader(paths, users=False)) as reader,
        _SpanFile(paths.users) as users_file,
        _SpanFile(paths.index) as index_file,
    ):
        num_users, num_items = _write_users(users_file, index_file, users, spans, reader, estimate)
        users_sha256, index_sha256 = users_file.close(), index_file.close()
    counts = PlanCounts(num_users, num_items, users_sha256, history_sha256, index_sha256)
    fsync_directory(paths.users.parent)
    write_json(paths.plan_json, counts)
    return counts


def _write_users(
    users_file: _SpanFile,
    index_file: _SpanFile,
    users: Iterable[tuple[User, Sequence[Item]]],
    spans: Mapping[str, Span],
    reader: "PlanReader",
    estimate: Estimate,
) -> tuple[int, int]:
    """Writes a line per user into both files; the numbers of users and items."""
    num_users = num_items = 0
    for user, items in users:
        entries = reader.history(spans.get(user.user_hash))
        head = {
            "user_hash": user.user_hash,
            "first_item": num_items,
            "places": [[item.collection, item.place] for item in items],
            "digests": [item.digest for item in items],
        }
        span = users_file.append(_dump({**head, "record": user.record}))
        tokens = [round(value, 1) for value in estimate(user, items, entries)]
        row = {
            **head,
            "position": num_users,
            "span": span,
            "history_span": spans.get(user.user_hash),
            "prompt_tokens": tokens,
        }
        index_file.append(orjson.dumps(row))
        num_users += 1
        num_items += len(items)
    return num_users, num_items


def _dump(value: Mapping[str, Any]) -> bytes:
    """Compact JSON. Not orjson: a record keeps integers of any size."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load_counts(paths: RunPaths) -> PlanCounts:
    """plan.json; RunError when the plan is not whole."""
    value = read_json(paths.plan_json)
    if value is None:
        raise RunError(f"{paths.plan_json}: not found; the run was never planned to the end. Submit it anew.")
    return PlanCounts(**value)


def read_index(paths: RunPaths) -> Iterator[IndexEntry]:
    """The users of a run in input order, without text."""
    with paths.index.open("rb") as handle:
        for line in handle:
            row = orjson.loads(line)
            span, history_span = row["span"], row["history_span"]
            yield IndexEntry(
                position=row["position"],
                user_hash=row["user_hash"],
                first_item=row["first_item"],
                span=(span[0], span[1]),
                history_span=(history_span[0], history_span[1]) if history_span else None,
                places=tuple((place[0], place[1]) for place in row["places"]),
                digests=tuple(row["digests"]),
                prompt_tokens=tuple(row["prompt_tokens"]),
            )


class PlanReader:
    """Reads users and history by span. Safe for several threads: it uses pread only."""

    def __init__(self, paths: RunPaths, *, users: bool = True) -> None:
        self._users = os.open(paths.users, os.O_RDONLY) if users else None
        self._history = os.open(paths.history, os.O_RDONLY)

    def user(self, span: Span) -> PlannedUser:
        """The user whose line lies at `span` of users.jsonl."""
        assert self._users is not None
        row = json.loads(os.pread(self._users, span[1], span[0]))
        return PlannedUser(
            user_hash=row["user_hash"],
            first_item=row["first_item"],
            places=tuple((place[0], place[1]) for place in row["places"]),
            digests=tuple(row["digests"]),
            record=row["record"],
        )

    def history(self, span: Span | None) -> HistoryEntries:
        """The history entries at `span` of history.jsonl, oldest first; none for None."""
        if span is None:
            return []
        entries: HistoryEntries = json.loads(os.pread(self._history, span[1], span[0]))["entries"]
        return entries

    def close(self) -> None:
        """Closes both files."""
        for descriptor in (self._users, self._history):
            if descriptor is not None:
                os.close(descriptor)


class KeyIndex:
    """Finds the number and digest of an item by key; reads the index on its first question only."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._rows: dict[str, tuple[int, str]] | None = None

    def find(self, key: str) -> tuple[int, str] | None:
        """(item number, item digest), or None for a key that is not of this run."""
        if self._rows is None:
            self._rows = {
                key: (entry.first_item + place, entry.digests[place])
                for entry in read_index(self._paths)
                for place, key in enumerate(entry.keys)
            }
        return self._rows.get(key)
