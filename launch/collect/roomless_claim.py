"""A merge's claim on a full disk, for `clean`, which is how room is made there."""

import os
from pathlib import Path

from launch.collect.merge_claim import MergeBusyError, MergeClaim
from launch.errors import StorageError
from launch.rundir.layout import RunPaths
from launch.rundir.storage_errors import storage_errors


class RoomlessClaim(MergeClaim):
    """Keeps others out as every claim does, by an empty file where there is no room for more.

    Others take that for a merge that has just begun: for a minute after each beat. Its scratch directory is
    `scratch`, which is elsewhere.
    """

    def __init__(self, run: RunPaths, scratch: Path) -> None:
        super().__init__(run)
        self._scratch = scratch

    @property
    def scratch(self) -> Path:
        """A directory for this merge alone; not made."""
        return self._scratch

    def _make(self, number: int) -> None:
        try:
            super()._make(number)
        except StorageError:
            path = self._run.merge_claim(number)
            try:
                with storage_errors(path):
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            except FileExistsError:
                who = "which has just begun. Wait for it to end."
                raise MergeBusyError(f"{self._directory.parent}: another merge is at work, {who}") from None
            self.number = number
