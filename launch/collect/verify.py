"""The checks of result lines and of published directories; each says in words what is wrong, or nothing."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from launch.collect.beside import look_beside
from launch.collect.buckets import Line
from launch.collect.digested_file import difference
from launch.collect.manifest import (
    GENERATIONS_FILE,
    LEADERBOARD_FILE,
    MANIFEST,
    PROVENANCE_FILE,
    SUMMARY_FILE,
    Manifest,
    read_published,
)
from launch.collect.replaced import changed_meanwhile, replacement_errors
from launch.config.wording import printable
from launch.errors import RunError
from launch.rundir.identity import settings_digest
from launch.rundir.records import RunRecord
from launch.rundir.results import is_result
from launch.scenarios.records import item_seed

FINISHED = ("stop", "length")
ALWAYS = {GENERATIONS_FILE, LEADERBOARD_FILE, PROVENANCE_FILE, SUMMARY_FILE}


@dataclass(frozen=True, slots=True)
class LineCheck:
    """What every result line of a run must agree with."""

    settings: str
    run_seed: int
    num_samples: int

    def check(self, line: Line, key: str, digest: str) -> dict[str, Any] | str:
        """The parsed line of the item with this key and digest, or what is wrong with it."""
        if zlib.crc32(line.data) != line.crc32:
            return "its bytes are not those that were committed (crc32)"
        try:
            row = orjson.loads(line.data)
        except orjson.JSONDecodeError:
            return "it is no JSON"
        wrong = None if self._is_usual(row, key, digest) else self._wrong(row, key, digest)
        return wrong or row

    def _is_usual(self, row: Any, key: str, digest: str) -> bool:
        """Whether it is a done item's line that stands every check of `_wrong`, looked at in one go.

        False says nothing: `_wrong` decides. Five samples take it a third of the time.
        """
        try:
            for sample in row["samples"]:
                if sample["finish_reason"] not in FINISHED:
                    return False
                if type(sample["text"]) is not str or type(sample["tokens"]) is not int:
                    return False
            return (
                row["key"] == key
                and row["digest"] == digest
                and row["settings"] == self.settings
                and type(row["seed"]) is int
                and row["seed"] == item_seed(self.run_seed, key)
                and type(row["prompt_tokens"]) is int
                and type(row["cuts"]) is dict
                and type(row["samples"]) is list
                and len(row["samples"]) == self.num_samples
                and "failure" not in row
            )
        except (KeyError, TypeError):
            return False

    def _wrong(self, row: Any, key: str, digest: str) -> str | None:
        if not isinstance(row, dict) or ("samples" in row) == ("failure" in row):
            return "it is no result"
        expected = (("key", key), ("digest", digest), ("settings", self.settings))
        for name, value in (*expected, ("seed", item_seed(self.run_seed, key))):
            if row.get(name) != value:
                return f"its {name} is another item's or another run's"
        if "samples" in row and (wrong := self._wrong_samples(row["samples"])):
            return wrong
        return None if is_result(row) else "a field of it is missing or of another type"

    def _wrong_samples(self, samples: Any) -> str | None:
        count = len(samples) if isinstance(samples, list) else 0
        if count != self.num_samples:
            return f"it has {count} samples, not {self.num_samples}"
        for sample in samples:
            finished = isinstance(sample, dict) and sample.get("finish_reason") in FINISHED
            if not finished or not isinstance(sample.get("text"), str):
                return "a sample did not end by stop or length"
        return None


def line_check(run: RunRecord) -> LineCheck:
    """The check of the lines of a run."""
    return LineCheck(settings_digest(run), run.sampling.seed, run.sampling.samples_per_item)


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """What `verify_published` found: the manifest, and a sentence for every file that differs from it.

    `num_unpacked` files in users/ are members of users.zip as published, which are no difference.
    """

    output_dir: Path
    manifest: Manifest
    problems: tuple[str, ...]
    num_unpacked: int

    @property
    def is_whole(self) -> bool:
        """Whether every file is as it was published."""
        return not self.problems


def verify_published(output_dir: Path) -> PublishedReport:
    """Reads every file of a published directory and compares it with manifest.json.

    RunError when the directory holds no manifest of ours, or is replaced meanwhile.
    """
    with replacement_errors(output_dir):
        report = _report(output_dir)
        if not report.is_whole and read_published(output_dir) != report.manifest:
            raise changed_meanwhile(output_dir)
    return report


def _report(output_dir: Path) -> PublishedReport:
    manifest = read_published(output_dir)
    if manifest is None:
        raise RunError(
            f"{output_dir}: no {MANIFEST} of vllm-launch here. Give a published directory or a run."
        )
    problems = []
    for name, expected in manifest.files.items():
        if problem := difference(output_dir / name, expected):
            problems.append(f"{printable(name)}: {problem}")
    for name in sorted(ALWAYS - set(manifest.files)):
        problems.append(f"{name}: is not in {MANIFEST}, where it always stands")
    beside = look_beside(output_dir, manifest)
    for name in beside.foreign:
        if name not in ALWAYS:
            problems.append(f"{printable(name)}: is not in {MANIFEST}")
    return PublishedReport(output_dir, manifest, tuple(problems), beside.num_unpacked)
