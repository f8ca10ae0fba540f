"""Users and items as the scenario holds them, and every way in which a user can be wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.errors import InputError
from launch.scenarios.json_stream import stream_objects
from launch.scenarios.records import ItemType, compact_json, item_digest
from launch.scenarios.shape import MAX_DEPTH
from launch.scenarios.stream import stream_users
from tests.scenarios.builders import DEMO, Record, dialogue_item, turn, user, write


def test_items_are_numbered_over_the_file_and_keyed_by_place(tmp_path: Path) -> None:
    records = [
        user("a", dialogue=[dialogue_item(), dialogue_item()], movie_rating=[{"continuation_prefix": "X: "}]),
        user("b", questionnaire=[dialogue_item(turn("questionnaire", "?"))]),
    ]
    read = list(stream_users(write(tmp_path / "t.json", records)))
    assert [u.record for u in read] == records
    assert [(u.position, u.user_hash) for u in read] == [(0, "a"), (1, "b")]
    items = [item for u in read for item in u.items]
    assert [item.number for item in items] == [0, 1, 2, 3]
    assert [item.key for item in items] == ["a#0.0", "a#0.1", "a#1.0", "b#0.0"]
    assert [item.item_type for item in items][2:] == [ItemType.MOVIE_RATING, ItemType.QUESTIONNAIRE]
    assert items[2].data == {"continuation_prefix": "X: "}


@pytest.mark.parametrize(("dataset", "num_users", "num_items"), [("Chameleons", 18, 92), ("DMSC", 14, 41)])
def test_the_demo_data_reads(dataset: str, num_users: int, num_items: int) -> None:
    read = list(stream_users(DEMO / dataset / "test_leaderboard.json"))
    assert (len(read), sum(len(u.items) for u in read)) == (num_users, num_items)


def test_null_counts_as_not_there_and_unknown_keys_are_kept(tmp_path: Path) -> None:
    record = user("a", dialogue=[{"context": None, "continuation_prefix": None, "extra": {"x": 1}}])
    record["user"] = None
    record["task"]["description"] = None
    (read,) = stream_users(write(tmp_path / "t.json", [record]))
    assert read.record == record


def test_a_user_hash_of_any_spelling_is_kept(tmp_path: Path) -> None:
    hashes = ["../../x", "q\"'\n", "h" * 300, "用户", "\x00"]
    read = stream_users(write(tmp_path / "t.json", [user(h) for h in hashes]))
    assert [u.user_hash for u in read] == hashes


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PART = TEXT | NUMBERS | st.booleans() | st.none()
ITEMS = st.dictionaries(
    TEXT, PART | st.lists(st.dictionaries(TEXT, PART, max_size=3), max_size=3), max_size=4
)


@given(value=ITEMS)
def test_the_fast_writer_gives_the_bytes_of_the_simple_one(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("fast") / "t.json"
    path.write_text(json.dumps([value]), encoding="utf-8")
    (element,) = stream_objects(path)
    for sort_keys in (False, True):
        text = json.dumps(value, ensure_ascii=False, sort_keys=sort_keys, separators=(",", ":"))
        fast = compact_json(element.value, sort_keys=sort_keys, plain_floats=element.plain_floats)
        assert fast == text.encode() == compact_json(value, sort_keys=sort_keys)
    fast_digest = item_digest("dialogue", element.value, plain_floats=element.plain_floats)
    assert fast_digest == item_digest("dialogue", value)


@pytest.mark.parametrize(
    ("number", "is_plain"),
    [("1.5", True), ("0.0", True), ("-0.0001", True), ("9e15", True), ("1e16", False), ("1e-5", False)],
)
def test_floats_that_the_fast_writer_is_trusted_with(tmp_path: Path, number: str, is_plain: bool) -> None:
    (tmp_path / "t.json").write_text(f'[{{"a": {number}}}, {{"a": 1}}]')
    first, second = stream_objects(tmp_path / "t.json")
    assert (first.plain_floats, second.plain_floats) == (is_plain, True)


def test_an_integer_of_more_than_64_bits_is_written_whole() -> None:
    assert compact_json({"a": 2**64}, plain_floats=True) == b'{"a":18446744073709551616}'


def with_(record: Record, path: str, value: object) -> Record:
    """The record with the value at `a.b.0.c`; `...` takes the key away."""
    copy: Any = json.loads(json.dumps(record))
    *keys, last = (int(key) if key.isdecimal() else key for key in path.split("."))
    holder = copy
    for key in keys:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    result: Record = copy
    return result


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


COLLECTION = "task.task_behavior_collections.0"
ITEM = f"{COLLECTION}.data.0"
BAD = {
    "no user_hash": ("user_hash", ..., "no user_hash"),
    "number as user_hash": ("user_hash", 7, "user_hash: expected text, found a number"),
    "empty user_hash": ("user_hash", "", "user_hash: empty. Give each user a unique one."),
    "no task": ("task", ..., "no task"),
    "task is a list": ("task", [], "task: expected an object, found a list"),
    "no collections": ("task.task_behavior_collections", [], "no items"),
    "empty data": (f"{COLLECTION}.data", [], "no items"),
    "null data": (f"{COLLECTION}.data", None, "no items"),
    "user is text": ("user", "Ada", "user: expected an object, found text"),
    "profile is a list": ("user.profile", [], "user.profile: expected an object, found a list"),
    "name is a number": ("user.profile.name", 3, "user.profile.name: expected text, found a number"),
    "collections is an object": ("task.task_behavior_collections", {}, "expected a list, found an object"),
    "collection is text": (COLLECTION, "x", "collection 1: expected an object, found text"),
    "unknown type": (
        f"{COLLECTION}.type",
        "dialog",
        "collection 1: unknown item type \"dialog\". Write 'dialogue'.",
    ),
    "no type": (f"{COLLECTION}.type", ..., "collection 1: unknown item type null. Write one of dialogue, "),
    "item is null": (ITEM, None, "collection 1, item 1: expected an object, found null"),
    "context is text": (f"{ITEM}.context", "hello", "item 1: context: expected a list, found text"),
    "turn is text": (f"{ITEM}.context.0", "hi", "item 1: turn 1: expected an object, found text"),
    "no content": (f"{ITEM}.context.0.content", ..., "item 1: turn 1: content: expected text, found none"),
    "no source": (f"{ITEM}.context.0.source", None, "item 1: turn 1: source: expected text, found none"),
    "content is a number": (
        f"{ITEM}.context.0.content",
        4.5,
        "turn 1: content: expected text, found a number",
    ),
    "prefix is true": (
        f"{ITEM}.continuation_prefix",
        True,
        "continuation_prefix: expected text, found true or",
    ),
    "deep": ("user.profile.extra", nested(MAX_DEPTH), f"nested deeper than {MAX_DEPTH} levels"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_user_is_one_clear_line(name: str, tmp_path: Path) -> None:
    where, value, what = BAD[name]
    path = tmp_path / "t.json"
    path.write_text(json.dumps([user("ok"), with_(user("b" * 32), where, value)], indent=1))
    line = path.read_text().splitlines().index(" {", 2) + 1
    with pytest.raises(InputError) as caught:
        list(stream_users(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: user 2"), message
    assert what in message
    assert "\n" not in message


def test_what_nests_less_deep_is_taken(tmp_path: Path) -> None:
    record = with_(user(), "user.profile.extra", nested(MAX_DEPTH - 4))
    assert next(stream_users(write(tmp_path / "t.json", [record]))).record == record


def test_a_repeated_user_hash_names_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("[" + ",\n".join(json.dumps(user(h)) for h in ("a", "b", "a")) + "]")
    expected = f'{path}:3: user 3 (hash "a"): the user_hash of the user at line 1 again.'
    with pytest.raises(InputError, match=re.escape(expected)):
        list(stream_users(path))


def test_a_hostile_hash_does_not_break_the_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", [with_(user('x"\n\x1b[31m'), "task", ...)])
    with pytest.raises(InputError) as caught:
        list(stream_users(path))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_an_empty_dataset_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no users in the list"):
        list(stream_users(write(tmp_path / "t.json", [])))
