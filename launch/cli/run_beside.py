"""The run beside a published directory: of `--output_dir O` it is O.run.

The same command typed again continues that run: what is there stays, what is missing is generated. Another
model, dataset, prompt or sampling is another run: it is refused with the difference shown, unless --no-resume
sets the old one aside.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from launch.cli.closing import Closing, close_submission
from launch.cli.place import check_environment
from launch.cli.publish_settings import keep, publish_again
from launch.cli.resume import refuse_changed_code
from launch.cli.sending import Sending, open_and_show
from launch.collect.manifest import read_published
from launch.collect.publish import check_output_dir, real_path
from launch.config.datasets import with_dataset
from launch.config.identity import identity_differences
from launch.config.layers import Resolved
from launch.config.schema import RunConfig
from launch.config.wording import found, listed
from launch.errors import ConfigError, RunError
from launch.rundir.create import RunRequest, create_run
from launch.rundir.freeze import freeze_request, scenario_dir, scenario_file
from launch.rundir.identity import file_digest
from launch.rundir.layout import RunPaths
from launch.rundir.progress import survey_settled
from launch.rundir.records import list_submissions, load_run
from launch.rundir.submissions import Opened
from launch.scenarios.history import find_history


@dataclass(frozen=True, slots=True)
class Work:
    """A run and what was opened of it; None when every item is settled already."""

    run: RunPaths
    opened: Opened | None


ANOTHER_PLACE = "choose another --output_dir"
BEGIN_ANEW = "Choose another --output_dir, or say --no-resume to begin anew."


def open_here(resolved: Resolved, flags: Mapping[str, Any], instead: str = BEGIN_ANEW) -> Work:
    """Continues the run beside the output directory, or makes it; opens a submission of what is missing.

    `instead` is what to do when that run is another one than what is asked for.
    """
    config = with_dataset(resolved.config, flags["data_root"])
    check_environment(config)
    assert config.publish.output_dir is not None
    output_dir = real_path(config.publish.output_dir.expanduser())
    if not output_dir.name:
        raise ConfigError(f"--output_dir: {output_dir} has nothing beside it for the run. Choose another.")
    run = RunPaths.beside(output_dir)
    sending = Sending(dry_run=flags["dry_run"])
    if not os.path.lexists(run.root):
        return _begin(run, output_dir, config, resolved, flags, sending)
    if not run.run_yaml.is_file():
        raise RunError(
            f"{run.root}: is no run of vllm-launch, and the run would lie there; nothing was touched. Choose"
            " another --output_dir, or move it away."
        )
    if flags["resume"]:
        return _continue(run, config, resolved, sending, instead)
    with _set_aside(run) as aside:
        work = _begin(run, output_dir, config, resolved, flags, sending)
    click.echo(f"note: the earlier run is kept in {aside}", err=True)
    return work


def _begin(
    run: RunPaths,
    output_dir: Path,
    config: RunConfig,
    resolved: Resolved,
    flags: Mapping[str, Any],
    sending: Sending,
) -> Work:
    """A new run in its place; nothing is left of one that cannot be opened."""
    _make(run, output_dir, config, resolved, resumes=flags["resume"])
    try:
        run.logs.mkdir()
        return Work(run, open_and_show(run, config, replace(sending, after=0)))
    except BaseException:
        if not list_submissions(run):  # the same command typed again may have been quicker
            shutil.rmtree(run.root, ignore_errors=True)  # a run without a submission is of no use
        raise


def _make(run: RunPaths, output_dir: Path, config: RunConfig, resolved: Resolved, *, resumes: bool) -> None:
    """Makes the run; RunError also where another process did so meanwhile.

    With `resumes` results that are published and have no run any more are not replaced: RunError.
    """
    run_id = run_id_of(output_dir)

    def check(planned: RunPaths) -> None:
        check_output_dir(output_dir, run_id)
        if resumes and read_published(output_dir) is not None:
            raise RunError(
                f"{output_dir}: holds published results, and their run {planned.root} is gone. Choose another"
                " --output_dir, or say --no-resume to replace them."
            )

    request = RunRequest(
        config=config,
        preset=resolved.preset,
        runs_dir=run.root.parent,
        name=run_id,
        notes=resolved.warnings,
        place=run.root,
        places=resolved.places,
    )
    try:
        create_run(request, check)
    except RunError:
        if run.run_yaml.is_file():  # it was not there before
            raise _made_meanwhile(run) from None
        raise


def _made_meanwhile(run: RunPaths) -> RunError:
    return RunError(
        f"{run.root}: another process has just made it. Wait for that one and type the same again, or"
        f" {ANOTHER_PLACE}."
    )


def run_id_of(output_dir: Path) -> str:
    """A run's id, the same for the same output directory: its name where that may be one, and a digest."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", output_dir.name).strip("-.") or "run"
    digest = hashlib.blake2b(str(output_dir).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"{words[:50]}-{digest}"


def _continue(run: RunPaths, config: RunConfig, resolved: Resolved, sending: Sending, instead: str) -> Work:
    """What an earlier call left: refused if it is of another identity or still at work."""
    frozen = freeze_request(config).config
    _refuse_other_identity(run, frozen, instead)
    _refuse_changed_data(run, frozen, instead)
    for warning in resolved.warnings:
        click.echo(f"note: {warning}", err=True)
    submissions = list_submissions(run)
    if submissions:
        refuse_changed_code(run, submissions[-1], accept=False)
        resume = f"`vllm-launch resume {run.root}"
        to_assume = f"run {resume} --assume-dead` if you know that it is dead"
        closing = Closing(to_replace=f"run {resume} --replace`", to_assume=to_assume)
        close_submission(run, submissions[-1], closing)
    settled = survey_settled(run)
    click.echo(f"{'continues':<12}{run.root}: {settled.num_done:,} of {settled.num_items:,} items are done")
    if submissions:
        publish = publish_again(run, frozen.publish, resolved.places)
        if not settled.num_missing:
            if not sending.dry_run:
                keep(run, publish)
            return Work(run, None)
        frozen = frozen.model_copy(update={"publish": publish})
    after = submissions[-1] if submissions else 0
    return Work(run, open_and_show(run, frozen, replace(sending, after=after)))


def _refuse_other_identity(run: RunPaths, frozen: RunConfig, instead: str) -> None:
    differences = list(identity_differences(load_run(run), frozen))
    if differences:
        made = listed((f"{key} {found(before)}" for key, before, _ in differences), "and")
        asked = listed((found(after) for _, _, after in differences), "and")
        raise RunError(f"{run.root}: was made with {made}, asked for {asked}. {instead}")


def _refuse_changed_data(run: RunPaths, frozen: RunConfig, instead: str) -> None:
    """RunError where the scenario's files are not those that the run was planned from."""
    record = load_run(run)
    planned = {scenario_file(frozen): record.scenario_digest}
    train = find_history(scenario_dir(frozen), frozen.prompt.ablation_config)
    if train is not None and record.train_digest is not None:  # runs of before had none
        planned[train] = record.train_digest
    for path, digest in planned.items():
        if file_digest(path) != digest:
            raise RunError(f"{path}: has changed since {run.root} was planned. {instead}")


@contextmanager
def _set_aside(run: RunPaths) -> Iterator[Path]:
    """Renames what an earlier call left, and back when no new run took its place; nothing is deleted."""
    if list_submissions(run):
        closing = Closing(to_replace=ANOTHER_PLACE, to_assume=ANOTHER_PLACE)
        close_submission(run, list_submissions(run)[-1], closing)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    aside = run.root.with_name(f"{run.root.name}.old-{stamp}")
    run.root.rename(aside)
    try:
        yield aside
    except BaseException:
        aside.rename(run.root)
        raise
