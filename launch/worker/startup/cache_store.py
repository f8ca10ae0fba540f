"""Compiled kernels in a shared directory, which nodes start from and write back to once, whole.

<cache_dir>/user-<uid>/<layer>-<key>/ holds generations: `<n>.tar`, and `<n>.json`, which is written last and
names the key, the files and the tar's digest. The highest counts, and the one before it where that one is
refused. Whoever has compiled what it lacks makes the next one, once: `<n>.claim` is made with O_EXCL, and of
many tasks one writes. Nothing is changed in place. A claim of somebody dead is not broken; the next number is
taken, and numbers have no end. What is kept has one: two generations, of so many bytes.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import StorageError
from launch.rundir.attempts import filesystem_now
from launch.rundir.journal import fsync_directory, has_fields, read_json, write_json
from launch.rundir.layout import number_of
from launch.rundir.process_mark import mark_process, read_mark
from launch.worker.startup.cache_tree import (
    MARK_PREFIX,
    CacheRefusedError,
    FileFacts,
    TornTreeError,
    copy_digested,
    list_files,
    move_new,
    pack,
    refuse_others,
    unpack,
)
from launch.worker.startup.node_lock import NodeLock

CLAIM_DEAD_S = 30 * 60
"""A claim made on another host is nobody's when it is older: packing takes seconds."""
EMPTY_CLAIM_DEAD_S = 60
"""Its writer was killed just then."""
MAX_BYTES = 8 * 2**30
"""A generation with so much is followed by none, should every start compile something new: it is read whole
by each node, and who starts from it is warm enough.
"""
SEED_WAIT_S = 300
KEPT_GENERATIONS = 2
"""Older ones are removed; the one before the newest may be read just now, and stands in for it."""


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


class CacheStore:
    """The shared directory of one layer; nothing is made before something is written."""

    def __init__(self, root: Path, key: Mapping[str, str]) -> None:
        self._root = root
        self._key = dict(key)
        self.refused: dict[int, str] = {}
        """Why generations were found corrupt or foreign, by number: they are not looked at again."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._root

    def newest(self) -> Generation | None:
        """The highest generation, None when there is none; CacheRefusedError when it is not ours."""
        numbers = self._numbers(".json")
        return None if not numbers else self._read(max(numbers))

    def newest_key(self) -> dict[str, str] | None:
        """What the highest generation was made for; None when there is none, or none of ours."""
        try:
            numbers = self._numbers(".json")
            return dict(self._manifest(max(numbers))["key"]) if numbers else None
        except CacheRefusedError:
            return None

    def seed(self, local: Path) -> Generation | None:
        """Puts what `local` lacks of the newest generation into it; None when there is none.

        All is checked before anything is put there; one that is corrupt or foreign is `refused`, and the one
        before it taken. CacheRefusedError when that leaves none, StorageError when the node's disk is full or
        has no locks; `local` is as it was then. One process of the node does it at a time: engines of
        different models share a layer.
        """
        if not self._numbers(".json"):
            return None
        with NodeLock(local.with_name(f"{MARK_PREFIX}-{local.name}.seed.lock")) as turn:
            if not turn.acquire(SEED_WAIT_S):
                raise StorageError(
                    f"{local}: another engine was not done with seeding it in {SEED_WAIT_S} s."
                )
            while (number := self._highest()) is not None:
                try:
                    return self._seed_from(number, local)
                except CacheRefusedError as error:
                    self.refused[number] = str(error)
        if self.refused:
            raise CacheRefusedError(" ".join(self.refused.values()))
        return None

    def _highest(self) -> int | None:
        """Looked for anew each time: what was just found gone has newer ones after it."""
        return max((number for number in self._numbers(".json") if number not in self.refused), default=None)

    def _seed_from(self, number: int, local: Path) -> Generation:
        generation = self._read(number)
        if not generation.files.keys() <= list_files(local).keys():
            self._put(generation, local)
        return generation

    def _put(self, generation: Generation, local: Path) -> None:
        work = local.with_name(f".incoming-{local.name}")
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        try:
            work.mkdir(mode=0o700)
            self._fetch(generation, work)
            move_new(work / "files", local)
        except OSError as error:
            raise StorageError(f"{self._root}: cannot be copied to {work}: {error.strerror}.") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def write_back(self, local: Path) -> str:
        """Makes a generation of `local` if it has files that the newest lacks; what came of it, in words.

        It holds what the newest had, too, which another node may have made since this one was seeded. The
        first may be empty: it says that there is nothing to compile, so that nobody waits for it.
        """
        newest = self._sound()
        if newest is not None and list_files(local).keys() <= newest.files.keys():
            return f"generation {newest.number} has it all"
        if newest is not None and newest.num_bytes >= MAX_BYTES:
            return (
                f"not written: generation {newest.number} has {newest.num_bytes / 2**30:.1f} GiB, and more is"
                f" not kept. Remove {self._root} to begin anew."
            )
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = self._claim()
            return "another task writes it" if number is None else self._write(number, local)
        except OSError as error:
            return f"not written: {error.strerror or error}"
        except StorageError as error:
            return f"not written: {error}"

    def _sound(self) -> Generation | None:
        """The newest generation unless it is known to be corrupt or foreign: a sound one follows it."""
        try:
            newest = self.newest()
        except CacheRefusedError:
            return None
        return None if newest is None or newest.number in self.refused else newest

    def _fetch(self, generation: Generation, work: Path) -> None:
        source = self._root / f"{generation.number}.tar"
        try:
            digest = copy_digested(source, work / "tar")
        except FileNotFoundError:
            raise CacheRefusedError(f"{source}: is not there.") from None
        if digest != generation.digest:
            raise CacheRefusedError(f"{source}: is corrupt: its digest is not the manifest's.")
        try:
            unpack(work / "tar", work / "files", generation.files)
        except TornTreeError as error:
            raise CacheRefusedError(f"{source}: is corrupt: {error}.") from error

    def _manifest(self, number: int) -> dict[str, Any]:
        path = self._root / f"{number}.json"
        for each in (self._root, path, self._root / f"{number}.tar"):
            refuse_others(each)
        value = read_json(path) or {}
        if not has_fields(value, {"key": dict, "files": dict, "digest": str}):
            raise CacheRefusedError(f"{path}: is damaged.")
        return value

    def _read(self, number: int) -> Generation:
        path, value = self._root / f"{number}.json", self._manifest(number)
        if value["key"] != self._key:
            raise CacheRefusedError(f"{path}: was made for another GPU, software or model.")
        try:
            files = {str(name): (int(size), int(time_ns)) for name, (size, time_ns) in value["files"].items()}
        except (TypeError, ValueError):
            raise CacheRefusedError(f"{path}: is damaged.") from None
        return Generation(number, files, value["digest"])

    def _claim(self) -> int | None:
        """The number of the generation that this process may make; None while somebody else makes one."""
        number = max([*self._numbers(".json"), *self._numbers(".claim")], default=0)
        if number and not (self._root / f"{number}.json").exists() and not self._is_dead(number):
            return None
        claim = self._root / f"{number + 1}.claim"
        try:
            descriptor = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return None
        os.close(descriptor)
        try:
            write_json(claim, mark_process().as_json())
        except StorageError:
            claim.unlink(missing_ok=True)
            raise
        return number + 1

    def _is_dead(self, number: int) -> bool:
        claim = self._root / f"{number}.claim"
        mark = read_mark(read_json(claim))
        if mark is not None and mark.is_from_here:
            return mark.is_gone
        limit_s = CLAIM_DEAD_S if mark is not None else EMPTY_CLAIM_DEAD_S
        try:
            return filesystem_now(self._root) - claim.stat().st_mtime > limit_s
        except FileNotFoundError:  # its writer could not write, and gave it back
            return True

    def _take_in(self, local: Path) -> None:
        """What others have made since `local` was seeded."""
        with contextlib.suppress(CacheRefusedError):  # all are corrupt: what is here is all there is
            self.seed(local)

    def _write(self, number: int, local: Path) -> str:
        final, partial = self._root / f"{number}.tar", self._root / f".{number}.tar.{os.getpid()}.tmp"
        try:
            self._take_in(local)
            names = list(list_files(local))
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as target:
                packed = pack(local, names, target)
                target.flush()
                os.fsync(target.fileno())
            digest = copy_digested(partial, Path(os.devnull))
            os.rename(partial, final)
            fsync_directory(self._root)
            about = {"key": self._key, "bytes": final.stat().st_size, "digest": digest, "files": packed}
            write_json(self._root / f"{number}.json", about)
        except (OSError, StorageError):
            for name in (f"{number}.json", partial.name, final.name, f"{number}.claim"):
                (self._root / name).unlink(missing_ok=True)
            raise
        self._remove_old()
        num_bytes = sum(size for size, _ in packed.values())
        return f"generation {number}: {len(packed)} files, {num_bytes / 2**20:.1f} MiB"

    def _remove_old(self) -> None:
        """Generations before the last two that are whole, and what killed writers left below the newest."""
        whole = {*self._numbers(".json")} & {*self._numbers(".tar")} - self.refused.keys()
        kept = sorted(whole)[-KEPT_GENERATIONS:]
        if not kept:  # somebody removed the folder just now
            return
        for suffix in (".json", ".tar"):
            for number in self._numbers(suffix):
                if number < kept[-1] and number not in kept:
                    self._remove(f"{number}{suffix}")
        for number in self._numbers(".claim"):
            if number < kept[0]:  # who just lost its number has to find it taken while that is there
                self._remove(f"{number}.claim")
        for entry in self._root.glob(".*.tar.*.tmp"):
            if (number_of(entry.name.split(".")[1]) or kept[-1]) < kept[-1]:
                self._remove(entry.name)

    def _remove(self, name: str) -> None:
        """What cannot be, another user's in a folder of this one's, stays: it is refused."""
        with contextlib.suppress(OSError):
            (self._root / name).unlink()

    def _numbers(self, suffix: str) -> list[int]:
        try:
            names = os.listdir(self._root)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise CacheRefusedError(f"{self._root}: cannot be read: {error.strerror}.") from error
        found = (number_of(name.removesuffix(suffix)) for name in names if name.endswith(suffix))
        return [number for number in found if number is not None]


def store_of(cache_dir: Path, folder: str, key: Mapping[str, Any]) -> CacheStore:
    """The store of a layer in the shared directory; a user's own, since others' code would run as theirs."""
    return CacheStore(_users(cache_dir) / folder, key)


def list_keys(cache_dir: Path, layer: str) -> dict[Path, dict[str, str]]:
    """The keys of a layer's stores in the shared directory by folder, of those that hold something."""
    folders = sorted(_users(cache_dir).glob(f"{layer}-*"))
    keys = ((folder, CacheStore(folder, {}).newest_key()) for folder in folders)
    return {folder: key for folder, key in keys if key is not None}


def _users(cache_dir: Path) -> Path:
    return cache_dir / f"user-{os.getuid()}"
