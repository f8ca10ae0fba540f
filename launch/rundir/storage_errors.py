"""What a file system says when writing fails: as one error that names the path, and whether it may pass."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What is raised where there is no such file."""


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
