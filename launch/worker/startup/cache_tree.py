"""A cache directory as one file and back, a tar; and whose a file is.

One file, because a shared file system gives a node one large file far faster than thousands of small ones.
Times of files are kept: FlashInfer's ninja takes what is older than its sources for out of date.
"""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from launch.errors import StorageError

MARK_PREFIX = ".vllm-launch"
"""Files of our own in a cache directory begin so, and are never packed."""
FileFacts = tuple[int, int]
"""A file's size in bytes, and when it was changed in nanoseconds since the epoch."""
_BLOCK_BYTES = 1 << 20
_PASSING = (".lock", ".tmp")
_NINJAS = (".ninja_log", ".ninja_deps")


class CacheRefusedError(StorageError):
    """What lies in the shared place is corrupt or foreign, and is not used."""


class TornTreeError(ValueError):
    """What was unpacked is not what the manifest says."""


def refuse_others(path: Path) -> None:
    """Compiled code is run: it has to be this user's own, and nobody else may have written it."""
    try:
        info = path.lstat()
    except OSError as error:
        raise CacheRefusedError(f"{path}: cannot be read: {error.strerror}.") from error
    is_kind = stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)
    if info.st_uid != os.getuid() or not is_kind or info.st_mode & 0o022:
        raise CacheRefusedError(f"{path}: is foreign: another user owns it or may write it, or it is a link.")


def list_files(root: Path) -> dict[str, int]:
    """Sizes by path relative to `root`, sorted; without links, locks and files that are being written.

    ninja's logs come first: one that says that a file is made must not be younger than the file packed.
    """
    found = {
        path.relative_to(root).as_posix(): path.lstat().st_size
        for path in _regular_files(root)
        if not path.name.startswith(MARK_PREFIX) and not _is_passing(path.name)
    }
    ordered = sorted(found, key=lambda name: (not name.endswith(_NINJAS), name))
    return {name: found[name] for name in ordered}


def pack(root: Path, names: list[str], target: BinaryIO) -> dict[str, FileFacts]:
    """Writes the files of these names as a tar; size and time of those packed.

    One that is gone, or that changes while it is read, is left out: who finds it missing makes it again.
    """
    packed: dict[str, FileFacts] = {}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            try:
                data, info = _read_unchanged(root / name)
            except (FileNotFoundError, ChangedFileError):
                continue
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), info.st_mode & 0o700
            tar.addfile(member, io.BytesIO(data))
            packed[name] = (len(data), info.st_mtime_ns)
    return packed


def unpack(source: Path, target: Path, files: dict[str, FileFacts]) -> None:
    """Unpacks a tar into `target`, a new directory; TornTreeError unless it holds just what `files` says.

    Times are set to the nanosecond, as no tar keeps them: ninja compares them with those in its log.
    """
    target.mkdir(mode=0o700)
    try:
        with tarfile.open(source, mode="r:") as tar:
            # The filter refuses paths that lead out of `target`, links that do, and devices.
            tar.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise TornTreeError(f"it cannot be unpacked: {error}") from error
    found = {path.relative_to(target).as_posix(): path.stat().st_size for path in _regular_files(target)}
    wanted = {name: size for name, (size, _) in files.items()}
    if found != wanted:
        wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise TornTreeError(f"{len(wrong)} of its files are not as the manifest says, {wrong[0]} among them")
    for name, (_, time_ns) in files.items():
        os.utime(target / name, ns=(time_ns, time_ns))


def move_new(source: Path, target: Path) -> int:
    """Moves the files that `target` lacks into it, each whole at once, by rename; how many."""
    moved = 0
    for path in sorted(_regular_files(source)):
        place = target / path.relative_to(source)
        if not place.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(path, place)
            moved += 1
    return moved


def copy_digested(source: Path, target: Path) -> str:
    """Copies a file and returns the BLAKE2b digest of what was read, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK_BYTES):
            digest.update(block)
            writer.write(block)
    return digest.hexdigest()


class ChangedFileError(OSError):
    """A file changed while it was read."""


def _read_unchanged(path: Path) -> tuple[bytes, os.stat_result]:
    with path.open("rb") as handle:
        before = os.fstat(handle.fileno())
        data = handle.read()
        after = os.fstat(handle.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(
        data
    ) != after.st_size:
        raise ChangedFileError(f"{path} changed")
    return data, after


def _regular_files(root: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _is_passing(name: str) -> bool:
    return name.endswith(_PASSING) or ".tmp." in name or name.startswith((".nfs", "tmp."))
