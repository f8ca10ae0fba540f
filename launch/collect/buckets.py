"""Cuts the result lines of all engine starts into buckets by item number, unparsed, in one sequential pass.

A bucket is a scratch file that fits in memory: about 64 MiB of lines of a range of item numbers. So a run of
any size is merged in bounded memory and two readings.
"""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.rundir.plan import KeyIndex
from launch.rundir.read_errors import read_errors
from launch.rundir.results import Committed, recover
from launch.rundir.storage_errors import NO_FILE, storage_errors

BUCKET_BYTES = 64 << 20
MAX_BUCKETS = 512
_HEAD = struct.Struct("<IIQII?d")
"""Item number, index of the engine start, offset, length, crc32, failed, time (0: from a tail)."""


class Line(NamedTuple):
    """A result line as it lies on disk: `data` is shorter than what was committed when the file was cut.

    `source` is the index of its engine start. A tuple, as launch.rundir.results.Committed is.
    """

    number: int
    failed: bool
    source: int
    offset: int
    crc32: int
    time: float | None
    data: bytes


_rank = itemgetter(slice(4))
"""Sorts lines: by item; of one item done before failed, then the lowest engine start and offset."""


class Buckets:
    """The scratch files of one merge, in a directory of its own that holds nothing else."""

    def __init__(self, directory: Path, num_items: int, num_bytes: int) -> None:
        num_buckets = min(max(1, -(-num_bytes // BUCKET_BYTES)), MAX_BUCKETS, max(1, num_items))
        self._items_per_bucket = -(-num_items // num_buckets) or 1
        self._paths = [directory / f"{number}.bucket" for number in range(num_buckets)]

    def fill(
        self, run: RunPaths, starts: Sequence[EngineStart], keys: KeyIndex, settings: str
    ) -> Iterator[Committed]:
        """Writes every settled item's line to its bucket; yields each, as it passes.

        StorageError names the scratch directory where writing fails, a results file where reading does.
        """
        with self._open() as files:
            for index, start in enumerate(starts):
                for item, data in _lines(run, start, keys, settings):
                    self._write(files, index, item, data)
                    yield item

    @contextmanager
    def _open(self) -> Iterator[list[BinaryIO]]:
        """The bucket files, to be written; what is done with them meanwhile is not theirs to explain."""
        files: list[BinaryIO] = []
        try:
            with storage_errors(self._paths[0].parent):
                files += (path.open("wb", buffering=1 << 17) for path in self._paths)
            yield files
        finally:
            with storage_errors(self._paths[0].parent):
                for file in files:
                    file.close()

    def _write(self, files: list[BinaryIO], source: int, item: Committed, data: bytes) -> None:
        head = _HEAD.pack(
            item.number, source, item.offset, len(data), item.crc32, item.failed, item.time or 0.0
        )
        file = files[min(item.number // self._items_per_bucket, len(files) - 1)]
        with storage_errors(self._paths[0].parent):
            file.write(head)
            file.write(data)

    def read(self) -> Iterator[Line]:
        """Every line in order of item number and rank; one bucket in memory at a time.

        Once: a bucket is removed when it was read, so that what is written next can have its memory and room.
        """
        for path in self._paths:
            yield from _take(path)


def _lines(
    run: RunPaths, start: EngineStart, keys: KeyIndex, settings: str
) -> Iterator[tuple[Committed, bytes]]:
    """Every settled item of an engine start with its line; nothing for a file that is there no more."""
    path = start.paths(run).results
    with read_errors(path):
        try:
            results = path.open("rb", buffering=1 << 20)
        except NO_FILE:  # since it was listed: `recover` finds nothing in it either
            return
        with results:
            place = 0
            for item in recover(run, start, keys, settings):
                if item.offset != place:
                    results.seek(item.offset)
                data = results.read(item.length)
                place = item.offset + len(data)
                yield item, data


def _take(path: Path) -> list[Line]:
    lines = sorted(_unpack(path.read_bytes()), key=_rank)
    with contextlib.suppress(OSError):  # the whole directory is removed at the end
        path.unlink()
    return lines


def _unpack(content: bytes) -> Iterator[Line]:
    position = 0
    while position < len(content):
        number, source, offset, length, crc32, failed, time = _HEAD.unpack_from(content, position)
        position += _HEAD.size
        data = content[position : position + length]
        yield Line(number, failed, source, offset, crc32, time or None, data)
        position += length
