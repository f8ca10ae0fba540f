"""Where an engine process finds compiled modules of Python, and leaves them.

An import of vLLM without them takes twice as long. Python keeps them beside the sources, where it may.
Elsewhere it is told to keep them on the node, and does not look beside the sources then. It does not fsync
them, and an older one does not look whether a disk took all of one (python/cpython#126606; seen with 3.11):
what is torn ends every process that imports it. So a disk that is nearly full gets none, and what a machine
that crashed left is removed.
"""

import contextlib
import importlib.util
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from launch.errors import StorageError
from launch.rundir.journal import read_json
from launch.worker.startup.boot_mark import BOOT_MARK, is_of_earlier_boot

LARGE_PACKAGES = ("vllm", "transformers", "torch")
"""What an engine process imports that is large; those that are installed."""
ENOUGH_COMPILED = 0.4
"""Of the modules of a package's own folder."""
FOLDER = "bytecode"
_HEADER = struct.Struct("<4sIII")
"""Of a compiled module: magic number, flags, time and size of its source (PEP 552)."""
_BY_HASH = 1
_32_BITS = 0xFFFF_FFFF
_ROOM_BYTES = 2**30
"""Those of vLLM, transformers and torch take 138 MiB."""


def bytecode_folder(
    environment: Mapping[str, str], scratch: Path, packages: Sequence[str] = LARGE_PACKAGES
) -> Path | None:
    """The folder in `scratch` that Python is to keep them in; None: it is told nothing."""
    if keeps_bytecode(environment, packages) or _free_bytes(scratch) < _ROOM_BYTES:
        return None
    return scratch / "caches" / FOLDER


def forget_earlier_bytecode(scratch: Path) -> None:
    """Removes the folder when its machine was started anew since; that of several hosts stays, as caches do.

    A process that just uses it compiles what it misses.
    """
    caches = scratch / "caches"
    with contextlib.suppress(StorageError):
        if read_json(caches / BOOT_MARK) is not None and is_of_earlier_boot(caches):
            shutil.rmtree(caches / FOLDER, ignore_errors=True)


def keeps_bytecode(environment: Mapping[str, str], packages: Sequence[str]) -> bool:
    """Whether a Python of ours with this environment finds compiled modules or leaves them for the next.

    False where a package was installed without them (uv does, and many images), or copied so that they are
    not of its sources any more, and Python may not write beside it or was told to write none: every process
    compiles the sources of all that it imports then.
    """
    if environment.get("PYTHONPYCACHEPREFIX"):
        return True
    writes = not environment.get("PYTHONDONTWRITEBYTECODE")
    return all(_is_compiled(source) or (writes and _may_write(source)) for source in _sources(packages))


def _sources(packages: Sequence[str]) -> Iterator[Path]:
    for name in packages:
        source = _source(name)
        if source is not None:
            yield source


def _source(name: str) -> Path | None:
    """None of a package that is not there or has no source, and of one that cannot be asked."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _is_compiled(source: Path) -> bool:
    """Whether `source` is, and with it most of what lies beside it.

    One that only was imported in the making of an image is compiled in part: of vLLM's 22 modules 6 were, 17
    of one that had been used; of transformers' 62 none and 35, of torch's 44 41 and 42.
    """
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if not _is_of(compiled, source):
        return False
    suffix = compiled.name.removeprefix(source.stem)  # .cpython-312.pyc
    names = {path.name.removesuffix(suffix) for path in compiled.parent.glob(f"*{suffix}")}
    modules = [path.stem for path in source.parent.glob("*.py")]
    return sum(name in names for name in modules) >= ENOUGH_COMPILED * len(modules)


def _is_of(compiled: Path, source: Path) -> bool:
    """Whether Python takes it, as importlib decides: of this version of it, and of the source as it is."""
    try:
        with compiled.open("rb") as file:
            header = file.read(_HEADER.size)
        magic, flags, time, size = _HEADER.unpack(header)
        found = source.stat()
    except (OSError, struct.error):
        return False
    is_of_now = (time, size) == (int(found.st_mtime) & _32_BITS, found.st_size & _32_BITS)
    return magic == importlib.util.MAGIC_NUMBER and (flags & _BY_HASH != 0 or is_of_now)


def _may_write(source: Path) -> bool:
    folder = source.parent / "__pycache__"
    return os.access(folder if folder.is_dir() else source.parent, os.W_OK)


def _free_bytes(folder: Path) -> int:
    """On the disk that a folder is on, or will be; 0 where it cannot be looked at."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        return shutil.disk_usage(there).free
    except OSError:
        return 0
