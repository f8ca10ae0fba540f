"""Scores of texts against the true continuation: chrF++ and BLEU, both by sacrebleu, 0 to 100."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from launch.collect.metrics.texts import MAX_CHRF_CHARS
from launch.config.schema import Language


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Scores of the samples of one item: the mean, and the best, which an oracle would have chosen.

    The best of n grows with n, so it compares only where n is the same, and is no quality of a model.
    """

    chrf_mean: float
    chrf_best: float
    bleu_mean: float
    bleu_best: float


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
        reference = reference[:MAX_CHRF_CHARS]
        by_text = {text: self._both(text[:MAX_CHRF_CHARS], reference) for text in set(samples)}
        chrf = [by_text[text][0] for text in samples]
        bleu = [by_text[text][1] for text in samples]
        return ItemScores(sum(chrf) / len(chrf), max(chrf), sum(bleu) / len(bleu), max(bleu))

    def _both(self, text: str, reference: str) -> tuple[float, float]:
        chrf = self._chrf.sentence_score(text, [reference]).score
        return float(chrf), float(self._bleu.sentence_score(text, [reference]).score)
