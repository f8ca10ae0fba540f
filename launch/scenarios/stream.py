"""Turns a scenario file into users with numbered items, one user in memory at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch.errors import InputError
from launch.scenarios.formats import Format
from launch.scenarios.formats.leaderboard import LeaderboardFormat
from launch.scenarios.json_stream import Element, stream_objects
from launch.scenarios.records import Item, User, item_digest, item_key
from launch.scenarios.shape import ShapeError, check_user, shown

LEADERBOARD: Format = LeaderboardFormat()


def stream_users(path: Path) -> Iterator[User]:
    """The users of a scenario file in input order; items are numbered from 0 over the whole file.

    Memory: one user, and about 200 bytes for each user_hash seen. The record is what the file holds:
    integers of any size, doubles, key order. InputError, with file:line and the user's place from 1, for a
    file that is no list of users, a user without items, a user_hash that is not text or not unique, an
    unknown item type, a turn without source or content, NaN, text that is not Unicode, and for a file
    without users.
    """
    number = 0
    position = -1
    for position, (element, user_hash) in enumerate(stream_checked(path)):
        items = []
        for place, item_type, data in LEADERBOARD.items(element.value):
            key = item_key(user_hash, *place)
            digest = item_digest(item_type, data, plain_floats=element.plain_floats)
            items.append(Item(number, key, digest, item_type, *place, data))
            number += 1
        if not items:
            what = "no items. Give it data in a collection, or take the user out."
            raise at_user(path, element, what, user_hash)
        yield User(position, user_hash, element.value, tuple(items), element.plain_floats)
    if position < 0:
        raise InputError(f"{path}: no users in the list. Check data.scenario_path.")


def count_items(path: Path) -> dict[str, int]:
    """How many items each user of a scenario file has, by user_hash; InputError as `stream_users`."""
    return {
        user_hash: sum(1 for _ in LEADERBOARD.items(element.value))
        for element, user_hash in stream_checked(path)
    }


def stream_checked(path: Path) -> Iterator[tuple[Element, str]]:
    """The elements of a scenario file with their user_hash, each of the right shape and unique."""
    lines: dict[str, int] = {}
    for element in stream_objects(path):
        try:
            user_hash = check_user(element.value)
        except ShapeError as error:
            raise at_user(path, element, str(error), element.value.get("user_hash")) from None
        if user_hash in lines:
            what = (
                f"the user_hash of the user at line {lines[user_hash]} again. Merge the two users into one."
            )
            raise at_user(path, element, what, user_hash)
        lines[user_hash] = element.line
        yield element, user_hash


def at_user(path: Path, element: Element, what: str, user_hash: Any) -> InputError:
    """The error that says where in the file a user is wrong; `user_hash` as found, whatever it is."""
    named = f" (hash {shown(user_hash[:12])})" if isinstance(user_hash, str) and user_hash else ""
    return InputError(f"{path}:{element.line}: user {element.position + 1}{named}: {what}")
