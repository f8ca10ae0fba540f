"""Writing to a shared file system so that a kill at any moment leaves whole files and whole lines.

Whole files: temp file in the same folder, fsync, rename, fsync of the folder. Journals: one JSON line per
append in one write call; a torn last line (a kill, a full disk) is skipped by the reader and never joined to
the next line, because an appender that finds one starts on a new line.
"""

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from launch.rundir.durable import fsync_directory
from launch.rundir.storage_errors import NO_FILE, storage_errors

FieldTypes = dict[str, type | tuple[type, ...]]
"""Fields of a line, each with what it has to be."""
NUMBER = (int, float)
NUM_STALE_READS = 3


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
