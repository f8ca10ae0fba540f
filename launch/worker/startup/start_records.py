"""What warm starts took, kept beside the caches they found: submit forecasts later ones by it.

Each engine that found its caches compiled leaves one small file in the folder of its `graphs` layer, whose
key says for what model, settings, software and GPU it holds. Files have one of a few names, each replaced
whole, so that their number is bounded however many engines write at once. They are never packed
(cache_tree.py), and what is no such record of this user's is passed over.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from launch.errors import StorageError
from launch.planning.rates import EarlierStarts
from launch.rundir.journal import NUMBER, read_json, write_json
from launch.worker.startup.cache_tree import MARK_PREFIX, CacheRefusedError, refuse_others

FORMAT = 1
WARM_STATES = ("warm", "seeded", "after_another")
"""What NodeCaches.state is where nothing was left to compile."""
MAX_RECORDS = 16
LONGEST_S = 24 * 3600.0
"""No start takes longer; engine.start_timeout_s ends it far earlier."""
_PREFIX = f"{MARK_PREFIX}-start-"
_NAMES = tuple(f"{_PREFIX}{number}" for number in range(MAX_RECORDS))
_LEFT_OVER_S = 3600.0
"""A file that was begun so long before another was whole has no writer any more."""


def leave_start(folder: Path, state: str, start_s: float) -> None:
    """Keeps what a start took, in seconds; nothing for one that was not warm by its `state`.

    A free name is taken, else any. StorageError or OSError when it cannot be written.
    """
    if state not in WARM_STATES:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.listdir(folder)
    path = folder / secrets.choice([name for name in _NAMES if name not in found] or _NAMES)
    write_json(path, {"format": FORMAT, "state": state, "start_s": round(start_s, 3)})
    for name in found:
        if name.startswith(f".{_PREFIX}"):
            _remove_left_over(folder / name, path)


def earlier_starts(folders: Iterable[Path]) -> EarlierStarts | None:
    """What warm starts took by the records of these folders, in no order; None where there is none."""
    seconds = tuple(start_s for folder in folders for start_s in read_starts(folder))
    return EarlierStarts(seconds) if seconds else None


def read_starts(folder: Path) -> list[float]:
    """The seconds of a folder's records, in no order; nothing of a folder that is foreign or not there."""
    try:
        refuse_others(folder)
    except CacheRefusedError:
        return []
    found = (_read(folder / name) for name in _NAMES)
    return [start_s for start_s in found if start_s is not None]


def _read(path: Path) -> float | None:
    try:
        refuse_others(path)
        value = read_json(path)
    except (OSError, StorageError):
        return None
    if value is None or value.get("format") != FORMAT or value.get("state") not in WARM_STATES:
        return None
    start_s = value.get("start_s")
    if not isinstance(start_s, NUMBER) or isinstance(start_s, bool):
        return None
    return float(start_s) if 0 < start_s <= LONGEST_S else None


def _remove_left_over(partial: Path, whole: Path) -> None:
    """What a killed writer left, by the file system's clock."""
    try:
        if partial.stat().st_mtime < whole.stat().st_mtime - _LEFT_OVER_S:
            partial.unlink()
    except FileNotFoundError:  # its writer is done, or another has removed it
        return
