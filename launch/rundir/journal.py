"""Writing to a shared file system so that a kill at any moment leaves whole files and whole lines.

Whole files: temp file in the same folder, fsync, rename, fsync of the folder. Journals: one JSON line per
append in one write call; a torn last line (a kill, a full disk) is skipped by the reader and never joined to
the next line, because an appender that finds one starts on a new line. A file lasts no longer than its name:
what is called durable has its directory fsynced, and those above it that are new.
"""

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from launch.errors import StorageError, StorageTroubleError

_STORAGE_ERRNOS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EACCES: "writing is not allowed",
    errno.EPERM: "writing is not allowed",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.ENAMETOOLONG: "the name is too long",
}
_PASSING_ERRNOS = {
    errno.EIO: "the file system reports an input/output error",
    errno.EREMOTEIO: "the file server reports an input/output error",
    errno.ESTALE: "the file server no longer knows the file",
    errno.ETIMEDOUT: "the file server does not answer in time",
    errno.ENOTCONN: "the file system is not connected",
    errno.ESHUTDOWN: "the file system was shut down",
}
"""Of a node or its network: the next try, or another node, may have none."""
FieldTypes = dict[str, type | tuple[type, ...]]
"""Fields of a line, each with what it has to be."""
NUMBER = (int, float)
NUM_STALE_READS = 3
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the OSErrors that a user can mend, or that may pass, into a StorageError that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _PASSING_ERRNOS:
            raise _trouble(f"{path}: cannot write", error.errno) from error
        reason = _STORAGE_ERRNOS.get(error.errno or 0)
        if reason is None:
            raise
        advice = "Free space or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose"
        raise StorageError(f"{path}: cannot write: {reason}. {advice} another directory.") from error


def storage_trouble(error: BaseException) -> StorageTroubleError | None:
    """The same as an error of ours, where it tells that a file system or its network is in trouble."""
    if not isinstance(error, OSError) or error.errno not in _PASSING_ERRNOS:
        return None
    return _trouble(os.fsdecode(error.filename) if error.filename else "a file", error.errno)


def _trouble(what: str, number: int) -> StorageTroubleError:
    return StorageTroubleError(
        f"{what}: {_PASSING_ERRNOS[number]}. That may pass: go on later, or on another node."
    )


def fsync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, below: Path | None = None) -> None:
    """Makes a new directory and the parents that lack, durably: when that fails it is not there.

    The names of parents below `below` are made durable in any case: another process may have made one just
    now, and not have come to that. FileExistsError when the directory is there.
    """
    top = path.parent if below is None else below
    while not top.exists():
        top = top.parent
    path.mkdir(parents=True)
    try:
        fsync_names(path, top)
    except OSError:
        path.rmdir()
        raise


def fsync_names(path: Path, below: Path) -> None:
    """Makes the name of a file or directory durable, and those of the directories between it and `below`.

    A view of a shared file system may be too old for a parent that another node has made just now: there a
    name is the server's, and durable, when it is made.
    """
    for parent in path.parents:
        with contextlib.suppress(FileNotFoundError):
            fsync_directory(parent)
        if parent == below:
            return


def make_durable(path: Path, below: Path) -> None:
    """Makes durable what another process has written, and its name as `fsync_names` does; if it is there."""
    with storage_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except NO_FILE:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsync_names(path, below)


def put_in_place(partial: Path, final: Path) -> None:
    """Renames a whole directory into its place, durably: when that fails it is in neither place.

    OSError with EEXIST or ENOTEMPTY when something is there already.
    """
    partial.rename(final)
    try:
        fsync_directory(final.parent)
    except OSError:
        shutil.rmtree(final, ignore_errors=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, whole or not at all, durable when it returns."""
    # Hosts write beside each other, and containers begin to count processes at 1.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
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
        self.path = path
        self._has_durable_name = False
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                self._is_torn = self._ends_torn()
            except OSError:
                os.close(self._descriptor)
                raise

    def _ends_torn(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, value: Any, *, durable: bool = False) -> None:
        """Writes one line; with `durable` it and the file's name are on the disk when the call returns."""
        line = json_line(value)
        with storage_errors(self.path):
            begin = b"\n" if self._is_torn else b""
            self._is_torn = True  # until all of the line is written
            write_all(self._descriptor, begin + line)
            self._is_torn = False
            if durable:
                os.fsync(self._descriptor)
                self._fsync_name()

    def _fsync_name(self) -> None:
        """Once: whoever made the file may have been killed before."""
        if not self._has_durable_name:
            fsync_directory(self.path.parent)
            self._has_durable_name = True

    def close(self) -> None:
        """Closes the file; the journal cannot be used again."""
        os.close(self._descriptor)


def read_journal(path: Path, **fields: type | tuple[type, ...]) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal in order; nothing for a file that is not there.

    A line that is no JSON object was torn by a kill, or is zeros that a power cut left, and is skipped. So is
    one that lacks one of `fields` or has it of another type: nobody here wrote it.
    """
    try:
        handle = path.open("rb")
    except NO_FILE:
        return
    with handle:
        for line in handle:
            if not line.endswith(b"\n"):
                return
            value = parse_object(line)
            if value is not None and has_fields(value, fields):
                yield value


def read_on(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines that a journal holds behind `offset`, and the offset behind them."""
    rows: list[dict[str, Any]] = []
    try:
        handle = path.open("rb")
    except NO_FILE:
        return rows, offset
    with handle:
        handle.seek(offset)
        for line in handle:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            value = parse_object(line)
            rows += [] if value is None else [value]
    return rows, offset


def parse_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line holds; None for what was torn or is no object."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def has_fields(value: Mapping[str, Any], fields: FieldTypes) -> bool:
    """Whether an object has every field, each of its type."""
    for name, kind in fields.items():  # noqa: SIM110  asked of every line: all() takes twice as long
        if not isinstance(value.get(name), kind):
            return False
    return True


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file made by `write_json`, or None when there is no such file or it is not whole."""
    try:
        return parse_object(read_whole(path))
    except NO_FILE:
        return None


def size_of(path: Path) -> int:
    """The size of a file, 0 where there is none. It is opened, for NFS may remember an older size else."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except NO_FILE:
        return 0
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def read_whole(path: Path) -> bytes:
    """The bytes of a file that others may replace meanwhile.

    NFS takes a replaced file away from who has it open (ESTALE); opened anew it is the new one.
    """
    for _ in range(NUM_STALE_READS - 1):
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return path.read_bytes()
