"""The row of an item by hand: a text, a rating, a questionnaire of each kind, and items without reference."""

from collections.abc import Sequence

import pytest

from launch.collect.metrics.answers import Scale
from launch.collect.metrics.texts import MAX_CHRF_CHARS
from launch.collect.published import Result
from launch.collect.referenced_items import ItemReference
from launch.collect.scoring.kinds import BLEU_COUNTS, COLUMNS
from launch.collect.scoring.values import ItemScorer, Row, Rules
from launch.config.schema import Language
from launch.scenarios.records import ItemType

SCALES = {ItemType.MOVIE_RATING: Scale(0.5, 5), ItemType.QUESTIONNAIRE: Scale(1, 5)}
PLAIN = {"tokens", "characters", "duplicate", "empty", "cut"}
VARIETY = {"distinct_1", "distinct_2", "self_bleu"}
NEARNESS = {f"{name}_{which}" for name in ("bleu", "chrf", "rouge_l") for which in ("mean", "best")}
NEARNESS |= {"units", "reference_units", *BLEU_COUNTS}
ANSWER = {"accuracy_mean", "accuracy_best", "unparsed"}
ERRORS = {"mae_mean", "mae_best", "squared_error_mean", "squared_error_best"}


def row(
    item_type: ItemType,
    texts: Sequence[str],
    reference: str | None,
    *,
    prefix: str = "",
    language: Language = Language.ENGLISH,
    reasons: Sequence[str] | None = None,
) -> Row:
    item = ItemReference("u#0.0", item_type, prefix, reference)
    reasons = reasons or ["stop"] * len(texts)
    result = Result("u#0.0", 11, {}, tuple(texts), tuple(range(1, len(texts) + 1)), tuple(reasons))
    return ItemScorer(Rules(language, SCALES)).score(item, result)


def values(*args: object, **kwargs: object) -> dict[str, float]:
    found = row(*args, **kwargs)  # type: ignore[arg-type]
    return {name: value for name, value in zip(COLUMNS, found.values, strict=True) if value is not None}


def test_a_text_of_two_samples() -> None:
    found = values(
        ItemType.DIALOGUE, ["the dog bit the man", ""], "the dog bit the man", reasons=["stop", "length"]
    )
    assert set(found) == PLAIN | VARIETY | NEARNESS
    for name in ("bleu", "chrf", "rouge_l"):
        assert (found[f"{name}_mean"], found[f"{name}_best"]) == (pytest.approx(50), pytest.approx(100))
    assert [found[name] for name in BLEU_COUNTS] == [5, 4, 3, 2, 5, 4, 3, 2, 5, 10]
    assert (found["units"], found["reference_units"]) == (2.5, 5)
    assert (found["tokens"], found["characters"]) == (1.5, 9.5)
    assert (found["empty"], found["cut"], found["duplicate"]) == (0.5, 0.5, 0)
    assert (found["distinct_1"], found["distinct_2"], found["self_bleu"]) == (4 / 5, 1, 0)


@pytest.mark.parametrize(
    ("language", "text", "reference", "expected"),
    [
        (Language.ENGLISH, "the dog sat", "the cat sat", 2 / 3),
        (Language.CHINESE, "我爱小猫", "我爱小狗", 3 / 4),
        (Language.JAPANESE, "ねこです", "いぬです", 2 / 4),
    ],
)
def test_rouge_l_in_three_languages(language: Language, text: str, reference: str, expected: float) -> None:
    found = values(ItemType.MOVIE_REVIEW, [text], reference, language=language)
    assert found["rouge_l_mean"] == pytest.approx(100 * expected)
    assert "duplicate" not in found and "self_bleu" not in found, "one sample has no others"


def test_the_prefix_is_no_part_of_a_sample() -> None:
    found = values(ItemType.MOVIE_REVIEW, ["Heat: loud", "loud"], "loud", prefix="Heat: ")
    assert found["chrf_mean"] == pytest.approx(100)
    assert (found["duplicate"], found["characters"]) == (0.5, 4)
    assert values(ItemType.MOVIE_REVIEW, ["Heat: "], "loud", prefix="Heat: ")["empty"] == 1


def test_a_rating() -> None:
    found = values(ItemType.MOVIE_RATING, ["4.5", "3", "who knows", "Heat: 4 stars"], "4.0", prefix="Heat: ")
    assert set(found) == PLAIN | ANSWER | ERRORS
    assert (found["accuracy_mean"], found["accuracy_best"], found["unparsed"]) == (1 / 4, 1, 1 / 4)
    assert (found["mae_mean"], found["mae_best"]) == ((0.5 + 1 + 3.5 + 0) / 4, 0)
    assert (found["squared_error_mean"], found["squared_error_best"]) == ((0.25 + 1 + 12.25) / 4, 0)


def test_a_rating_whose_reference_is_no_number_is_not_scored() -> None:
    assert set(values(ItemType.MOVIE_RATING, ["4", "3"], "good")) == PLAIN


def test_questionnaires_by_the_kind_of_their_reference() -> None:
    number = values(ItemType.QUESTIONNAIRE, ["2. No", "5"], "2")
    assert set(number) == PLAIN | ANSWER | ERRORS
    assert (number["accuracy_mean"], number["mae_mean"]) == (0.5, 1.5)
    option = values(ItemType.QUESTIONNAIRE, ["B. Yes", "?"], "B")
    assert set(option) == PLAIN | ANSWER
    assert (option["accuracy_mean"], option["unparsed"]) == (0.5, 0.5)
    text = values(ItemType.QUESTIONNAIRE, ["Yes!", "no"], "yes")
    assert set(text) == (PLAIN | VARIETY | NEARNESS | ANSWER) - {"distinct_2"}, "one word has no pairs"
    assert (text["accuracy_mean"], text["unparsed"]) == (0.5, 0)


@pytest.mark.parametrize("reference", [None, "", " \n"])
def test_without_a_reference_a_text_has_variety_only(reference: str | None) -> None:
    found = set(values(ItemType.DIALOGUE, ["a b", "c d"], reference))
    assert found == PLAIN | VARIETY


@pytest.mark.process
@pytest.mark.parametrize("item_type", list(ItemType))
@pytest.mark.parametrize("language", list(Language))
def test_hostile_texts_have_values(item_type: ItemType, language: Language) -> None:
    texts = ["", "\x00", "\x1b[2J\x1b]0;x\x07", "x" * 1_000_000, "\u202eabc\u202c", "🙂" * 50, "<script>"]
    for reference in ("4", "\u202ea \x00"):
        found = row(item_type, texts, reference, language=language)
        assert found.num_clipped == 1
        assert all(value is None or value >= 0 for value in found.values)


def test_what_is_clipped_is_scored_by_its_beginning() -> None:
    text = "ab " * MAX_CHRF_CHARS
    found = values(ItemType.DIALOGUE, [text[:MAX_CHRF_CHARS] + "z" * 9], text[:MAX_CHRF_CHARS])
    assert found["chrf_mean"] == found["rouge_l_mean"] == pytest.approx(100)
