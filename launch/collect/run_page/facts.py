"""What stands on a run page first: its title, marks of a run that is not whole, and key figures.

They come out of inference_summary.json, manifest.json and scores.json as they are; one that nobody measured
is said to be so, never 0.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from launch.collect.leaderboard.cells import MOST
from launch.collect.manifest import Manifest
from launch.collect.scoring.kinds import KINDS
from launch.collect.scoring.record import ScoresRecord
from launch.config.wording import duration, interval


class Tile(NamedTuple):
    """A key figure: what it is, its value, and a line below."""

    label: str
    value: str
    more: str


class Mark(NamedTuple):
    """What is said on the head of a page of a run that is not whole: a word and a sentence."""

    word: str
    text: str


def title_of(summary: Mapping[str, Any]) -> str:
    """Dataset, model and ablation."""
    dataset = summary.get("dataset") or Path(str(summary.get("scenario"))).name
    model = summary.get("checkpoint_hub_id") or Path(str(summary.get("checkpoint"))).name
    return f"{dataset} · {model} · {summary.get('ablation_config')}"


def marks_of(manifest: Manifest) -> list[Mark]:
    """Stub, limited and partial runs, each with what it means."""
    found = []
    if manifest.stub:
        found.append(Mark("stub", "The texts are made up by the stub engine; no model wrote them."))
    if manifest.subset is not None:
        subset = manifest.subset
        text = f"{subset.num_items:,} of the scenario's {subset.of_items:,} items were asked for."
        found.append(Mark("limited", text))
    if not manifest.complete:
        text = (
            f"{manifest.num_done:,} of {manifest.num_items:,} items have samples;"
            f" {manifest.num_failed:,} failed, {manifest.num_missing:,} are missing."
        )
        found.append(Mark("partial", text))
    return found


def tiles_of(summary: Mapping[str, Any], manifest: Manifest, scores: ScoresRecord | None) -> list[Tile]:
    """The key figures in order."""
    samples, seconds = summary["total_samples"], summary["inference_time_seconds"]
    tokens = summary.get("num_output_tokens") or 0
    rate = summary.get("throughput_samples_per_sec")
    token_rate = summary.get("throughput_output_tokens_per_sec")
    each = summary["num_samples_per_item"]
    a_sample = f"{tokens / samples:,.0f} a sample" if samples else ""
    per_item = f"{manifest.num_users:,} users, {each} {'sample' if each == 1 else 'samples'} an item"
    return [
        Tile("Items done", f"{manifest.num_done:,} of {manifest.num_items:,}", per_item),
        Tile("Samples", f"{samples:,}", f"{rate * 60:,.1f} a minute" if rate else "no rate"),
        Tile("Output tokens", _short(tokens), a_sample),
        Tile(
            "Output tokens a second",
            f"{token_rate:,.0f}" if token_rate else "no rate",
            f"in {duration(seconds, decimals=1)} of generation",
        ),
        *_gpu_tiles(summary),
        *_score_tiles(scores),
    ]


def _gpu_tiles(summary: Mapping[str, Any]) -> Iterator[Tile]:
    ledger, gpu = summary.get("ledger") or {}, summary.get("gpu") or {}
    hours, why = ledger.get("gpu_hours"), ledger.get("no_gpu") or gpu.get("no_gpu")
    cost = ledger.get("cost")
    if hours is not None:
        said = (
            f"{cost['amount']:,.2f} {cost['currency']}" if cost else f"{ledger.get('num_gpus')} GPUs at most"
        )
        yield Tile("GPU hours", f"{hours:,.2f}", said)
    elif why:
        yield Tile("GPU hours", "no GPU", str(why))
        return
    else:
        yield Tile("GPU hours", "not measured", "")
    a_second, an_hour = ledger.get("tokens_per_gpu_second"), ledger.get("samples_per_gpu_hour")
    if a_second is not None and an_hour is not None:
        yield Tile("Output tokens a GPU second", f"{a_second:,.0f}", f"{an_hour:,.0f} samples a GPU hour")
    kwh, covers = ledger.get("energy_kwh"), ledger.get("energy_covers")
    least = "≥ " if covers is not None and covers < MOST else ""  # the rest was not measured
    mean = gpu.get("mean_utilization_percent")
    used = "utilisation not measured" if mean is None else f"{mean:.0f} % mean utilisation"
    yield Tile("Energy", "not measured" if kwh is None else f"{least}{kwh:,.3g} kWh", used)


def _score_tiles(scores: ScoresRecord | None) -> Iterator[Tile]:
    for item_type, each in () if scores is None else scores.types.items():
        for kind in KINDS:
            score = each.scores.get(kind.name)
            if kind.is_main and score is not None:
                label, _, how = kind.label.partition(", ")
                value = f"{score.value:,.{kind.decimals}f}"
                said = interval(score.low, score.high, kind.decimals, otherwise=how)
                yield Tile(f"{label}, {item_type.replace('_', ' ')}", value, said)


def _short(count: int) -> str:
    """A count in at most four digits."""
    for size, word in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if word == 'k' else size):,.1f} {word}"
    return f"{count:,}"
