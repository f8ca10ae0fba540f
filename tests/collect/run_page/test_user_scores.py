"""Means of users by hand, and a fair draw of very many."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from launch.collect.run_page import user_scores as module
from launch.collect.run_page.user_scores import read_user_scores

ROWS: list[dict[str, Any]] = [
    {"key": "b#0.0", "type": "dialogue", "chrf_mean": 10.0, "chrf_best": 90.0, "tokens": 4},
    {"key": "b#0.1", "type": "dialogue", "chrf_mean": 21.0, "chrf_best": 90.0, "tokens": 6},
    {"key": "a#x#0.0", "type": "movie_rating", "accuracy_mean": 0.5, "tokens": 1},
]


def write(directory: Path, rows: list[dict[str, Any]]) -> Path:
    lines = (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    (directory / "item_scores.jsonl").write_bytes(b"".join(lines))
    return directory


def test_a_user_has_the_mean_of_their_items(tmp_path: Path) -> None:
    found = read_user_scores(write(tmp_path, ROWS), frozenset({"b#0.1", "not there"})).as_json()
    assert found is not None
    assert (found["users"], found["items"], found["num_users"]) == (["a#x", "b"], [1, 2], 2)
    values = {score["name"]: score["values"] for score in found["scores"]}
    assert values == {"chrf_mean": [None, 15.5], "accuracy_mean": [0.5, None], "tokens": [1, 5]}
    assert "chrf_best" not in values, "an oracle's choice says nothing of a user"


def test_items_that_are_shown_have_their_main_scores(tmp_path: Path) -> None:
    found = read_user_scores(write(tmp_path, ROWS), frozenset({"b#0.1", "a#x#0.0", "not there"}))
    assert found.by_item == {"b#0.1": {"chrf_mean": 21.0}, "a#x#0.0": {"accuracy_mean": 0.5}}


def test_of_very_many_users_a_draw_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_USERS", 3)
    rows = [{"key": f"{'u' * 100}{number}#0.0", "type": "dialogue", "tokens": number} for number in range(9)]
    found = read_user_scores(write(tmp_path, rows), frozenset()).as_json()
    assert found is not None and found["num_users"] == 9
    assert found["users"] == ["u" * module.MAX_NAME_CHARS] * 3 and len(found["scores"][0]["values"]) == 3


def test_without_lines_there_are_no_users(tmp_path: Path) -> None:
    assert read_user_scores(write(tmp_path, []), frozenset()).as_json() is None
