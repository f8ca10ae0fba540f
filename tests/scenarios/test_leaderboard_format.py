"""Filling a record: continuations added, the prefix taken off, nothing else changed."""

import copy
from typing import Any

from launch.scenarios.formats.leaderboard import LeaderboardFormat
from tests.scenarios.builders import dialogue_item, one_of_each_type, user

FORM = LeaderboardFormat()


def test_every_item_is_found_and_can_be_filled() -> None:
    record = one_of_each_type()
    before = copy.deepcopy(record)
    places = [place for place, _, _ in FORM.items(record)]
    filled = FORM.fill(record, {place: [f"text {place}", "two"] for place in places})
    assert record == before
    assert places == [(0, 0), (1, 0), (2, 0), (3, 0)]
    for place, _, item in FORM.items(filled):
        assert list(item)[-1] == "continuations"
        assert item["continuations"] == [f"text {place}", "two"]
    assert without_continuations(filled) == before


def without_continuations(record: Any) -> Any:
    result = copy.deepcopy(record)
    for _, _, item in FORM.items(result):
        del item["continuations"]
    return result


def test_only_the_literal_prefix_is_taken_off() -> None:
    record = user(movie_review=[{"continuation_prefix": "Heat: "}])
    samples = ["Heat: loud", " Heat: loud", "Heat:loud", "heat: loud", "Heat: Heat: x", "Heat: ", "loud"]
    filled = FORM.fill(record, {(0, 0): samples})
    (_, _, item), *_ = FORM.items(filled)
    assert item["continuations"] == ["loud", " Heat: loud", "Heat:loud", "heat: loud", "Heat: x", "", "loud"]


def test_items_without_samples_stay_as_read_and_old_results_are_replaced() -> None:
    old = {**dialogue_item(), "continuations": ["old"]}
    record = user(dialogue=[old, old, old])
    filled = FORM.fill(record, {(0, 1): [], (0, 2): ["new"]})
    assert [item["continuations"] for _, _, item in FORM.items(filled)] == [["old"], [], ["new"]]
