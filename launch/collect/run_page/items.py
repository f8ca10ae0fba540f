"""The items of a published directory one by one: what was asked, what came of it, and when.

test_leaderboard.json, generations.jsonl and provenance.jsonl have their items in the same order, one line or
one element each, so they are read side by side in constant memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from launch.collect.manifest import GENERATIONS_FILE, LEADERBOARD_FILE, PROVENANCE_FILE
from launch.collect.replaced import replacement_errors
from launch.errors import RunError
from launch.rundir.journal import NUMBER
from launch.scenarios.json_stream import stream_objects
from launch.scenarios.records import JsonObject
from launch.scenarios.stream import LEADERBOARD
from launch.scenarios.turns import target_name


@dataclass(frozen=True, slots=True)
class PublishedItem:
    """One item: `data` as the scenario has it, `row` its line of generations.jsonl.

    `user` is the user's hash, `name` what the profile calls them or None. `time` is when its line became
    durable, in seconds since the epoch; None for one that is missing or was recovered.
    """

    key: str
    user: str
    name: str | None
    item_type: str
    data: JsonObject
    row: Mapping[str, Any]
    time: float | None

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Its samples in order; none of an item that failed or is missing."""
        found: list[dict[str, Any]] = self.row.get("samples", [])
        return found


def read_items(directory: Path) -> Iterator[PublishedItem]:
    """Every item of a published directory in item order.

    RunError where one of the three files is missing or not of the others, or taken away while it is read: it
    was changed after publishing.
    """
    with ExitStack() as stack, replacement_errors(directory):
        rows, places = (
            _Lines(stack.enter_context(_open(directory / name)), directory)
            for name in (GENERATIONS_FILE, PROVENANCE_FILE)
        )
        for element in stream_objects(directory / LEADERBOARD_FILE):
            record = element.value
            user, name = record["user_hash"], target_name(record)
            for _, item_type, data in LEADERBOARD.items(record):
                row, place = rows.take(), places.take()
                key = row["key"]
                if place["key"] != key or not key.startswith(f"{user}#"):
                    raise _no_match(directory)
                time = place.get("time")
                yield PublishedItem(
                    key, user, name, item_type.value, data, row, time if isinstance(time, NUMBER) else None
                )
        if rows.is_left() or places.is_left():
            raise _no_match(directory)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise RunError(f"{path}: not found. Copy the whole published directory.") from None


class _Lines:
    """The lines of one of the files, each an object with a key."""

    def __init__(self, handle: BinaryIO, directory: Path) -> None:
        self._handle = handle
        self._directory = directory

    def take(self) -> dict[str, Any]:
        try:
            row = orjson.loads(self._handle.readline())
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("key"), str):
            raise _no_match(self._directory)
        return row

    def is_left(self) -> bool:
        return bool(self._handle.readline())


def _no_match(directory: Path) -> RunError:
    return RunError(
        f"{directory}: {GENERATIONS_FILE}, {PROVENANCE_FILE} and {LEADERBOARD_FILE} are not of each other;"
        " they were changed after publishing. Publish it again with `vllm-launch merge RUN`."
    )
