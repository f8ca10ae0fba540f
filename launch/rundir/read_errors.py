"""What goes wrong while a file of a run is read, as one error that names it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.errors import StorageError


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turns an OSError into a StorageError that says what cannot be read: the file it names, else `path`."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno or errno.EIO)
        where = error.filename or path
        raise StorageError(f"{where}: cannot read: {why}. Do the same again when it can be read.") from error
