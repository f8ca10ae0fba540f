"""The true continuations of published items, by item key: from the scenario's own field, or from a file.

Only items of dialogue and movie_review are texts to score; ratings and questionnaire answers are not. The
reference and every sample lose the item's `continuation_prefix` when they begin with it, as in the published
leaderboard, because it is part of the prompt.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from launch.collect.manifest import LEADERBOARD_FILE
from launch.collect.published import Published, user_of
from launch.collect.replaced import replacement_errors
from launch.errors import InputError, RunError
from launch.scenarios.formats.leaderboard import strip_prefix
from launch.scenarios.json_stream import Element, stream_objects
from launch.scenarios.records import ItemType, JsonObject
from launch.scenarios.stream import LEADERBOARD

SCORED_TYPES = (ItemType.DIALOGUE, ItemType.MOVIE_REVIEW)


@dataclass(frozen=True, slots=True)
class Reference:
    """The true continuation of an item, without its prefix."""

    text: str
    prefix: str

    def samples_without_prefix(self, texts: Sequence[str]) -> list[str]:
        """The samples as they are scored."""
        return [strip_prefix(text, self.prefix) for text in texts]


@dataclass(frozen=True, slots=True)
class References:
    """References by key, where they are from, and how many users of a file could not be placed."""

    source: str
    by_key: dict[str, Reference]
    num_unplaced_users: int = 0


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
class ItemReferences:
    """Every published item that has a line, in item order; path and sha256 of the file, if it was one."""

    items: tuple[ItemReference, ...]
    path: Path | None = None
    sha256: str | None = None
    num_unplaced_users: int = 0

    @property
    def num_known(self) -> int:
        """Items with a reference."""
        return sum(item.is_known for item in self.items)


@dataclass(frozen=True, slots=True)
class _Item:
    key: str
    item_type: ItemType
    data: JsonObject


SCENARIO = "continuation in the scenario"
REFERENCES_FILE = "references.json"
"""Beside test_leaderboard.json in a scenario whose items come without continuations."""


def references_of(published: Published) -> References:
    """What the published items hold in `continuation`; empty when the scenario came without."""
    return _texts(item_references(published))


def references_from(path: Path, published: Published) -> References:
    """Those of a file {user_hash: [continuation, ...]}, each list in the user's item order.

    A list belongs to a user's published items when it has as many; of a user whose items are limited, it
    belongs by place when all of them are in the first collection. Other users are counted as unplaced.
    InputError when the file is not of this shape or has no user of the directory.
    """
    return _texts(item_references(published, path))


def item_references(published: Published, path: Path | None = None) -> ItemReferences:
    """Every item with its reference: of the file, placed as `references_from` says, else of the scenario."""
    if path is None:
        items = (item for _, each in _published_users(published) for item in each if item is not None)
        return ItemReferences(tuple(_referenced(item, _own_text(item)) for item in items))
    found, num_users = _from_file(published, path)
    if not num_users:
        raise _of_others(path, published)
    return found


def _of_others(path: Path, published: Published) -> InputError:
    return InputError(f"{path}: none of its users is in {published.path}. Give this dataset's references.")


def _from_file(published: Published, path: Path) -> tuple[ItemReferences, int]:
    """As `item_references` of a file, and how many users of the directory it has."""
    data = read_references(path)
    lists = parse_references(path, data)
    found: list[ItemReference] = []
    known = unplaced = 0
    for user_hash, each in _published_users(published):
        texts = lists.get(user_hash)
        placed = None if texts is None else _place(each, texts)
        known += texts is not None
        unplaced += texts is not None and placed is None
        if placed is None:
            placed = [(item, None) for item in each if item is not None]
        found += [_referenced(item, text) for item, text in placed]
    return ItemReferences(tuple(found), path, hashlib.sha256(data).hexdigest(), unplaced), known


def known_references(published: Published, path: Path | None = None) -> ItemReferences:
    """Of the file when one is given; else the items' own, then those of its scenario's references.json.

    The scenario is that of the run, if it is still where it was. InputError for a references.json that has
    none of the users, unless items have their own.
    """
    if path is not None:
        return item_references(published, path)
    own = item_references(published)
    beside = Path(str(published.summary.get("scenario"))) / REFERENCES_FILE
    if own.num_known == len(own.items) or not beside.is_file():
        return own
    file, num_users = _from_file(published, beside)
    if not num_users and own.num_known:
        return own
    if not num_users:
        raise _of_others(beside, published)
    pairs = zip(own.items, file.items, strict=True)
    return replace(file, items=tuple(first if first.is_known else second for first, second in pairs))


def _texts(references: ItemReferences) -> References:
    """Only the items whose reference is a text to score."""
    by_key = {
        item.key: Reference(item.text, item.prefix)
        for item in references.items
        if item.item_type in SCORED_TYPES and item.is_known and item.text is not None
    }
    source = SCENARIO if references.path is None else str(references.path)
    return References(source, by_key, references.num_unplaced_users)


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


def _place(items: Sequence[_Item | None], texts: Sequence[str]) -> list[tuple[_Item, str | None]] | None:
    placed = place_texts([None if item is None else item.key for item in items], texts)
    if placed is None:
        return None
    return [(item, text) for item, text in zip(items, placed, strict=True) if item is not None]


def place_texts(keys: Sequence[str | None], texts: Sequence[str]) -> list[str | None] | None:
    """The text of each published item of a user, None for one whose key is None; None when they fit none.

    As `references_from` says: by order where there are as many, else by place in the first collection.
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


_SHAPE = 'expected {"user_hash": ["true continuation", ...], ...}'


def read_references(path: Path) -> bytes:
    """A file of references as it is; InputError when it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {_SHAPE}. Check --references.") from None


def parse_references(path: Path, data: bytes) -> Mapping[str, list[str]]:
    """The lists of a file by user_hash; InputError when it is of another shape."""
    try:
        value: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: no JSON; {_SHAPE}. Mend the file.") from None
    if not isinstance(value, dict) or not all(map(_is_list_of_texts, value.values())):
        raise InputError(f"{path}: {_SHAPE}. Mend the file.")
    lists: dict[str, list[str]] = value
    return lists


def check_references(path: Path | None) -> Path | None:
    """The whole path of a file of references; InputError when it is not there, or of another shape."""
    if path is None:
        return None
    path = path.expanduser().absolute()
    parse_references(path, read_references(path))
    return path


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
