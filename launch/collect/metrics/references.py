"""Scores of texts against the true continuation: chrF++ and BLEU, both by sacrebleu, 0 to 100."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from launch.collect.metrics.texts import MAX_CHRF_CHARS
from launch.config.schema import Language

NUM_COUNTS = 10


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Scores of the samples of one item: the mean, and the best, which an oracle would have chosen.

    The best of n grows with n, so it compares only where n is the same, and is no quality of a model.
    """

    chrf_mean: float
    chrf_best: float
    bleu_mean: float
    bleu_best: float


@dataclass(frozen=True, slots=True)
class SampleScores:
    """Scores of one sample; `counts` is what the BLEU of many samples together is computed of.

    Equal n-grams of 1 to 4 tokens, n-grams of the sample, tokens of the sample, tokens of the reference.
    """

    chrf: float
    bleu: float
    counts: tuple[int, ...]


@cache
def bleu_tokenizer(language: Language) -> str:
    """sacrebleu's tokenizer: zh, 13a, and for Japanese ja-mecab where MeCab is installed, else char."""
    if language is Language.JAPANESE:
        return "ja-mecab" if find_spec("MeCab") and find_spec("ipadic") else "char"
    return "zh" if language is Language.CHINESE else "13a"


class ReferenceScorer:
    """chrF++ (word order 2) and sentence BLEU (effective order) of samples against one reference each.

    Sentence BLEU of a few words is coarse; it is here because tables ask for it. Texts are clipped as chrF
    similarity clips them. `signatures` is what sacrebleu says of both.
    """

    def __init__(self, language: Language) -> None:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        self._chrf = CHRF(word_order=2)
        self._bleu = BLEU(effective_order=True, tokenize=bleu_tokenizer(language))
        for metric in (self._chrf, self._bleu):  # sacrebleu knows its signature only after a score
            metric.sentence_score("a", ["a"])
        self.signatures = {
            "chrf++": f"chrF2++|{self._chrf.get_signature()}",
            "bleu": f"BLEU|{self._bleu.get_signature()}",
        }

    def score(self, samples: Sequence[str], reference: str) -> ItemScores:
        """The scores of at least one sample; equal samples are scored once."""
        scores = self.each(samples, reference)
        self.forget()
        chrf, bleu = [each.chrf for each in scores], [each.bleu for each in scores]
        return ItemScores(sum(chrf) / len(chrf), max(chrf), sum(bleu) / len(bleu), max(bleu))

    def each(self, samples: Sequence[str], reference: str) -> list[SampleScores]:
        """The scores of every sample; equal samples are scored once."""
        reference = reference[:MAX_CHRF_CHARS]
        by_text = {text: self._both(text[:MAX_CHRF_CHARS], reference) for text in dict.fromkeys(samples)}
        return [by_text[text] for text in samples]

    def _both(self, text: str, reference: str) -> SampleScores:
        chrf = self._chrf.sentence_score(text, [reference]).score
        bleu = self._bleu.sentence_score(text, [reference])
        counts = (*bleu.counts, *bleu.totals, bleu.sys_len, bleu.ref_len)
        return SampleScores(float(chrf), float(bleu.score), counts)

    def self_bleu(self, samples: Sequence[str]) -> float | None:
        """How alike the samples of one item are: the mean BLEU of each against all others as references.

        After Zhu et al. 2018 (Texygen, arXiv 1802.01886), within an item; None for fewer than two samples.
        """
        if len(samples) < 2:
            return None
        clipped = [text[:MAX_CHRF_CHARS] for text in samples]
        by_text: dict[str, float] = {}
        for place, text in enumerate(clipped):
            if text not in by_text:
                others = clipped[:place] + clipped[place + 1 :]
                by_text[text] = float(self._bleu.sentence_score(text, others).score)
        return sum(by_text[text] for text in clipped) / len(clipped)

    def forget(self) -> None:
        """Empties sacrebleu's caches of tokenized texts; an item's texts come back within the item only.

        Each cache keeps 65,536 texts twice, before and after: 2.6 GB of texts of 20,000 characters.
        """
        tokenizer = self._bleu.tokenizer
        for each in (tokenizer, *vars(tokenizer).values()):
            clear = getattr(type(each).__call__, "cache_clear", None) if callable(each) else None
            if clear is not None:
                clear()


def corpus_bleu(counts: Sequence[float]) -> float:
    """BLEU of many samples as one text (Papineni et al. 2002), of the sums of their `counts`.

    As sacrebleu's corpus score with its default smoothing; tests hold them equal.
    """
    from sacrebleu.metrics.bleu import BLEU

    whole = [round(each) for each in counts]
    found = BLEU.compute_bleu(whole[:4], whole[4:8], whole[8], whole[9], smooth_method="exp")
    return float(found.score)


def corpus_signature(signature: str) -> str:
    """sacrebleu's signature of the corpus score, made of that of the sentence score."""
    return signature.replace("|eff:yes|", "|eff:no|")
