"""Finds what a run has published when both were moved together, as from a scratch disk to an archive."""

import os
from contextlib import suppress
from pathlib import Path
from shlex import quote

from launch.collect.manifest import read_published
from launch.collect.merge import output_dir_of
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_run, load_submissions


def moved_publication(run: RunPaths) -> tuple[Path, Path] | None:
    """Where a run is to be published, if nothing is there, and where beside the run its publication lies."""
    record = load_run(run)
    submissions = load_submissions(run, record)
    if not submissions:
        return None
    recorded = output_dir_of(run, submissions[-1].publish)
    if os.path.lexists(recorded):
        return None
    runs = run.root.parent  # of the single-node commands: where they publish as well
    for place in (runs.parent / recorded.parent.name / recorded.name, runs / recorded.name):
        with suppress(RunError, OSError):
            manifest = read_published(place)
            if manifest is not None and manifest.run_id == record.run_id:
                return recorded, place
    return None


def moved_words(run: RunPaths) -> str | None:
    """That in a line, with what to type; None where nothing was moved."""
    moved = moved_publication(run)
    if moved is None:
        return None
    recorded, place = moved
    return (
        f"{recorded}: is not there, and {place} holds what this run published. `vllm-launch merge"
        f" {quote(str(run.root))} --output-dir {quote(str(place))}` goes on with that place."
    )


def refuse_moved(run: RunPaths) -> None:
    """RunError with those words: a merge would publish anew in the place that the run had before."""
    words = moved_words(run)
    if words is not None:
        raise RunError(f"{words} To publish in the old place all the same, give it as --output-dir.")
