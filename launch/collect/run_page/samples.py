"""Which items a run page shows with their texts: as many as fit into so many bytes, drawn by their keys.

An item's rank is a digest of its key: a fair draw over all users and types, and the same from a copy. Texts
longer than a person reads are clipped, and say by how much; everything is in generations.jsonl and
test_leaderboard.json.
"""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from launch.collect.run_page.items import PublishedItem
from launch.scenarios.formats.leaderboard import strip_prefix

MAX_BYTES = 4_500_000
MAX_ITEMS = 5_000
MAX_TEXT_CHARS = 6_000
MAX_TURN_CHARS = 1_500
MAX_TURNS = 16
MAX_NAME_CHARS = 100
MAX_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Shown:
    """The items that the page shows, by key, in item order; and of how many."""

    items: dict[str, dict[str, Any]]
    num_items: int


class SampleDraw:
    """Takes every item once and keeps those of the lowest ranks that fit into the page.

    Memory: `max_bytes`, and one item. Bytes are counted as the page has them, with what it escapes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_items: int = MAX_ITEMS) -> None:
        self._room = max_bytes
        self._max_items = max_items
        self._num_items = 0
        self._heap: list[tuple[int, int, str, bytes]] = []  # highest rank first: it is the next to go
        self._is_full = False

    def add(self, item: PublishedItem) -> None:
        """Takes one item."""
        place, self._num_items = self._num_items, self._num_items + 1
        rank = draw_rank(item.key)
        if self._is_full and rank > -self._heap[0][0]:
            return
        data = orjson.dumps(describe(item))
        heapq.heappush(self._heap, (-rank, place, item.key, data))
        self._room -= page_bytes(data)
        while len(self._heap) > 1 and (self._room < 0 or len(self._heap) > self._max_items):
            self._is_full = True
            self._room += page_bytes(heapq.heappop(self._heap)[3])

    def drawn(self) -> Shown:
        """What was kept."""
        in_order = sorted((place, key, data) for _, place, key, data in self._heap)
        return Shown({key: orjson.loads(data) for _, key, data in in_order}, self._num_items)


def page_bytes(data: bytes) -> int:
    """How many bytes JSON takes in a page, where `page_json` writes some characters as six."""
    angles = data.count(b"<") + data.count(b">") + data.count(b"&")
    return len(data) + 5 * angles + 3 * (data.count(b"\xe2\x80\xa8") + data.count(b"\xe2\x80\xa9"))


def draw_rank(text: str) -> int:
    """64 bits of a digest of the text: a fair draw that is the same everywhere."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def describe(item: PublishedItem) -> dict[str, Any]:
    """An item as the page's script takes it; what does not apply is left out."""
    turns = list(_turns(item.data))
    found: dict[str, Any] = {
        "key": _clipped(item.key, MAX_NAME_CHARS),
        "name": None if item.name is None else _clipped(str(item.name), MAX_NAME_CHARS),
        "type": item.item_type,
        "turns": turns[-MAX_TURNS:],
        "num_left_out": len(turns) - len(turns[-MAX_TURNS:]),
        "asks": _asks(item.data),
        "reference": own_reference(item.data),
        "prompt_tokens": item.row.get("prompt_tokens"),
        "cuts": {name: count for name, count in (item.row.get("cuts") or {}).items() if count},
        "samples": [_sample(each, item.data) for each in item.samples[:MAX_SAMPLES]],
        "num_samples": len(item.samples),
        "failure": item.row.get("failure"),
        "missing": bool(item.row.get("missing")),
    }
    return {name: value for name, value in found.items() if value not in (None, {}, [], 0, False)}


def own_reference(data: Mapping[str, Any]) -> str | None:
    """The item's own true continuation as the page shows it; a rating may be written as a number."""
    value = data.get("continuation")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return clipped_reference(value, data) if isinstance(value, str) else None


def clipped_reference(text: str, data: Mapping[str, Any]) -> str:
    """A true continuation as the page shows it."""
    return _clipped(strip_prefix(text, data.get("continuation_prefix") or ""), MAX_TEXT_CHARS)


def _turns(data: Mapping[str, Any]) -> Iterator[list[str]]:
    """The conversation before the item, each turn as who and what."""
    for turn in data.get("context") or ():
        if isinstance(turn, Mapping):
            who, what = turn.get("source"), turn.get("content")
            yield [
                _clipped("" if who is None else str(who), MAX_NAME_CHARS),
                _clipped("" if what is None else str(what), MAX_TURN_CHARS),
            ]


def _asks(data: Mapping[str, Any]) -> str | None:
    """What the continuation begins with: the film of a review, the words before an answer."""
    prefix = data.get("continuation_prefix")
    return _clipped(prefix, MAX_TURN_CHARS) if isinstance(prefix, str) else None


def _sample(sample: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    text = strip_prefix(sample["text"], data.get("continuation_prefix") or "")
    found = {
        "text": _clipped(text, MAX_TEXT_CHARS),
        "end": sample["finish_reason"],
        "tokens": sample["tokens"],
    }
    if sample.get("reasoning"):
        found["reasoning"] = _clipped(sample["reasoning"], MAX_TEXT_CHARS)
    return found


def _clipped(text: str, limit: int) -> str:
    """The text, or its beginning and by how many characters it is clipped, in words."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} […{len(text) - limit:,} more characters]"
