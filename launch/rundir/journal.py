"""Writing to a shared file system so that a kill at any moment leaves whole files and whole lines.

Whole files: temp file in the same folder, fsync, rename, fsync of the folder. Journals: one JSON line per
append in one write call; a torn last line (a kill, a full disk) is skipped by the reader and never joined to
the next line, because an appender that finds one starts on a new line.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from launch.errors import StorageError

_STORAGE_ERRNOS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EACCES: "writing is not allowed",
    errno.EPERM: "writing is not allowed",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.ENAMETOOLONG: "the name is too long",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the OSErrors that a user can mend into one StorageError that names the path."""
    try:
        yield
    except OSError as error:
        reason = _STORAGE_ERRNOS.get(error.errno or 0)
        if reason is None:
            raise
        advice = "Free space or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose"
        raise StorageError(f"{path}: cannot write: {reason}. {advice} another directory.") from error


def fsync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, whole or not at all, durable when it returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            temporary.unlink()  # on a full disk every block counts
            raise
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        fsync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by the JSON of `value`, indented by 2, keys in the order given."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_all(descriptor: int, data: bytes) -> None:
    """os.write until all of `data` is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def json_line(value: Any) -> bytes:
    """One JSON line with its newline."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


class Journal:
    """An append-only file of JSON lines with one writer."""

    def __init__(self, path: Path) -> None:
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.path = path
        if self._ends_torn():
            write_all(self._descriptor, b"\n")

    def _ends_torn(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, value: Any, *, durable: bool = False) -> None:
        """Writes one line; with `durable` it is on the disk when the call returns."""
        with storage_errors(self.path):
            write_all(self._descriptor, json_line(value))
            if durable:
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file; the journal cannot be used again."""
        os.close(self._descriptor)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal in order; nothing for a file that is not there.

    A line that is no JSON object was torn by a kill and is skipped.
    """
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    with handle:
        for line in handle:
            if not line.endswith(b"\n"):
                return
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(value, dict):
                yield value


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file made by `write_json`, or None when there is no such file or it is not whole."""
    try:
        value = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None
