"""Formats of scenario files: each knows where the items of a record are and where their results go."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from launch.scenarios.records import ItemType, JsonObject

Place = tuple[int, int]


class Format(Protocol):
    """A shape of records. A place, (collection, place in it) from 0, names an item of a record."""

    def items(self, record: JsonObject) -> Iterator[tuple[Place, ItemType, JsonObject]]:
        """The items of a record in input order."""
        ...

    def fill(self, record: JsonObject, continuations: Mapping[Place, Sequence[str]]) -> JsonObject:
        """The record with the samples of its items added; the record itself stays as it is."""
        ...
