"""How a run is published: whether it can be so, and what is changed of it once its items are there.

The flags of `publish` that a merge takes are kept in the record of the newest submission, where every merge,
merge job, `verify`, `clean` and `status` looks, and which the next submission begins with.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from launch.cli.options import chosen_options, collect_flags, setting_fields
from launch.collect.manifest import MANIFEST
from launch.collect.merge import output_dir_of
from launch.collect.publish import check_output_dir, refuse_within, try_writing
from launch.collect.reference_file import check_references
from launch.config.layers import overlay
from launch.config.schema import IDENTITY_SECTIONS, PublishConfig, RunConfig
from launch.config.wording import printable
from launch.errors import ConfigError
from launch.rundir.layout import RunPaths
from launch.rundir.records import (
    SubmissionRecord,
    keep_publishing,
    list_submissions,
    load_run,
    load_submission,
    run_config,
)
from launch.rundir.submissions import never_submitted

Command = TypeVar("Command", bound=Callable[..., Any])

SECTION = "publish"
_KEYS = tuple(key for key, _, _ in setting_fields() if key.startswith(f"{SECTION}."))


def publish_options(command: Command) -> Command:
    """Decorates a click command with the flags of `publish`, and with --set for the same."""
    sets = click.option(
        "--set", "sets", multiple=True, metavar="KEY=VALUE", help=f"Any setting of {SECTION}."
    )
    return sets(chosen_options(*_KEYS)(command))


def take_flags(run: RunPaths, flags: Mapping[str, Any]) -> None:
    """Keeps what the flags of `publish_options` ask for, and says what has changed.

    ConfigError for a setting of another section; RunError, InputError or StorageError where the run cannot be
    published so. Nothing is kept then.
    """
    given, sets = collect_flags(flags), flags["sets"]
    if not given and not sets:
        return
    for text in sets:
        _refuse_others(text)
    newest = _newest(run)
    changed = overlay(run_config(load_run(run), newest), None, given, sets)
    for warning in changed.warnings:
        click.echo(f"note: {warning}", err=True)
    _keep(run, newest, changed.config.publish)


def gives_output_dir(flags: Mapping[str, Any]) -> bool:
    """Whether the flags of `publish_options` say where to publish."""
    key = f"{SECTION}.output_dir"
    return key in collect_flags(flags) or any(text.partition("=")[0] == key for text in flags["sets"])


def publish_again(run: RunPaths, publish: PublishConfig, places: Mapping[str, str]) -> PublishConfig:
    """How a command that is typed again publishes: as its run did, but for what it gives, or its preset.

    Those settings are in `places`.
    """
    given = {
        name: getattr(publish, name) for name in PublishConfig.model_fields if f"{SECTION}.{name}" in places
    }
    return _newest(run).publish.model_copy(update=given)


def keep(run: RunPaths, publish: PublishConfig) -> None:
    """Keeps this and says what has changed; errors as of `take_flags`, and nothing is kept then."""
    _keep(run, _newest(run), publish)


def check_publishing(run: RunPaths, publish: PublishConfig) -> PublishConfig:
    """How a run will be published, with whole paths; errors say why it cannot be."""
    references = check_references(publish.references)
    return publish.model_copy(update={"output_dir": _check_place(run, publish), "references": references})


def _check_place(run: RunPaths, publish: PublishConfig) -> Path:
    """The whole path of where a run will be published; RunError, StorageError say why it cannot be."""
    published = output_dir_of(run, publish)
    refuse_within(run.root, published)
    check_output_dir(published, load_run(run).run_id)
    try_writing(published)
    return published


def _refuse_others(text: str) -> None:
    """ConfigError for a --set of another section; what is no setting at all is said where it is read."""
    section = text.partition("=")[0].partition(".")[0]
    if section == SECTION or section not in RunConfig.model_fields:
        return
    place = printable(f"--set {text}")
    if section in IDENTITY_SECTIONS:
        raise ConfigError(f"{place}: is part of the run's identity, which cannot change. Submit a new run.")
    raise ConfigError(
        f"{place}: a merge generates nothing and takes settings of {SECTION} alone. Give it to `vllm-launch"
        " resume`."
    )


def _newest(run: RunPaths) -> SubmissionRecord:
    submissions = list_submissions(run)
    if not submissions:
        raise never_submitted(run)
    return load_submission(run, submissions[-1])


def _keep(run: RunPaths, newest: SubmissionRecord, asked: PublishConfig) -> None:
    """Writes down how the run is to be published, with whole paths, where it is not so already."""
    before = newest.publish.model_copy(update={"output_dir": output_dir_of(run, newest.publish)})
    references = asked.references
    if references != before.references:  # those that a merge would only miss are no reason to refuse
        references = check_references(references)
    places = {"output_dir": output_dir_of(run, asked), "references": references}
    publish = asked.model_copy(update=places)
    differing = [
        name for name in PublishConfig.model_fields if getattr(publish, name) != getattr(before, name)
    ]
    if not differing:
        return
    _check_place(run, publish)
    keep_publishing(run, newest, publish)
    values = publish.model_dump(mode="json")
    said = ", ".join(f"{name} {printable(str(values[name]))}" for name in differing)
    click.echo(f"{SECTION:<12}{said}: kept for later merges")
    if "output_dir" in differing and before.output_dir and (before.output_dir / MANIFEST).is_file():
        click.echo(f"note: {before.output_dir} stays as it was published", err=True)
