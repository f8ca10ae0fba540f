"""A disk that is full from the n-th write on: every call that needs room below a root fails with ENOSPC.

Calls are counted in order: making or renaming a file or a directory (names need room), writing (half of the
bytes still fit), copying, fsync (where file systems that allocate late say it). `once` is a disk on which
somebody frees space at once. A name that is given up leaves its room, so only one renaming fails.
"""

import builtins
import errno
import io
import os
from typing import Any

NAMES = ("open", "write", "fsync", "mkdir", "rename", "replace", "sendfile")


class FullDisk:
    """Counts the calls below `root` while it is installed; call `at` and all after it fail, or only that."""

    def __init__(
        self, root: str, at: int | None = None, *, once: bool = False, log: str | None = None
    ) -> None:
        self.root, self.at, self.once = os.path.abspath(root), at, once
        self.calls: list[str] = []
        self._log = log
        """Where each call is noted as well."""
        self._real = {name: getattr(os, name) for name in NAMES}
        self._open = io.open

    def __enter__(self) -> "FullDisk":
        for name in self._real:
            setattr(os, name, getattr(self, f"_os_{name}"))
        io.open = builtins.open = self._open_file  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self._real.items():
            setattr(os, name, function)
        io.open = builtins.open = self._open  # type: ignore[assignment]

    @property
    def is_full(self) -> bool:
        """Whether a call has failed."""
        return self.at is not None and len(self.calls) >= self.at

    def fails(self, what: str, path: object) -> bool:
        """Counts a call if it is below the root; whether it fails."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        name = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
        if not name.startswith(self.root):
            return False
        self.calls.append(f"{what} {os.path.relpath(name, self.root)}")
        if self._log is not None:
            with self._open(self._log, "a") as log:
                log.write(self.calls[-1] + "\n")
        return self.at is not None and (
            len(self.calls) == self.at or (len(self.calls) > self.at and not self.once)
        )

    def _check(self, what: str, path: object) -> None:
        if self.fails(what, path) and (what != "rename" or len(self.calls) == self.at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _os_open(self, path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            self._check("make", path)
        return int(self._real["open"](path, flags, *arguments, **named))

    def _os_mkdir(self, path: Any, *arguments: Any, **named: Any) -> None:
        if not os.path.lexists(path):
            self._check("mkdir", path)
        self._real["mkdir"](path, *arguments, **named)

    def _os_rename(self, source: Any, target: Any, **named: Any) -> None:
        self._check("rename", target)
        self._real["rename"](source, target, **named)

    def _os_replace(self, source: Any, target: Any, **named: Any) -> None:
        self._check("rename", target)
        self._real["replace"](source, target, **named)

    def _os_write(self, descriptor: int, data: Any) -> int:
        if self.fails("write", descriptor):
            self._real["write"](descriptor, memoryview(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._real["write"](descriptor, data))

    def _os_fsync(self, descriptor: Any) -> None:
        self._check("fsync", descriptor if isinstance(descriptor, int) else descriptor.fileno())
        self._real["fsync"](descriptor)

    def _os_sendfile(self, target: int, *arguments: Any, **named: Any) -> int:
        self._check("copy", target)
        return int(self._real["sendfile"](target, *arguments, **named))

    def _open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **named: Any
    ) -> Any:
        if isinstance(file, int) or not set(mode) & set("wax"):
            return self._open(file, mode, buffering, *arguments, **named)
        if not os.path.lexists(file):
            self._check("make", file)
        raw = _Raw(os.fspath(file), mode.replace("b", "").replace("t", ""))
        raw.disk = self
        buffered = io.BufferedWriter(raw, buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *arguments, **named)


class _Raw(io.FileIO):
    """A file that asks the disk before each write."""

    disk: FullDisk

    def write(self, data: Any) -> int:
        if self.disk.fails("write", self.fileno()):
            super().write(memoryview(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(super().write(data))
