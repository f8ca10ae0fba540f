"""Every score: its name, which columns of item values it is made of, and how. docs/scores.md explains each.

A column has at most one value per item; sums and counts of columns by user are all that is kept, and all
that a resample draws. `value` works on a row of them, and on the rows of all resamples at once.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from launch.collect.metrics.bootstrap import Matrix, divide
from launch.collect.metrics.references import NUM_COUNTS, corpus_bleu

BLEU_COUNTS = tuple(f"bleu_count_{place}" for place in range(NUM_COUNTS))


class Better(StrEnum):
    """Which of two values of a score is the better one."""

    HIGHER = "higher"
    LOWER = "lower"


class Form(StrEnum):
    """How a score comes of its columns."""

    MEAN = "mean"
    ROOT = "root of the mean"
    RATIO = "mean of the first column by mean of the second"
    BLEU = "corpus BLEU of summed counts"


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """A score; `is_oracle` says that the best of n samples was taken, which nobody could have known.

    `better` is None where a score describes texts and judges none, and of an oracle: nothing is ranked by it.
    """

    name: str
    label: str
    columns: tuple[str, ...]
    form: Form = Form.MEAN
    is_oracle: bool = False
    is_main: bool = False
    decimals: int = 4
    better: Better | None = None


def _means(
    name: str, label: str, decimals: int, *, is_main: bool = False, better: Better = Better.HIGHER
) -> tuple[ScoreKind, ScoreKind]:
    """The mean over the samples of an item and the best of them."""
    mean, best = f"{name}_mean", f"{name}_best"
    return (
        ScoreKind(
            mean, f"{label}, mean of samples", (mean,), decimals=decimals, is_main=is_main, better=better
        ),
        ScoreKind(best, f"{label}, best of n (oracle)", (best,), decimals=decimals, is_oracle=True),
    )


KINDS = (
    ScoreKind(
        "bleu", "BLEU, all samples", BLEU_COUNTS, Form.BLEU, is_main=True, decimals=2, better=Better.HIGHER
    ),
    *_means("bleu", "BLEU of a sample", 2),
    *_means("chrf", "chrF++", 2, is_main=True),
    *_means("rouge_l", "ROUGE-L", 2),
    *_means("embedding", "embedding similarity", 4),
    *_means("bertscore", "BERTScore F1", 4),
    ScoreKind("length_ratio", "length / reference's", ("units", "reference_units"), Form.RATIO),
    *_means("accuracy", "accuracy", 4, is_main=True),
    *_means("mae", "MAE", 4, is_main=True, better=Better.LOWER),
    ScoreKind("rmse_mean", "RMSE, mean of samples", ("squared_error_mean",), Form.ROOT, better=Better.LOWER),
    ScoreKind("rmse_best", "RMSE, best of n (oracle)", ("squared_error_best",), Form.ROOT, is_oracle=True),
    ScoreKind("unparsed", "unparsed (counted as wrong)", ("unparsed",), better=Better.LOWER),
    ScoreKind("distinct_1", "distinct-1", ("distinct_1",)),
    ScoreKind("distinct_2", "distinct-2", ("distinct_2",)),
    ScoreKind("self_bleu", "self-BLEU", ("self_bleu",), decimals=2),
    ScoreKind("tokens", "tokens a sample", ("tokens",), decimals=2),
    ScoreKind("characters", "characters a sample", ("characters",), decimals=2),
    ScoreKind("duplicate", "duplicate samples", ("duplicate",)),
    ScoreKind("empty", "empty samples", ("empty",)),
    ScoreKind("cut", "cut by max_tokens", ("cut",)),
)
KIND_OF = {kind.name: kind for kind in KINDS}
COLUMNS = tuple(dict.fromkeys(column for kind in KINDS for column in kind.columns))
PLACES = {name: place for place, name in enumerate(COLUMNS)}
SHOWN_COLUMNS = tuple(name for name in COLUMNS if name not in BLEU_COUNTS)
"""Those that a line of item_scores.jsonl may have."""


def count_of(kind: ScoreKind, counts: Matrix) -> Matrix:
    """How many items a score is over, of a row of counts or of many."""
    found: Matrix = counts[..., PLACES[kind.columns[-1]]]
    return found


def value_of(kind: ScoreKind, sums: Matrix, counts: Matrix) -> Matrix:
    """The score of a row of sums and counts, or of many; NaN where no item has a value."""
    places = [PLACES[name] for name in kind.columns]
    if kind.form is Form.BLEU:
        return _bleu(sums[..., places], counts[..., places[0]])
    first = divide(sums[..., places[0]], counts[..., places[0]])
    if kind.form is Form.ROOT:
        root: Matrix = np.sqrt(first)
        return root
    if kind.form is Form.RATIO:
        second = divide(sums[..., places[1]], counts[..., places[1]])
        return np.where(second > 0, divide(first, second), np.nan)
    return first


def _bleu(sums: Matrix, counts: Matrix) -> Matrix:
    rows = sums.reshape(-1, NUM_COUNTS)
    any_items = np.atleast_1d(counts) > 0
    values = [
        corpus_bleu(row.tolist()) if some else np.nan for row, some in zip(rows, any_items, strict=True)
    ]
    return np.array(values).reshape(np.shape(counts))
