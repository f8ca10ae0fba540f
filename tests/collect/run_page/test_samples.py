"""Which items are shown, and how much of their texts."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.pages import page_json
from launch.collect.run_page.items import PublishedItem
from launch.collect.run_page.samples import (
    MAX_SAMPLES,
    MAX_TEXT_CHARS,
    MAX_TURN_CHARS,
    MAX_TURNS,
    SampleDraw,
    Shown,
    describe,
    draw_rank,
    page_bytes,
)
from tests.browser.hostile import TEXTS
from tests.collect.run_page.builders import item


def draw(items: list[PublishedItem], **limits: int) -> Shown:
    drawing = SampleDraw(**limits)
    for each in items:
        drawing.add(each)
    return drawing.drawn()


def test_all_are_shown_where_all_fit() -> None:
    items = [item(f"u{number}#0.0") for number in range(20)]
    shown = draw(items)
    assert list(shown.items) == [each.key for each in items] and shown.num_items == 20


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(300, 8000))
def test_what_is_shown_fits_and_is_a_fair_draw(sizes: list[int], room: int) -> None:
    items = [item(f"u{number}#0.0", ["<" * size]) for number, size in enumerate(sizes)]
    shown = draw(items, max_bytes=room)
    assert list(shown.items) == [each.key for each in items if each.key in shown.items], "in item order"
    taken = sum(len(page_json(describe(each)).encode()) for each in items if each.key in shown.items)
    assert taken <= room or len(shown.items) == 1
    by_rank = sorted((each.key for each in items), key=draw_rank)
    assert set(by_rank[: len(shown.items)]) == set(shown.items), "the first by rank, whatever they say"


def test_no_more_than_so_many() -> None:
    shown = draw([item(f"u{number}#0.0") for number in range(50)], max_items=7)
    assert len(shown.items) == 7 and shown.num_items == 50


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_bytes_are_counted_as_the_page_has_them(text: str) -> None:
    value = describe(item(texts=[text]))
    assert page_bytes(orjson.dumps(value)) == len(page_json(value).encode())


def test_an_item_as_the_script_takes_it() -> None:
    data: dict[str, Any] = {
        "context": [{"source": "BEN", "content": "Well?"}],
        "continuation_prefix": "So: ",
        "continuation": "So: no.",
    }
    assert describe(item(texts=["So: yes", "no"], data=data)) == {
        "key": "u1#0.0",
        "name": "ADA",
        "type": "dialogue",
        "turns": [["BEN", "Well?"]],
        "asks": "So: ",
        "reference": "no.",
        "prompt_tokens": 10,
        "cuts": {"history": 2},
        "samples": [
            {"text": "yes", "end": "stop", "tokens": 7},
            {"text": "no", "end": "length", "tokens": 2},
        ],
        "num_samples": 2,
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [({"missing": True}, {"missing": True}), ({"failure": {"class": "a", "message": "b"}},) * 2],
    ids=["missing", "failed"],
)
def test_an_item_without_samples_says_why(row: dict[str, Any], said: dict[str, Any]) -> None:
    found = describe(item(row=row, data={"continuation": 4.5}))
    assert found == {"key": "u1#0.0", "name": "ADA", "type": "dialogue", "reference": "4.5", **said}


def test_long_texts_are_clipped_and_say_so() -> None:
    turns = [{"source": "B" * 5000, "content": "長" * 5000}] * 40
    found = describe(item(texts=["x" * 1_000_000] * 100, data={"context": turns, "continuation": "y" * 9000}))
    assert found["samples"][0]["text"] == "x" * MAX_TEXT_CHARS + " […994,000 more characters]"
    assert (len(found["samples"]), found["num_samples"]) == (MAX_SAMPLES, 100)
    assert (len(found["turns"]), found["num_left_out"]) == (MAX_TURNS, 40 - MAX_TURNS)
    assert found["turns"][0][1] == "長" * MAX_TURN_CHARS + " […3,500 more characters]"
    assert found["reference"].endswith("[…3,000 more characters]")
