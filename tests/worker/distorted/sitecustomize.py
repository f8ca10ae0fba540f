"""A node whose clock is wrong, and whose NFS client has old caches: with this directory on PYTHONPATH.

DISTORTED_CLOCK_S: time.time() is ahead by so many seconds.
DISTORTED_VIEW_S, _ROOT, _SINCE, _CLIENT, _LOG: below ROOT a process sees what other clients made since then
only so many seconds later. Names are in no listing and cannot be opened or looked at; of a file that grows
there is as much as was synced by then. Making a file with O_EXCL and a directory stays atomic, as on NFS from
version 3 on. Who made and synced what is in LOG. From the moment that LOG.seen is there, all is to be seen.
DISTORTED_FULL_ROOT, _AT, _LOG: the supervisor of a task finds the disk full from the AT-th call on that needs
room below ROOT (full_disk.py); it leaves its calls in LOG.
"""

import builtins
import contextlib
import ctypes
import io
import json
import os
import struct
import sys
import tempfile
import threading
import time

_now = time.time
if "DISTORTED_CLOCK_S" in os.environ:
    _ahead_s = float(os.environ["DISTORTED_CLOCK_S"])
    time.time = lambda: _now() + _ahead_s

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _BTIME, _BTIME_OFFSET = -100, 0x800, 80


def _born(path: str) -> float | None:
    """When a file was made (statx(2)); None when it is not there."""
    buffer = ctypes.create_string_buffer(256)
    if _LIBC.statx(_AT_FDCWD, os.fsencode(path), 0x100, _BTIME, buffer) != 0:
        return None
    seconds, nanoseconds = struct.unpack_from("<qI", buffer, _BTIME_OFFSET)
    return seconds + nanoseconds / 1e9


class View:
    """What the processes of a client see of the tree."""

    def __init__(self, root: str, log: str, client: str, delay_s: float, since: float) -> None:
        self.root, self.log, self.client, self.delay_s, self.since = root, log, client, delay_s, since
        self.rows: list[tuple[float, str, str, int | None]] = []
        self.read_bytes = 0
        self.lock = threading.Lock()  # keeps threads from reading on at the same place
        self.open, self.os_open, self.stat = io.open, os.open, os.stat
        self.listdir, self.scandir, self.fsync = os.listdir, os.scandir, os.fsync
        self.mkdir, self.replace, self.rename = os.mkdir, os.replace, os.rename

    def path_of(self, path: object) -> str | None:
        """The whole path of something below the root."""
        if isinstance(path, int) or path is None:
            return None
        text = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
        return text if text.startswith(self.root + "/") else None

    def hides(self, path: object) -> bool:
        """Whether it was made by others so lately that it is not to be seen here."""
        text = self.path_of(path)
        born = None if text is None else _born(text)
        if born is None or born < self.since or not self.is_late(born):
            return False
        return not any(name == text and client == self.client for _, client, name, _ in self.read_log())

    def is_late(self, at: float) -> bool:
        """Whether what happened then is not to be seen yet."""
        return _now() - at < self.delay_s and _born(f"{self.log}.seen") is None

    def read_log(self) -> list[tuple[float, str, str, int | None]]:
        """Who made (no size) and synced what, and when."""
        with self.lock, contextlib.suppress(FileNotFoundError), self.open(self.log, "rb") as log:
            log.seek(self.read_bytes)
            for line in log:
                if line.endswith(b"\n"):
                    self.rows.append(tuple(json.loads(line)))
                    self.read_bytes += len(line)
        return self.rows

    def note(self, path: str, size: int | None) -> None:
        """Adds to the log."""
        line = json.dumps([_now(), self.client, path, size]) + "\n"
        descriptor = self.os_open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def seen_bytes(self, path: str) -> int | None:
        """How much of a file is to be seen; None for all of it: nobody else syncs it."""
        sizes = [0]
        for at, client, name, size in self.read_log():
            if name == path and client != self.client and size is not None:
                sizes += [-1] if self.is_late(at) else [size]
        return max(sizes) if -1 in sizes else None

    def cut_copy(self, path: object) -> str | None:
        """A copy of a file as it is to be seen, if that is not all of it."""
        text = self.path_of(path)
        size = None if text is None else self.seen_bytes(text)
        if text is None or size is None:
            return None
        with self.open(text, "rb") as whole, tempfile.NamedTemporaryFile("wb", delete=False) as cut:
            cut.write(whole.read(size))
        return cut.name

    def install(self) -> None:
        """Puts itself between Python and the system."""
        io.open = builtins.open = self._open  # type: ignore[assignment]
        os.open, os.stat = self._os_open, self._stat  # type: ignore[assignment]
        os.listdir, os.scandir = self._listdir, self._scandir  # type: ignore[assignment]
        os.fsync, os.mkdir = self._fsync, self._mkdir  # type: ignore[assignment]
        os.replace, os.rename = self._replace, self._rename  # type: ignore[assignment]

    def _refuse(self, path: object) -> None:
        if self.hides(path):
            raise FileNotFoundError(2, "not to be seen yet", os.fsdecode(path))  # type: ignore[arg-type]

    def _keep(self, path: object) -> None:
        text = self.path_of(path)
        if text is not None:
            self.note(text, None)

    def _open(self, file, mode="r", *arguments, **named):  # type: ignore[no-untyped-def]
        if "r" in mode and "+" not in mode:
            self._refuse(file)
            file = self.cut_copy(file) or file
        else:
            self._keep(file)
        return self.open(file, mode, *arguments, **named)

    def _os_open(self, path, flags, *arguments, **named):  # type: ignore[no-untyped-def]
        if flags & os.O_CREAT:
            made = self.os_open(path, flags, *arguments, **named)
            self._keep(path)
            return made
        self._refuse(path)
        return self.os_open(self.cut_copy(path) or path, flags, *arguments, **named)

    def _stat(self, path, *arguments, **named):  # type: ignore[no-untyped-def]
        self._refuse(path)
        return self.stat(path, *arguments, **named)

    def _listdir(self, path="."):  # type: ignore[no-untyped-def]
        return [name for name in self.listdir(path) if not self.hides(os.path.join(path, name))]

    def _scandir(self, path="."):  # type: ignore[no-untyped-def]
        with self.scandir(path) as entries:
            return _Entries([each for each in entries if not self.hides(each.path)])

    def _fsync(self, descriptor):  # type: ignore[no-untyped-def]
        self.fsync(descriptor)
        path = self.path_of(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path is not None and os.path.isfile(path):
            self.note(path, os.fstat(descriptor).st_size)

    def _mkdir(self, path, *arguments, **named):  # type: ignore[no-untyped-def]
        self.mkdir(path, *arguments, **named)
        self._keep(path)

    def _replace(self, source, target, **named):  # type: ignore[no-untyped-def]
        self.replace(source, target, **named)
        self._keep(target)

    def _rename(self, source, target, **named):  # type: ignore[no-untyped-def]
        self.rename(source, target, **named)
        for folder, folders, files in os.walk(target):
            for name in ("", *folders, *files):
                self._keep(os.path.join(folder, name).rstrip("/"))


class _Entries:
    """Directory entries as the system gives them: an iterator that can be closed."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        self._left = iter(entries)

    def __iter__(self) -> "_Entries":
        return self

    def __next__(self) -> os.DirEntry[str]:
        return next(self._left)

    def __enter__(self) -> "_Entries":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open."""


if "DISTORTED_VIEW_S" in os.environ:
    View(
        os.environ["DISTORTED_ROOT"],
        os.environ["DISTORTED_LOG"],
        os.environ["DISTORTED_CLIENT"],
        float(os.environ["DISTORTED_VIEW_S"]),
        float(os.environ["DISTORTED_SINCE"]),
    ).install()


if "DISTORTED_FULL_ROOT" in os.environ and sys.orig_argv[1:3] == ["-m", "launch.worker"]:
    import full_disk

    _disk = full_disk.FullDisk(
        os.environ["DISTORTED_FULL_ROOT"],
        int(os.environ["DISTORTED_FULL_AT"]),
        log=os.environ["DISTORTED_FULL_LOG"],
    )
    _disk.__enter__()
