"""Thoughts apart from the answer, and nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.scenarios.reasoning import split_reasoning


@pytest.mark.parametrize(
    ("text", "marker", "expected"),
    [
        ("<think>a</think>\n\nb", "</think>", ("<think>a</think>\n\n", "b")),
        ("a</think>b</think>c", "</think>", ("a</think>b</think>", "c")),
        ("no marker", "</think>", (None, "no marker")),
        ("<think>cut off", "</think>", (None, "<think>cut off")),
        ("x</think>", "</think>", ("x</think>", "")),
        ("a</think>b", None, (None, "a</think>b")),
        ("a</think>b", "", (None, "a</think>b")),
    ],
)
def test_the_last_marker_parts_them(text: str, marker: str | None, expected: tuple[str | None, str]) -> None:
    assert split_reasoning(text, marker) == expected


@given(text=st.text("ab</> \n"), marker=st.sampled_from(["</a>", "a", " "]))
def test_both_parts_are_the_whole_text(text: str, marker: str) -> None:
    reasoning, answer = split_reasoning(text, marker)
    assert (reasoning or "") + answer == text
    assert (reasoning is None) == (marker not in text)
    assert marker not in answer or reasoning is None
