"""ROUGE-L by hand in three languages, and as Google's rouge-score has it."""

import json
import random
import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.metrics.rouge import lcs_length, rouge_l, split_rouge
from launch.config.schema import Language

EN, ZH, JA = Language.ENGLISH, Language.CHINESE, Language.JAPANESE


def score(text: str, reference: str, language: Language) -> float:
    return rouge_l(split_rouge(text, language), split_rouge(reference, language))


@pytest.mark.parametrize(
    ("text", "reference", "language", "expected"),
    [
        # rouge-score's own rouge_scorer_test.py: precision 1, recall 1/3
        ("testing", "testing one two", EN, 100 / 2),
        # Lin 2004, section 3.1: two candidates, of which the first keeps the order
        ("police kill the gunman", "police killed the gunman", EN, 100 * 3 / 4),
        ("the gunman kill police", "police killed the gunman", EN, 100 * 2 / 4),
        # by hand: 我爱猫 of 我爱小猫 and 我爱大猫; precision and recall 3/4
        ("我爱小猫", "我爱大猫", ZH, 100 * 3 / 4),
        # by hand: です of ねこです and いぬですね; precision 2/4, recall 2/5
        ("ねこ です", "いぬですね", JA, 100 * 2 * (2 / 4) * (2 / 5) / (2 / 4 + 2 / 5)),
        ("", "reference", EN, 0.0),
        ("text", "", EN, 0.0),
        ("ねこ", "neko", EN, 0.0),
        ("\x00\u202e", "a b", EN, 0.0),
    ],
)
def test_by_hand(text: str, reference: str, language: Language, expected: float) -> None:
    assert score(text, reference, language) == pytest.approx(expected)


# In a process of its own: absl, which it brings, takes hold of stderr when it is imported, and of pytest's.
THEIRS = """
import json, sys
from rouge_score import rouge_scorer

class Characters:
    def tokenize(self, text):
        return list("".join(text.split()))

words = rouge_scorer.RougeScorer(["rougeL"])
characters = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Characters())
for line in sys.stdin:
    text, reference, is_words = json.loads(line)
    print((words if is_words else characters).score(reference, text)["rougeL"].fmeasure)
"""


@pytest.mark.process
@pytest.mark.skipif(find_spec("rouge_score") is None, reason="needs rouge-score, which the extra dev brings")
def test_it_is_as_rouge_score_has_it() -> None:
    chance = random.Random(1)
    pairs = []
    for language, alphabet in ((EN, "ab cD9-é\n" * 2 + "ef"), (ZH, "我爱小猫 狗"), (JA, "ねこ\u3000です犬")):
        for _ in range(400):
            pair = ["".join(chance.choices(alphabet, k=chance.randint(0, 60))) for _ in range(2)]
            pairs.append((*pair, language))
    asked = "".join(
        json.dumps([text, reference, language is EN]) + "\n" for text, reference, language in pairs
    )
    done = subprocess.run(
        [sys.executable, "-c", THEIRS], input=asked, capture_output=True, text=True, check=True
    )
    theirs = [100 * float(line) for line in done.stdout.splitlines()]
    assert [score(*pair) for pair in pairs] == pytest.approx(theirs)
    assert len({round(value) for value in theirs}) > 20, "of all sizes"


@given(st.text(alphabet="abc", max_size=12), st.text(alphabet="abc", max_size=12))
def test_the_length_is_that_of_the_textbook(a: str, b: str) -> None:
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if one == other else max(rows[i][j + 1], rows[i + 1][j])
    assert lcs_length(a, b) == rows[-1][-1] == lcs_length(b, a)


def test_long_texts_take_no_table() -> None:
    assert lcs_length("ab" * 10_000, "ba" * 10_000) == 19_999
