"""Figures of texts by themselves and in pairs: units, distinct-n, the first difference, chrF similarity."""

from collections.abc import Sequence
from itertools import pairwise

from launch.config.schema import Language

MAX_CHRF_CHARS = 20_000  # 1 MB would take seconds and gigabytes; no sample within max_tokens is so long
UNSPACED = (Language.CHINESE, Language.JAPANESE)
"""Languages that are written without spaces between words."""


def unit_name(language: Language) -> str:
    """What distinct-n counts in a language: words between spaces, or characters where none are written."""
    return "characters" if language in UNSPACED else "words"


def split_units(text: str, language: Language) -> list[str]:
    """The words of a text, or its characters in Chinese and Japanese; white space is no unit."""
    words = text.split()
    return list("".join(words)) if language in UNSPACED else words


def distinct(texts: Sequence[str], language: Language) -> tuple[float | None, float | None]:
    """Distinct-1 and distinct-2 over the samples of one item together (Li et al. 2016, arXiv 1510.03055).

    Each is the number of different units (pairs of neighbours) over the number of all; None where there are
    none. Over one item and not over all, so that it does not sink as a dataset grows; it does sink as texts
    get longer.
    """
    units = [split_units(text, language) for text in texts]
    ones = [unit for each in units for unit in each]
    twos = [pair for each in units for pair in pairwise(each)]
    return _distinct_share(ones), _distinct_share(twos)


def _distinct_share(grams: Sequence[object]) -> float | None:
    return len(set(grams)) / len(grams) if grams else None


def first_difference(a: Sequence[object], b: Sequence[object]) -> int | None:
    """The first place, from 0, at which two sequences differ; where one ends if it begins the other.

    None when they are equal.
    """
    for place, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return place
    return None if len(a) == len(b) else min(len(a), len(b))


class Similarity:
    """chrF of two texts of which neither is the reference, by sacrebleu, 0 to 100.

    chrF (Popović 2015) is an F score of character n-grams; sacrebleu's default weighs recall of the reference
    twice. Here precision and recall weigh the same (beta 1), so that A against B is B against A. Equal texts
    have 100, empty ones too. Of a longer text the first 20,000 characters are compared; `num_clipped` counts
    such pairs.
    """

    def __init__(self) -> None:
        from sacrebleu.metrics.chrf import CHRF

        self._chrf = CHRF(beta=1)
        self._chrf.sentence_score("a", ["a"])  # sacrebleu knows its signature only after a score
        self.signature = f"chrF1|{self._chrf.get_signature()}"
        self.num_clipped = 0

    def score(self, a: str, b: str) -> float:
        """The similarity of a pair."""
        if a == b:
            return 100.0
        self.num_clipped += max(len(a), len(b)) > MAX_CHRF_CHARS
        return float(self._chrf.sentence_score(a[:MAX_CHRF_CHARS], [b[:MAX_CHRF_CHARS]]).score)
