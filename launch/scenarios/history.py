"""What train.json tells of each user, cut to what a prompt could hold.

The file may be larger than memory, so it is read once, at submission, and each user's newest entries are
kept in the plan. An entry is a small JSON object: {"type", "prefix", "context": [{"source", "content"}],
"continuation", "timestamp", "digest"}; `context` holds the one turn that the user answered, texts are
clipped, and `digest` names the whole entry before it was cut, so that an entry which is a test item itself
can be told and left out.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launch.config.schema import Ablation
from launch.errors import InputError
from launch.scenarios.records import ItemType, JsonObject
from launch.scenarios.stream import LEADERBOARD, at_user, stream_checked
from launch.scenarios.turns import clip

HistoryEntry = dict[str, Any]
CONTEXT_TURNS = 1


def find_history(scenario: Path, ablation: Ablation) -> Path | None:
    """train.json of a scenario directory when the ablation uses history; InputError when it is not there."""
    if not ablation.uses_history:
        return None
    path = scenario / "train.json"
    if not path.is_file():
        raise InputError(
            f"{path}: not found, and prompt.ablation_config {ablation.value} takes history from it."
            " Put it there or choose an ablation without history."
        )
    return path


def stream_history(
    path: Path,
    max_entries: int,
    max_chars: int,
    num_test_items: Mapping[str, int] | None = None,
) -> Iterator[tuple[str, list[HistoryEntry]]]:
    """(user_hash, entries) of each user of train.json that has some, oldest first, at most `max_entries`
    newest and as many more as `num_test_items` has for the user.

    Those stand for entries that are test items: `leave_out_test_items` takes them out later, and where they
    were the newest ones of train.json nothing would be left.

    Entries are in order of time when each has a timestamp in ISO 8601 (without zone: UTC), else in the
    order of the file. Texts longer than `max_chars` are clipped. InputError as `stream_users`; also for an
    entry without `continuation`, which is all that history is about. A user without entries is left out.
    """
    for element, user_hash in stream_checked(path):
        entries = []
        for place, item_type, item in LEADERBOARD.items(element.value):
            if not isinstance(item.get("continuation"), str):
                what = (
                    f"collection {place[0] + 1}, item {place[1] + 1}: no continuation, or none that is text."
                    " History needs what the user wrote: add it or take the item out."
                )
                raise at_user(path, element, what, user_hash)
            entries.append((item_type, item))
        wanted = max_entries and max_entries + (num_test_items or {}).get(user_hash, 0)
        newest = _in_order_of_time(entries)[-wanted:] if wanted else []
        if newest:
            yield user_hash, [_entry(item_type, item, max_chars) for item_type, item in newest]


def leave_out_test_items(
    entries: Sequence[HistoryEntry], record: JsonObject
) -> tuple[list[HistoryEntry], int]:
    """(entries that are no test items of this user, how many were left out because they are).

    An entry is a test item when type, prefix, context and timestamp are the same: its continuation is then
    what the model is asked for. The same words in another entry are history and stay.
    """
    if not entries:
        return [], 0
    timestamps = {json.dumps(entry["timestamp"]) for entry in entries}
    asked = {
        _digest(item_type, item)
        for _, item_type, item in LEADERBOARD.items(record)
        if json.dumps(item.get("timestamp")) in timestamps
    }
    kept = [entry for entry in entries if entry["digest"] not in asked]
    return kept, len(entries) - len(kept)


def _entry(item_type: ItemType, item: JsonObject, max_chars: int) -> HistoryEntry:
    turns = (item.get("context") or [])[-CONTEXT_TURNS:]
    return {
        "type": item_type.value,
        "prefix": clip(item.get("continuation_prefix") or "", max_chars),
        "context": [
            {"source": clip(turn["source"], max_chars), "content": clip(turn["content"], max_chars)}
            for turn in turns
        ],
        "continuation": clip(item["continuation"], max_chars),
        "timestamp": item.get("timestamp"),
        "digest": _digest(item_type, item),
    }


def _digest(item_type: ItemType, item: JsonObject) -> str:
    turns = [[turn["source"], turn["content"]] for turn in item.get("context") or ()]
    value = [item_type.value, item.get("continuation_prefix") or "", turns, item.get("timestamp")]
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def _in_order_of_time(entries: list[tuple[ItemType, JsonObject]]) -> list[tuple[ItemType, JsonObject]]:
    times = [_time(item.get("timestamp")) for _, item in entries]
    known = [time for time in times if time is not None]
    if len(known) < len(entries):
        return entries
    order = sorted(range(len(entries)), key=known.__getitem__)
    return [entries[place] for place in order]


def _time(timestamp: object) -> datetime | None:
    if not isinstance(timestamp, str):
        return None
    try:
        time = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
