"""What a terminal is given of texts that others wrote: nothing that it would obey."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.config.trees import leaf_values
from launch.config.wording import duration, interval, json_text, log_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 影 é", "plain 影 é"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[H\x1b[?25lgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x9b31mc1", "c1"),
        ("\x1bcreset", "reset"),
        ("a\tb", "a    b"),
        ("10 %\r50 %\r100 %\n", "100 %"),
        ("windows\r\n", "windows"),
        ("bell\x07 nul\x00 del\x7f", "bell\\U00000007 nul\\U00000000 del\\U0000007F"),
        ("abc\u202edcba\u2066x", "abc\\U0000202Edcba\\U00002066x"),
        ("line\u2028break\x85", "line\\U00002028break\\U00000085"),
        ("lone \x1b", "lone \\U0000001B"),
        ("\x1b]0;never ended", "0;never ended"),
        ("[red]no markup[/]", "[red]no markup[/]"),
    ],
)
def test_a_line_of_a_log(text: str, shown: str) -> None:
    assert log_line(text) == shown


def test_a_long_line_is_cut_and_says_so() -> None:
    shown = log_line("x" * 1_000_000 + "\x1b[31m")
    assert shown == "x" * 1000 + "... (a line of over 1,000 characters)"
    assert log_line("x" * 1000) == "x" * 1000
    assert log_line("\x00" * 1001, 10) == "\\U00000000"[:10] + "... (a line of over 10 characters)"


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_nothing_unprintable_is_left(text: str) -> None:
    for shown in (log_line(text), printable(text)):
        assert shown.isprintable()
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)


@settings(max_examples=40)
@given(st.lists(st.text(max_size=20) | st.integers(-(2**53), 2**53) | st.none(), max_size=4))
def test_json_is_the_same_value_and_printable(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    assert text.isascii() or not json.dumps(value, ensure_ascii=False).isascii()


def test_json_of_a_path_that_is_no_utf8() -> None:
    value = {"root": "runs/\udcff\x9b影", "num_done": 1, "age_s": 0.5, "of": [None, True]}
    text = json_text(value)
    assert '"runs/\\udcff\\u009b影"' in text
    assert json.loads(text) == value
    with pytest.raises(TypeError):
        json_text({"root": object()})


def test_an_interval_or_what_is_said_in_its_place() -> None:
    assert interval(-1.25, 1234.5, 1) == "-1.2 to 1,234.5"
    assert interval(None, 1.0, 1) == "no interval"
    assert interval(1.0, None, 1, otherwise="mean of samples") == "mean of samples"


def test_values_by_dotted_name_where_what_is_empty_is_a_value() -> None:
    tree = {"b": {"c": 1, "d": {}}, "e": None}
    assert list(leaf_values("a", tree)) == [("a.b.c", 1), ("a.b.d", {}), ("a.e", None)]
    assert list(leaf_values("a", {})) == [("a", {})]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (110, "2 min"),
        (5900, "98 min"),
        (5970, "1 h 40 min"),
        (7200, "2 h"),
        (12_240, "3 h 24 min"),
        (172_799, "2 d"),
        (180_000, "2 d 2 h"),
        (1e8, "1,157 d 10 h"),
    ],
)
def test_a_time_as_the_plan_the_status_and_the_pages_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_seconds_in_parts_where_they_are_asked_for() -> None:
    assert [duration(seconds, decimals=1) for seconds in (0, 0.34, 89.94, 119.9)] == [
        "0.0 s",
        "0.3 s",
        "89.9 s",
        "2 min",
    ]
