"""The shape of a scenario's users, checked once at the door; below it every field is trusted.

A user: {"user_hash": str, "user": {"profile": {...}, "personality": {...}}, "task": {"description": str,
"task_behavior_collections": [{"type": ItemType, "type_desc": str, "data": [item, ...]}, ...]}}; an item:
{"context": [{"source": str, "content": str, "timestamp": ...}, ...], "continuation": ...,
"continuation_prefix": str, "timestamp": ...}. Only user_hash, task, the collections with type and data, and
a turn's source and content must be there; null counts as not there. Further keys are kept and ignored.
"""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any

from launch.scenarios.records import ItemType, JsonObject

MAX_DEPTH = 64
SHOWN_CHARS = 40
ITEM_TYPES = frozenset(item_type.value for item_type in ItemType)

REQUIRED = frozenset({"source", "content"})  # of a turn

_VALUES = dict.values
_DICT, _STR = {dict}, {str}
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


class ShapeError(Exception):
    """What is wrong with a user and what to do; the caller adds where the user stands."""


def shown(value: object) -> str:
    """A value for a one-line message: as JSON in ASCII, so that no control character survives, and short."""
    text = value if isinstance(value, str) else repr(value)
    quoted = json.dumps(text[: SHOWN_CHARS + 1])
    return quoted if len(text) <= SHOWN_CHARS else f"{json.dumps(text[:SHOWN_CHARS])}…"


def check_user(record: JsonObject) -> str:
    """The user_hash of a record of the right shape; ShapeError otherwise."""
    user_hash = record.get("user_hash")
    if user_hash is None:
        raise ShapeError("no user_hash. Give each user a unique one.")
    if user_hash == "":
        raise ShapeError("user_hash: empty. Give each user a unique one.")
    if not isinstance(user_hash, str):
        raise ShapeError(f"user_hash: expected text, found {_kind(user_hash)}. Write it in quotes.")
    _check_depth(record, but="task")
    _check_person(record)
    for number, collection in enumerate(_collections(record)):
        _check_collection(collection, f"collection {number + 1}")
    return user_hash


def _check_person(record: JsonObject) -> None:
    user = _optional(record, "user", dict, "user")
    if user is not None:
        profile = _optional(user, "profile", dict, "user.profile")
        _optional(user, "personality", dict, "user.personality")
        if profile is not None:
            _optional(profile, "name", str, "user.profile.name")


def _collections(record: JsonObject) -> list[Any]:
    task = _optional(record, "task", dict, "task")
    if task is None:
        raise ShapeError("no task. Give the user task.task_behavior_collections.")
    _check_depth(task, but="task_behavior_collections")
    _optional(task, "description", str, "task.description")
    collections: list[Any] | None = _optional(
        task, "task_behavior_collections", list, "task.task_behavior_collections"
    )
    return collections or []


def _check_collection(collection: Any, where: str) -> None:
    if type(collection) is not dict:
        raise ShapeError(f"{where}: expected an object, found {_kind(collection)}.")
    item_type = collection.get("type")
    if type(item_type) is not str or item_type not in ITEM_TYPES:
        near = get_close_matches(item_type.lower(), ITEM_TYPES) if type(item_type) is str else ()
        advice = f"Write {near[0]!r}." if near else f"Write one of {', '.join(ItemType)}."
        found = shown(item_type) if type(item_type) is str else _kind(item_type)
        raise ShapeError(f"{where}: unknown item type {found}. {advice}")
    _check_depth(collection, but="data")
    _optional(collection, "type_desc", str, f"{where}: type_desc")
    for number, item in enumerate(_optional(collection, "data", list, f"{where}: data") or ()):
        try:
            _check_item(item)
        except ShapeError as error:
            raise ShapeError(f"{where}, item {number + 1}: {error}") from None


def _check_item(item: Any) -> None:
    if type(item) is not dict:
        raise ShapeError(f"expected an object, found {_kind(item)}.")
    _check_depth(item, but="context")
    _optional(item, "continuation_prefix", str, "continuation_prefix")
    context = _optional(item, "context", list, "context") or []
    if not (hold_only_text(context) and all(REQUIRED.issubset(keys) for keys in set(map(tuple, context)))):
        for number, turn in enumerate(context):
            _check_turn(turn, f"turn {number + 1}")


def hold_only_text(turns: Sequence[Any]) -> bool:
    """Whether these are all objects without anything but text in them, as nearly all turns are; very fast."""
    if not turns:
        return True
    return set(map(type, turns)) == _DICT and set(map(type, chain.from_iterable(map(_VALUES, turns)))) <= _STR


def _check_turn(turn: Any, where: str) -> None:
    if type(turn) is not dict:
        raise ShapeError(f"{where}: expected an object, found {_kind(turn)}.")
    for key in sorted(REQUIRED):
        if type(turn.get(key)) is not str:
            found = "none" if turn.get(key) is None else _kind(turn[key])
            raise ShapeError(f"{where}: {key}: expected text, found {found}.")
    _check_values(turn.values(), MAX_DEPTH)


def _optional(holder: JsonObject, key: str, kind: type, name: str) -> Any:
    """The value of a key that may be missing or null, of the kind it must have otherwise."""
    value = holder.get(key)
    if value is not None and type(value) is not kind:
        raise ShapeError(f"{name}: expected {_KINDS[kind]}, found {_kind(value)}.")
    return value


def _check_depth(holder: JsonObject, but: str) -> None:
    """Refuses nesting that a later stage could not write again, save below `but`, which is checked apart."""
    for key, value in holder.items():
        if type(value) is not str and key != but:
            _check_values((value,), MAX_DEPTH)


def _check_values(values: Iterable[Any], depth: int) -> None:
    if not depth:
        raise ShapeError(f"nested deeper than {MAX_DEPTH} levels. Flatten it.")
    for value in values:
        kind = type(value)
        if kind is str:
            continue
        if kind is dict:
            _check_values(value.values(), depth - 1)
        elif kind is list:
            _check_values(value, depth - 1)


def _kind(value: object) -> str:
    """What kind of JSON value this is, in words."""
    return _KINDS.get(type(value), "a number")
