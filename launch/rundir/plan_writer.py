"""Writes the frozen plan of a run; plan.json last: without it there is no plan."""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import orjson

from launch.rundir.durable import fsync_directory
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, PlanCounts, PlanReader, Span
from launch.rundir.storage_errors import storage_errors
from launch.scenarios.records import Item, User, compact_json

Estimate = Callable[[User, Sequence[Item], HistoryEntries], Sequence[float]]


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
        """Writes a line (without newline); where it lies."""
        with storage_errors(self._path):
            self._file.write(line)
            self._file.write(b"\n")
        self._digest.update(line)
        self._digest.update(b"\n")
        span = (self._offset, len(line), zlib.crc32(line))
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
            spans[user_hash] = history_file.append(compact_json({"user_hash": user_hash, "entries": entries}))
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
    reader: PlanReader,
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
        line = compact_json({**head, "record": user.record}, plain_floats=user.plain_floats)
        span = users_file.append(line)
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
