"""Makes the run page out of a published directory and its timeline; the same files give the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.collect.manifest import Manifest
from launch.collect.pages import render_page
from launch.collect.run_page import facts, panels
from launch.collect.run_page.items import read_items
from launch.collect.run_page.samples import SampleDraw, Shown
from launch.collect.run_page.tallies import Tallies
from launch.collect.run_page.timeline_record import Timeline
from launch.collect.run_page.user_scores import UserScores, read_user_scores
from launch.collect.scoring.record import ScoresRecord, read_scores, scores_problems
from launch.errors import RunError

TEMPLATE = "run.html.j2"
DEFAULT_LANGUAGE = "en"
DRAWN = {"begin", "phases", "attempts", "gpu"}
"""Of the timeline."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one pass over all items gave."""

    tallies: Tallies
    shown: Shown


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores, those of users and items, or in one line why there are none."""

    record: ScoresRecord | None
    users: UserScores | None
    why_none: str | None


def count_items(directory: Path) -> Counted:
    """Passes over every item of a published directory once."""
    tallies, draw = Tallies(), SampleDraw()
    for item in read_items(directory):
        tallies.add(item)
        draw.add(item)
    return Counted(tallies, draw.drawn())


def read_scored(directory: Path, manifest: Manifest, shown: Shown) -> Scored:
    """The scores of a published directory, if they are of it and as they were written."""
    problems = scores_problems(directory, manifest)
    if problems:
        return Scored(None, None, problems[0])
    try:
        record = read_scores(directory, manifest)
    except RunError as error:
        return Scored(None, None, str(error))
    if record is None:
        return Scored(
            None, None, "It was not scored: no reference is known, or scoring was left to a later call."
        )
    return Scored(record, read_user_scores(directory, frozenset(shown.items)), None)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A published directory as it was read; `plotly` is where its page finds plotly.min.js."""

    directory: Path
    manifest: Manifest
    summary: Mapping[str, Any]
    plotly: str


def make_page(inputs: Inputs, counted: Counted, timeline: Timeline | str) -> bytes:
    """The page as UTF-8; `timeline` is in one line why there is none where there is none."""
    known = timeline if isinstance(timeline, Timeline) else None
    scored = read_scored(inputs.directory, inputs.manifest, counted.shown)
    values = {
        **_figures(inputs, counted, scored),
        **_panels(inputs, counted, scored, known),
        "timeline": known,
        "no_timeline": timeline if isinstance(timeline, str) else None,
        "plotly": inputs.plotly,
        "data": _data(inputs, counted, scored, known),
        "samples": _samples(counted.shown, scored, known),
    }
    return render_page(TEMPLATE, facts.title_of(inputs.summary), values)


def _figures(inputs: Inputs, counted: Counted, scored: Scored) -> dict[str, Any]:
    """The head of the page."""
    manifest, summary = inputs.manifest, inputs.summary
    return {
        "manifest": manifest,
        "marks": facts.marks_of(manifest),
        "tiles": facts.tiles_of(summary, manifest, scored.record),
        "notes": summary.get("notes") or [],
        "num_shown": len(counted.shown.items),
        "types": sorted(counted.tallies.types),
        "finish_reasons": sorted(counted.tallies.finish_reasons),
    }


def _panels(inputs: Inputs, counted: Counted, scored: Scored, timeline: Timeline | None) -> dict[str, Any]:
    """What needs no script."""
    summary = inputs.summary
    return {
        "on_gpus": (summary.get("ledger") or {}).get("gpu_hours") is not None,
        "ledger_shares": panels.ledger_shares(summary),
        "queued": panels.queue_words(summary),
        "finish_shares": panels.finish_shares(counted.tallies.finish_reasons),
        "cuts": counted.tallies.cuts,
        "gpu_charts": panels.gpu_charts(None if timeline is None else timeline.gpu),
        "troubles": panels.trouble_rows(timeline),
        "scores": scored.record,
        "score_tables": panels.score_tables(scored.record),
        "no_scores": scored.why_none,
        "settings": panels.settings_groups(summary),
        "provenance": panels.provenance(summary, inputs.manifest),
        "commands": panels.commands(timeline),
    }


def _data(inputs: Inputs, counted: Counted, scored: Scored, timeline: Timeline | None) -> dict[str, Any]:
    """What the scripts draw."""
    prompt, tallies = inputs.summary.get("prompt") or {}, counted.tallies
    return {
        "language": prompt.get("language") or DEFAULT_LANGUAGE,
        "prompts_command": panels.prompts_command(inputs.manifest),
        "throughput": tallies.throughput(None if timeline is None else timeline.begin),
        **tallies.lengths(),
        "timeline": None if timeline is None else timeline.model_dump(mode="json", include=DRAWN),
        "users": None if scored.users is None else scored.users.as_json(),
    }


def _samples(shown: Shown, scored: Scored, timeline: Timeline | None) -> list[dict[str, Any]]:
    """The shown items, with references that came from a file and their own scores."""
    references = {} if timeline is None else timeline.references
    scores = {} if scored.users is None else scored.users.by_item
    items = []
    for key, item in shown.items.items():
        more: dict[str, Any] = {}
        if "reference" not in item and key in references:
            more["reference"] = references[key]
        if scores.get(key):
            more["scores"] = scores[key]
        items.append(item | more)
    return items
