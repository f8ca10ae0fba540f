"""The true continuations of published items, by item key: from the scenario's own field, or from a file.

Only items of dialogue and movie_review are texts to score; ratings and questionnaire answers are not. The
reference and every sample lose the item's `continuation_prefix` when they begin with it, as in the published
leaderboard, because it is part of the prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.collect.published import Published, user_of
from launch.collect.published_files import LEADERBOARD_FILE
from launch.errors import InputError, RunError
from launch.scenarios.formats.leaderboard import strip_prefix
from launch.scenarios.json_stream import stream_objects
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
class _Item:
    key: str
    item_type: ItemType
    data: JsonObject


def references_of(published: Published) -> References:
    """What the published items hold in `continuation`; empty when the scenario came without."""
    found: dict[str, Reference] = {}
    for _, items in _published_users(published):
        for item in items:
            text = None if item is None else item.data.get("continuation")
            if item is not None and isinstance(text, str):
                _add(found, item, text)
    return References("continuation in the scenario", found)


def references_from(path: Path, published: Published) -> References:
    """Those of a file {user_hash: [continuation, ...]}, each list in the user's item order.

    A list belongs to a user's published items when it has as many; of a user whose items are limited, it
    belongs by place when all of them are in the first collection. Other users are counted as unplaced.
    InputError when the file is not of this shape or has no user of the directory.
    """
    lists = _read_file(path)
    found: dict[str, Reference] = {}
    known = unplaced = 0
    for user_hash, items in _published_users(published):
        texts = lists.get(user_hash)
        if texts is None:
            continue
        known += 1
        placed = _place(items, texts)
        unplaced += placed is None
        for item, text in placed or ():
            _add(found, item, text)
    if not known:
        raise InputError(f"{path}: none of its users is in {published.path}. Give this dataset's references.")
    return References(str(path), found, unplaced)


def _add(found: dict[str, Reference], item: _Item, text: str) -> None:
    prefix = item.data.get("continuation_prefix") or ""
    reference = strip_prefix(text, prefix)
    if item.item_type in SCORED_TYPES and reference:
        found[item.key] = Reference(reference, prefix)


def _place(items: Sequence[_Item | None], texts: Sequence[str]) -> list[tuple[_Item, str]] | None:
    if len(items) == len(texts):
        return [(item, text) for item, text in zip(items, texts, strict=True) if item is not None]
    keyed = [(item, *_places(item.key)) for item in items if item is not None]
    if any(collection or place >= len(texts) for _, collection, place in keyed):
        return None
    return [(item, texts[place]) for item, _, place in keyed]


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
    for element in stream_objects(path):
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


def _read_file(path: Path) -> Mapping[str, list[str]]:
    advice = 'expected {"user_hash": ["true continuation", ...], ...}'
    try:
        value: Any = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {advice}. Check --references.") from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: no JSON; {advice}. Mend the file.") from None
    if not isinstance(value, dict) or not all(map(_is_list_of_texts, value.values())):
        raise InputError(f"{path}: {advice}. Mend the file.")
    lists: dict[str, list[str]] = value
    return lists


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
