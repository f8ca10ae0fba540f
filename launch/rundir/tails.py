"""The ends of files that grow: whoever looks at a run reads these, and never a whole log or journal."""

import os
from pathlib import Path
from typing import Any

from launch.rundir.journal import NUMBER, has_fields, parse_object
from launch.rundir.storage_errors import NO_FILE

BLOCK_BYTES = 1 << 14


def read_tail(path: Path, num_bytes: int) -> bytes:
    """The last whole lines of a file within its last `num_bytes`, an unfinished last one included.

    A line longer than that is there with its end only. Empty for a file that is not there or not readable.
    """
    try:
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            start = max(0, size - num_bytes)
            handle.seek(max(0, start - 1))
            data = handle.read(num_bytes + 1)
    except (*NO_FILE, PermissionError):
        return b""
    if start == 0:
        return data[:num_bytes]
    return data.partition(b"\n")[2] or data[1:]


def tail_records(path: Path, num_bytes: int) -> list[dict[str, Any]]:
    """The objects of a journal within its last `num_bytes`; what is torn or no object is passed over."""
    values = map(parse_object, read_tail(path, num_bytes).split(b"\n"))
    return [value for value in values if value is not None]


def last_record(path: Path, **fields: type | tuple[type, ...]) -> dict[str, Any] | None:
    """The last line that `journal.read_journal` would give, however far from the end; None: there is none."""
    try:
        handle = path.open("rb")
    except NO_FILE:
        return None
    with handle:
        left, tail = handle.seek(0, os.SEEK_END), b""
        while left > 0:
            size = min(left, max(BLOCK_BYTES, len(tail)))
            left -= size
            handle.seek(left)
            tail = handle.read(size) + tail
            for line in reversed(tail.split(b"\n")[1 if left else 0 : -1]):  # what no newline ends is torn
                value = parse_object(line)
                if value is not None and has_fields(value, fields):
                    return value
    return None


def last_timed(path: Path) -> dict[str, Any] | None:
    """The last line of a journal that has a time."""
    return last_record(path, time=NUMBER)
