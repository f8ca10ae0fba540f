"""Thoughts apart from the answer, and nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.scenarios.reasoning import default_reasoning_end, opens_reasoning, split_reasoning


@pytest.mark.parametrize(
    ("text", "marker", "expected"),
    [
        ("<think>a</think>\n\nb", "</think>", ("<think>a</think>\n\n", "b")),
        ("a</think>b</think>c", "</think>", ("a</think>b</think>", "c")),
        ("no marker", "</think>", (None, "no marker")),
        ("<think>cut off", "</think>", ("<think>cut off", "")),
        (" <think>cut off", "</think>", (" <think>cut off", "")),
        ("an answer, <think>, cut off", "</think>", (None, "an answer, <think>, cut off")),
        ("no mark of this form", "END", (None, "no mark of this form")),
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
    assert reasoning is not None or marker not in text
    assert marker not in answer or reasoning is None


def test_a_sample_cut_within_the_reasoning_that_its_prompt_opened_is_no_answer() -> None:
    assert split_reasoning("still thinking", "</think>", opened=True) == ("still thinking", "")
    assert split_reasoning("thought</think>said", "</think>", opened=True) == ("thought</think>", "said")
    assert split_reasoning("", "</think>", opened=True) == (None, "")
    assert split_reasoning("said", None, opened=True) == (None, "said")


@pytest.mark.parametrize(
    ("prompt", "marker", "opened"),
    [
        ("<|assistant|><think>\n", "</think>", True),
        ("<|assistant|><think>\n\n</think>\n\n", "</think>", False),
        ("<|assistant|>", "</think>", False),
        ("[THINK]", "[/THINK]", True),
        ("<think>", None, False),
        ("<think>", "", False),
        ("END", "END", False),
    ],
)
def test_a_prompt_that_opens_the_reasoning(prompt: str, marker: str | None, opened: bool) -> None:
    assert opens_reasoning(prompt, marker) is opened


def test_the_mark_that_a_chat_template_has() -> None:
    assert default_reasoning_end("{% if enable_thinking %}<think>{% else %}</think>{% endif %}") == "</think>"
    assert default_reasoning_end("{{ messages }}") is None
    assert default_reasoning_end(None) is None
