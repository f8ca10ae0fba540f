"""Finding the item that kills an engine: few at a time, named in a file before they are run.

A core that dies takes its requests with it and says nothing of them. So a cautious start runs the items that
may have been in flight in small groups, and writes the numbers of each group down first; a group that kills
it is run again one by one, and the one that kills it then has failed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from launch.rundir.journal import read_json
from launch.rundir.layout import EnginePaths
from launch.rundir.storage_errors import storage_errors

FIRST_GROUP = 8
POISON = "poison"
POISON_MESSAGE = "the engine died whenever it ran this item, and alone as well"


@dataclass(frozen=True, slots=True)
class Caution:
    """`group` items at a time until as many have passed as fill a window, and for seconds; None: as ever.

    `poison` are held back, and have failed when another item has passed: an engine that dies of whatever it
    runs is not the item's fault.
    """

    group: int | None = None
    poison: tuple[int, ...] = ()

    def as_json(self) -> str:
        """The form of the command line."""
        return orjson.dumps({"group": self.group, "poison": self.poison}).decode()


def read_caution(text: str) -> Caution:
    """What `as_json` wrote."""
    value: Mapping[str, Any] = orjson.loads(text)
    return Caution(value["group"], tuple(value["poison"]))


def note_flight(paths: EnginePaths, numbers: Sequence[int]) -> None:
    """Writes down what is run next; it outlives this process, which is all it has to."""
    with storage_errors(paths.flight):
        paths.flight.write_bytes(orjson.dumps({"items": list(numbers)}))


def read_flight(paths: EnginePaths) -> tuple[int, ...]:
    """What a start ran last, if it was cautious."""
    items = (read_json(paths.flight) or {}).get("items")
    return tuple(each for each in items if type(each) is int) if isinstance(items, list) else ()
