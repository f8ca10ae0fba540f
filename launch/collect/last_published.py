"""What a run remembers of its publication: a directory that is gone is not one that never was."""

import contextlib
import os
from pathlib import Path

from launch.errors import StorageError
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths


def note_published(run: RunPaths, output_dir: Path) -> None:
    """Notes where a run was published; no room for that is no reason to fail, the results are in place."""
    with contextlib.suppress(StorageError):
        write_json(run.published, {"place": _place(run, output_dir)})


def was_published(run: RunPaths, output_dir: Path) -> bool:
    """Whether the run is known to have been published there, also where both were moved together."""
    return (read_json(run.published) or {}).get("place") == _place(run, output_dir)


def _place(run: RunPaths, output_dir: Path) -> str:
    return os.path.relpath(output_dir, os.path.realpath(run.root))
