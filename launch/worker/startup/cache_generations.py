"""Generations of a layer in the shared directory, as they lie in its folder.

`<n>.tar` has the files, and `<n>.json`, which is written last, names the key, the files and the tar's digest.
Nothing is changed in place. All is checked before it is used: it may be cut, damaged, of another key or
another user's.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.rundir.journal import has_fields, read_json
from launch.rundir.layout import number_of
from launch.worker.startup.cache_tree import (
    CacheRefusedError,
    FileFacts,
    TornTreeError,
    copy_digested,
    refuse_others,
    unpack,
)


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole generation: its number, its files with sizes and times, the digest of its tar."""

    number: int
    files: dict[str, FileFacts]
    digest: str

    @property
    def num_bytes(self) -> int:
        """Of its files."""
        return sum(size for size, _ in self.files.values())


def list_numbers(root: Path, suffix: str) -> list[int]:
    """The numbers of what is named `<n><suffix>`, in no order; none where there is no such folder."""
    try:
        names = os.listdir(root)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CacheRefusedError(f"{root}: cannot be read: {error.strerror}.") from error
    found = (number_of(name.removesuffix(suffix)) for name in names if name.endswith(suffix))
    return [number for number in found if number is not None]


def read_key(root: Path, number: int) -> dict[str, str]:
    """What a generation was made for; CacheRefusedError when it is damaged or another user's."""
    return dict(_manifest(root, number)["key"])


def read_generation(root: Path, number: int, key: Mapping[str, str]) -> Generation:
    """A generation by its manifest; CacheRefusedError when that is damaged, foreign or of another key."""
    path, value = root / f"{number}.json", _manifest(root, number)
    if value["key"] != key:
        raise CacheRefusedError(f"{path}: was made for another GPU, software or model.")
    try:
        files = {str(name): (int(size), int(time_ns)) for name, (size, time_ns) in value["files"].items()}
    except (TypeError, ValueError):
        raise CacheRefusedError(f"{path}: is damaged.") from None
    return Generation(number, files, value["digest"])


def fetch(root: Path, generation: Generation, work: Path) -> Path:
    """Unpacks a generation below `work`, and says where; CacheRefusedError unless all is as it was made."""
    source, files = root / f"{generation.number}.tar", work / "files"
    try:
        digest = copy_digested(source, work / "tar")
    except FileNotFoundError:
        raise CacheRefusedError(f"{source}: is not there.") from None
    if digest != generation.digest:
        raise CacheRefusedError(f"{source}: is corrupt: its digest is not the manifest's.")
    try:
        unpack(work / "tar", files, generation.files)
    except TornTreeError as error:
        raise CacheRefusedError(f"{source}: is corrupt: {error}.") from error
    return files


def _manifest(root: Path, number: int) -> dict[str, Any]:
    path = root / f"{number}.json"
    for each in (root, path, root / f"{number}.tar"):
        refuse_others(each)
    value = read_json(path) or {}
    if not has_fields(value, {"key": dict, "files": dict, "digest": str}):
        raise CacheRefusedError(f"{path}: is damaged.")
    return value
