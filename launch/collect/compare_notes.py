"""What has to be said beside a comparison's figures so that nobody reads more into them."""

from collections.abc import Iterator, Mapping
from typing import Any

from launch.collect.comparison import Comparison, Side
from launch.collect.metrics.texts import MAX_CHRF_CHARS
from launch.collect.reference_texts import References

_OTHER_DRAWS = ("model", "engine", "ran", "versions")


def notes_of(comparison: Comparison, summary: Mapping[str, Any], references: References) -> tuple[str, ...]:
    """Sentences, most weighty first; `summary` is A's."""
    return (
        *_of_sides(comparison),
        *_of_items(comparison),
        *_of_pairs(comparison, summary),
        *_of_references(comparison, references),
    )


def _of_sides(comparison: Comparison) -> Iterator[str]:
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        if side.stub:
            yield f"{name} is a stub run: its texts are made up and say nothing about a model."
        if side.subset is not None:
            yield f"{name} is limited to {_subset(side)}."
        if not side.complete:
            yield f"{name} is incomplete: {side.num_failed:,} items failed, {side.num_missing:,} are missing."


def _subset(side: Side) -> str:
    assert side.subset is not None
    return f"{side.subset['num_items']:,} of {side.subset['of_items']:,} items"


def _of_items(comparison: Comparison) -> Iterator[str]:
    without = comparison.matching.num_without_samples_in_both
    if without:
        yield f"{without:,} items have no samples in both and are in no figure."
    of = len(comparison.matching.keys)
    if comparison.num_scored_items < of:
        yield (
            f"chrF, first differences and references are over {comparison.num_scored_items:,} of {of:,}"
            " items, chosen by a digest of their keys (--max-items)."
        )
    if any(each.name == "model.checkpoint_digest" for each in comparison.settings):
        yield "The checkpoints differ; tokens are counted by each run's own tokenizer."


def _of_pairs(comparison: Comparison, summary: Mapping[str, Any]) -> Iterator[str]:
    if comparison.unpaired is not None:
        yield f"Samples are not paired, because {comparison.unpaired}: means over samples are compared."
    groups = {each.group for each in comparison.settings}
    is_drawn = (summary["sampling_params"].get("temperature") or 0) > 0
    if comparison.pairs is not None and is_drawn and groups.intersection(_OTHER_DRAWS):
        yield (
            "The temperature is above 0: with another engine, version or setting equal seeds may draw other"
            " texts, so unequal samples alone show no fault; judge by the differences."
        )
    clipped = 0 if comparison.pairs is None else comparison.pairs.num_clipped
    if clipped:
        yield f"chrF of {clipped:,} pairs is of their first {MAX_CHRF_CHARS:,} characters."


def _of_references(comparison: Comparison, references: References) -> Iterator[str]:
    if comparison.references is None:
        yield "No references: the scenario holds no continuations of texts (--references FILE)."
    elif references.num_unplaced_users:
        yield (
            f"{references.num_unplaced_users:,} users have no score: their references cannot be told apart"
            " by item."
        )
