"""Figures of texts, by hand in three languages, and sacrebleu's own values for chrF."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.metrics.texts import (
    MAX_CHRF_CHARS,
    Similarity,
    distinct,
    first_difference,
    split_units,
    unit_name,
)
from launch.config.schema import Language

EN, ZH, JA = Language.ENGLISH, Language.CHINESE, Language.JAPANESE


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # sacrebleu's test/test_chrf.py, effective order; precision and recall are alike, so beta is nothing
        ("a", "a", 100.0),
        ("", "reference", 0.0),
        ("a b c", "abc", 100.0),
        ("aa", "ab", 25.0),
        # by hand: the mean over orders of equal n-grams
        ("我爱你", "我爱他", 100 * (2 / 3 + 1 / 2 + 0) / 3),
        ("ねこです", "いぬです", 100 * (2 / 4 + 1 / 3 + 0 + 0) / 4),
        # what sacrebleu cannot score, because there is no n-gram
        ("", "", 100.0),
        (" ", " ", 100.0),
    ],
)
def test_chrf(a: str, b: str, expected: float) -> None:
    assert Similarity().score(a, b) == pytest.approx(expected)


def test_chrf_weighs_both_sides_alike() -> None:
    # `ab` in `abab`: precision 1 and 1; recall 2/4 and 1/3; F1 of the means
    recall = (2 / 4 + 1 / 3) / 2
    assert Similarity().score("ab", "abab") == pytest.approx(100 * 2 * recall / (1 + recall))


@given(st.text(max_size=30), st.text(max_size=30))
def test_chrf_is_symmetric(a: str, b: str) -> None:
    similarity = Similarity()
    assert similarity.score(a, b) == similarity.score(b, a)


def test_the_signature_names_the_variant() -> None:
    signature = Similarity().signature
    assert signature.startswith("chrF1|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_a_text_of_a_megabyte_is_clipped_and_counted() -> None:
    similarity = Similarity()
    same = "ab" * (MAX_CHRF_CHARS // 2)
    assert similarity.score(same + "x" * 1_000_000, same + "y") == pytest.approx(100)
    assert similarity.score("a", "b") == 0
    assert similarity.num_clipped == 1


@pytest.mark.parametrize(
    ("text", "language", "units"),
    [
        ("the cat  sat\non", EN, ["the", "cat", "sat", "on"]),
        ("我 爱你", ZH, ["我", "爱", "你"]),
        ("ねこ\u3000です", JA, ["ね", "こ", "で", "す"]),
        ("\x00 \x1b[2J", EN, ["\x00", "\x1b[2J"]),
        ("", EN, []),
    ],
)
def test_units(text: str, language: Language, units: list[str]) -> None:
    assert split_units(text, language) == units


def test_units_have_names() -> None:
    assert [unit_name(language) for language in (EN, ZH, JA)] == ["words", "characters", "characters"]


@pytest.mark.parametrize(
    ("texts", "language", "expected"),
    [
        (["the cat the cat"], EN, (2 / 4, 2 / 3)),
        (["the cat", "the dog"], EN, (3 / 4, 2 / 2)),
        (["好好好"], ZH, (1 / 3, 1 / 2)),
        (["はい", "はい"], JA, (2 / 4, 1 / 2)),
        (["one"], EN, (1.0, None)),
        (["", " \n"], EN, (None, None)),
    ],
)
def test_distinct(texts: list[str], language: Language, expected: tuple[float | None, ...]) -> None:
    assert distinct(texts, language) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abc", "abd", 2),
        ("abc", "abc", None),
        ("abc", "ab", 2),
        ("", "a", 0),
        ("", "", None),
        ("xa", "ya", 0),
    ],
)
def test_first_difference(a: str, b: str, expected: int | None) -> None:
    assert first_difference(a, b) == expected
    assert first_difference(list(b), list(a)) == expected
