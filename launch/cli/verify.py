"""`vllm-launch verify`: a published directory against its manifest, or every result line of a run."""

from pathlib import Path

import click

from launch.cli.publishing import partial_of, said_of
from launch.cli.runs import find_run
from launch.collect.manifest import MANIFEST
from launch.collect.moved import moved_words
from launch.collect.scoring.record import scores_problems
from launch.collect.user_files import ARCHIVE, USERS_DIR
from launch.collect.verify import PublishedReport, verify_published
from launch.collect.verify_run import RunReport, verify_run
from launch.errors import ExitCode

MAX_LINES = 20
"""Of what differs: a folder of somebody's own files would be a line each."""


@click.command("verify", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="DIR|RUN")
def command(name: str) -> int:
    """Check a published directory, or a run.

    A directory: every file by size and sha256, none missing, none added; scores that are of these results. A
    run: every result line, and the directory where it was published, if it was. Exit code 3 when something
    differs: the first 20 are named, the others counted.
    """
    if name and (Path(name) / MANIFEST).is_file():
        report = verify_published(Path(name))
        problems, sound = _problems(report), _sound(report)
        if report.num_unpacked:
            what = f"{report.num_unpacked:,} files in {USERS_DIR}/ are members of {ARCHIVE}, unpacked"
            click.echo(f"note: {what}: they may stay or be removed", err=True)
    else:
        run = find_run(name, "a published directory, a run directory or a run id")
        checked = verify_run(run)
        moved = moved_words(run)
        if moved is not None:
            click.echo(f"note: {moved}", err=True)
        problems, sound = [*checked.problems], f"{checked.tally.num_done} items, every line sound"
        if checked.published is None:
            sound += f"; not published in {checked.output_dir}{_elsewhere(checked)}"
        else:
            found = _problems(checked.published)
            problems += [f"{checked.output_dir}: {problem}" for problem in found]
            sound += f"; {_sound(checked.published)}"
    for problem in problems[:MAX_LINES]:
        click.echo(problem, err=True)
    if len(problems) > MAX_LINES:
        click.echo(f"and {len(problems) - MAX_LINES:,} more", err=True)
    if problems:
        return ExitCode.INCOMPLETE
    click.echo(f"{name}: {sound}")
    return ExitCode.OK


def _elsewhere(checked: RunReport) -> str:
    if checked.elsewhere is None:
        return ""
    return f", but before in {checked.elsewhere}{'' if checked.elsewhere.is_dir() else ', which is gone'}"


def _problems(report: PublishedReport) -> list[str]:
    return [*report.problems, *scores_problems(report.output_dir, report.manifest)]


def _sound(report: PublishedReport) -> str:
    manifest = report.manifest
    return f"{len(manifest.files)} files as published{partial_of(manifest)}{said_of(manifest)}"
