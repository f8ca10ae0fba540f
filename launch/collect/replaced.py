"""What a reader of a published directory meets when the directory is replaced under it, as one error."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.errors import RunError

_TAKEN_AWAY = {errno.ENOENT, errno.ESTALE}
"""Replacing is two renames, and the old directory is removed: NFS takes its files from who has them open."""


@contextmanager
def replacement_errors(path: Path) -> Iterator[None]:
    """Turns the OSErrors that a replaced file or directory brings its reader into one RunError.

    At any moment: when a file is opened, looked for or read.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _TAKEN_AWAY:
            raise
        raise changed_meanwhile(path) from None


def changed_meanwhile(path: Path) -> RunError:
    """The error for a published file or directory that is not what it was when its reader began."""
    return RunError(
        f"{path}: was changed while it was read. Say the same again when nothing publishes there."
    )
