"""A file that is written once, from front to back, and knows its digest when it is durable."""

import contextlib
import hashlib
import os
from pathlib import Path
from types import TracebackType

from launch.collect.manifest import FileDigest
from launch.rundir.journal import storage_errors


class DigestedFile:
    """Writes `path` anew; entered as a context it is durable when left without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self._lines = 0
        with storage_errors(path):
            self._file = path.open("wb", buffering=1 << 18)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._sha256.update(data)
        self._bytes += len(data)
        self._lines += data.count(b"\n")
        with storage_errors(self._path):
            self._file.write(data)

    @property
    def digest(self) -> FileDigest:
        """Of what was written so far."""
        return FileDigest(sha256=self._sha256.hexdigest(), bytes=self._bytes, lines=self._lines)

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
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()


def write_digested(path: Path, data: bytes) -> FileDigest:
    """Writes a whole file, durable; its digest."""
    with DigestedFile(path) as file:
        file.write(data)
    return file.digest
