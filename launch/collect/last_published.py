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
        write_json(run.published, {"place": _place(run, output_dir), "path": str(output_dir)})


def was_published(run: RunPaths, output_dir: Path) -> bool:
    """Whether the run is known to have been published there, also where it was moved since."""
    return output_dir in _noted(run)


def published_elsewhere(run: RunPaths, output_dir: Path) -> Path | None:
    """Where the run was published last, if that is another place; None where it is not known to have been."""
    noted = _noted(run)
    if not noted or output_dir in noted:
        return None
    return next((place for place in noted if place.is_dir()), noted[0])


def _noted(run: RunPaths) -> list[Path]:
    """The place by its own path, and by the way there from the run, which holds where both were moved."""
    note = read_json(run.published) or {}
    place, path = note.get("place"), note.get("path")
    found = [Path(path)] if isinstance(path, str) else []
    if isinstance(place, str):
        found.append(Path(os.path.normpath(os.path.join(os.path.realpath(run.root), place))))
    return found


def _place(run: RunPaths, output_dir: Path) -> str:
    return os.path.relpath(output_dir, os.path.realpath(run.root))
