"""Published directories in numbers: one that merge and score made, varied as a test asks, digests put right.

Of each there is what a leaderboard reads: manifest.json, inference_summary.json, scores.json.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.cli.scoring import score_into
from launch.collect.merge import merge
from launch.collect.published import open_published
from launch.collect.reference_texts import known_references
from launch.collect.scoring.record import ScoresRecord, as_json
from launch.collect.scoring.score import Options
from tests.collect.builders import make_generations, plan_run, read_value, write_results
from tests.models import make_tiny_llama
from tests.scenarios.builders import one_of_each_type

SUMMARY = "inference_summary.json"
LEDGER = {
    "gpu_hours": 1.5,
    "energy_kwh": 0.9,
    "energy_covers": 1.0,
    "samples_per_gpu_hour": 2000.0,
    "cost": {"price_per_gpu_hour": 2.0, "currency": "EUR", "amount": 3.0},
}


def publish_one(root: Path) -> Path:
    """A run of the stub engine over an item of each type, merged and scored; the published directory."""
    checkpoint = make_tiny_llama(root / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    run = plan_run(root, checkpoint, [one_of_each_type()])
    write_results(run, make_generations(run))
    published = open_published(merge(run).output_dir)
    score_into(published, known_references(published), Options(processes=1))
    return published.path


@dataclass(frozen=True)
class Publications:
    """Makes directories out of a published one."""

    original: Path

    def write(
        self,
        directory: Path,
        *,
        manifest: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        scores: Mapping[str, float] | None = None,
        scores_record: Mapping[str, Any] | None = None,
        has_scores: bool = True,
        engine: str = "vllm",
    ) -> Path:
        """A full run by vLLM unless told otherwise; scores by `<type>.<score>`, with intervals of +-10 %."""
        directory.mkdir(parents=True)
        whole = self._summary(engine, summary or {})
        data = orjson.dumps(whole)
        (directory / SUMMARY).write_bytes(data)
        about = read_value(self.original / "manifest.json")
        about |= {"run_id": directory.name[:200], "engine": engine, "stub": engine == "stub"} | dict(
            manifest or {}
        )
        about["files"][SUMMARY] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (directory / "manifest.json").write_bytes(orjson.dumps(about))
        if has_scores:
            record = self._scores(about, scores or {}, scores_record or {})
            (directory / "scores.json").write_bytes(orjson.dumps(as_json(record)))
        return directory

    def _summary(self, engine: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        summary = read_value(self.original / SUMMARY)
        summary |= {
            "engine": engine,
            "stub": engine == "stub",
            "dataset": "Chameleons",
            "checkpoint_hub_id": "org/model",
            "throughput_samples_per_sec": 12.5,
            "ledger": LEDGER,
        }
        for name, value in changes.items():
            *parts, last = name.split(".")
            place = summary
            for part in parts:
                place = place[part]
            place[last] = value
        return dict(summary)

    def _scores(
        self, about: Mapping[str, Any], values: Mapping[str, float], changes: Mapping[str, Any]
    ) -> ScoresRecord:
        value = copy.deepcopy(read_value(self.original / "scores.json"))
        value.pop("digest")
        files = about["files"]
        value["results"] = {name: files[name]["sha256"] for name in value["results"]}
        for key, found in values.items():
            item_type, _, name = key.rpartition(".")
            score = value["types"][item_type]["scores"][name]
            score |= {"value": found, "low": found * 0.9, "high": found * 1.1}
        return ScoresRecord.model_validate(value | dict(changes))
