"""Locks between processes of one node: flock(2) on files that are never removed.

The kernel frees a lock with the last process that holds the file open, whatever killed it: no lock of the
dead has to be broken. A file system that has no such locks (Lustre without -o flock) is a LockError.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from launch.errors import StorageError

LOOK_AGAIN_S = 0.2
WAIT_SHARE = 0.4
"""Of engine.start_timeout_s, after which a start waits for no other: it has to start in what is left."""


class LockError(StorageError):
    """The file system has no locks, or the file cannot be made."""


class NodeLock:
    """A lock by file name; shared ones hold together, an exclusive one alone. Not held until acquired."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self._how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    def acquire(self, wait_s: float = 0.0) -> bool:
        """Takes it, waiting so long at most; False when somebody else holds it still."""
        assert self._descriptor is None, f"{self.path} is held already"
        deadline = time.monotonic() + wait_s
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LockError(f"{self.path}: cannot be opened: {error.strerror}.") from error
        while not self._try(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(LOOK_AGAIN_S)
        self._descriptor = descriptor
        return True

    def _try(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, self._how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(descriptor)
            raise LockError(f"{self.path}: this file system has no locks: {error.strerror}.") from error
        return True

    def release(self) -> None:
        """Gives it back, though a forked child may have the file open; nothing when it is not held."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def pass_on(self) -> None:
        """Lets the lock live on in a program that this process becomes (exec)."""
        assert self._descriptor is not None
        os.set_inheritable(self._descriptor, True)

    def __enter__(self) -> "NodeLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
