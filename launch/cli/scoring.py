"""Scores a published directory, by hand or after publishing, and says what came of it."""

import traceback

import click

from launch.collect.manifest import SCORES_FILE
from launch.collect.published import Published, open_published
from launch.collect.reference_texts import ItemReferences, known_references
from launch.collect.scoring.record import ScoresRecord, discard, put_in_place, read_scores
from launch.collect.scoring.score import Options, score
from launch.collect.scoring.view import headline
from launch.collect.verify import PublishedReport
from launch.errors import LaunchError, RunError
from launch.rundir.layout import RunPaths
from launch.rundir.records import list_submissions, load_submission

AUTOMATIC = Options(max_s=1800.0)
"""A merge job scores as well when it has published: half of its usual hour."""


def score_into(published: Published, references: ItemReferences, options: Options) -> ScoresRecord:
    """Scores a published directory and writes the scores beside the rest."""
    try:
        record = score(published, references, options)
        put_in_place(published.path, record)
    finally:
        discard(published.path)
    return record


def score_and_tell(run: RunPaths, report: PublishedReport) -> None:
    """After publishing: scores where references are known. What is published stays so, whatever fails."""
    try:
        record = _score_if_known(run, report)
    except LaunchError as error:
        click.echo(f"note: no scores: {error}", err=True)
    except Exception as error:  # noqa: BLE001  a bug here is shown whole, and must not fail a merge job
        traceback.print_exception(error)
        click.echo("note: no scores, for the reason above; the results are published.", err=True)
    else:
        if record is not None and (said := headline(record)):
            click.echo(f"{'scores':<12}{said} ({SCORES_FILE})")


def _score_if_known(run: RunPaths, report: PublishedReport) -> ScoresRecord | None:
    """The scores, made now unless they are there; None where no reference is known."""
    given = load_submission(run, list_submissions(run)[-1]).publish.references
    published = open_published(report.output_dir, report)
    references = known_references(published, given)
    if not references.num_known:
        return None
    return _scores_there(published, references) or score_into(published, references, AUTOMATIC)


def _scores_there(published: Published, references: ItemReferences) -> ScoresRecord | None:
    """Scores of these results and references that an earlier merge made; damaged ones count as none."""
    try:
        found = read_scores(published.path, published.manifest)
    except RunError:
        return None
    used = None if found is None else found.references
    return found if used is not None and used.sha256 == references.sha256 else None
