"""A machine that loses power at any moment: what may be left of a directory, at every change below it.

Of a file stays what was fsynced. Of a directory stay the names that it had when it was fsynced last: a file
that was made or renamed since is not there, or has its old name, and what was removed since is there again.
That is the least (`Left.SYNCED`). All that came since may be there as well: the names alone, each file with
the bytes that were fsynced (`Left.NAMES`), or with zeros for the others (`Left.ZEROS`), as ext4 and XFS leave
them.
"""

import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

CHANGES = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
AN_HOUR_S = 3600
Tree = dict[str, bytes | None]
"""Contents by path below the root; None for a directory."""


class Left(Enum):
    """What of all that was not fsynced is there."""

    SYNCED = "nothing"
    NAMES = "names"
    ZEROS = "names and sizes"


@dataclass
class Cut:
    """A state that a power cut may leave, and how much was reported done when it was left last."""

    left: Left
    after: str
    tree: Tree = field(repr=False)
    reported: int

    def restore(self, root: Path) -> None:
        """Makes `root` what was left, an hour ago."""
        shutil.rmtree(root)
        root.mkdir()
        for name, data in self.tree.items():
            path = root / name
            if data is None:
                path.mkdir()
                continue
            path.write_bytes(data)
            os.utime(path, (time.time() - AN_HOUR_S,) * 2)

    def __str__(self) -> str:
        return f"after {self.after}, of what was not fsynced: {self.left.value}"


class PowerCuts:
    """Records while it is entered; what is below `root` then is taken for fsynced.

    `cuts` are the states in order, each once; `reported` counts what was reported done.
    """

    def __init__(self, root: Path, reported: Callable[[], int] = lambda: 0) -> None:
        self._root = root
        self._reported = reported
        self._real = {name: getattr(os, name) for name in CHANGES}
        self._lock = threading.RLock()  # a change and what is seen of it are one
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        """By inode: of a file what was fsynced of it, of a directory its names when it was fsynced."""
        self._pins: dict[int, int] = {}
        """A descriptor of each inode, so that no other file gets its number."""
        self._seen: dict[tuple[Any, ...], Cut] = {}
        self._last: dict[Left, Cut] = {}

    @property
    def cuts(self) -> list[Cut]:
        """Every state that a power cut could leave."""
        return list(self._seen.values())

    @property
    def least(self) -> Cut:
        """What is left at the end at least."""
        return self._last[Left.SYNCED]

    def chosen(self, every: int) -> list[Cut]:
        """Each `every`-th of a kind, its first and its last, and what is left at the end."""
        picked = {id(cut): cut for cut in self._last.values()}
        for left in Left:
            kind = [cut for cut in self.cuts if cut.left is left]
            picked |= {id(cut): cut for cut in (*kind[::every], *kind[-1:])}
        return list(picked.values())

    def __enter__(self) -> "PowerCuts":
        for path in (self._root, *self._root.rglob("*")):
            self._note(path)
        self._look("the start")
        for name in CHANGES:
            setattr(os, name, self._recorded(name))
        return self

    def __exit__(self, *_: object) -> None:
        self._look("the end")
        for name, real in self._real.items():
            setattr(os, name, real)
        for descriptor in self._pins.values():
            os.close(descriptor)

    def _recorded(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*arguments: Any, **named: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **named)
            with self._lock:
                self._look(f"what came before {name}")
                result = real(*arguments, **named)
                path = _path_of(arguments[0])
                if name == "fsync" and path.is_relative_to(self._root):
                    self._note(path)
                self._look(f"{name} {path.name}")
            return result

        return call

    def _note(self, path: Path) -> None:
        """A file or directory is on the disk as it is now."""
        if path.is_dir():
            self._names[path.stat().st_ino] = self._children(path)
        elif path.is_file():
            self._bytes[path.stat().st_ino] = path.read_bytes()

    def _children(self, directory: Path) -> dict[str, int]:
        found = {}
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            found[entry.name] = entry.inode()
            if entry.inode() not in self._pins:
                self._pins[entry.inode()] = os.open(entry.path, os.O_PATH)
        return found

    def _look(self, after: str) -> None:
        """Keeps what a power cut would leave now."""
        inode = self._root.stat().st_ino
        live: dict[int, dict[str, int]] = {}
        for path in (self._root, *(path for path in self._root.rglob("*") if path.is_dir())):
            live[path.stat().st_ino] = self._children(path)
        for left in Left:
            names = self._names if left is Left.SYNCED else live
            tree = dict(self._tree(inode, "", names, zeros=left is Left.ZEROS))
            cut = self._seen.setdefault(tuple(tree.items()), Cut(left, after, tree, 0))
            cut.reported = max(cut.reported, self._reported())
            self._last[left] = cut

    def _tree(
        self, directory: int, above: str, names: dict[int, dict[str, int]], *, zeros: bool
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, inode in names.get(directory, {}).items():
            status = os.stat(self._pins[inode])
            if stat.S_ISDIR(status.st_mode):
                yield above + name, None
                yield from self._tree(inode, f"{above}{name}/", names, zeros=zeros)
            else:
                data = self._bytes.get(inode, b"")
                yield above + name, data.ljust(status.st_size, b"\0") if zeros else data


def _path_of(argument: Any) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{argument}") if isinstance(argument, int) else argument)
