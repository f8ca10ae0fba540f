"""Result lines and commit lines, and what a kill left of them.

A result line holds only what its item determines, so the same item under the same settings gives the same
bytes on any task. A commit line follows the fsync of the lines it names: number, offset, length, crc32,
prompt tokens, output tokens, failed (0 or 1) of each, and the time. Recovery reads the commits, then the
whole lines in the tail behind them.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.rundir.attempts import EngineStart
from launch.rundir.journal import read_journal
from launch.rundir.layout import EnginePaths, RunPaths
from launch.rundir.plan import KeyIndex
from launch.scenarios.records import Generation, Sample


@dataclass(frozen=True, slots=True)
class Committed:
    """One settled item and where its line lies. `time` is None for a line recovered from a tail."""

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


def recover(run: RunPaths, start: EngineStart, keys: KeyIndex, settings: str) -> Iterator[Committed]:
    """The settled items of one engine start: as committed, then whole lines of this run behind that."""
    paths = start.paths(run)
    end = 0
    for line in read_journal(paths.commits):
        for row in line["items"]:
            number, offset, length, crc32, prompt_tokens, output_tokens, failed = row
            yield Committed(
                number, offset, length, crc32, prompt_tokens, output_tokens, bool(failed), line["time"]
            )
            end = max(end, row[1] + row[2])
    yield from _recover_tail(paths, end, keys, settings)


def _recover_tail(paths: EnginePaths, offset: int, keys: KeyIndex, settings: str) -> Iterator[Committed]:
    for line in _lines_from(paths.results, offset):
        row = _parse(line)
        found = keys.find(row["key"]) if row else None
        if row and found and row.get("digest") == found[1] and row.get("settings") == settings:
            tokens = sum(sample["tokens"] for sample in row.get("samples", ()))
            yield Committed(
                number=found[0],
                offset=offset,
                length=len(line),
                crc32=zlib.crc32(line),
                num_prompt_tokens=row["prompt_tokens"],
                num_output_tokens=tokens,
                failed="failure" in row,
                time=None,
            )
        offset += len(line)


def _lines_from(path: Path, offset: int) -> Iterator[bytes]:
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    with handle:
        handle.seek(offset)
        for line in handle:
            if line.endswith(b"\n"):
                yield line


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("key"), str):
        return None
    return row if ("samples" in row) != ("failure" in row) else None
