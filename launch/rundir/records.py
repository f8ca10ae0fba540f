"""run.yaml and submission.yaml: what a run is, and what each sending of it was."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

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
from launch.rundir.layout import RunPaths, number_of
from launch.rundir.record_file import FORMAT, read_record, write_record

# Paths: what lies there is in the checkpoint's digest, adapter and tokenizer included.
_IN_CHECKPOINT_DIGEST = {"checkpoint", "base_checkpoint", "tokenizer"}
# What a person may change in run.yaml: notes, and places, which are checked by what lies there.
_MAY_CHANGE: dict[str, Any] = {
    **dict.fromkeys(("format", "seal", "name", "created", "preset", "notes", "versions"), True),
    "model": _IN_CHECKPOINT_DIGEST,
    "data": {"scenario_path"},
    "checkpoint": {"path", "adapter", "tokenizer"},
}


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

    format: int = FORMAT
    run_id: str
    name: str
    created: str
    preset: str
    identity_digest: str
    seal: str | None = Field(default=None, description="Digest of what may not change (digest_fixed).")
    model: ModelConfig
    data: DataConfig
    prompt: PromptConfig
    sampling: SamplingConfig
    checkpoint: CheckpointRecord
    code: CodeVersion
    chat_form: str = Field(description="native, folded or text: how prompts meet the chat template.")
    reasoning_opened: bool = Field(default=False, description="Prompts end within the reasoning.")
    scenario_digest: str
    train_digest: str | None = Field(default=None, description="Of train.json, where history is used.")
    templates_digest: str
    subset: Subset | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = Field(
        default=(), strict=False, description="What was resolved and is to be said."
    )

    def digest_settings(self) -> str:
        """16 hex digits over what shapes output: model, prompt, sampling, checkpoint, chat form, files."""
        value = {
            "model": self.model.model_dump(mode="json", exclude=_IN_CHECKPOINT_DIGEST),
            "prompt": self.prompt.model_dump(mode="json"),
            "sampling": self.sampling.model_dump(mode="json"),
            "checkpoint": self.checkpoint.digest,
            "chat_form": self.chat_form,
            "templates": self.templates_digest,
        }
        return _digest(value)

    def digest_fixed(self) -> str:
        """16 hex digits over all that may never change."""
        absent = {"train_digest": True} if self.train_digest is None else {}  # of runs before it was kept
        return _digest(self.model_dump(mode="json", exclude=_MAY_CHANGE | absent))


def _digest(value: dict[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


class ArrayRecord(Section):
    """One Slurm array of a submission: its tasks are offset + SLURM_ARRAY_TASK_ID, 0 <= id < size."""

    offset: int
    size: int


class PlannedEngine(Section):
    """Settings of engine that the planner chose because they were not set; null: it chose none."""

    torch_compile: bool | None = None
    enforce_eager: bool | None = Field(
        default=None, description="Of runs that began before torch_compile was."
    )
    why: str | None = None


class SubmissionRecord(Section):
    """submission.yaml: one sending of a run's missing items."""

    format: int = FORMAT
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
    chunks_sha256: str | None = Field(default=None, description="Of chunks.jsonl.")
    num_items: int
    arrays: tuple[ArrayRecord, ...] = Field(default=(), strict=False)
    round: int = Field(default=0, description="0: sent by a user; n: the n-th in a row sent by merge jobs.")
    notes: tuple[str, ...] = Field(default=(), strict=False)
    planned: PlannedEngine = Field(
        default=PlannedEngine(), description="What was decided where engine has null; engine stays as asked."
    )
    assumed_dead: tuple[str, ...] = Field(
        default=(), strict=False, description="Of the submission before: what --assume-dead took for dead."
    )


def now() -> str:
    """The time, UTC, ISO 8601 in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_config(run: RunRecord, submission: SubmissionRecord) -> RunConfig:
    """The whole configuration of one submission of a run; RunError for another run's."""
    if submission.run_id != run.run_id:
        raise RunError(
            f"submission {submission.submission} is of run {submission.run_id}, not of {run.run_id}: its"
            " directory was copied here. Move it out of the run."
        )
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


def task_config(run: RunRecord, submission: SubmissionRecord) -> RunConfig:
    """`run_config` as tasks take it: with what the planner chose, which a later submission decides anew."""
    config = run_config(run, submission)
    if config.engine.compiles is not None:
        return config
    chosen = submission.planned.model_dump(include={"torch_compile", "enforce_eager"}, exclude_none=True)
    return config.model_copy(update={"engine": config.engine.model_copy(update=chosen)})


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
    if isinstance(record, RunRecord):
        record = record.model_copy(update={"seal": record.digest_fixed()})
    write_record(path, record)


def keep_publishing(paths: RunPaths, newest: SubmissionRecord, publish: PublishConfig) -> None:
    """Has a run published so from now on: `newest` is its newest submission, which every merge asks."""
    path = paths.submission(newest.submission).submission_yaml
    save_record(path, newest.model_copy(update={"publish": publish}))


def load_run(paths: RunPaths) -> RunRecord:
    """run.yaml of a run directory; RunError when it is none, is damaged or was edited.

    An edit of what shapes output would make every line that is there another run's.
    """
    record = read_record(paths.run_yaml, RunRecord)
    if record.seal not in (None, record.digest_fixed()):
        raise RunError(
            f"{paths.run_yaml}: was changed after it was written (name, model, data, prompt, sampling or a"
            " digest). Undo that: a run's identity cannot change. For other settings submit a new run."
        )
    return record


def load_submission(paths: RunPaths, submission: int) -> SubmissionRecord:
    """submission.yaml of the `submission`-th sending; RunError when there is none, or another's."""
    path = paths.submission(submission).submission_yaml
    try:
        record = read_record(path, SubmissionRecord)
    except RunError as error:
        if len(list_submissions(paths)) < 2:
            raise
        away = f"Or move {path.parent} out of the run: what its tasks generated stays."
        raise RunError(f"{error} {away}") from None
    if record.submission != submission:
        raise _copied(path, f"submission {record.submission}")
    return record


def load_submissions(paths: RunPaths, run: RunRecord) -> list[SubmissionRecord]:
    """All of a run, in order; RunError when one of them is another run's."""
    records = [load_submission(paths, number) for number in list_submissions(paths)]
    for record in records:
        if record.run_id != run.run_id:
            raise _copied(paths.submission(record.submission).submission_yaml, f"run {record.run_id}")
    return records


def _copied(path: Path, whose: str) -> RunError:
    return RunError(f"{path}: is that of {whose}: its directory was copied here. Move it out of the run.")


def list_submissions(paths: RunPaths) -> list[int]:
    """Numbers of the submissions of a run, ascending."""
    if not paths.submissions.is_dir():
        return []
    numbers = (number_of(entry.name) for entry in paths.submissions.iterdir() if entry.is_dir())
    return sorted(number for number in numbers if number is not None)
