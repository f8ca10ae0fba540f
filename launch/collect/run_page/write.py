"""Writes run.html and timeline.json into a published directory, and plotly.min.js above it."""

from pathlib import Path

from launch.collect.manifest import RUN_PAGE_FILE, SUMMARY_FILE, Manifest, read_published
from launch.collect.run_page.file_references import place_references, references_file
from launch.collect.run_page.items import read_items
from launch.collect.run_page.page import Counted, Inputs, count_items, make_page
from launch.collect.run_page.plotly_file import plotly_of, write_plotly
from launch.collect.run_page.timeline import make_timeline
from launch.collect.run_page.timeline_record import Timeline, read_timeline, write_timeline
from launch.collect.verify import PublishedReport, verify_published
from launch.errors import InputError, RunError
from launch.rundir.journal import read_json, write_bytes
from launch.rundir.layout import RunPaths


def write_run_page(published_dir: Path, run: RunPaths | None, report: PublishedReport | None = None) -> Path:
    """Makes the page of a published directory, and its timeline anew where the run is given; the page's path.

    LaunchError when the directory is none of ours, was changed or published again meanwhile, or cannot be
    written; what was published is never touched. `report` is that of whoever has written or proved every file
    just now: they are not read for that again.
    """
    report = report or verify_published(published_dir)
    if not report.is_whole:
        raise RunError(
            f"{published_dir}: {report.problems[0]}; it was changed after publishing. Publish it again."
        )
    manifest = report.manifest
    summary = read_json(published_dir / SUMMARY_FILE) or {}
    counted = count_items(published_dir)
    timeline = _timeline(published_dir, manifest, run, counted)
    plotly = plotly_of(published_dir)
    place = plotly.name if plotly.parent == published_dir else f"../{plotly.name}"
    page = make_page(Inputs(published_dir, manifest, summary, place), counted, timeline)
    if read_published(published_dir) != manifest:
        raise RunError(f"{published_dir}: was published again while its page was made. Make it once more.")
    if run is not None and isinstance(timeline, Timeline):
        write_timeline(published_dir, timeline)
    path = published_dir / RUN_PAGE_FILE
    write_plotly(plotly)
    write_bytes(path, page)
    return path


def _timeline(directory: Path, manifest: Manifest, run: RunPaths | None, counted: Counted) -> Timeline | str:
    """Made of the run directory, else as it was kept, else why there is none."""
    if run is not None:
        return make_timeline(run, manifest, _references(directory, run, counted))
    try:
        return read_timeline(directory, manifest)
    except RunError as error:
        return str(error)


def _references(directory: Path, run: RunPaths, counted: Counted) -> dict[str, str]:
    """Of a file, for the items that are shown and bring none of their own."""
    lacking = {key for key, item in counted.shown.items.items() if "reference" not in item}
    path = references_file(run) if lacking else None
    try:
        return {} if path is None else place_references(path, read_items(directory), lacking)
    except InputError:  # scoring, which comes before, has said what is wrong with the file
        return {}
