"""Result lines and commit lines, and what a kill left of them.

A result line holds only what its item determines, so the same item under the same settings gives the same
bytes on any task. A commit line follows the fsync of the lines it names: number, offset, length, crc32,
prompt tokens, output tokens, failed (0 or 1) of each, and the time. Recovery reads the commits, and whole
lines that none of them names.
"""

import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import orjson

from launch.rundir.attempts import EngineStart
from launch.rundir.journal import NUMBER, FieldTypes, has_fields, parse_object
from launch.rundir.layout import EnginePaths, RunPaths
from launch.rundir.plan import KeyIndex
from launch.rundir.storage_errors import NO_FILE
from launch.scenarios.records import Generation, Sample

COMMIT_FIELDS: FieldTypes = {"time": NUMBER, "items": list}
_FIELDS: FieldTypes = {
    "key": str,
    "digest": str,
    "seed": int,
    "prompt_tokens": int,
    "cuts": dict,
    "settings": str,
}
_SAMPLE_FIELDS: FieldTypes = {"text": str, "finish_reason": str, "tokens": int}
_FAILURE_FIELDS: FieldTypes = {"class": str, "message": str}


_ROW_TYPES = [int] * 7


class Committed(NamedTuple):
    """One settled item and where its line lies. `time` is None for a line recovered from a tail.

    A tuple: there is one for every item, and a frozen dataclass takes three times as long to make.
    """

    number: int
    offset: int
    length: int
    crc32: int
    num_prompt_tokens: int
    num_output_tokens: int
    failed: bool
    time: float | None

    def as_row(self) -> list[int]:
        """The form a commit line holds."""
        return [
            self.number,
            self.offset,
            self.length,
            self.crc32,
            self.num_prompt_tokens,
            self.num_output_tokens,
            int(self.failed),
        ]


def result_line(generation: Generation, settings: str) -> bytes:
    """The line of one settled item, with its newline; `settings` is the digest of what shapes output."""
    row: dict[str, Any] = {
        "key": generation.key,
        "digest": generation.digest,
        "seed": generation.seed,
        "prompt_tokens": generation.num_prompt_tokens,
        "cuts": generation.cuts.as_json(),
        "settings": settings,
    }
    if generation.failure is None:
        row["samples"] = [_sample(sample) for sample in generation.samples]
    else:
        row["failure"] = {
            "class": generation.failure.failure_class,
            "message": generation.failure.message,
        }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _sample(sample: Sample) -> dict[str, Any]:
    row = {"text": sample.text, "finish_reason": sample.finish_reason, "tokens": sample.num_tokens}
    if sample.reasoning is not None:
        row["reasoning"] = sample.reasoning
    return row


def commit_line(time: float, items: Sequence[Committed]) -> dict[str, Any]:
    """What a commit line holds."""
    return {"time": round(time, 3), "items": [item.as_row() for item in items]}


@dataclass(slots=True)
class Reached:
    """How far one engine start was read: bytes of its commits, and of its results as far as these name them.

    `early` are committed items whose lines the results file did not show yet.
    """

    commits: int = 0
    results: int = 0
    early: list[Committed] = field(default_factory=list)


def recover(
    run: RunPaths,
    start: EngineStart,
    keys: KeyIndex,
    settings: str,
    tails_until: float = math.inf,
    reached: Reached | None = None,
) -> Iterator[Committed]:
    """The settled items of one engine start: as committed, and whole lines of this run that no commit names.

    Lines without a commit are the tail behind the last one, and what a commit line stood for that is damaged.
    A row that is none of ours, or that names bytes which the file does not hold, settles nothing. The tail of
    a file written to after `tails_until` (the file system's time) is left out: it is being committed.

    With `reached` only what came since, and the tail; it is as far as this went when all has been taken.
    """
    paths = start.paths(run)
    reached = Reached() if reached is None else reached
    try:
        handle = paths.results.open("rb")  # opened before its size is read: NFS looks again then
    except (FileNotFoundError, IsADirectoryError):
        return
    with handle:
        size = _size(handle)
        before, reached.early = reached.early, []
        for item in chain(before, _read_on(paths, keys.num_items, reached)):
            behind = item.offset + item.length
            if behind > size:
                size = _size(handle)  # committed a moment ago
            if behind > size:
                reached.early.append(item)
                continue
            if item.offset > reached.results:
                yield from _recover_lines(handle, reached.results, item.offset, keys, settings)
            yield item
            reached.results = max(reached.results, behind)
        if reached.results < size and os.fstat(handle.fileno()).st_mtime <= tails_until:
            yield from _recover_lines(handle, reached.results, size, keys, settings)


def _size(handle: BinaryIO) -> int:
    return os.fstat(handle.fileno()).st_size


def read_commits(paths: EnginePaths, num_items: int) -> Iterator[Committed]:
    """What one engine start of a run of `num_items` committed, in order."""
    return _read_on(paths, num_items, Reached())


def _read_on(paths: EnginePaths, num_items: int, reached: Reached) -> Iterator[Committed]:
    """What was committed since, by the lines that `journal.read_journal` would give."""
    try:
        handle = paths.commits.open("rb")
    except NO_FILE:
        return
    with handle:
        handle.seek(reached.commits)
        for line in handle:
            if not line.endswith(b"\n"):
                return
            reached.commits += len(line)
            row = parse_object(line)
            if row is not None and has_fields(row, COMMIT_FIELDS):
                yield from (item for item in committed_items(row) if item.number < num_items)


def committed_items(line: Mapping[str, Any]) -> Iterator[Committed]:
    """The items of a commit line; a row that is none of ours is passed over."""
    for row in line["items"]:
        if _is_row(row):
            number, offset, length, crc32, prompt_tokens, output_tokens, failed = row
            yield Committed(
                number, offset, length, crc32, prompt_tokens, output_tokens, bool(failed), line["time"]
            )


def _is_row(row: Any) -> bool:
    """Whether it is the row of an item with a line of its own, and numbers that can be."""
    if not isinstance(row, list) or list(map(type, row)) != _ROW_TYPES or min(row) < 0:
        return False
    return bool(row[2] > 0 and row[3] < 1 << 32 and row[6] < 2)


def _recover_lines(
    handle: BinaryIO, offset: int, end: int, keys: KeyIndex, settings: str
) -> Iterator[Committed]:
    """The whole lines of this run from `offset` on that end by `end`."""
    for line in _lines_between(handle, offset, end):
        row = parse_line(line)
        found = keys.find(row["key"]) if row else None
        if row and found and row["digest"] == found[1] and row["settings"] == settings:
            yield Committed(
                number=found[0],
                offset=offset,
                length=len(line),
                crc32=zlib.crc32(line),
                num_prompt_tokens=row["prompt_tokens"],
                num_output_tokens=sum(sample["tokens"] for sample in row.get("samples", ())),
                failed="failure" in row,
                time=None,
            )
        offset += len(line)


def _lines_between(handle: BinaryIO, offset: int, end: int) -> Iterator[bytes]:
    if offset >= end:
        return
    handle.seek(offset)
    for line in handle:
        offset += len(line)
        if offset > end or not line.endswith(b"\n"):
            return
        yield line


def parse_line(line: bytes) -> dict[str, Any] | None:
    """A result line as an object; None for what is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if is_result(row) else None


def is_result(row: Any) -> bool:
    """Whether a value has the form of a result line: samples or a failure, and every field of its type."""
    if not isinstance(row, dict) or not has_fields(row, _FIELDS) or ("samples" in row) == ("failure" in row):
        return False
    if "failure" in row:
        return isinstance(row["failure"], dict) and has_fields(row["failure"], _FAILURE_FIELDS)
    if not isinstance(row["samples"], list):
        return False
    for sample in row["samples"]:
        if not isinstance(sample, dict) or not has_fields(sample, _SAMPLE_FIELDS):
            return False
    return True
