"""inference_summary.json: what was generated, with what, how fast, and what is not as it should be."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.collect.attempt_files import (
    AttemptFiles,
    abouts,
    covered_s,
    engine_facts,
    generating_intervals,
    idle_spells,
    ladder_steps,
    read_attempts,
)
from launch.collect.gpu_figures import energy_gpu_s, gpu_figures
from launch.collect.ledger.account import Output
from launch.collect.ledger.run_ledger import run_ledger
from launch.collect.outcomes import Findings
from launch.collect.startup_figures import startup_figures
from launch.collect.summary_notes import idle_notes, run_notes
from launch.collect.tally import Tally
from launch.rundir.attempts import EngineStart, list_engine_starts
from launch.rundir.canary import CanaryRecord
from launch.rundir.layout import RunPaths
from launch.rundir.records import RunRecord, SubmissionRecord, load_run, load_submissions, now
from launch.rundir.submissions import never_submitted

TIME_MEANS = (
    "Seconds in which at least one engine generated: the union, over all engine starts of the run, of the"
    " time from the end of loading to the last finished item. Queueing, loading and merging are not in it."
)

_OF_ONE_START = ("start_s", "phases_s", "startup")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a merge reads of a run beside its results; starts in the order that decides who wins."""

    run: RunPaths
    record: RunRecord
    submissions: Sequence[SubmissionRecord]
    starts: Sequence[EngineStart]
    facts: Sequence[dict[str, Any]]
    abouts: Sequence[dict[str, Any]]


def read_sources(run: RunPaths) -> Sources:
    """Reads them; RunError for a run that was never submitted."""
    record = load_run(run)
    submissions = load_submissions(run, record)
    if not submissions:
        raise never_submitted(run)
    starts = list_engine_starts(run)
    return Sources(run, record, submissions, starts, engine_facts(run, starts), abouts(run, starts))


def summarise(
    sources: Sources, tally: Tally, findings: Findings, output_dir: Path, canary: CanaryRecord | None
) -> dict[str, Any]:
    """The summary in the order of its keys; those of the benchmark's own tools come first.

    `canary` is the judgement on the first items, if there is one.
    """
    seconds = covered_s(generating_intervals(sources.run, sources.starts))
    attempts = list(read_attempts(sources.run))
    idle = idle_spells(sources.run, attempts)
    record = sources.record
    return {
        **_for_benchmark(sources, tally, seconds, output_dir),
        "engine": record.model.engine.value,
        **marks(record),
        "complete": tally.num_done == tally.num_items,
        "run_id": record.run_id,
        "preset": record.preset,
        **_counts(tally, seconds),
        **_provenance(record),
        "engines": _engines(sources.facts),
        "ladder": ladder_steps(sources.run),
        "canary": None if canary is None else _judged(canary),
        "startup": startup_figures(sources.facts, attempts),
        **_usage(sources, tally, findings, attempts, gpu_figures(attempts, idle.total())),
        "submissions": [_submission(each) for each in sources.submissions],
        "results": findings.as_json(),
        "notes": [*run_notes(record, sources.submissions, sources.facts), *idle_notes(idle)],
    }


def _for_benchmark(sources: Sources, tally: Tally, seconds: float, output_dir: Path) -> dict[str, Any]:
    """What the benchmark's own tools read; `seconds` are those in which at least one engine generated."""
    record = sources.record
    return {
        "checkpoint": record.checkpoint.adapter or record.checkpoint.path,
        "scenario": str(record.data.scenario_path),
        "dataset": record.data.dataset,
        "ablation_config": record.prompt.ablation_config.value,
        "num_data_items_filled": tally.num_done,
        "num_samples_per_item": record.sampling.samples_per_item,
        "total_samples": tally.num_samples,
        "inference_time_seconds": round(seconds, 3),
        "throughput_samples_per_sec": _rate(tally.num_samples, seconds),
        "tensor_parallel_size": sources.submissions[-1].engine.tensor_parallel_size,
        "sampling_params": record.sampling.model_dump(mode="json", exclude={"num_samples"}),
        "output_file": str(output_dir / "test_leaderboard.json"),
        "timestamp": now(),
    }


def _counts(tally: Tally, seconds: float) -> dict[str, Any]:
    """Users, items, samples and tokens: how many there are, and which are not as they should be."""
    return {
        "num_users": tally.num_users,
        "num_items": tally.num_items,
        "num_failed_items": len(tally.failed),
        "num_missing_items": len(tally.missing),
        "failed_items": [item.model_dump() for item in tally.failed],
        "missing_items": tally.missing_keys,
        "finish_reasons": dict(sorted(tally.finish_reasons.items())),
        "num_empty_samples": tally.num_empty_samples,
        "num_items_cut": dict(sorted(tally.cuts.items())),
        "num_prompt_tokens": tally.num_prompt_tokens,
        "num_output_tokens": tally.num_output_tokens,
        "throughput_output_tokens_per_sec": _rate(tally.num_output_tokens, seconds),
        "inference_time_means": TIME_MEANS,
    }


def _provenance(record: RunRecord) -> dict[str, Any]:
    """What shaped the texts, and the software that planned the run."""
    return {
        "prompt": record.prompt.model_dump(mode="json"),
        "model": record.model.model_dump(mode="json"),
        "chat_form": record.chat_form,
        "checkpoint_hub_id": record.checkpoint.hub_id,
        "checkpoint_digest": record.checkpoint.digest,
        "identity_digest": record.identity_digest,
        "code": record.code.model_dump(),
        "versions": record.versions,
    }


def _usage(
    sources: Sources, tally: Tally, findings: Findings, attempts: Sequence[AttemptFiles], gpu: dict[str, Any]
) -> dict[str, Any]:
    """What the GPUs did and used, and where their hours went."""
    output = Output(
        num_samples=tally.num_samples,
        num_output_tokens=tally.num_output_tokens,
        energy_j=gpu["energy_j"],
        sampled_gpu_s=energy_gpu_s(attempts),
    )
    hours = run_ledger(sources.run, sources.starts, findings.not_counted, output, sources.submissions)
    return {"gpu": gpu, "ledger": hours}


def marks(record: RunRecord) -> dict[str, Any]:
    """`stub` and `subset`, present whether they apply or not."""
    subset = None if record.subset is None else record.subset.model_dump()
    return {"stub": record.model.engine.value == "stub", "subset": subset}


def _judged(canary: CanaryRecord) -> dict[str, Any]:
    """What the first items looked like: rates, and in words those that were over their limits."""
    return {
        "num_items": canary.num_items,
        "rates": {name: round(rate, 4) for name, rate in canary.rates.items()},
        "found": list(canary.found),
        "stopped_submission": canary.submission if canary.stops else None,
        "judged_by": canary.judged_by,
    }


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 3) if seconds > 0 else None


def _engines(facts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The engines as they ran, alike ones together with their number; mean seconds to start."""
    groups: dict[bytes, list[dict[str, Any]]] = {}
    for each in facts:
        if each:
            same = {name: value for name, value in each.items() if name not in _OF_ONE_START}
            groups.setdefault(orjson.dumps(same, option=orjson.OPT_SORT_KEYS), []).append(each)
    described = []
    for key in sorted(groups):
        seconds = [each["start_s"] for each in groups[key] if each.get("start_s") is not None]
        mean_start_s = round(sum(seconds) / len(seconds), 2) if seconds else None
        described.append({"num_starts": len(groups[key]), "mean_start_s": mean_start_s, **orjson.loads(key)})
    return described


def _submission(record: SubmissionRecord) -> dict[str, Any]:
    return {
        "submission": record.submission,
        "created": record.created,
        "num_tasks": record.num_tasks,
        "num_items": record.num_items,
        "engine": record.engine.model_dump(mode="json"),
        "code": record.code.model_dump(),
    }
