"""run.yaml and submission.yaml: what a run is, and what each sending of it was."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError

from launch.config.schema import (
    CanaryConfig,
    DataConfig,
    EngineConfig,
    ModelConfig,
    PromptConfig,
    PublishConfig,
    ResourcesConfig,
    RunConfig,
    SamplingConfig,
    Section,
)
from launch.errors import RunError
from launch.model.checkpoint import Checkpoint
from launch.rundir.journal import write_bytes
from launch.rundir.layout import RunPaths

RecordT = TypeVar("RecordT", bound=Section)


class CodeVersion(Section):
    """What code a submission was made with: package version and a digest over its files."""

    version: str
    digest: str


class CheckpointRecord(Section):
    """The checkpoint as it was when the run was planned; the parts of launch.model.checkpoint.Checkpoint."""

    path: str = Field(description="Directory of the model's weights; of an adapter its base model's.")
    adapter: str | None = Field(default=None, description="Directory of the LoRA adapter.")
    adapter_rank: int | None = None
    tokenizer: str | None = Field(default=None, description="Of tokenizer and template, unless in `path`.")
    hub_id: str | None = Field(default=None, description="What was asked for, where it was a hub id.")
    digest: str
    files: dict[str, str] = Field(default_factory=dict, description="Digest of each file that counts.")
    architecture: str | None = None
    eos_token_ids: tuple[int, ...] = Field(default=(), strict=False)


class Subset(Section):
    """How --limit-users and --limit-items cut the scenario; a run without them has none."""

    num_users: int
    num_items: int
    of_users: int
    of_items: int


class RunRecord(Section):
    """run.yaml: identity and versions; written once."""

    run_id: str
    name: str
    created: str
    preset: str
    identity_digest: str
    model: ModelConfig
    data: DataConfig
    prompt: PromptConfig
    sampling: SamplingConfig
    checkpoint: CheckpointRecord
    code: CodeVersion
    chat_form: str = Field(description="native, folded or text: how prompts meet the chat template.")
    reasoning_opened: bool = Field(default=False, description="Prompts end within the reasoning.")
    scenario_digest: str
    templates_digest: str
    subset: Subset | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = Field(
        default=(), strict=False, description="What was resolved and is to be said."
    )


class ArrayRecord(Section):
    """One Slurm array of a submission: its tasks are offset + SLURM_ARRAY_TASK_ID, 0 <= id < size."""

    offset: int
    size: int


class SubmissionRecord(Section):
    """submission.yaml: one sending of a run's missing items."""

    run_id: str
    submission: int
    created: str
    engine: EngineConfig
    resources: ResourcesConfig
    canary: CanaryConfig = Field(default=CanaryConfig())
    publish: PublishConfig
    code: CodeVersion
    num_tasks: int
    num_chunks: int
    num_items: int
    arrays: tuple[ArrayRecord, ...] = Field(default=(), strict=False)
    round: int = Field(default=0, description="0: sent by a user; n: the n-th in a row sent by merge jobs.")
    notes: tuple[str, ...] = Field(default=(), strict=False)
    assumed_dead: tuple[str, ...] = Field(
        default=(), strict=False, description="Of the submission before: what --assume-dead took for dead."
    )


def now() -> str:
    """The time, UTC, ISO 8601 in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_config(run: RunRecord, submission: SubmissionRecord) -> RunConfig:
    """The whole configuration of one submission of a run."""
    return RunConfig(
        model=run.model,
        data=run.data,
        prompt=run.prompt,
        sampling=run.sampling,
        engine=submission.engine,
        resources=submission.resources,
        canary=submission.canary,
        publish=submission.publish,
    )


def record_checkpoint(checkpoint: Checkpoint) -> CheckpointRecord:
    """What run.yaml keeps of a checkpoint."""
    adapter = checkpoint.adapter
    elsewhere = checkpoint.tokenizer_dir != checkpoint.path
    return CheckpointRecord(
        path=str(checkpoint.path),
        adapter=None if adapter is None else str(adapter.path),
        adapter_rank=None if adapter is None else adapter.rank,
        tokenizer=str(checkpoint.tokenizer_dir) if elsewhere else None,
        hub_id=checkpoint.hub_id,
        digest=checkpoint.digest,
        files=dict(checkpoint.files),
        architecture=checkpoint.architecture,
        eos_token_ids=checkpoint.eos_token_ids,
    )


def adapter_dir(run: RunRecord) -> Path | None:
    """The directory of a run's LoRA adapter, if it has one."""
    adapter = run.checkpoint.adapter
    return None if adapter is None else Path(adapter)


def tokenizer_dir(run: RunRecord) -> Path:
    """The directory of a run's tokenizer and chat template."""
    return Path(run.checkpoint.tokenizer or run.checkpoint.path)


def save_record(path: Path, record: Section) -> None:
    """Writes run.yaml or submission.yaml, whole or not at all."""
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    write_bytes(path, text.encode())


def load_run(paths: RunPaths) -> RunRecord:
    """run.yaml of a run directory; RunError when it is none."""
    return _load(paths.run_yaml, RunRecord)


def load_submission(paths: RunPaths, submission: int) -> SubmissionRecord:
    """submission.yaml of the `submission`-th sending; RunError when there is none."""
    return _load(paths.submission(submission).submission_yaml, SubmissionRecord)


def list_submissions(paths: RunPaths) -> list[int]:
    """Numbers of the submissions of a run, ascending."""
    if not paths.submissions.is_dir():
        return []
    return sorted(int(entry.name) for entry in paths.submissions.iterdir() if entry.name.isdecimal())


def _load(path: Path, kind: type[RecordT]) -> RecordT:
    try:
        value: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: not found; expected a run directory of vllm-launch.") from None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{path}: {where}: {first['msg']}. It was made by another version of vllm-launch."
        ) from None
