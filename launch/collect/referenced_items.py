"""Published items one by one with their true continuations, read from the files anew each time.

The texts of a large run do not fit in memory beside everything else. Items come in the order of
test_leaderboard.json, which is that of generations.jsonl; a file of references is asked for one user's list
after the other.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from launch.collect.manifest import LEADERBOARD_FILE
from launch.collect.published import Published, user_of
from launch.collect.reference_file import ListReader, ReferenceFile
from launch.collect.replaced import replacement_errors
from launch.errors import RunError
from launch.scenarios.formats.leaderboard import strip_prefix
from launch.scenarios.json_stream import Element, stream_objects
from launch.scenarios.records import ItemType, JsonObject
from launch.scenarios.stream import LEADERBOARD

SCORED_TYPES = (ItemType.DIALOGUE, ItemType.MOVIE_REVIEW)
"""Of which the reference is a text; others may have numbers and options."""


@dataclass(frozen=True, slots=True)
class ItemReference:
    """A published item of any type; `text` is its true continuation without the prefix, if it is known."""

    key: str
    item_type: ItemType
    prefix: str
    text: str | None

    @property
    def is_known(self) -> bool:
        """Whether there is anything to score against."""
        return self.text is not None and bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class UserItems:
    """A user's published items that have a line, in item order.

    `is_listed`: the file has the user; `is_unplaced`: it has, and its list cannot be told apart by item.
    """

    items: list[ItemReference]
    is_listed: bool = False
    is_unplaced: bool = False


@dataclass(frozen=True, slots=True)
class ReferenceSource:
    """Where references are from: the items' own `continuation`, or a file; `own_first`: it for the rest."""

    published: Published
    file: ReferenceFile | None = None
    own_first: bool = False

    def users(self) -> Iterator[UserItems]:
        """Every user's items with their references; memory: one user and one list of the file.

        RunError when the directory is not as it was published, InputError when the file was changed.
        """
        with nullcontext() if self.file is None else self.file.open() as lists:
            for user_hash, items in _published_users(self.published):
                yield _own(items) if lists is None else self._of_file(lists, user_hash, items)

    def _of_file(self, lists: ListReader, user_hash: str, items: Sequence["_Item | None"]) -> UserItems:
        texts = lists.read(user_hash)
        keys = [None if item is None else item.key for item in items]
        placed = None if texts is None else place_texts(keys, texts)
        pairs = zip(items, [None] * len(items) if placed is None else placed, strict=True)
        found = [self._chosen(item, text) for item, text in pairs if item is not None]
        return UserItems(found, is_listed=texts is not None, is_unplaced=texts is not None and placed is None)

    def _chosen(self, item: "_Item", text: str | None) -> ItemReference:
        if self.own_first:
            own = _referenced(item, _own_text(item))
            if own.is_known:
                return own
        return _referenced(item, text)


@dataclass(frozen=True, slots=True)
class _Item:
    key: str
    item_type: ItemType
    data: JsonObject


def place_texts(keys: Sequence[str | None], texts: Sequence[str]) -> list[str | None] | None:
    """The text of each published item of a user, None for one whose key is None; None when they fit none.

    By order where there are as many, else by place when all items are in the first collection.
    """
    if len(keys) == len(texts):
        return [None if key is None else text for key, text in zip(keys, texts, strict=True)]
    placed: list[str | None] = []
    for key in keys:
        collection, place = (0, None) if key is None else _places(key)
        if collection or (place is not None and place >= len(texts)):
            return None
        placed.append(None if place is None else texts[place])
    return placed


def _places(key: str) -> tuple[int, int]:
    collection, _, place = key.rpartition("#")[2].partition(".")
    return int(collection), int(place)


def _own(items: Sequence[_Item | None]) -> UserItems:
    return UserItems([_referenced(item, _own_text(item)) for item in items if item is not None])


def _own_text(item: _Item) -> str | None:
    """The item's own continuation; a rating may be written as a number."""
    value = item.data.get("continuation")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and item.item_type not in SCORED_TYPES:
        return str(value)
    return value if isinstance(value, str) else None


def _referenced(item: _Item, text: str | None) -> ItemReference:
    prefix = item.data.get("continuation_prefix") or ""
    return ItemReference(
        item.key, item.item_type, prefix, None if text is None else strip_prefix(text, prefix)
    )


def _published_users(published: Published) -> Iterator[tuple[str, list[_Item | None]]]:
    """Users with their published items in order, None for one without a line.

    A limited run's leaderboard leaves items out, so a place in it is no key. Lines of generations.jsonl are
    in the same order, one for each item that is not marked as missing.
    """
    keys = iter(published.entries)
    any_missing = published.manifest.num_missing > 0
    path = published.path / LEADERBOARD_FILE
    for element in _elements(path):
        user_hash = element.value["user_hash"]
        items: list[_Item | None] = []
        for _, item_type, data in LEADERBOARD.items(element.value):
            if any_missing and data.get("missing") is True:
                items.append(None)
                continue
            key = next(keys, "")
            if user_of(key) != user_hash:
                raise RunError(
                    f"{path}:{element.line}: its items are not those of generations.jsonl. Publish it again"
                    " with `vllm-launch merge RUN`."
                )
            items.append(_Item(key, item_type, data))
        yield user_hash, items


def _elements(path: Path) -> Iterator[Element]:
    with replacement_errors(path):
        yield from stream_objects(path)
