"""A published directory as it is read again: proved against its manifest, then item by item by key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from launch.collect.manifest import GENERATIONS_FILE, SUMMARY_FILE, Manifest, read_published
from launch.collect.replaced import changed_meanwhile, replacement_errors
from launch.collect.verify import PublishedReport, verify_published
from launch.errors import RunError
from launch.rundir.journal import parse_object
from launch.rundir.layout import RunPaths

_NEEDED = ("model", "prompt", "sampling_params", "num_samples_per_item", "submissions", "engines", "versions")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an item's line is in generations.jsonl, and whether it holds samples or a failure."""

    offset: int
    length: int
    digest: str
    has_samples: bool


@dataclass(frozen=True, slots=True)
class Result:
    """An item as published; `texts` are its samples in order, raw as generated."""

    key: str
    num_prompt_tokens: int
    cuts: dict[str, int]
    texts: tuple[str, ...]
    num_tokens: tuple[int, ...]
    finish_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A directory, its manifest and summary, and its items in item order; missing ones have no entry."""

    path: Path
    manifest: Manifest
    summary: dict[str, Any]
    entries: dict[str, Entry]

    @contextmanager
    def reader(self) -> Iterator["ResultReader"]:
        """Reads items by key while the context is open."""
        with open_results(self.path, self.entries) as results:
            yield results


@contextmanager
def open_results(directory: Path, entries: dict[str, Entry]) -> Iterator["ResultReader"]:
    """A published directory's items of these entries, read by key while the context is open.

    RunError when the file is gone, as after it was published anew.
    """
    path = directory / GENERATIONS_FILE
    with replacement_errors(path):
        handle = path.open("rb")
    with handle:
        yield ResultReader(path, handle, entries)


class ResultReader:
    """Reads items of one directory; only the one asked for is in memory."""

    def __init__(self, path: Path, handle: BinaryIO, entries: dict[str, Entry]) -> None:
        self._path = path
        self._handle = handle
        self._entries = entries

    def read(self, key: str) -> Result:
        """The item of a key that has samples; RunError when another is there since its entry was made."""
        entry = self._entries[key]
        with replacement_errors(self._path):
            self._handle.seek(entry.offset)
            row = parse_object(self._handle.read(entry.length)) or {}
        found = (row.get("key"), row.get("digest"), "samples" in row)
        if found != (key, entry.digest, entry.has_samples):
            raise changed_meanwhile(self._path)
        samples = row["samples"]
        return Result(
            key,
            row["prompt_tokens"],
            row["cuts"],
            tuple(sample["text"] for sample in samples),
            tuple(sample["tokens"] for sample in samples),
            tuple(sample["finish_reason"] for sample in samples),
        )


def user_of(key: str) -> str:
    """The user_hash of an item key."""
    return key.rpartition("#")[0]


def open_published(path: Path, report: PublishedReport | None = None) -> Published:
    """The directory with every file proved; RunError when it was never published or was changed since.

    `report` is that of whoever has written or proved every file just now: they are not read for that again.
    All is of one publication: RunError when it is replaced meanwhile. Memory: about 250 bytes an item.
    """
    if RunPaths(path).run_yaml.is_file():
        raise RunError(
            f"{path}: is a run, not what was published of it. Give the directory that `vllm-launch status"
            f" {path}` names."
        )
    report = report or verify_published(path)
    if not report.is_whole:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise RunError(
            f"{path}: {report.problems[0]}{more}; it was changed after publishing. Publish it again with"
            " `vllm-launch merge RUN`."
        )
    with replacement_errors(path):
        summary = _read_summary(path / SUMMARY_FILE)
        entries = _read_entries(path / GENERATIONS_FILE)
        if read_published(path) != report.manifest:
            raise changed_meanwhile(path)
    return Published(path, report.manifest, summary, entries)


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        value: Any = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        value = None
    lacking = [name for name in _NEEDED if not isinstance(value, dict) or name not in value]
    if lacking:
        raise RunError(
            f"{path}: no {lacking[0]} in it; it is no summary of this version of vllm-launch. Publish it"
            " again with `vllm-launch merge RUN`."
        )
    summary: dict[str, Any] = value
    return summary


def _read_entries(path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    offset = 0
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                row = orjson.loads(line)
                if row.get("missing"):
                    offset += len(line)
                    continue
                key, entry = row["key"], Entry(offset, len(line), row["digest"], "samples" in row)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise RunError(
                    f"{path}:{number}: no result line. Publish it again with `vllm-launch merge RUN`."
                ) from None
            if key in entries:
                raise RunError(
                    f"{path}:{number}: a second line for {key!r}. Publish it again with `vllm-launch merge"
                    " RUN`."
                )
            entries[key] = entry
            offset += len(line)
    return entries
