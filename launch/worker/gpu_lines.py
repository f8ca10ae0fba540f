"""The sample lines of gpu.jsonl: what a GPU's reading was before is not written again.

`{"time": ..., "gpus": [{"power_w": 690.1}, {}]}`: of each GPU the readings that changed since the line
before. Every 15th line is whole, so that whoever reads an end of the file has one, and a torn line is
forgotten soon.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

WHOLE_EVERY = 15
"""Of 8 GPUs so many lines take some 9 kB: launch.collect.gpu_now reads 16."""
Row = dict[str, Any]


class Folder:
    """Takes whole samples, gives what a line has to say; one for each gpu.jsonl that is written."""

    def __init__(self) -> None:
        self._before: Sequence[Row] | None = None
        self._num_lines = 0

    def fold(self, rows: Sequence[Row]) -> list[Row]:
        """The readings of each GPU that are to be written."""
        before = None if self._num_lines % WHOLE_EVERY == 0 else self._before
        self._before = rows
        self._num_lines += 1
        if before is None:
            return list(rows)
        return [
            {name: value for name, value in row.items() if name not in last or last[name] != value}
            for last, row in zip(before, rows, strict=True)
        ]


class Unfolder:
    """Takes lines in order, gives whole samples; one for each gpu.jsonl that is read."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def unfold(self, line: Mapping[str, Any]) -> list[Row] | None:
        """Every reading of every GPU as of a sample line; None for another line, which may name new GPUs."""
        rows = line.get("gpus")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._rows = [] if "devices" in line else self._rows
            return None
        if len(self._rows) != len(rows):
            self._rows = [{} for _ in rows]
        self._rows = [{**last, **row} for last, row in zip(self._rows, rows, strict=True)]
        return self._rows


def read_samples(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[float, list[Row]]]:
    """Time and whole readings, a GPU each in the order of the `devices` line, of every sample."""
    unfolder = Unfolder()
    for line in lines:
        rows = unfolder.unfold(line)
        if rows is not None and isinstance(line.get("time"), int | float):
            yield float(line["time"]), rows
