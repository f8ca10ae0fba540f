"""Ways to damage a run directory, and a run to damage."""

import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from launch.rundir.layout import EnginePaths, RunPaths
from tests.worker.build_run import build_run
from tests.worker.tasks import run_task

COMMANDS = ("status", "merge", "verify", "resume", "cancel", "clean", "task")
NUM_ITEMS = 12
ZEROS = bytes(4096)
"""What a power cut leaves of a file whose size was written and whose blocks were not (ext4, XFS)."""


@dataclass(frozen=True)
class Damage:
    """Something done to a run, and what is said of it by whom, if anybody refuses to work with it."""

    name: str
    do: Callable[[RunPaths], object]
    said: str = ""
    by: tuple[str, ...] = ()
    again: int = 0
    """Settled items that it loses: they are generated again."""


def half_done(root: Path) -> RunPaths:
    """A run of 12 items whose only task failed in the middle and said so: some chunks done, one begun."""
    run = build_run(root, num_users=4, items_per_user=3)
    code, errors = run_task(run, VLLM_LAUNCH_STUB_FAIL="step:7")
    assert code == 1, errors
    return run


def copy_of(run: RunPaths, root: Path) -> RunPaths:
    """The same run below `root`, published below `root`; checkpoint and scenario stay where they are."""
    copy = RunPaths(root / "runs" / "run")
    shutil.copytree(run.root, copy.root)
    return copy


def everything(directory: Path) -> dict[str, bytes]:
    """Every file below a directory with its bytes."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def sent(run: RunPaths) -> Path:
    """submission.yaml of the first submission."""
    return run.submission(1).submission_yaml


def chunks(run: RunPaths) -> Path:
    """Its chunks.jsonl."""
    return run.submission(1).chunks


def engine(run: RunPaths) -> EnginePaths:
    """The first engine start."""
    return run.attempt(1, 0, 0).engine(0, 0)


def edit_yaml(path: Path, **values: Any) -> None:
    """Sets values of a YAML file by dotted key, `__` for the dot."""
    record = yaml.safe_load(path.read_text())
    for name, value in values.items():
        *above, last = name.split("__")
        target = record
        for key in above:
            target = target[key]
        target[last] = value
    path.write_text(yaml.safe_dump(record, sort_keys=False))


def drop_key(path: Path, name: str) -> None:
    """Removes a key of a YAML file."""
    record = yaml.safe_load(path.read_text())
    del record[name]
    path.write_text(yaml.safe_dump(record, sort_keys=False))


def edit_json(path: Path, **values: Any) -> None:
    """Sets values of a JSON file."""
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **values}))


def swap(path: Path, old: bytes, new: bytes) -> None:
    """Replaces the first of some bytes that must be there."""
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def lines(path: Path) -> list[bytes]:
    """The lines of a file, each with its end."""
    return path.read_bytes().splitlines(keepends=True)


def keep(path: Path, part: slice) -> None:
    """Keeps some lines of a file."""
    path.write_bytes(b"".join(lines(path)[part]))


def append(path: Path, data: bytes) -> None:
    """Adds bytes behind all others."""
    with path.open("ab") as handle:
        handle.write(data)


def edit_row(run: RunPaths, place: int, value: object) -> None:
    """Changes a number in the first row of the first commit line: of the item that was settled first."""
    path = engine(run).commits
    first, *rest = lines(path)
    line = orjson.loads(first)
    line["items"][0][place] = value
    path.write_bytes(b"".join([orjson.dumps(line), b"\n", *rest]))


def become_directory(path: Path) -> None:
    """A directory in the place of a file."""
    path.unlink()
    path.mkdir()


def copy_attempt(run: RunPaths, name: str) -> EnginePaths:
    """Copies the first attempt's directory beside it; its engine start there."""
    attempt = run.attempt(1, 0, 0).root
    copy = attempt.with_name(name)
    shutil.copytree(attempt, copy)
    return EnginePaths(copy, 0, 0)


def bring_foreign_results(run: RunPaths) -> None:
    """Results of the same items under other settings, whole and committed, in an attempt of their own."""
    paths = copy_attempt(run, "5")
    changed = [
        line.replace(orjson.loads(line)["settings"].encode(), b"0" * 16) for line in lines(paths.results)
    ]
    paths.results.write_bytes(b"".join(changed))
    commits = [orjson.loads(line) for line in lines(paths.commits)]
    rows = [row for line in commits for row in line["items"]]
    for row, line in zip(rows, changed, strict=True):
        row[3] = zlib.crc32(line)
    paths.commits.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in commits))


def put(directory: Path, **texts: str) -> None:
    """Files of any name: `_` stands for the dot, and a leading `n` for nothing."""
    for name, text in texts.items():
        (directory / name.removeprefix("n").replace("_", ".")).write_text(text)


def cut(path: Path, size: int) -> None:
    """Cuts a file."""
    os.truncate(path, size)
