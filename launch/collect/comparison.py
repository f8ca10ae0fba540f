"""What a comparison of two published directories says, as values; `as_json` is what --json prints."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from launch.collect.metrics.bootstrap import Estimate
from launch.collect.pairs import Matching
from launch.collect.positions import FirstDifferences
from launch.collect.published import Published
from launch.collect.settings_that_differ import SettingDifference

FORMAT = "vllm-launch-comparison/1"
OF_NO_EFFECT_IF_GREEDY = frozenset(f"sampling.{name}" for name in ("seed", "top_p", "top_k", "min_p"))
"""At temperature 0 both engines take the likeliest token, whatever these are."""


class VerdictKind(StrEnum):
    """What a comparison comes to; the rules are in launch/collect/verdict.py."""

    SAME_TEXTS = "same_texts"
    SAME_WITHIN_NOISE = "same_within_noise"
    DIFFERS = "differs"
    TOO_FEW_USERS = "too_few_users"
    NOTHING_TO_COMPARE = "nothing_to_compare"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The kind, the figures whose interval does not hold 0, and both in a sentence."""

    kind: VerdictKind
    differing: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two directories."""

    path: str
    run_id: str
    published: str
    engine: str
    stub: bool
    subset: dict[str, int] | None
    complete: bool
    dataset: str | None
    ablation_config: str
    checkpoint: str
    num_items: int
    num_failed: int
    num_missing: int
    num_samples_per_item: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of both, means over items; `difference` is A - B."""

    name: str
    a: float
    b: float
    difference: Estimate
    num_items: int


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Sample i of A against sample i of B: the share of equal texts, chrF over the scored items."""

    num_pairs: int
    num_equal: int
    exact_match: Estimate
    chrf: Estimate | None
    chrf_signature: str
    num_clipped: int
    first_difference: FirstDifferences


@dataclass(frozen=True, slots=True)
class ReferencesUsed:
    """Where references came from, how many items were scored, and sacrebleu's signatures."""

    source: str
    num_items: int
    num_unplaced_users: int
    signatures: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair of samples to look at; `first_difference` in the comparison's unit, None for equal texts."""

    key: str
    sample: int
    first_difference: int | None
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Intervals:
    """How intervals were made."""

    method: str
    num_users: int
    num_resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it. `pairs` is None where samples cannot be paired, `unpaired` then says why."""

    a: Side
    b: Side
    settings: tuple[SettingDifference, ...]
    matching: Matching
    num_other_prompts: int
    unpaired: str | None
    pairs: PairFigures | None
    figures: tuple[Figure, ...]
    references: ReferencesUsed | None
    num_scored_items: int
    distinct_unit: str
    intervals: Intervals
    verdict: Verdict
    notes: tuple[str, ...]
    shown: tuple[ShownPair, ...]

    @property
    def prompts_differ(self) -> bool:
        """Whether the two runs asked other prompts: by their settings, or by any item's tokens and cuts."""
        return bool(self.num_other_prompts) or any(each.shapes_prompts for each in self.settings)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """As comparison.schema.json has it: the compared keys as a count."""
    value: dict[str, Any] = {"format": FORMAT, "verdict": None, **asdict(comparison)}
    matching = value["matching"]
    value["matching"] = {
        "is_exact": comparison.matching.is_exact,
        "num_items": len(matching.pop("keys")),
        **matching,
    }
    return {**value, "prompts_differ": comparison.prompts_differ}


def describe_side(published: Published) -> Side:
    """What a directory says of itself."""
    manifest, summary = published.manifest, published.summary
    return Side(
        path=str(published.path),
        run_id=manifest.run_id,
        published=manifest.published,
        engine=manifest.engine,
        stub=manifest.stub,
        subset=None if manifest.subset is None else manifest.subset.model_dump(),
        complete=manifest.complete,
        dataset=summary.get("dataset"),
        ablation_config=str(summary["prompt"].get("ablation_config")),
        checkpoint=str(summary["model"].get("checkpoint")),
        num_items=manifest.num_items,
        num_failed=manifest.num_failed,
        num_missing=manifest.num_missing,
        num_samples_per_item=summary["num_samples_per_item"],
    )


def why_unpaired(settings: Sequence[SettingDifference], *, are_greedy: bool) -> str | None:
    """Why sample i of A is not to be held against sample i of B; None where it is.

    They are paired only when every sampling setting that has an effect is the same, the number of samples
    with them, and the seed unless both `are_greedy`. Otherwise no pairs are sought: the best match of each
    sample would make any two runs look alike.
    """
    idle = OF_NO_EFFECT_IF_GREEDY if are_greedy else frozenset()
    names = [each.name for each in settings if each.group == "sampling" and each.name not in idle]
    return f"{', '.join(names)} differ" if names else None
