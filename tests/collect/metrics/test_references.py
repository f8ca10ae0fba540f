"""Scores against references: by hand where that can be done, else as sacrebleu itself has them."""

import pytest

from launch.collect.metrics.references import ReferenceScorer, bleu_tokenizer
from launch.config.schema import Language


def test_the_mean_and_the_best_of_samples() -> None:
    scores = ReferenceScorer(Language.ENGLISH).score(["the dog bit", "", "the dog bit"], "the dog bit")
    assert scores.chrf_mean == pytest.approx(200 / 3)
    assert scores.bleu_mean == pytest.approx(200 / 3)
    assert (scores.chrf_best, scores.bleu_best) == (pytest.approx(100), pytest.approx(100))


def test_they_are_sacrebleus() -> None:
    import sacrebleu

    text, reference = "It wasn't surprising to him.", "It was not unexpected by him."
    scores = ReferenceScorer(Language.ENGLISH).score([text], reference)
    assert scores.chrf_mean == sacrebleu.sentence_chrf(text, [reference], word_order=2).score
    assert scores.bleu_mean == sacrebleu.sentence_bleu(text, [reference], use_effective_order=True).score
    assert 0 < scores.bleu_mean < scores.chrf_mean < 100


def test_chinese_is_tokenized_by_character() -> None:
    # 3 of 4 unigrams, 2 of 3, 1 of 2, 0 of 1 (smoothed to 1/2 of one): the geometric mean
    scores = ReferenceScorer(Language.CHINESE).score(["我爱小猫"], "我爱小狗")
    assert scores.bleu_mean == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    assert ReferenceScorer(Language.ENGLISH).score(["我爱小猫"], "我爱小狗").bleu_mean == 0


def test_signatures_say_which_tokenizer() -> None:
    assert "|tok:zh|" in ReferenceScorer(Language.CHINESE).signatures["bleu"]
    assert ReferenceScorer(Language.ENGLISH).signatures["chrf++"].startswith("chrF2++|nrefs:1|")
    japanese = bleu_tokenizer(Language.JAPANESE)
    assert japanese in ("char", "ja-mecab")
    assert f"|tok:{japanese}" in ReferenceScorer(Language.JAPANESE).signatures["bleu"]


@pytest.mark.parametrize("language", list(Language))
def test_hostile_texts_have_scores(language: Language) -> None:
    samples = ["", "\x00", "\x1b[2J\x1b]0;x\x07", "x" * 1_000_000, "\u202e\ud7ff", "🙂"]
    scores = ReferenceScorer(language).score(samples, "a reference")
    assert 0 <= scores.chrf_mean <= scores.chrf_best <= 100
