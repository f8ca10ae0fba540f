"""Compiled kernels in a shared directory, which nodes start from and write back to once, whole.

<cache_dir>/user-<uid>/<layer>-<key>/ holds generations (cache_generations.py). The highest counts, and the
one before it where that one is refused. Whoever has compiled what it lacks makes the next one, once
(cache_writing.py).
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.errors import StorageError
from launch.worker.startup.cache_generations import Generation, fetch, list_numbers, read_generation, read_key
from launch.worker.startup.cache_tree import MARK_PREFIX, CacheRefusedError, list_files, move_new
from launch.worker.startup.cache_writing import claim_next, remove_old, withdraw, write_generation
from launch.worker.startup.node_lock import NodeLock

MAX_BYTES = 8 * 2**30
"""A generation with so much is followed by none, should every start compile something new: it is read whole
by each node, and who starts from it is warm enough.
"""
SEED_WAIT_S = 300


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
        numbers = self._numbers()
        return None if not numbers else read_generation(self._root, max(numbers), self._key)

    def newest_key(self) -> dict[str, str] | None:
        """What the highest generation was made for; None when there is none, or none of ours."""
        try:
            numbers = self._numbers()
            return read_key(self._root, max(numbers)) if numbers else None
        except CacheRefusedError:
            return None

    def seed(self, local: Path) -> Generation | None:
        """Puts what `local` lacks of the newest generation into it; None when there is none.

        All is checked before anything is put there; one that is corrupt or foreign is `refused`, and the one
        before it taken. CacheRefusedError when that leaves none, StorageError when the node's disk is full or
        has no locks; `local` is as it was then. One process of the node does it at a time: engines of
        different models share a layer.
        """
        if not self._numbers():
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

    def write_back(self, local: Path) -> str:
        """Makes a generation of `local` if it has files that the newest lacks; what came of it, in words.

        It holds what the newest had, too, which another node may have made since this one was seeded. The
        first may be empty: it says that there is nothing to compile, so that nobody waits for it.
        """
        if (why := self._why_none_follows(local)) is not None:
            return why
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = claim_next(self._root)
            return "another task writes it" if number is None else self._write(number, local)
        except OSError as error:
            return f"not written: {error.strerror or error}"
        except StorageError as error:
            return f"not written: {error}"

    def _why_none_follows(self, local: Path) -> str | None:
        """Why no generation is to follow the newest, if none is."""
        newest = self._sound()
        if newest is not None and list_files(local).keys() <= newest.files.keys():
            return f"generation {newest.number} has it all"
        if newest is not None and newest.num_bytes >= MAX_BYTES:
            return (
                f"not written: generation {newest.number} has {newest.num_bytes / 2**30:.1f} GiB, and more is"
                f" not kept. Remove {self._root} to begin anew."
            )
        return None

    def _numbers(self) -> list[int]:
        return list_numbers(self._root, ".json")

    def _highest(self) -> int | None:
        """Looked for anew each time: what was just found gone has newer ones after it."""
        return max((number for number in self._numbers() if number not in self.refused), default=None)

    def _seed_from(self, number: int, local: Path) -> Generation:
        generation = read_generation(self._root, number, self._key)
        if not generation.files.keys() <= list_files(local).keys():
            self._put(generation, local)
        return generation

    def _put(self, generation: Generation, local: Path) -> None:
        work = local.with_name(f".incoming-{local.name}")
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        try:
            work.mkdir(mode=0o700)
            move_new(fetch(self._root, generation, work), local)
        except OSError as error:
            raise StorageError(f"{self._root}: cannot be copied to {work}: {error.strerror}.") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _sound(self) -> Generation | None:
        """The newest generation unless it is known to be corrupt or foreign: a sound one follows it."""
        try:
            newest = self.newest()
        except CacheRefusedError:
            return None
        return None if newest is None or newest.number in self.refused else newest

    def _write(self, number: int, local: Path) -> str:
        try:
            self._take_in(local)
            if (why := self._why_none_follows(local)) is not None:  # made since it was looked for
                withdraw(self._root, number)
                return why
            written = write_generation(self._root, number, self._key, local)
        except (OSError, StorageError):
            withdraw(self._root, number)
            raise
        remove_old(self._root, self.refused.keys())
        return f"generation {number}: {len(written.files)} files, {written.num_bytes / 2**20:.1f} MiB"

    def _take_in(self, local: Path) -> None:
        """What others have made since `local` was seeded."""
        with contextlib.suppress(CacheRefusedError):  # all are corrupt: what is here is all there is
            self.seed(local)


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
