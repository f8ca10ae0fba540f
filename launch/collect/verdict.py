"""The verdict in plain words, by these rules, the first that holds:

1. No item was asked the same in both: nothing to compare.
2. Samples are paired and every one is the same text: same texts. No interval is needed for that.
3. Fewer than 20 users (bootstrap.MIN_USERS): too few users; intervals over fewer are too narrow to trust.
4. The 95 % interval of at least one difference does not hold 0: differs, and each such figure is named.
5. Otherwise: same within noise. That is no proof of sameness: a smaller difference may be there.

Every figure has its own 95 % interval, so of twenty that do not differ one is named by chance; the sentence
says how many were judged. When the two runs asked other prompts (an ablation, a template), the sentence
begins with that: such a difference is the prompts' and says nothing against an engine.
"""

from collections.abc import Sequence

from launch.collect.comparison import Comparison, Figure, Verdict, VerdictKind
from launch.collect.figures import KINDS, FigureKind
from launch.collect.metrics.bootstrap import MIN_USERS

BY_NAME = {kind.name: kind for kind in KINDS}


def judge(comparison: Comparison) -> Verdict:
    """The verdict of a comparison that has everything else."""
    kind = _kind(comparison)
    judged = () if kind is VerdictKind.TOO_FEW_USERS else differing(comparison.figures)
    text = f"{_scope(comparison)}{_sentence(kind, comparison, judged)}"
    text = f"{_warning(comparison)}{text[0].upper()}{text[1:]}"
    return Verdict(kind, tuple(figure.name for figure in judged), text)


def differing(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """The figures whose interval does not hold 0."""
    return tuple(figure for figure in figures if not figure.difference.holds_zero)


def _kind(comparison: Comparison) -> VerdictKind:
    pairs = comparison.pairs
    if not comparison.matching.keys:
        return VerdictKind.NOTHING_TO_COMPARE
    if pairs is not None and pairs.num_equal == pairs.num_pairs:
        return VerdictKind.SAME_TEXTS
    if comparison.matching.num_users < MIN_USERS:
        return VerdictKind.TOO_FEW_USERS
    return VerdictKind.DIFFERS if differing(comparison.figures) else VerdictKind.SAME_WITHIN_NOISE


def _warning(comparison: Comparison) -> str:
    stubs = [name for name, side in (("A", comparison.a), ("B", comparison.b)) if side.stub]
    if not stubs:
        return ""
    return f"Stub texts, made up, in {' and '.join(stubs)}: this says nothing about a model. "


def _scope(comparison: Comparison) -> str:
    """What is not as a reader would expect, before all else."""
    parts = []
    if not comparison.matching.is_exact and comparison.matching.keys:
        parts.append(f"items do not match; of the {len(comparison.matching.keys):,} asked alike in both: ")
    if comparison.prompts_differ and comparison.matching.keys:
        names = [each.name for each in comparison.settings if each.shapes_prompts]
        by = f" ({', '.join(names)})" if names else f" (on {comparison.num_other_prompts:,} items)"
        parts.append(f"the prompts differ{by}, so this compares prompts and not engines: ")
    return "".join(parts)


def _sentence(kind: VerdictKind, comparison: Comparison, judged: Sequence[Figure]) -> str:
    pairs, matching = comparison.pairs, comparison.matching
    equal = "" if pairs is None else f" {pairs.num_equal:,} of {pairs.num_pairs:,} samples are equal."
    if kind is VerdictKind.NOTHING_TO_COMPARE:
        return f"nothing to compare: each of the {matching.num_other_input:,} common items has another input."
    if kind is VerdictKind.SAME_TEXTS:
        assert pairs is not None
        return f"same texts: all {pairs.num_pairs:,} samples of {len(matching.keys):,} items are equal."
    if kind is VerdictKind.TOO_FEW_USERS:
        return (
            f"no verdict: {matching.num_users} users are too few, {MIN_USERS} are needed; look at the figures"
            f" and at the texts (--show).{equal}"
        )
    if kind is VerdictKind.SAME_WITHIN_NOISE:
        without = sum(figure.difference.low is None for figure in comparison.figures)
        but = f"; {without} have no interval, for one user alone has a value" if without else ""
        return f"same within noise: the interval of every difference holds 0{but}.{equal}"
    named = "; ".join(f"B is {_words(BY_NAME[figure.name], figure)}" for figure in judged)
    return f"differs in {len(judged)} of {len(comparison.figures)} figures: {named}.{equal}"


def _words(kind: FigureKind, figure: Figure) -> str:
    """`shorter by 3.10 tokens [1.20, 5.00]`: the size of the difference, its interval by size too."""
    difference = figure.difference
    assert difference.low is not None and difference.high is not None
    low, high = sorted((abs(difference.low), abs(difference.high)))
    word = kind.when_lower if difference.value > 0 else kind.when_higher
    unit = f" {kind.unit}" if kind.unit else ""
    places = kind.decimals
    return f"{word} by {abs(difference.value):.{places}f}{unit} [{low:.{places}f}, {high:.{places}f}]"
