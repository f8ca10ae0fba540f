"""History from train.json: newest entries, cut, in order, and never a test item itself."""

import re
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import Ablation
from launch.errors import InputError
from launch.scenarios.history import HistoryEntry, find_history, leave_out_test_items, stream_history
from launch.scenarios.stream import count_items, stream_users
from tests.scenarios.builders import DEMO, dialogue_item, turn, user, write


def history(
    tmp_path: Path, *records: Any, entries: int = 30, chars: int = 300
) -> dict[str, list[HistoryEntry]]:
    return dict(stream_history(write(tmp_path / "train.json", list(records)), entries, chars))


def said(entries: list[HistoryEntry]) -> list[str]:
    return [entry["continuation"] for entry in entries]


def dated(text: str, timestamp: str | None) -> dict[str, Any]:
    return {"context": [], "continuation": text, "timestamp": timestamp}


def test_entries_of_all_collections_are_in_order_of_time(tmp_path: Path) -> None:
    record = user(
        "a",
        movie_review=[dated("third", "2020-01-03"), dated("first", "2020-01-01T09:00:00")],
        movie_rating=[dated("fourth", "2020-01-03T12:00:00+09:00"), dated("second", "2020-01-02T00:00:00Z")],
    )
    assert said(history(tmp_path, record)["a"]) == ["first", "second", "third", "fourth"]


def test_without_times_the_order_is_the_file_s(tmp_path: Path) -> None:
    record = user("a", movie_review=[dated("b", "2020-01-03"), dated("a", None), dated("c", "yesterday")])
    assert said(history(tmp_path, record)["a"]) == ["b", "a", "c"]


def test_only_the_newest_stay_oldest_first(tmp_path: Path) -> None:
    record = user("a", movie_review=[dated(str(day), f"2020-01-0{day}") for day in (4, 1, 3, 2)])
    assert said(history(tmp_path, record, entries=2)["a"]) == ["3", "4"]
    assert history(tmp_path, record, entries=0) == {}


def test_texts_are_clipped_and_one_turn_stays(tmp_path: Path) -> None:
    item = dialogue_item(
        turn("BEN", "old"), turn("CLEO", "x" * 301), continuation="y" * 300, continuation_prefix="z" * 400
    )
    (entry,) = history(tmp_path, user("a", dialogue=[item]))["a"]
    assert entry["context"] == [{"source": "CLEO", "content": "x" * 299 + "…"}]
    assert entry["continuation"] == "y" * 300
    assert len(entry["prefix"]) == 300
    assert (entry["type"], entry["timestamp"]) == ("dialogue", item["timestamp"])


def test_a_user_without_entries_is_left_out(tmp_path: Path) -> None:
    empty = user("a", dialogue=[])
    assert list(history(tmp_path, empty, user("b"))) == ["b"]


@pytest.mark.parametrize("continuation", [None, 4.5])
def test_an_entry_without_what_the_user_wrote_is_an_error(tmp_path: Path, continuation: Any) -> None:
    record = user("a", dialogue=[dialogue_item(), {**dialogue_item(), "continuation": continuation}])
    with pytest.raises(
        InputError, match=re.escape('train.json:1: user 1 (hash "a"): collection 1, item 2: no cont')
    ):
        history(tmp_path, record)


def test_a_malformed_train_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('[{"user_hash": "a"')
    with pytest.raises(InputError, match=re.escape("train.json:1: the file ends inside user 1")):
        list(stream_history(tmp_path / "train.json", 30, 300))


def test_a_missing_train_file_names_the_ablation(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"train\.json: not found, and prompt\.ablation_config history_only "
    ):
        find_history(tmp_path, Ablation.HISTORY_ONLY)
    assert find_history(tmp_path, Ablation.PROFILE_ONLY) is None


def test_a_test_item_in_train_is_left_out_and_counted(tmp_path: Path) -> None:
    asked = dialogue_item(turn("BEN", "x" * 400), turn("CLEO", "well?"), continuation=None)
    same = {**asked, "continuation": "the answer"}
    later = {**same, "timestamp": "2021-01-01T00:00:00"}
    other_context = {**same, "context": asked["context"][1:]}
    prefixed = {**same, "continuation_prefix": "Oh: "}
    train = user("a", dialogue=[same, later, other_context, prefixed], movie_review=[same])
    (tested,) = stream_users(write(tmp_path / "t.json", [user("a", dialogue=[asked])]))
    entries = history(tmp_path, train)["a"]
    kept, left_out = leave_out_test_items(entries, tested.record)
    assert left_out == 1
    assert len(kept) == 4
    assert all((e["digest"] != entries[0]["digest"]) or e["type"] != "dialogue" for e in kept)


def test_test_items_take_no_place_of_older_entries(tmp_path: Path) -> None:
    """A train.json that holds the test set, too, whose items are often the newest."""
    asked = [dated(str(day), f"2020-01-1{day}") for day in range(4)]
    past = [dated(f"before {day}", f"2020-01-0{day}") for day in range(1, 6)]
    scenario = write(tmp_path / "test_leaderboard.json", [user("a", movie_review=asked)])
    train = write(
        tmp_path / "train.json", [user("a", movie_review=past + asked), user("b", movie_review=past)]
    )
    kept = dict(stream_history(train, 3, 300, count_items(scenario)))
    (tested,) = stream_users(scenario)
    entries, left_out = leave_out_test_items(kept["a"], tested.record)
    assert (said(entries)[-3:], left_out) == (["before 3", "before 4", "before 5"], 4)
    assert said(kept["b"]) == ["before 3", "before 4", "before 5"]


def test_the_demo_s_history_holds_no_test_item() -> None:
    for dataset in ("Chameleons", "DMSC"):
        past = dict(stream_history(DEMO / dataset / "train.json", 30, 300))
        for tested in stream_users(DEMO / dataset / "test_leaderboard.json"):
            assert leave_out_test_items(past[tested.user_hash], tested.record) == (past[tested.user_hash], 0)
