"""A file that is written once, from front to back, and knows its digest, by which it is known again."""

import contextlib
import hashlib
import os
from pathlib import Path
from types import TracebackType

from launch.collect.manifest import FileDigest
from launch.rundir.journal import write_all
from launch.rundir.storage_errors import storage_errors

BLOCK_BYTES = 1 << 20
LOOK_BYTES = 4 << 10
LONG_LINE = 1 << 10


class DigestedFile:
    """Writes `path` anew; entered as a context it is durable when left without an error.

    What is written is gathered to blocks of 1 MiB, which are digested and written as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._lines = 0
        self._written = 0
        self._block: list[bytes] = []
        self._in_block = 0
        with storage_errors(path):
            self._file = path.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._block.append(data)
        self._in_block += len(data)
        if self._in_block >= BLOCK_BYTES:
            self._write_block()

    def _write_block(self) -> None:
        block = b"".join(self._block)
        self._block.clear()
        self._in_block = 0
        self._sha256.update(block)
        self._written += len(block)
        self._lines += _count_lines(block)
        with storage_errors(self._path):
            write_all(self._file.fileno(), block)

    @property
    def num_bytes(self) -> int:
        """How much was appended so far."""
        return self._written + self._in_block

    @property
    def digest(self) -> FileDigest:
        """Of what was written so far."""
        if self._block:
            self._write_block()
        return FileDigest(sha256=self._sha256.hexdigest(), bytes=self._written, lines=self._lines)

    def __enter__(self) -> "DigestedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with contextlib.suppress(OSError):  # another error is on its way already
                self._file.close()
            return
        with storage_errors(self._path):
            try:
                self._write_block()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()


def _count_lines(block: bytes) -> int:
    """The newlines. `count` looks at each byte by itself: where lines are long `find` takes a fifth of it."""
    if block.count(b"\n", 0, LOOK_BYTES) * LONG_LINE > LOOK_BYTES:
        return block.count(b"\n")
    count, place = 0, block.find(b"\n")
    while place >= 0:
        count, place = count + 1, block.find(b"\n", place + 1)
    return count


def write_digested(path: Path, data: bytes) -> FileDigest:
    """Writes a whole file, durable; its digest."""
    with DigestedFile(path) as file:
        file.write(data)
    return file.digest


def difference(path: Path, expected: FileDigest) -> str | None:
    """In words how a file differs from what was written, None where it does not; read whole."""
    try:
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
            size = os.fstat(handle.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except IsADirectoryError:
        return "is a directory"
    if size != expected.bytes:
        return f"has {size} bytes, published were {expected.bytes}"
    return None if found == expected.sha256 else "has other bytes than were published (sha256)"
