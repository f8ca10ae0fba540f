"""The first items that a run settled, over all its engines: found by commits, their lines read by offset."""

import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import Any

from launch.rundir.attempts import EngineStart, list_engine_starts
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.rundir.results import Committed, parse_line, read_commits

Place = tuple[EngineStart, Committed]
MANY = 1_000
_Found = tuple[float, EngineStart, Committed]


@dataclass(frozen=True, slots=True)
class FirstItems:
    """The done items that were committed first, in that order; `num_settled` counts failed ones, too.

    `num_engines` is how many engine starts of the newest submission have settled something. `unread` are the
    errors of commits that could not be read now: their items are not in it.
    """

    places: tuple[Place, ...]
    num_settled: int
    num_engines: int
    unread: tuple[OSError, ...] = ()


def find_first(run: RunPaths, limit: int) -> FirstItems:
    """At most `limit` done items, by the time of their commits; ties by who wins a duplicate.

    It is the order of the nodes' clocks, and what a file system shows late is not in it: two readers at the
    same moment may see other items.
    """
    first = _First(limit)
    settled = bytearray(load_counts(run).num_items)
    engines: list[EngineStart] = []
    unread: list[OSError] = []
    for start in list_engine_starts(run):
        has_settled = False
        try:
            for item in read_commits(start.paths(run), len(settled)):
                settled[item.number] = has_settled = True
                if not item.failed:
                    first.add(start, item)
        except OSError as error:  # one damaged file of one engine is no reason to judge none
            unread.append(error)
        if has_settled:
            engines.append(start)
    newest = max((start.submission for start in engines), default=0)
    return FirstItems(
        places=tuple((start, item) for _, start, item in first.in_order()),
        num_settled=settled.count(True),
        num_engines=sum(start.submission == newest for start in engines),
        unread=tuple(unread),
    )


class _First:
    """Of the items that are added the `limit` first, each where it was committed first.

    A run has a million items: what is later than as many as are asked for is let go of.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[int, _Found] = {}
        self._latest = inf

    def add(self, start: EngineStart, item: Committed) -> None:
        time = item.time or 0.0
        if time > self._latest:
            return
        known = self._found.get(item.number)
        if known is None or (time, start) < known[:2]:
            self._found[item.number] = (time, start, item)
        if len(self._found) > 2 * self._limit + MANY:
            kept = self.in_order()
            self._found = {found[2].number: found for found in kept}
            self._latest = kept[-1][0]

    def in_order(self) -> "list[_Found]":
        ordered = sorted(self._found.values(), key=lambda found: (*found[:2], found[2].offset))
        return ordered[: self._limit]


def read_rows(run: RunPaths, places: Iterable[Place]) -> Iterator[dict[str, Any]]:
    """The result lines, parsed; what is no result, not yet as it was committed or unreadable is left out."""
    for start, group in groupby(sorted(places, key=lambda place: place[0]), key=lambda place: place[0]):
        try:
            descriptor = os.open(start.paths(run).results, os.O_RDONLY)
        except OSError:
            continue
        try:
            size = os.fstat(descriptor).st_size
            for _, item in group:
                row = _read_row(descriptor, item) if item.offset + item.length <= size else None
                if row is not None:
                    yield row
        finally:
            os.close(descriptor)


def _read_row(descriptor: int, item: Committed) -> dict[str, Any] | None:
    try:
        data = os.pread(descriptor, item.length, item.offset)
    except OSError:
        return None
    return parse_line(data) if zlib.crc32(data) == item.crc32 else None
