"""What is published in a folder: an entry for each directory, or a line that says why it is left out.

One bad directory never hides the others.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.collect.leaderboard.reading import read_entry
from launch.collect.leaderboard.record import INDEX, LEADERBOARD, TABLE, Entry, LeftOut
from launch.collect.manifest import MANIFEST, PLOTLY_FILE, RUN_PAGE_FILE, SCORES_FILE, SUMMARY_FILE
from launch.config.wording import printable
from launch.errors import LaunchError
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths

READ = (MANIFEST, SUMMARY_FILE, SCORES_FILE, RUN_PAGE_FILE)
OURS = {INDEX, LEADERBOARD, TABLE, PLOTLY_FILE}


@dataclass(frozen=True, slots=True)
class Found:
    """Entries in order of their directories, and what was left out."""

    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]


def directories_in(folder: Path) -> list[Path]:
    """What may be published directories, in order of name: no hidden ones, no runs, none being published."""
    found = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    return [each for each in found if not _is_of_another_kind(each)]


def _is_of_another_kind(directory: Path) -> bool:
    try:
        passing = _passing(directory)
        if passing is None:
            return RunPaths(directory).run_yaml.is_file()
    except OSError:  # it may not be looked into: `_read` says so
        return False
    # An old directory whose new one never came is all that there is of the run: it is named.
    name, kind = passing
    return kind == "partial" or (directory.parent / name).exists()


def _passing(directory: Path) -> tuple[str, str] | None:
    """Name and kind of a directory that is there while a run is being published; None for any other.

    A run may have a name of that form.
    """
    run_id = (read_json(directory / MANIFEST) or {}).get("run_id")
    return _name_and_kind(directory.name, run_id if isinstance(run_id, str) else None)


def _name_and_kind(name: str, run_id: str | None) -> tuple[str, str] | None:
    """What a name of collect/publish.py says, of any run or of this one; None for another name."""
    end = "[^/]+" if run_id is None else re.escape(run_id)
    found = re.fullmatch(rf"(?s)(?P<name>.+)\.(?P<kind>partial|old)[0-9]*-{end}", name)
    return None if found is None else (found["name"], found["kind"])


def read_directories(directories: Iterable[Path], folder: Path) -> Found:
    """The entries of directories in the leaderboard of `folder`; the same results count once."""
    entries: list[Entry] = []
    left_out: list[LeftOut] = []
    seen: dict[tuple[str, str], str] = {}
    for directory in directories:
        name = printable(Path(os.path.relpath(directory, folder)).as_posix())
        entry = _read(directory, folder)
        if isinstance(entry, str):
            left_out.append(LeftOut(directory=name, why=entry))
            continue
        first = seen.setdefault((entry.run_id, entry.results_digest), name)
        if first != name:
            left_out.append(
                LeftOut(directory=name, why=f"holds the same results of the same run as {first}.")
            )
            continue
        entries.append(entry)
    return Found(tuple(entries), tuple(left_out))


def _read(directory: Path, folder: Path) -> Entry | str:
    try:
        if _passing(directory):
            return "is what a publication left that was cut off. Complete it with `vllm-launch merge RUN`."
        str(directory).encode()
        entry = read_entry(directory, folder)
    except UnicodeEncodeError:
        return "its path is no UTF-8, which a page could not link to. Rename it."
    except LaunchError as error:
        return printable(str(error))
    except OSError as error:
        return f"cannot be read: {error.strerror}."
    return f"no {MANIFEST} of vllm-launch here." if entry is None else entry


def signs_of(directories: Sequence[Path]) -> list[tuple[str, int, int, int]]:
    """What changes when a directory is published, scored or removed; nothing is opened."""
    signs = []
    for directory in directories:
        for name in READ:
            try:
                found = (directory / name).stat()
            except OSError:
                continue
            signs.append((str(directory / name), found.st_mtime_ns, found.st_size, found.st_ino))
    return signs


def holds_only_ours(folder: Path) -> bool:
    """Whether a folder is for published directories: a leaderboard of ours is in it, or nothing of others.

    Runs and published directories are ours, and so is what is on its way to be. What may not be looked into,
    such as lost+found, is of others.
    """
    try:
        if (folder / LEADERBOARD).is_file():
            return True
        others = [each for each in folder.iterdir() if each.name not in OURS]
        return all(_is_ours(each) for each in others if not each.name.startswith("."))
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    known = (path / MANIFEST, RunPaths(path).run_yaml)
    return _name_and_kind(path.name, None) is not None or any(each.is_file() for each in known)
