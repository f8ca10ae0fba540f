"""A published directory as an entry of a leaderboard, from its manifest, its summary and its scores.

The summary has to have the digest that the manifest says, and scores.json its own; the larger files are
`vllm-launch verify`'s to prove.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from launch.collect.leaderboard.record import Cost, Entry, GpuUse
from launch.collect.ledger.account import JOULES_PER_KWH
from launch.collect.manifest import (
    GENERATIONS_FILE,
    RUN_PAGE_FILE,
    SUMMARY_FILE,
    Manifest,
    read_published,
)
from launch.collect.scoring.record import ScoresRecord, read_scores
from launch.collect.settings_that_differ import settings_of
from launch.config.wording import printable
from launch.errors import RunError
from launch.rundir.journal import read_whole
from launch.rundir.storage_errors import NO_FILE

AGAIN = "Publish it again with `vllm-launch merge RUN`."


class _Part(BaseModel):
    """What is read of a published file; what else is in it does not matter."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Gpu(_Part):
    energy_j: float | None = None
    no_gpu: str | None = None
    num_unmeasured_attempts: int = 0


class _Cost(_Part):
    price_per_gpu_hour: float | None = None
    currency: str
    amount: float


class _Ledger(_Part):
    gpu_hours: float | None = None
    energy_kwh: float | None = None
    energy_covers: float | None = None
    samples_per_gpu_hour: float | None = None
    cost: _Cost | None = None
    no_gpu: str | None = None


class _Summary(_Part):
    checkpoint: str
    checkpoint_hub_id: str | None
    scenario: str
    dataset: str | None
    ablation_config: str
    preset: str | None
    num_samples_per_item: int
    total_samples: int
    inference_time_seconds: float
    throughput_samples_per_sec: float | None
    throughput_output_tokens_per_sec: float | None
    prompt: dict[str, Any]
    gpu: _Gpu
    ledger: _Ledger | None = None


@dataclass(frozen=True, slots=True)
class _Files:
    """What was read of a directory; `notes` say what of it is damaged and was left out."""

    manifest: Manifest
    summary: _Summary
    settings: dict[str, Any]
    scores: ScoresRecord | None
    notes: tuple[str, ...]


def read_entry(directory: Path, folder: Path) -> Entry | None:
    """The entry of a directory in the leaderboard of `folder`; None where nothing is published in it.

    RunError, in a line without the directory's name, where what is published there is damaged or another
    version's.
    """
    try:
        manifest = read_published(directory)
        if manifest is None:
            return None
        summary, settings = _checked(_read_summary(directory, manifest))
        files = _Files(manifest, summary, settings, *_scores_of(directory, manifest))
    except RunError as error:
        raise RunError(str(error).removeprefix(f"{directory}/")) from None
    page = directory / RUN_PAGE_FILE
    return _entry(files, _relative(directory, folder), _relative(page, folder) if page.is_file() else None)


def _read_summary(directory: Path, manifest: Manifest) -> dict[str, Any]:
    try:
        data = read_whole(directory / SUMMARY_FILE)
    except NO_FILE:
        raise RunError(f"{SUMMARY_FILE}: is missing. {AGAIN}") from None
    named = manifest.files.get(SUMMARY_FILE)
    if named is None or GENERATIONS_FILE not in manifest.files:
        raise RunError(f"manifest.json: does not name what was published. {AGAIN}")
    if hashlib.sha256(data).hexdigest() != named.sha256:
        raise RunError(f"{SUMMARY_FILE}: has other bytes than were published (sha256). {AGAIN}")
    try:
        value: dict[str, Any] = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise RunError(f"{SUMMARY_FILE}: no JSON. {AGAIN}") from None
    return value


def _checked(value: Any) -> tuple[_Summary, dict[str, Any]]:
    """The summary's parts and its settings; RunError for one that another version wrote."""
    try:
        summary = _Summary.model_validate(value)
        return summary, dict(settings_of(value))
    except ValidationError as error:
        where = printable(".".join(str(part) for part in error.errors()[0]["loc"]))
    except (KeyError, TypeError, AttributeError) as error:
        where = f"settings ({type(error).__name__})"
    raise RunError(f"{SUMMARY_FILE}: {where}: not as this version of vllm-launch writes it. {AGAIN}")


def _scores_of(directory: Path, manifest: Manifest) -> tuple[ScoresRecord | None, tuple[str, ...]]:
    """The scores of these results; damaged ones count as none, with a sentence."""
    try:
        return read_scores(directory, manifest), ()
    except RunError as error:
        return None, (str(error).removeprefix(f"{directory}/"),)


def _entry(files: _Files, name: str, page: str | None) -> Entry:
    manifest, summary, scores = files.manifest, files.summary, files.scores
    rate, seconds = summary.throughput_samples_per_sec, summary.inference_time_seconds
    return Entry(
        directory=name,
        page=page,
        run_id=manifest.run_id,
        preset=summary.preset,
        published=manifest.published,
        model=summary.checkpoint_hub_id or _last_part(summary.checkpoint),
        checkpoint_digest=manifest.checkpoint_digest,
        dataset=summary.dataset or _last_part(summary.scenario),
        scenario_digest=manifest.scenario_digest,
        ablation=summary.ablation_config,
        language=_text(summary.prompt.get("language")),
        engine=manifest.engine,
        stub=manifest.stub,
        subset=manifest.subset,
        complete=manifest.complete,
        num_users=manifest.num_users,
        num_items=manifest.num_items,
        num_done=manifest.num_done,
        num_failed=manifest.num_failed,
        num_missing=manifest.num_missing,
        num_samples_per_item=summary.num_samples_per_item,
        total_samples=summary.total_samples,
        inference_time_s=seconds,
        samples_per_min=None if rate is None else round(rate * 60, 3),
        output_tokens_per_s=summary.throughput_output_tokens_per_sec,
        gpu=_gpu_use(summary),
        scores=None if scores is None else scores.types,
        references=None if scores is None else scores.references,
        signatures={} if scores is None else scores.signatures,
        settings=files.settings,
        notes=files.notes,
        results_digest=manifest.files[GENERATIONS_FILE].sha256,
    )


def _gpu_use(summary: _Summary) -> GpuUse:
    """The ledger's figures; energy of what was sampled where there is no ledger, if all attempts were."""
    ledger, gpu = summary.ledger or _Ledger(), summary.gpu
    energy_kwh, covers, cost = ledger.energy_kwh, ledger.energy_covers, ledger.cost
    if energy_kwh is None and gpu.energy_j is not None and not gpu.num_unmeasured_attempts:
        energy_kwh, covers = round(gpu.energy_j / JOULES_PER_KWH, 6), 1.0
    return GpuUse(
        gpu_hours=ledger.gpu_hours,
        energy_kwh=energy_kwh,
        energy_covers=covers,
        samples_per_gpu_hour=ledger.samples_per_gpu_hour,
        cost=None if cost is None else Cost.model_validate(cost.model_dump()),
        no_gpu=ledger.no_gpu or gpu.no_gpu,
    )


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _last_part(path: str) -> str:
    return PurePath(path).name or path


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
