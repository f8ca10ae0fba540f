"""What is published of each user: users/<name>.json, the same in one archive, or nothing.

A file a user is easy to look at, and a burden on a shared file system where there are many users: each costs
its metadata server a creation and an fsync, and its owner an inode of the quota. users.zip holds the same
files under the same names, is one file, and is read by name: with Python's zipfile, or with
`unzip -p users.zip users/<name>.json`.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Protocol

from launch.collect.archive import Archive
from launch.collect.digested_file import DigestedFile, write_digested
from launch.collect.manifest import FileDigest
from launch.collect.user_names import UserNames
from launch.config.schema import UserFiles
from launch.rundir.storage_errors import storage_errors

USERS_DIR = "users"
ARCHIVE = "users.zip"
MAX_FILES = 1_000
"""Up to so many users `auto` writes a file for each: our choice, some seconds of a shared file system."""
NUM_THREADS = 8
"""An fsync is waiting: several at a time take little longer than one."""
MAX_PENDING = 2 * NUM_THREADS


class UserWriter(Protocol):
    """Writes the files of users, in input order, while its context is entered."""

    files: dict[str, FileDigest]
    """What was written, by name; whole when the context was left."""

    def add(self, user_hash: str, content: bytes) -> None:
        """Writes one user."""
        ...


def resolve_user_files(asked: UserFiles, num_users: int) -> UserFiles:
    """The form for a run of so many users: never `auto`."""
    if asked is not UserFiles.AUTO:
        return asked
    return UserFiles.FILES if num_users <= MAX_FILES else UserFiles.ARCHIVE


def open_user_writer(directory: Path, form: UserFiles) -> AbstractContextManager[UserWriter | None]:
    """What writes that form into a directory; None where nothing is wanted."""
    if form is UserFiles.NONE:
        return nullcontext()
    return ArchiveWriter(directory) if form is UserFiles.ARCHIVE else FilesWriter(directory)


class FilesWriter:
    """A file for each user, each durable when the context is left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names = UserNames()
        self._threads = ThreadPoolExecutor(NUM_THREADS, "user-files")
        self._pending: deque[tuple[str, Future[FileDigest]]] = deque()
        self.files: dict[str, FileDigest] = {}

    def __enter__(self) -> "FilesWriter":
        users = self._directory / USERS_DIR
        with storage_errors(users):
            users.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._threads:  # left when they are done, and what they have open is closed
            while error is None and self._pending:
                self._take()

    def add(self, user_hash: str, content: bytes) -> None:
        """Begins to write one user; raises what stopped an earlier one, if something did."""
        name = f"{USERS_DIR}/{self._names.name(user_hash)}"
        self._pending.append((name, self._threads.submit(write_digested, self._directory / name, content)))
        if len(self._pending) > MAX_PENDING:
            self._take()

    def _take(self) -> None:
        name, digest = self._pending.popleft()
        self.files[name] = digest.result()


class ArchiveWriter:
    """All users in one archive; its `lines` in the manifest are its members, a line each."""

    def __init__(self, directory: Path) -> None:
        self._file = DigestedFile(directory / ARCHIVE)
        self._archive = Archive(self._file)
        self._names = UserNames()
        self._stack = ExitStack()
        self._num_users = 0
        self.files: dict[str, FileDigest] = {}

    def __enter__(self) -> "ArchiveWriter":
        self._stack.enter_context(self._file)
        self._stack.enter_context(self._archive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is None:
            self.files[ARCHIVE] = self._file.digest.model_copy(update={"lines": self._num_users})

    def add(self, user_hash: str, content: bytes) -> None:
        """Writes one user."""
        self._archive.add(f"{USERS_DIR}/{self._names.name(user_hash)}", content)
        self._num_users += 1
