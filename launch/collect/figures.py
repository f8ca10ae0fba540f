"""The figures of a comparison: what each means, and how one pair of items becomes a row of numbers.

A figure has a value for A and one for B per item, the mean over the item's samples; then means over items.
An item without one of the two values (no words to count, no reference) is left out on both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from launch.collect.metrics.references import ItemScores
from launch.collect.metrics.texts import distinct
from launch.collect.published import Result
from launch.config.schema import Language


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A figure: its name, its label in a table, its unit, and what B is when B's value is higher or lower."""

    name: str
    label: str
    unit: str
    when_higher: str
    when_lower: str
    decimals: int


KINDS = (
    FigureKind("tokens", "tokens a sample", "tokens", "longer", "shorter", 2),
    FigureKind("characters", "characters a sample", "characters", "longer", "shorter", 2),
    FigureKind("length", "cut by max_tokens", "", "cut more often", "cut less often", 4),
    FigureKind("empty", "empty samples", "", "empty more often", "empty less often", 4),
    FigureKind("distinct_1", "distinct-1", "", "more varied (distinct-1)", "less varied (distinct-1)", 4),
    FigureKind("distinct_2", "distinct-2", "", "more varied (distinct-2)", "less varied (distinct-2)", 4),
    FigureKind(
        "chrf_mean",
        "chrF++, mean",
        "",
        "nearer to the references (chrF++)",
        "farther from the references (chrF++)",
        2,
    ),
    FigureKind(
        "chrf_best",
        "chrF++, best of n",
        "",
        "nearer to them at best (chrF++)",
        "farther from them at best (chrF++)",
        2,
    ),
    FigureKind(
        "bleu_mean",
        "BLEU, mean",
        "",
        "nearer to the references (BLEU)",
        "farther from the references (BLEU)",
        2,
    ),
    FigureKind(
        "bleu_best",
        "BLEU, best of n",
        "",
        "nearer to them at best (BLEU)",
        "farther from them at best (BLEU)",
        2,
    ),
)
NUM_REFERENCE_KINDS = 4

Row = Sequence[float | None]


def text_values(result: Result, language: Language) -> list[float | None]:
    """The values of one item that need no reference, in the order of KINDS."""
    count = len(result.texts)
    ones, twos = distinct(result.texts, language)
    return [
        sum(result.num_tokens) / count,
        sum(map(len, result.texts)) / count,
        sum(reason == "length" for reason in result.finish_reasons) / count,
        sum(not text for text in result.texts) / count,
        ones,
        twos,
    ]


def score_values(scores: ItemScores | None) -> list[float | None]:
    """The values of one item against its reference, in the order of KINDS; None for each without."""
    if scores is None:
        return [None] * NUM_REFERENCE_KINDS
    return [scores.chrf_mean, scores.chrf_best, scores.bleu_mean, scores.bleu_best]


def paired(a: Row, b: Row) -> list[float | None]:
    """A's values, then B's, with None on both sides where one is None."""
    whole = [one is not None and other is not None for one, other in zip(a, b, strict=True)]
    return [value if keep else None for row in (a, b) for value, keep in zip(row, whole, strict=True)]
