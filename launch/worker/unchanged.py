"""Refuses to work when code, checkpoint or prompt files are not those that the run was planned with."""

from collections.abc import Mapping
from pathlib import Path

from launch.errors import RunError
from launch.model.checkpoint import inspect_checkpoint
from launch.rundir.identity import code_version, tree_digest
from launch.rundir.layout import RunPaths
from launch.rundir.records import CheckpointRecord, CodeVersion, RunRecord, SubmissionRecord

SHOWN_DIGITS = 12
MAX_NAMED_FILES = 3


class ChangedError(RunError):
    """Something that shapes results changed after the run was planned, or while it was queued."""


def check_unchanged(run: RunPaths, record: RunRecord, submission: SubmissionRecord) -> None:
    """ChangedError naming what changed, old -> new; CheckpointError when the checkpoint cannot be read."""
    _check_code(submission.code, code_version(), run)
    _check_templates(run, record)
    _check_checkpoint(record.checkpoint, needs_weights=submission.engine.load_format != "dummy")


def _check_code(planned: CodeVersion, found: CodeVersion, run: RunPaths) -> None:
    if planned.digest != found.digest:
        raise ChangedError(
            f"{run.root}: the code of vllm-launch changed since this was submitted:"
            f" {planned.version} {_cut(planned.digest)} -> {found.version} {_cut(found.digest)}. Send the"
            f" rest with the code as it is now: `vllm-launch resume {run.root} --accept-code-change`."
        )


def _check_templates(run: RunPaths, record: RunRecord) -> None:
    found = tree_digest(run.templates)
    if record.templates_digest != found:
        raise ChangedError(
            f"{run.templates}: the run's prompt files changed:"
            f" {_cut(record.templates_digest)} -> {_cut(found)}. Restore them, or plan a new run."
        )


def _check_checkpoint(planned: CheckpointRecord, *, needs_weights: bool) -> None:
    found = inspect_checkpoint(
        Path(planned.adapter or planned.path),
        base=Path(planned.path) if planned.adapter else None,
        # Named even where it is the checkpoint's own: an adapter may have got one since.
        tokenizer=Path(planned.tokenizer or planned.path),
        needs_weights=needs_weights,
    )
    if planned.digest != found.digest:
        raise ChangedError(
            f"{planned.adapter or planned.path}: the checkpoint changed since the run was planned:"
            f" {_cut(planned.digest)} -> {_cut(found.digest)} ({_differences(planned.files, found.files)})."
            " Restore it, or plan a new run."
        )


def _differences(planned: Mapping[str, str], found: Mapping[str, str]) -> str:
    """The first files that differ, with their digests."""
    names = [name for name in sorted({*planned, *found}) if planned.get(name) != found.get(name)]
    shown = [
        f"{name}: {_cut(planned.get(name))} -> {_cut(found.get(name))}" for name in names[:MAX_NAMED_FILES]
    ]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _cut(digest: str | None) -> str:
    return "absent" if digest is None else digest[:SHOWN_DIGITS]
