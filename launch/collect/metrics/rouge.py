"""ROUGE-L of a text against its reference, 0 to 100: the F1 of their longest common subsequence (Lin 2004).

The values are those of Google's rouge-score (ROUGE-L, no stemmer; a test holds them equal), which is not used
here: it fills a table of one Python list per token, which takes gigabytes for a text of 20,000 characters.
The length alone is found by bits (Hyyrö 2004, "Bit-parallel LCS-length computation revisited"). English is
split as rouge-score splits it: lower case, runs of a-z and 0-9. Chinese and Japanese are split into
characters, white space left out, for rouge-score's own splitting leaves nothing of them.
"""

import re
from collections.abc import Hashable, Sequence

from launch.collect.metrics.texts import UNSPACED, split_units
from launch.config.schema import Language

_WORD = re.compile(r"[a-z0-9]+")


def split_rouge(text: str, language: Language) -> list[str]:
    """The tokens of a text for ROUGE-L."""
    return split_units(text, language) if language in UNSPACED else _WORD.findall(text.lower())


def rouge_l(tokens: Sequence[str], reference: Sequence[str]) -> float:
    """The score of tokens against those of the reference; 0 where either has none."""
    if not tokens or not reference:
        return 0.0
    common = lcs_length(tokens, reference)
    if not common:
        return 0.0
    precision, recall = common / len(tokens), common / len(reference)
    return 100 * 2 * precision * recall / (precision + recall)


def lcs_length(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence; len(b) operations on integers of len(a) bits."""
    places: dict[Hashable, int] = {}
    for place, token in enumerate(a):
        places[token] = places.get(token, 0) | (1 << place)
    every = (1 << len(a)) - 1
    rest = every  # a zero bit is a place of `a` at which the subsequence grew
    for token in b:
        found = rest & places.get(token, 0)
        rest = ((rest + found) | (rest - found)) & every
    return len(a) - rest.bit_count()
