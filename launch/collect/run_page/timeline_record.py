"""timeline.json: what a run page shows that only the run directory has, small enough to travel.

It lies in the published directory beside scores.json and, like it, comes after manifest.json, which does not
name it; it names the results it is of itself. With it `report` makes the page again from a copied directory.
Times are seconds since `begin`, by the file system's clock.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import orjson
from pydantic import Field, ValidationError

from launch.collect.manifest import GENERATIONS_FILE, TIMELINE_FILE, Manifest
from launch.config.schema import Section
from launch.errors import RunError
from launch.rundir.journal import read_whole, write_bytes


class Span(NamedTuple):
    """One phase of one slot: place of the phase in `phases`, slot, begin and end."""

    phase: int
    slot: int
    begin_s: float
    end_s: float


class AttemptSpans(Section):
    """One life of a task."""

    submission: int
    task: int
    attempt: int
    host: str | None
    num_gpus: int
    end: str = Field(description="ended, continued, failed, or killed: no ended.json.")
    reason: str | None = Field(description="As ended.json has it.")
    spans: tuple[Span, ...] = Field(strict=False)


class GpuSeries(Section):
    """Readings of all GPUs in bins of `bin_s` seconds; null where no GPU told one in a bin.

    A mean is over the GPUs that told the reading; `low` and `high` are the least and the most of any one
    GPU's mean in the bin.
    """

    begin_s: float
    bin_s: int
    devices: tuple[str, ...] = Field(strict=False)
    num_gpus: tuple[int, ...] = Field(strict=False, description="GPUs that told any of these in the bin.")
    num_utilization_gpus: tuple[int, ...] | None = Field(
        None,
        strict=False,
        description="Of those, the ones that told utilisation; null: of an earlier version.",
    )
    num_memory_gpus: tuple[int, ...] | None = Field(
        None, strict=False, description="Of those, the ones that told memory; null: of an earlier version."
    )
    utilization_mean: tuple[float | None, ...] = Field(strict=False, description="Per cent.")
    utilization_low: tuple[float | None, ...] = Field(strict=False)
    utilization_high: tuple[float | None, ...] = Field(strict=False)
    memory_mean_gib: tuple[float | None, ...] = Field(strict=False)
    memory_high_gib: tuple[float | None, ...] = Field(strict=False)


class Trouble(Section):
    """A failure, and what the task did about it."""

    at_s: float | None
    submission: int
    task: int
    attempt: int
    slot: int | None
    host: str | None
    failure_class: str
    message: str | None
    action: str | None = Field(description="A step in words; null where the attempt ended.")


class Timeline(Section):
    """timeline.json."""

    format: Literal["vllm-launch-timeline/1"] = "vllm-launch-timeline/1"
    run_id: str
    generations_sha256: str = Field(description="Of the generations.jsonl that it is of.")
    command: str = Field(
        description="What asks for the same again: submit with every setting of the identity."
    )
    begin: float | None = Field(description="Seconds since the epoch; null where no attempt has a time.")
    phases: tuple[str, ...] = Field(strict=False)
    num_tasks: int = Field(description="Tasks over all submissions.")
    num_attempts: int
    attempts: tuple[AttemptSpans, ...] = Field(strict=False)
    first_slots_only: bool = Field(description="Whether spans of other slots were left out, being too many.")
    gpu: GpuSeries | None
    no_gpu: str | None = Field(description="Why there is no GPU series.")
    num_troubles: int
    troubles_by_class: dict[str, int]
    troubles: tuple[Trouble, ...] = Field(strict=False)
    references: dict[str, str] = Field(
        description="By key, of items that the page shows: true continuations that came from a file."
    )


def write_timeline(directory: Path, timeline: Timeline) -> None:
    """Writes timeline.json into a published directory, whole or not at all."""
    data = orjson.dumps(timeline.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE)
    write_bytes(directory / TIMELINE_FILE, data)


def read_timeline(directory: Path, manifest: Manifest) -> Timeline:
    """The timeline of a published directory; RunError, in one line, where it has none that is of it."""
    path = directory / TIMELINE_FILE
    try:
        timeline = Timeline.model_validate_json(read_whole(path))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{TIMELINE_FILE} is not in this directory") from None
    except (ValidationError, IsADirectoryError):
        raise RunError(f"{TIMELINE_FILE} was changed after it was written, or is another version's") from None
    if timeline.generations_sha256 != manifest.files[GENERATIONS_FILE].sha256:
        raise RunError(f"{TIMELINE_FILE} is of other results than those published here")
    return timeline
