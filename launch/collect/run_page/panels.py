"""The parts of a run page that need no script: shares of time, scores, failures, settings, provenance."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from launch.collect.manifest import TIMELINE_FILE, Manifest
from launch.collect.run_page.timeline_record import GpuSeries, Timeline
from launch.collect.scoring.kinds import KINDS
from launch.collect.scoring.record import ScoresRecord
from launch.collect.settings_that_differ import settings_of
from launch.config.wording import duration, interval

GROUP_WORDS = {
    "input": "Input",
    "prompt": "Prompt",
    "model": "Model",
    "sampling": "Sampling",
    "engine": "Engine, as asked for",
    "ran": "Engine, as it ran",
    "versions": "Versions",
    "code": "Code of vllm-launch",
}
MAX_COMMAND_CHARS = 8_000
PHASE_WORDS = {"idle_tail": "idle tail"}


class Share(NamedTuple):
    """A part of a whole: its name, the part of 1, its amount in words."""

    name: str
    part: float
    amount: str


class GpuChart(NamedTuple):
    """A reading of the GPUs: the name of its chart and what is said of it; where none tells it, only that."""

    name: str
    heading: str
    text: str
    is_told: bool


def gpu_charts(series: GpuSeries | None) -> list[GpuChart]:
    """Utilisation and memory, each with the number of GPUs that do not tell it; empty without a series."""
    if series is None:
        return []
    most_used = "Mean over the GPUs that tell it, and from the least to the most used one."
    most_held = "Mean over the GPUs that tell it, and the one with the most in use."
    mean, num_telling = series.utilization_mean, series.num_utilization_gpus
    used = _gpu_chart("utilization", "Utilisation", most_used, mean, _num_silent(series, num_telling))
    mean, num_telling = series.memory_mean_gib, series.num_memory_gpus
    held = _gpu_chart("memory", "Memory", most_held, mean, _num_silent(series, num_telling))
    return [used, held]


def _num_silent(series: GpuSeries, num_telling: Sequence[int] | None) -> int:
    """The most GPUs at a time that told something else alone; 0 where an earlier version did not count."""
    if num_telling is None:
        return 0
    return max(
        (every - telling for every, telling in zip(series.num_gpus, num_telling, strict=True)), default=0
    )


def _gpu_chart(name: str, heading: str, text: str, mean: Sequence[float | None], num_silent: int) -> GpuChart:
    why = " NVML has none of a MIG device." if name == "utilization" else ""
    if all(value is None for value in mean):
        return GpuChart(name, heading, f"The GPUs of this run tell no {heading.lower()}.{why}", False)
    if num_silent:
        text += f" {num_silent:,} {'GPU tells' if num_silent == 1 else 'GPUs tell'} none.{why}"
    return GpuChart(name, heading, text, True)


def score_tables(scores: ScoresRecord | None) -> list[dict[str, Any]]:
    """A table for each item type: label, value, 95 % interval, number of items."""
    found = []
    for item_type, each in () if scores is None else scores.types.items():
        rows = []
        for kind in KINDS:
            score = each.scores.get(kind.name)
            if score is None:
                continue
            value = f"{score.value:,.{kind.decimals}f}"
            words = interval(score.low, score.high, kind.decimals)
            rows.append({"label": kind.label, "value": value, "interval": words, "items": score.num_items})
        about = (
            f"{each.num_items:,} items of {each.num_users:,} users, {each.num_references:,} with a reference"
        )
        found.append({"type": item_type.replace("_", " "), "about": about, "rows": rows})
    return found


def ledger_shares(summary: Mapping[str, Any]) -> list[Share]:
    """What the allocated seconds were spent on, unexplained ones too; empty without a ledger."""
    ledger = summary.get("ledger") or {}
    phases: dict[str, float] = dict(ledger.get("phases") or {})
    if not isinstance(ledger.get("unexplained"), int | float) or not phases:
        return []
    phases["unexplained"] = ledger["unexplained"]
    whole = sum(max(0.0, value) for value in phases.values())
    return [
        Share(PHASE_WORDS.get(name, name), max(0.0, value) / whole, duration(value, decimals=1))
        for name, value in phases.items()
        if whole > 0 and value > 0
    ]


def queue_words(summary: Mapping[str, Any]) -> str | None:
    """How long tasks waited in the queue, in which no GPU is held; None where nobody knows."""
    queued = (summary.get("ledger") or {}).get("queued_s")
    return None if queued is None else f"Apart from that, tasks waited {duration(queued)} in the queue."


def finish_shares(finish_reasons: Mapping[str, int]) -> list[Share]:
    """How samples ended."""
    words = {"stop": "stop: ended by itself", "length": "length: cut at max_tokens"}
    whole = sum(finish_reasons.values())
    return [
        Share(words.get(name, name), count / whole, f"{count:,}")
        for name, count in sorted(finish_reasons.items(), key=lambda pair: -pair[1])
    ]


def trouble_rows(timeline: Timeline | None) -> list[dict[str, str]]:
    """Failures and retries of tasks as a table has them."""
    rows = []
    for each in () if timeline is None else timeline.troubles:
        where = f"submission {each.submission}, task {each.task}, attempt {each.attempt}"
        rows.append(
            {
                "after": "unknown" if each.at_s is None else duration(each.at_s, decimals=1),
                "where": where if each.slot is None else f"{where}, slot {each.slot}",
                "host": each.host or "",
                "failure_class": each.failure_class,
                "message": each.message or "",
                "action": each.action or "the attempt ended",
            }
        )
    return rows


def settings_groups(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting by group, names without the group."""
    groups = []
    for name, pairs in groupby(settings_of(summary), key=lambda pair: pair[0].partition(".")[0]):
        rows = [(each.partition(".")[2], in_words(value)) for each, value in pairs]
        groups.append({"name": GROUP_WORDS.get(name, name), "rows": rows})
    return groups


def provenance(summary: Mapping[str, Any], manifest: Manifest) -> list[tuple[str, str]]:
    """Whose results, of what, by what, and digests that prove it."""
    return [
        ("run", manifest.run_id),
        ("published", manifest.published),
        ("preset", str(summary.get("preset"))),
        ("engine", manifest.engine),
        ("identity", manifest.identity_digest),
        ("settings", manifest.settings_digest),
        ("checkpoint", manifest.checkpoint_digest),
        ("scenario", manifest.scenario_digest),
        ("code", f"{manifest.code.version}, {manifest.code.digest}"),
        *((name, f"sha256 {file.sha256}") for name, file in manifest.files.items() if "/" not in name),
    ]


COMMANDS = (
    ("Prove every byte of this directory", "vllm-launch verify DIR"),
    ("Score it, or score it anew", "vllm-launch score DIR"),
    ("Make this page again", "vllm-launch report DIR"),
)
"""What to type to go on, DIR being the directory of the page."""


def prompts_command(manifest: Manifest) -> str:
    """What shows the prompt of an item of the run, but for the item's key."""
    return f"vllm-launch prompts {shlex.quote(manifest.run_id)} --item"


def commands(timeline: Timeline | None) -> list[tuple[str, str]]:
    """Those, and what asks for the same again where it is known."""
    if timeline is None:
        return list(COMMANDS)
    command = timeline.command
    if len(command) > MAX_COMMAND_CHARS:
        command = f"{len(command):,} characters, too long for this page: `command` in {TIMELINE_FILE}"
    return [*COMMANDS, ("Ask for the same again, as another run", command)]


def in_words(value: Any) -> str:
    """A setting as YAML or JSON has it; a text as it is."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
