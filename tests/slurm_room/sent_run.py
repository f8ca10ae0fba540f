"""A run directory that holds what the slurm room reads, run.yaml and submission.yaml, and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.config.schema import RunConfig
from launch.rundir.layout import RunPaths
from launch.rundir.records import (
    ArrayRecord,
    CheckpointRecord,
    CodeVersion,
    RunRecord,
    SubmissionRecord,
    save_record,
)

CREATED = "2026-01-02T03:04:05+00:00"
CODE = CodeVersion(version="0", digest="0")


def make_sent_run(
    root: Path,
    arrays: Sequence[tuple[int, int]] = ((0, 2),),
    *,
    name: str = "demo",
    resources: Mapping[str, Any] | None = None,
    engine: Mapping[str, Any] | None = None,
) -> RunPaths:
    """A run in root/name with submission 1 of `arrays`, pairs of offset and size; not sent."""
    config = RunConfig.model_validate(
        {"engine": engine or {}, "resources": {"scheduler": "slurm", **(resources or {})}}
    )
    run = RunPaths(root / name)
    run.submission(1).root.mkdir(parents=True)
    record = RunRecord(
        run_id=name,
        name=name,
        created=CREATED,
        preset="test",
        identity_digest="0",
        model=config.model,
        data=config.data,
        prompt=config.prompt,
        sampling=config.sampling,
        checkpoint=CheckpointRecord(path="/models/none", digest="0"),
        code=CODE,
        chat_form="text",
        scenario_digest="0",
        templates_digest="0",
    )
    save_record(run.run_yaml, record)
    submission = SubmissionRecord(
        run_id=name,
        submission=1,
        created=CREATED,
        engine=config.engine,
        resources=config.resources,
        publish=config.publish,
        code=CODE,
        num_tasks=sum(size for _, size in arrays),
        num_chunks=1,
        num_items=1,
        arrays=tuple(ArrayRecord(offset=offset, size=size) for offset, size in arrays),
    )
    save_record(run.submission(1).submission_yaml, submission)
    return run
