"""A log that grows, read on from where the last reading ended, in bounded pieces."""

import os
from pathlib import Path

from launch.config.wording import log_line
from launch.rundir.storage_errors import NO_FILE

PIECE_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 10


class FollowedLog:
    """Gives whole lines as a terminal may have them; of one longer than 64 KiB the beginning."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self._offset = offset
        self._begun = b""
        self._skips = False
        self.is_behind = False
        """Whether the last reading did not come to the end."""

    def read(self) -> list[str]:
        """The lines that came, from at most 1 MiB; a file that became shorter is read from its beginning."""
        try:
            with self.path.open("rb") as handle:
                if os.fstat(handle.fileno()).st_size < self._offset:
                    self._offset, self._begun, self._skips = 0, b"", False
                handle.seek(self._offset)
                data = handle.read(PIECE_BYTES)
        except (*NO_FILE, PermissionError):
            self.is_behind = False
            return []
        self.is_behind = len(data) == PIECE_BYTES
        self._offset += len(data)
        *whole, self._begun = (self._begun + data).split(b"\n")
        if self._skips and whole:
            whole, self._skips = whole[1:], False
        if len(self._begun) > MAX_LINE_BYTES:
            whole += [] if self._skips else [self._begun]
            self._begun, self._skips = b"", True
        return [log_line(line.decode("utf-8", errors="replace")) for line in whole]
