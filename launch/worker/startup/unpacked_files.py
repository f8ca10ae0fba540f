"""What an unpacked environment has to hold: its files, noted when it was filled, looked for when it is used.

What cleans a node's scratch removes files one by one, and a Python that lacks one may die without a word.
Only losses count: what is added is nobody's harm, and compiled modules come, go and are written anew by
whoever runs the environment, so that `__pycache__` is not looked at.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from launch.rundir.journal import read_json, write_json
from launch.worker.startup.cache_tree import MARK_PREFIX

NOTE = f"{MARK_PREFIX}-files"
"""In the tree itself: it is filled, synced, renamed and removed with what it speaks of."""
_COMPILED = "__pycache__"


def note_files(tree: Path) -> None:
    """Writes down what a tree has just now; OSError or StorageError when that cannot be."""
    write_json(tree / NOTE, dict(_sizes(tree)))


def has_noted_files(tree: Path) -> bool:
    """Whether all that was noted is there, each of its size; False without a note.

    One walk of lstat(2), a link counting as itself: 0.2 s for 47,100 files. OSError when a directory cannot
    be read.
    """
    noted = read_json(tree / NOTE)
    if noted is None:
        return False
    try:
        return noted.items() <= dict(_sizes(tree)).items()
    except FileNotFoundError:  # removed while it was looked at
        return False


def _sizes(tree: Path) -> Iterator[tuple[str, int]]:
    """Bytes by path relative to `tree`, of all but directories and compiled modules."""
    folders = [(str(tree), "")]
    while folders:
        folder, place = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield _text(place + entry.name), entry.stat(follow_symlinks=False).st_size
                elif entry.name != _COMPILED:
                    folders.append((entry.path, f"{place}{entry.name}/"))


def _text(path: str) -> str:
    """A path as JSON can hold it, whatever its bytes are."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
