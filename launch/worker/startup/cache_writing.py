"""Makes generations in the shared directory: of many tasks one writes, whole or not at all.

Whoever makes the next one claims its number: `<n>.claim` is made with O_EXCL. A claim of somebody dead is not
broken; the next number is taken, and numbers have no end. What is kept has one: two generations.
"""

import contextlib
import os
from collections.abc import Set as AbstractSet
from pathlib import Path

from launch.errors import StorageError
from launch.rundir.attempts import filesystem_now
from launch.rundir.durable import fsync_directory
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import number_of
from launch.rundir.process_mark import mark_process, read_mark
from launch.worker.startup.cache_generations import Generation, list_numbers
from launch.worker.startup.cache_tree import FileFacts, copy_digested, list_files, pack

CLAIM_DEAD_S = 30 * 60
"""A claim made on another host is nobody's when it is older: packing takes seconds."""
EMPTY_CLAIM_DEAD_S = 60
"""Its writer was killed just then."""
KEPT_GENERATIONS = 2
"""Older ones are removed; the one before the newest may be read just now, and stands in for it."""


def claim_next(root: Path) -> int | None:
    """The number of the generation that this process may make; None while somebody else makes one."""
    number = max([*list_numbers(root, ".json"), *list_numbers(root, ".claim")], default=0)
    if number and not (root / f"{number}.json").exists() and not _is_dead(root, number):
        return None
    claim = root / f"{number + 1}.claim"
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


def _is_dead(root: Path, number: int) -> bool:
    claim = root / f"{number}.claim"
    mark = read_mark(read_json(claim))
    if mark is not None and mark.is_from_here:
        return mark.is_gone
    limit_s = CLAIM_DEAD_S if mark is not None else EMPTY_CLAIM_DEAD_S
    try:
        return filesystem_now(root) - claim.stat().st_mtime > limit_s
    except FileNotFoundError:  # its writer could not write, and gave it back
        return True


def write_generation(root: Path, number: int, key: dict[str, str], local: Path) -> Generation:
    """Makes the generation that was claimed, of the files in `local`; the manifest comes last."""
    final, partial = root / f"{number}.tar", _partial(root, number)
    packed = _pack_durably(local, partial)
    digest = copy_digested(partial, Path(os.devnull))
    os.rename(partial, final)
    fsync_directory(root)
    about = {"key": key, "bytes": final.stat().st_size, "digest": digest, "files": packed}
    write_json(root / f"{number}.json", about)
    return Generation(number, packed, digest)


def withdraw(root: Path, number: int) -> None:
    """Takes back what there is of a generation that could not be made, its claim last."""
    for name in (f"{number}.json", _partial(root, number).name, f"{number}.tar", f"{number}.claim"):
        (root / name).unlink(missing_ok=True)


def remove_old(root: Path, refused: AbstractSet[int]) -> None:
    """Generations before the last two that are whole, and what killed writers left below the newest."""
    whole = {*list_numbers(root, ".json")} & {*list_numbers(root, ".tar")} - refused
    kept = sorted(whole)[-KEPT_GENERATIONS:]
    if not kept:  # somebody removed the folder just now
        return
    for suffix in (".json", ".tar"):
        for number in list_numbers(root, suffix):
            if number < kept[-1] and number not in kept:
                _remove(root / f"{number}{suffix}")
    for number in list_numbers(root, ".claim"):
        if number < kept[0]:  # who just lost its number has to find it taken while that is there
            _remove(root / f"{number}.claim")
    for path in root.glob(".*.tar.*.tmp"):
        if (number_of(path.name.split(".")[1]) or kept[-1]) < kept[-1]:
            _remove(path)


def _partial(root: Path, number: int) -> Path:
    return root / f".{number}.tar.{os.getpid()}.tmp"


def _pack_durably(local: Path, partial: Path) -> dict[str, FileFacts]:
    names = list(list_files(local))
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        packed = pack(local, names, target)
        target.flush()
        os.fsync(target.fileno())
    return packed


def _remove(path: Path) -> None:
    """What cannot be, another user's in a folder of this one's, stays: it is refused."""
    with contextlib.suppress(OSError):
        path.unlink()
