"""Compares the texts of two published directories: `compare` returns a Comparison, and writes nothing.

All samples are read once for exact match, lengths and distinct-n. chrF, first differences and the scores
against references cost most of the time; they are taken over at most `max_items` items, always the same ones
(pairs.choose_keys), and the comparison says over how many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from launch.collect.compare_notes import notes_of
from launch.collect.comparison import (
    Comparison,
    Figure,
    Intervals,
    PairFigures,
    ReferencesUsed,
    ShownPair,
    Verdict,
    VerdictKind,
    describe_side,
    why_unpaired,
)
from launch.collect.figures import KINDS, paired, score_values, text_values
from launch.collect.metrics.bootstrap import (
    CONFIDENCE,
    NUM_RESAMPLES,
    SEED,
    ClusterSums,
    Estimate,
    estimate,
    means,
    num_users_with,
    resampled_means,
)
from launch.collect.metrics.references import ReferenceScorer
from launch.collect.metrics.texts import Similarity, unit_name
from launch.collect.pairs import Pair, choose_keys, match, read_pairs
from launch.collect.positions import open_positions
from launch.collect.published import Published, Result
from launch.collect.reference_texts import Reference, References
from launch.collect.settings_that_differ import settings_that_differ
from launch.collect.verdict import judge
from launch.config.schema import Language
from launch.errors import InputError

MAX_ITEMS = 10_000
METHOD = "percentile bootstrap over users, paired"
_EXACT, _CHRF = 2 * len(KINDS), 2 * len(KINDS) + 1
_UNJUDGED = Verdict(VerdictKind.NOTHING_TO_COMPARE, (), "")


@dataclass(frozen=True, slots=True)
class Options:
    """How to compare: `max_items` None scores all; `tokenizer` None is that of A's checkpoint."""

    max_items: int | None = MAX_ITEMS
    num_shown: int = 0
    tokenizer: Path | None = None


def compare(a: Published, b: Published, references: References, options: Options | None = None) -> Comparison:
    """The comparison of B with A; InputError when not one item has samples in both."""
    options = options or Options()
    matching = match(a, b)
    if not matching.num_common:
        raise InputError(
            f"{a.path} and {b.path}: not one item has samples in both. Compare two runs of one dataset."
        )
    settings = settings_that_differ(a.summary, b.summary)
    are_greedy = all(each.summary["sampling_params"]["temperature"] == 0 for each in (a, b))
    unpaired = why_unpaired(settings, are_greedy=are_greedy)
    collector = _Collector(a, references, options, is_paired=unpaired is None)
    collector.scored = choose_keys(matching.keys, options.max_items)
    for pair in read_pairs(a, b, matching.keys):
        collector.add(pair)
    figures, pairs = collector.estimates()
    comparison = Comparison(
        a=describe_side(a),
        b=describe_side(b),
        settings=settings,
        matching=matching,
        num_other_prompts=collector.num_other_prompts,
        unpaired=unpaired,
        pairs=pairs,
        figures=figures,
        references=collector.references_used(),
        num_scored_items=len(collector.scored),
        distinct_unit=unit_name(collector.language),
        intervals=Intervals(METHOD, matching.num_users, NUM_RESAMPLES, CONFIDENCE, SEED),
        verdict=_UNJUDGED,
        notes=(),
        shown=tuple(collector.shown),
    )
    comparison = replace(comparison, notes=notes_of(comparison, a.summary, references))
    return replace(comparison, verdict=judge(comparison))


class _Collector:
    """Takes pairs of items one by one; what it keeps grows with users, not with texts."""

    def __init__(self, a: Published, references: References, options: Options, *, is_paired: bool) -> None:
        self.language = Language(a.summary["prompt"].get("language") or Language.ENGLISH)
        self.num_other_prompts = 0
        self.shown: list[ShownPair] = []
        self.scored: frozenset[str] = frozenset()
        self._references = references
        self._num_shown = options.num_shown
        self._is_paired = is_paired
        self._sums = ClusterSums(2 * len(KINDS) + 2)
        self._similarity = Similarity()
        self._scorer = ReferenceScorer(self.language) if references.by_key else None
        self._positions = open_positions(options.tokenizer, str(a.summary["model"].get("checkpoint")))
        self._num_pairs = self._num_equal = self._num_referenced = 0

    def add(self, pair: Pair) -> None:
        """Takes one item of both."""
        a, b = pair.a, pair.b
        self.num_other_prompts += (a.num_prompt_tokens, a.cuts) != (b.num_prompt_tokens, b.cuts)
        is_scored = pair.key in self.scored
        reference = self._references.by_key.get(pair.key) if is_scored else None
        self._num_referenced += reference is not None
        row = paired(self._values(a, reference), self._values(b, reference))
        together: list[float | None] = [None, None]
        if self._is_paired:
            together = self._together(pair, is_scored)
        elif len(self.shown) < self._num_shown:
            self.shown.append(ShownPair(pair.key, 0, None, a.texts[0], b.texts[0]))
        self._sums.add(pair.user, [*row, *together])

    def _values(self, result: Result, reference: Reference | None) -> list[float | None]:
        scores = None
        if reference is not None and self._scorer is not None:
            scores = self._scorer.score(reference.samples_without_prefix(result.texts), reference.text)
        return [*text_values(result, self.language), *score_values(scores)]

    def _together(self, pair: Pair, is_scored: bool) -> list[float | None]:
        """The share of equal samples, and the mean chrF of a scored item."""
        texts = list(zip(pair.a.texts, pair.b.texts, strict=True))
        equal = sum(one == other for one, other in texts)
        self._num_pairs += len(texts)
        self._num_equal += equal
        places = self._positions.add(texts) if is_scored else ()
        self._show(pair.key, texts, places)
        chrf = sum(self._similarity.score(*each) for each in texts) / len(texts) if is_scored else None
        return [equal / len(texts), chrf]

    def _show(self, key: str, texts: Sequence[tuple[str, str]], places: Sequence[int | None]) -> None:
        for sample, ((a, b), place) in enumerate(zip_longest(texts, places)):
            if a != b and len(self.shown) < self._num_shown:
                self.shown.append(ShownPair(key, sample, place, a, b))

    def estimates(self) -> tuple[tuple[Figure, ...], PairFigures | None]:
        """Every figure that any item has, and those of pairs."""
        sums, counts = self._sums.matrices()
        found, resampled = means(sums, counts), resampled_means(sums, counts)
        figures = []
        for place, kind in enumerate(KINDS):
            other = place + len(KINDS)
            num_users = num_users_with(counts[:, place])
            differences = resampled[:, place] - resampled[:, other]
            difference = estimate(found[place] - found[other], differences, num_users)
            if difference is not None:
                num_items = int(counts[:, place].sum())
                figures.append(
                    Figure(kind.name, float(found[place]), float(found[other]), difference, num_items)
                )
        exact = estimate(found[_EXACT], resampled[:, _EXACT], num_users_with(counts[:, _EXACT]))
        chrf = estimate(found[_CHRF], resampled[:, _CHRF], num_users_with(counts[:, _CHRF]))
        return tuple(figures), None if exact is None else self._pair_figures(exact, chrf)

    def _pair_figures(self, exact: Estimate, chrf: Estimate | None) -> PairFigures:
        return PairFigures(
            num_pairs=self._num_pairs,
            num_equal=self._num_equal,
            exact_match=exact,
            chrf=chrf,
            chrf_signature=self._similarity.signature,
            num_clipped=self._similarity.num_clipped,
            first_difference=self._positions.summarise(),
        )

    def references_used(self) -> ReferencesUsed | None:
        """None where there were none."""
        if self._scorer is None:
            return None
        return ReferencesUsed(
            self._references.source,
            self._num_referenced,
            self._references.num_unplaced_users,
            self._scorer.signatures,
        )
