"""A zip archive whose bytes depend on nothing but its members: their names, their order and what they hold.

Members are stored, not deflated: zlib and its successors compress the same bytes to different ones. No time,
owner or host is in it. It may hold more than 65,535 members and 4 GiB (zip64), and is written front to back,
each member with its size and crc32 before it, so that it can be read in one pass as well.
"""

import io
import zipfile
from types import TracebackType

from launch.collect.digested_file import DigestedFile

NO_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive can hold."""
UNIX = 3
MODE = 0o100644


class Archive:
    """Writes members into `file` while the context is entered; whole when it is left without an error."""

    def __init__(self, file: DigestedFile) -> None:
        self._out = _Front(file)
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_STORED, allowZip64=True)

    def add(self, name: str, content: bytes) -> None:
        """Adds a member under a name that none has yet."""
        about = zipfile.ZipInfo(name, NO_TIME)
        about.create_system = UNIX
        about.external_attr = MODE << 16
        self._zip.writestr(about, content)
        self._out.settle()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._zip.close()
            self._out.settle()


class _Front(io.RawIOBase):
    """What zipfile writes into: it goes back to a member's header once the member is there.

    Only what was written since `settle` is kept, so the file behind is written from front to back.
    """

    def __init__(self, file: DigestedFile) -> None:
        self._file = file
        self._recent = io.BytesIO()

    def settle(self) -> None:
        """Hands on what was written so far, to be changed no more."""
        self._file.write(self._recent.getvalue())
        self._recent = io.BytesIO()

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.num_bytes + self._recent.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            offset -= self._file.num_bytes
        return self._file.num_bytes + self._recent.seek(offset, whence)

    def write(self, data: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes alone
        return self._recent.write(data)
