"""Scores against references: by hand where that can be done, else as sacrebleu itself has them."""

import pytest

from launch.collect.metrics.references import (
    ReferenceScorer,
    bleu_tokenizer,
    corpus_bleu,
    corpus_signature,
)
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


@pytest.mark.parametrize("language", list(Language))
def test_no_text_is_kept_after_its_item(language: Language) -> None:
    """sacrebleu would keep 65,536 of them for each step of its tokenizer."""
    scorer = ReferenceScorer(language)
    scorer.score(["the dog bit", "私は犬"], "the dog bit")
    tokenizer = scorer._bleu.tokenizer
    steps = [each for each in (tokenizer, *vars(tokenizer).values()) if callable(each)]
    assert [type(each).__call__.cache_info().currsize for each in steps] == [0] * len(steps)


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


def test_the_bleu_of_all_is_sacrebleus_corpus_score() -> None:
    import sacrebleu

    # the example of sacrebleu's README, 48.530827 with both references
    texts = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    others = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    scorer = ReferenceScorer(Language.ENGLISH)
    rows = [
        scorer.each([text], reference)[0].counts for text, reference in zip(texts, references, strict=True)
    ]
    expected = sacrebleu.corpus_bleu(texts, [references]).score
    assert corpus_bleu([sum(column) for column in zip(*rows, strict=True)]) == pytest.approx(expected)
    both = [
        sacrebleu.sentence_bleu(text, pair) for text, *pair in zip(texts, references, others, strict=True)
    ]
    counts = [[*each.counts, *each.totals, each.sys_len, each.ref_len] for each in both]
    assert corpus_bleu([sum(column) for column in zip(*counts, strict=True)]) == pytest.approx(48.530827)
    assert corpus_bleu([0] * 10) == 0


def test_the_counts_are_those_of_sacrebleus_own_test() -> None:
    # test_bleu.py: 4, 2, 1, 0 of 6, 5, 4, 3
    (found,) = ReferenceScorer(Language.ENGLISH).each(
        ["am I am a character sequence"], "I am a symbol string sequence a a"
    )
    assert found.counts == (4, 2, 1, 0, 6, 5, 4, 3, 6, 8)


def test_chrf_counts_words_too() -> None:
    # by hand: 我爱小猫 is one word to chrF++ and not 我爱小狗; characters 3/4, 2/3, 1/2 and 0, words 0;
    # pairs of words and five or six characters are in neither, and are left out
    score = ReferenceScorer(Language.CHINESE).score(["我爱小猫"], "我爱小狗")
    assert score.chrf_mean == pytest.approx(100 * (3 / 4 + 2 / 3 + 1 / 2 + 0 + 0) / 5)


def test_japanese_words() -> None:
    if bleu_tokenizer(Language.JAPANESE) != "ja-mecab":
        pytest.skip("needs MeCab: pip install 'vllm-launch[ja]'")
    # 私 は 猫 が 好き です of seven against 私 は 犬 が 好き です: 5/6, 3/5, 1/4 and 0 of 3, smoothed to 1/6
    score = ReferenceScorer(Language.JAPANESE).score(["私は猫が好きです"], "私は犬が好きです")
    assert score.bleu_mean == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)


@pytest.mark.parametrize(
    ("samples", "language", "expected"),
    [
        (["the dog bit the man"] * 3, Language.ENGLISH, 100.0),
        (["我爱小猫", "我爱小狗"], Language.CHINESE, 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25),
        (["one two three four", "five six seven eight"], Language.ENGLISH, 0.0),
        (["", ""], Language.ENGLISH, 0.0),
        (["alone"], Language.ENGLISH, None),
    ],
)
def test_self_bleu(samples: list[str], language: Language, expected: float | None) -> None:
    assert ReferenceScorer(language).self_bleu(samples) == pytest.approx(expected)


def test_self_bleu_has_all_others_as_references() -> None:
    import sacrebleu

    samples = ["the dog bit the man", "the dog bit the old man", "a cat sat there on the mat"]
    each = [
        sacrebleu.sentence_bleu(text, samples[:place] + samples[place + 1 :], use_effective_order=True).score
        for place, text in enumerate(samples)
    ]
    assert ReferenceScorer(Language.ENGLISH).self_bleu(samples) == pytest.approx(sum(each) / 3)


def test_the_signature_of_the_corpus_score_is_sacrebleus() -> None:
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU()
    bleu.corpus_score(["a"], [["a"]])
    ours = corpus_signature(ReferenceScorer(Language.ENGLISH).signatures["bleu"])
    assert ours == f"BLEU|{bleu.get_signature()}"
