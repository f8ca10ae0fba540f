"""The canary: whether the first items of a run look as they should, before its GPU-hours are gone. Pure.

A template that ends every text at once, a max_tokens that cuts them all, a sampler that says the same for
every item and prompts trimmed to nothing all run to the end without an error. Their rates are counted over
the first items that the engines of a run finish together (`canary.num_items`); one over its limit warns or
stops. launch/worker/canary_watch.py sees to it that they are judged in time.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from launch.config.schema import CanaryConfig
from launch.scenarios.records import JsonObject

MEANINGS = {
    "max_empty_rate": "samples are empty",
    "max_cut_rate": "samples were cut at max_tokens",
    "max_duplicate_rate": "samples repeat the text of another one",
    "max_trimmed_rate": "prompts lost history or context",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """The rates over so many items, by the name of their limits, and those over their limit in words."""

    num_items: int
    rates: dict[str, float]
    found: tuple[str, ...]


def judge(rows: Iterable[JsonObject], config: CanaryConfig) -> Judgement:
    """Judges items by their result lines; one that failed has no samples to judge and is not counted."""
    num_items = num_samples = num_empty = num_cut = num_trimmed = 0
    texts: Counter[str] = Counter()
    for row in rows:
        if "samples" not in row:
            continue
        num_items += 1
        num_trimmed += bool(row["cuts"]["history"] or row["cuts"]["context"])
        for sample in row["samples"]:
            num_samples += 1
            num_empty += not sample["text"].strip()
            num_cut += sample["finish_reason"] == "length"
            texts[sample["text"].strip()] += 1
    samples = max(1, num_samples)
    num_repeated = sum(count - 1 for text, count in texts.items() if text)
    rates = {
        "max_empty_rate": num_empty / samples,
        "max_cut_rate": num_cut / samples,
        "max_duplicate_rate": num_repeated / samples,
        "max_trimmed_rate": num_trimmed / max(1, num_items),
    }
    return Judgement(num_items, rates, tuple(_over(rates, config)))


def _over(rates: dict[str, float], config: CanaryConfig) -> Iterable[str]:
    limits = config.model_dump()
    for name, rate in rates.items():
        if limits[name] is not None and rate > limits[name]:
            yield f"{rate:.0%} of {MEANINGS[name]} (canary.{name} allows {limits[name]:.0%})"
