"""Copies on a node's fast scratch, made once and used by all its tasks: weights, packed environments.

<scratch>/staged/<name>/ is whole or not there: it is filled beside its place, checked, synced and renamed.
`<name>.lock` is held by whoever changes what lies there, `<name>.use` shared by every process that uses it,
for as long as it lives: what somebody living uses is never removed, and where it lost files a whole one
takes its place. The least recently used go first when there is no room.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.errors import StorageError
from launch.rundir.journal import read_json, write_json
from launch.worker.startup.node_lock import NodeLock

GIB = 2**30
RESERVE_BYTES = GIB
"""Stays free on the node's disk: engines keep temporary files there."""
_FILLING, _LEAVING = ".filling-", ".leaving-"


class StagingError(StorageError):
    """There is no copy on the node, and the original has to do."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be staged: `fill` makes it in a directory, `is_whole` says whether that is what it has to
    be.
    """

    name: str
    num_bytes: int
    fill: Callable[[Path], None]
    is_whole: Callable[[Path], bool]


class StagingArea:
    """The staged copies of a node and user; they may take `budget_bytes`, None: what the disk has."""

    def __init__(self, scratch: Path, budget_bytes: int | None) -> None:
        self._root = scratch / "staged"
        self._budget = budget_bytes
        self.uses: list[NodeLock] = []
        """Held while this process lives: its copies stay."""

    def place(self, content: Content, wait_s: float) -> tuple[Path, bool]:
        """The directory of a whole copy, and whether it was made now; it stays while this process lives.

        Waits so long at most for another task that makes it. StagingError when there is none to be had.
        """
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock(content.name) as lock:
                if not lock.acquire(wait_s):
                    raise StagingError(
                        f"{content.name}: another task was not done with it in {wait_s:.0f} s."
                    )
                return self._place(content)
        except StagingError:
            raise
        except StorageError as error:
            raise StagingError(str(error)) from error
        except OSError as error:
            raise StagingError(f"{content.name}: {error.strerror or error}.") from error

    def _place(self, content: Content) -> tuple[Path, bool]:
        """With the lock of what changes the copy: nobody removes it meanwhile, nor begins to use it."""
        target = self._root / content.name
        made = not (target.is_dir() and content.is_whole(target))
        if made:
            self._fill(content, target)
        use = self._use(content.name, shared=True)
        if not use.acquire():
            raise StagingError(f"{content.name}: its mark of use cannot be had.")
        try:
            os.utime(use.path)
        except BaseException:
            use.release()
            raise
        self.uses.append(use)
        return target, made

    def _fill(self, content: Content, target: Path) -> None:
        """Makes the copy, in the place of one that is not what it has to be."""
        partial, leaving = (self._root / f"{prefix}{content.name}" for prefix in (_FILLING, _LEAVING))
        for leftover in (partial, leaving):  # of one that was killed
            if leftover.exists():
                shutil.rmtree(leftover)
        self._give_up(content.name, target)
        self._make_room(content.num_bytes, content.name)
        try:
            partial.mkdir(mode=0o700)
            content.fill(partial)
            if not content.is_whole(partial):
                raise StagingError(f"{content.name}: the copy is not what it was made from.")
            num_bytes = _tree_bytes(partial)  # an archive is larger now
            self._make_room(num_bytes, content.name, taken=num_bytes)
            write_json(self._size_of(content.name), {"bytes": num_bytes})
            sync_file_system(partial)  # after a power cut the name would outlast what it names
            if target.exists():
                target.rename(leaving)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if leaving.exists():
                leaving.rename(target)
            raise
        shutil.rmtree(leaving, ignore_errors=True)  # what is open of it lives on

    def _give_up(self, name: str, target: Path) -> None:
        """Removes a copy that is not whole if nobody uses it.

        Else it stays until a whole one can take its place: who runs from it finds at its path what is left,
        and then all.
        """
        with self._use(name) as alone:
            if target.exists() and alone.acquire():
                shutil.rmtree(target)

    def _make_room(self, num_bytes: int, name: str, taken: int = 0) -> None:
        """Removes copies, least recently used first, until one of so many bytes fits.

        StagingError when it cannot. `taken` is what of it is on the disk already.
        """
        if not taken:
            self._remove_leftovers()
        if self._budget is not None and num_bytes > self._budget:
            raise StagingError(
                f"{name}: takes {num_bytes / GIB:.1f} GiB, and resources.stage_budget_gib is"
                f" {self._budget / GIB:.0f}."
            )
        others = sorted((copy for copy in self._copies() if copy != name), key=self._last_use)
        while others and self._lacks(num_bytes, name, taken):
            self._remove(others.pop(0))
        lacking = self._lacks(num_bytes, name, taken)
        if lacking:
            raise StagingError(f"{name}: takes {num_bytes / GIB:.1f} GiB, but {lacking}.")

    def _lacks(self, num_bytes: int, name: str, taken: int) -> str | None:
        """Why a copy of so many bytes does not fit now."""
        free = shutil.disk_usage(self._root).free - RESERVE_BYTES
        if num_bytes - taken > free:
            return f"{self._root} has {max(free, 0) / GIB:.1f} GiB to spare"
        others = sum(self._bytes(copy) for copy in self._copies() if copy != name)
        if self._budget is not None and others + num_bytes > self._budget:
            return f"copies that are in use take {others / GIB:.1f} of {self._budget / GIB:.0f} GiB"
        return None

    def _remove(self, name: str) -> bool:
        """Removes a copy that nobody uses or makes."""
        with self._lock(name) as lock, self._use(name) as use:
            if not (lock.acquire() and use.acquire()):
                return False
            leaving = self._root / f"{_LEAVING}{name}"
            with contextlib.suppress(FileNotFoundError):
                (self._root / name).rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
        return True

    def _remove_leftovers(self) -> None:
        """What killed processes were filling or removing."""
        for entry in list(self._root.glob(".*")):
            for prefix in (_FILLING, _LEAVING):
                name = entry.name.removeprefix(prefix)
                if name == entry.name:
                    continue
                with self._lock(name) as lock:
                    if lock.acquire():
                        shutil.rmtree(entry, ignore_errors=True)

    def _copies(self) -> Iterator[str]:
        for entry in self._root.iterdir():
            if entry.is_dir() and not entry.name.startswith("."):
                yield entry.name

    def _last_use(self, name: str) -> float:
        try:
            return (self._root / f"{name}.use").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _bytes(self, name: str) -> int:
        value = (read_json(self._size_of(name)) or {}).get("bytes")
        return value if isinstance(value, int) else 0

    def _size_of(self, name: str) -> Path:
        return self._root / f"{name}.size"

    def _lock(self, name: str) -> NodeLock:
        return NodeLock(self._root / f"{name}.lock")

    def _use(self, name: str, *, shared: bool = False) -> NodeLock:
        return NodeLock(self._root / f"{name}.use", shared=shared)


def sync_file_system(directory: Path) -> None:
    """syncfs(2), for which Python has no call: what was written to the file system of a directory is on it.

    One call for the tens of thousands of files that an environment has.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)


def _tree_bytes(root: Path) -> int:
    return sum(
        Path(directory, name).lstat().st_size for directory, _, names in os.walk(root) for name in names
    )
