"""scores.json and item_scores.jsonl, which lie in a published directory beside what manifest.json names.

They are made after publication and may be made again, with other references say, so the manifest does not
know them. scores.json says itself of which results it is (digests of generations.jsonl and
test_leaderboard.json), what item_scores.jsonl holds, and its own digest. It has no time, host or path: the
same results and references give the same bytes, over any number of processes.
"""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import Field, ValidationError

import launch
from launch.collect.digested_file import DigestedFile
from launch.collect.manifest import (
    GENERATIONS_FILE,
    ITEM_SCORES_FILE,
    LEADERBOARD_FILE,
    SCORES_FILE,
    SCORES_SCRATCH,
    FileDigest,
    Manifest,
    read_published,
)
from launch.config.schema import AsLanguage, Section
from launch.errors import RunError
from launch.rundir.durable import fsync_directory
from launch.rundir.journal import read_whole, write_json
from launch.rundir.records import Subset
from launch.rundir.storage_errors import NO_FILE, storage_errors

FORMAT = "vllm-launch-scores/1"
LEFTOVER_S = 86_400.0


class Score(Section):
    """A score over the items of a type, with its 95 % interval; the interval is null where none is known."""

    value: float
    low: float | None
    high: float | None
    num_items: int
    oracle: bool = Field(description="Whether the best of n samples was taken, chosen by the reference.")


class TypeScores(Section):
    """The scores of one item type."""

    num_users: int
    num_items: int = Field(description="Items with samples.")
    num_references: int = Field(description="Of those, items with a reference.")
    num_unusable_references: int = Field(description="References of ratings that are no number.")
    answer_kinds: dict[str, int] = Field(description="Of ratings and questionnaires, what references are.")
    scale: tuple[float, float] | None = Field(strict=False, description="Numbers outside are unparsed.")
    scores: dict[str, Score]


class ReferencesUsed(Section):
    """Where references came from: the scenario's own field, or a file."""

    source: Literal["scenario", "file"]
    sha256: str | None = Field(description="Of the file.")
    num_items: int
    num_unplaced_users: int


class IntervalMethod(Section):
    """How intervals were made."""

    method: str
    num_resamples: int
    confidence: float
    seed: int


class ScoresRecord(Section):
    """scores.json."""

    format: Literal["vllm-launch-scores/1"] = "vllm-launch-scores/1"
    version: str = Field(default=launch.__version__, description="Of the vllm-launch that scored.")
    results: dict[str, str] = Field(description="sha256 of the published files that were scored.")
    engine: str
    stub: bool
    subset: Subset | None
    complete: bool
    num_users: int
    num_items: int
    num_done: int
    num_failed: int
    num_missing: int
    language: AsLanguage
    num_samples_per_item: int
    references: ReferencesUsed | None
    types: dict[str, TypeScores]
    signatures: dict[str, str]
    intervals: IntervalMethod
    notes: tuple[str, ...] = Field(strict=False)
    item_scores: FileDigest = Field(description="Of item_scores.jsonl.")


def results_of(manifest: Manifest) -> dict[str, str]:
    """The digests by which scores name the results they are of."""
    return {name: manifest.files[name].sha256 for name in (GENERATIONS_FILE, LEADERBOARD_FILE)}


def as_json(record: ScoresRecord) -> dict[str, Any]:
    """As scores.json holds it, its own digest last."""
    value = record.model_dump(mode="json")
    return {**value, "digest": _digest(value)}


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


@contextmanager
def item_scores(directory: Path) -> Iterator[DigestedFile]:
    """A scratch file in a published directory for the lines of items, until `put_in_place` or `discard`."""
    scratch = _scratch(directory)
    with DigestedFile(scratch) as file:
        _remove_old(directory, scratch)
        yield file


def put_in_place(directory: Path, record: ScoresRecord) -> None:
    """Publishes the lines that `item_scores` wrote, and then scores.json.

    RunError when the directory was published again meanwhile: nothing is written then.
    """
    scratch = _scratch(directory)
    manifest = read_published(directory)
    if manifest is None or results_of(manifest) != record.results or not scratch.exists():
        raise RunError(
            f"{directory}: was published again while it was scored. Score it once more: `vllm-launch score"
            f" {directory}`."
        )
    with storage_errors(directory):
        os.replace(scratch, directory / ITEM_SCORES_FILE)
        fsync_directory(directory)
    write_json(directory / SCORES_FILE, as_json(record))


def discard(directory: Path) -> None:
    """Removes what `item_scores` wrote, where it was not put in place."""
    with suppress(OSError):
        _scratch(directory).unlink()


def _scratch(directory: Path) -> Path:
    return directory / f"{SCORES_SCRATCH}{socket.gethostname()}.{os.getpid()}"


def _remove_old(directory: Path, scratch: Path) -> None:
    """Another process may be scoring the same directory; what is a day old is nobody's."""
    now = scratch.stat().st_mtime
    for leftover in directory.glob(f"{SCORES_SCRATCH}*"):
        with suppress(OSError):
            if now - leftover.stat().st_mtime > LEFTOVER_S:
                leftover.unlink()


def read_scores(directory: Path, manifest: Manifest) -> ScoresRecord | None:
    """The scores of a published directory; None when it has none, or only those of earlier results.

    RunError when scores.json is not as it was written.
    """
    record = _read(directory / SCORES_FILE)
    return record if record is not None and record.results == results_of(manifest) else None


def scores_problems(directory: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the scores of a published directory, in sentences; nothing where it has none."""
    again = "Make them anew with `vllm-launch score`, or remove both files."
    try:
        record = _read(directory / SCORES_FILE)
    except RunError as error:
        return [str(error)]
    lines = directory / ITEM_SCORES_FILE
    if record is None:
        return [f"{ITEM_SCORES_FILE}: there is no {SCORES_FILE} to it. {again}"] if lines.exists() else []
    if record.results != results_of(manifest):
        return [f"{SCORES_FILE}: is of other results than those published here. {again}"]
    try:
        with lines.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
    except NO_FILE:
        return [f"{ITEM_SCORES_FILE}: is missing. {again}"]
    is_same = found == record.item_scores.sha256
    return (
        [] if is_same else [f"{ITEM_SCORES_FILE}: has other bytes than {SCORES_FILE} says (sha256). {again}"]
    )


def _read(path: Path) -> ScoresRecord | None:
    try:
        value = orjson.loads(read_whole(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (orjson.JSONDecodeError, IsADirectoryError):
        value = None
    digest = value.pop("digest", None) if isinstance(value, dict) else None
    try:
        if digest is not None and digest == _digest(value):
            return ScoresRecord.model_validate(value)
    except ValidationError:
        pass
    raise RunError(
        f"{path}: was changed after it was written, or is another version's. Make it anew with `vllm-launch"
        " score`, or remove it."
    )
