"""One item becomes a row of values, None where a column does not apply; runs in the scoring processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.collect.metrics.answers import AnswerKind, Scale, Truth, judge_samples, parse_reference
from launch.collect.metrics.local_models import BertScore, EmbeddingSimilarity, Pair, PairScorer
from launch.collect.metrics.references import ReferenceScorer, corpus_signature
from launch.collect.metrics.rouge import rouge_l, split_rouge
from launch.collect.metrics.texts import MAX_CHRF_CHARS, distinct, split_units
from launch.collect.published import Result
from launch.collect.referenced_items import SCORED_TYPES, ItemReference
from launch.collect.scoring.kinds import BLEU_COUNTS, COLUMNS
from launch.config.schema import Language
from launch.scenarios.formats.leaderboard import strip_prefix
from launch.scenarios.records import ItemType

Values = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What values are made by; a type has a scale when any of its references is a number."""

    language: Language
    scales: Mapping[ItemType, Scale | None] = field(default_factory=dict)
    embeddings: Path | None = None
    bertscore: Path | None = None

    @property
    def has_models(self) -> bool:
        """Whether a model is to be loaded, which is done in one process."""
        return self.embeddings is not None or self.bertscore is not None


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one item in the order of COLUMNS, and how many of its samples were clipped."""

    values: tuple[float | None, ...]
    num_clipped: int

    def with_values(self, values: Values) -> "Row":
        """The row with these values in their places."""
        pairs = zip(COLUMNS, self.values, strict=True)
        return Row(tuple(values.get(name, value) for name, value in pairs), self.num_clipped)


class ItemScorer:
    """Scores items one by one."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._scorer = ReferenceScorer(rules.language)
        self._models: dict[str, PairScorer] = {}
        if rules.embeddings is not None:
            self._models["embedding"] = EmbeddingSimilarity(rules.embeddings)
        if rules.bertscore is not None:
            self._models["bertscore"] = BertScore(rules.bertscore)

    @property
    def signatures(self) -> dict[str, str]:
        """What sacrebleu says of its scores (BLEU's is self-BLEU's too), and which models were used."""
        found = self._scorer.signatures
        bleu = {"bleu": corpus_signature(found["bleu"]), "bleu_of_a_sample": found["bleu"]}
        return {
            "chrf": found["chrf++"],
            **bleu,
            **{name: each.signature for name, each in self._models.items()},
        }

    def score_all(self, items: Sequence[tuple[ItemReference, Result]]) -> list[Row]:
        """The rows of items that have samples; models see all of their texts at once."""
        rows = [self.score(item, result) for item, result in items]
        for name, model in self._models.items():
            pairs = [_pairs(item, result) for item, result in items]
            scores = iter(model.score([pair for each in pairs for pair in each]))
            rows = [
                row.with_values(_mean_and_best(name, [next(scores) for _ in each])) if each else row
                for row, each in zip(rows, pairs, strict=True)
            ]
        return rows

    def score(self, item: ItemReference, result: Result) -> Row:
        """The row of an item that has samples, without what models say."""
        texts = _texts(item, result)
        truth = truth_of(item)
        values = _plain(texts, result)
        if _is_text(item, truth):
            values |= self._variety(texts)
            if item.text is not None and item.is_known:
                values |= self._nearness(texts, item.text)
        if truth is not None:
            values |= _answers(texts, truth, self.rules.scales.get(item.item_type))
        self._scorer.forget()
        clipped = sum(len(text) > MAX_CHRF_CHARS for text in texts)
        return Row(tuple(values.get(name) for name in COLUMNS), clipped)

    def _variety(self, texts: Sequence[str]) -> Values:
        ones, twos = distinct(texts, self.rules.language)
        return {"distinct_1": ones, "distinct_2": twos, "self_bleu": self._scorer.self_bleu(texts)}

    def _nearness(self, texts: Sequence[str], reference: str) -> Values:
        language = self.rules.language
        scores = self._scorer.each(texts, reference)
        tokens = split_rouge(reference[:MAX_CHRF_CHARS], language)
        by_text = {text: rouge_l(split_rouge(text[:MAX_CHRF_CHARS], language), tokens) for text in set(texts)}
        counts = (sum(column) for column in zip(*(each.counts for each in scores), strict=True))
        return {
            **_mean_and_best("bleu", [each.bleu for each in scores]),
            **_mean_and_best("chrf", [each.chrf for each in scores]),
            **_mean_and_best("rouge_l", [by_text[text] for text in texts]),
            "units": _mean([len(split_units(text, language)) for text in texts]),
            "reference_units": float(len(split_units(reference, language))),
            **dict(zip(BLEU_COUNTS, map(float, counts), strict=True)),
        }


def _texts(item: ItemReference, result: Result) -> list[str]:
    return [strip_prefix(text, item.prefix) for text in result.texts]


def _pairs(item: ItemReference, result: Result) -> list[Pair]:
    """Each sample with the reference, where both are texts."""
    if item.text is None or not item.is_known or not _is_text(item, truth_of(item)):
        return []
    return [(text, item.text) for text in _texts(item, result)]


def truth_of(item: ItemReference) -> Truth | None:
    """The reference of a rating or a questionnaire as an answer; None for other items and unusable ones."""
    if item.item_type in SCORED_TYPES or item.text is None or not item.is_known:
        return None
    truth = parse_reference(item.text)
    is_rating = item.item_type is ItemType.MOVIE_RATING
    return None if is_rating and truth.kind is not AnswerKind.NUMBER else truth


def _is_text(item: ItemReference, truth: Truth | None) -> bool:
    """Whether the item asks for a text: no rating, and no questionnaire's number or option."""
    if item.item_type is ItemType.MOVIE_RATING:
        return False
    return truth is None or truth.kind is AnswerKind.TEXT


def _plain(texts: Sequence[str], result: Result) -> Values:
    return {
        "tokens": _mean(result.num_tokens),
        "characters": _mean([len(text) for text in texts]),
        "duplicate": 1 - len(set(texts)) / len(texts) if len(texts) > 1 else None,
        "empty": _mean([not text.strip() for text in texts]),
        "cut": _mean([reason == "length" for reason in result.finish_reasons]),
    }


def _answers(texts: Sequence[str], truth: Truth, scale: Scale | None) -> Values:
    judged = judge_samples(texts, truth, scale)
    hits = [float(each.is_hit) for each in judged]
    values: Values = {
        **_mean_and_best("accuracy", hits),
        "unparsed": _mean([not each.is_parsed for each in judged]),
    }
    errors = [each.error for each in judged if each.error is not None]
    if errors:
        squares = [error * error for error in errors]
        values |= {"mae_mean": _mean(errors), "mae_best": min(errors)}
        values |= {"squared_error_mean": _mean(squares), "squared_error_best": min(squares)}
    return values


def _mean_and_best(name: str, values: Sequence[float]) -> Values:
    return {f"{name}_mean": _mean(values), f"{name}_best": max(values)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
