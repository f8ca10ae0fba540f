"""canary.json: what the first items of a run looked like. Judged once; what was written first counts.

Any engine of the run may judge, and two may at the same moment, over items that are not quite the same: the
file is made with O_EXCL, and everybody acts on what stands in it. One that a kill left half made is nobody's
after a minute, as an empty claim is.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from launch.rundir.attempts import filesystem_now
from launch.rundir.claim_files import EMPTY_CLAIM_S
from launch.rundir.durable import fsync_directory
from launch.rundir.journal import FieldTypes, has_fields, json_line, read_json, write_all, write_json
from launch.rundir.layout import RunPaths
from launch.rundir.read_errors import read_errors
from launch.rundir.storage_errors import storage_errors

FIELDS: FieldTypes = {
    "submission": int,
    "num_items": int,
    "rates": dict,
    "found": list,
    "stops": bool,
    "judged_by": str,
    "time": (int, float),
}


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """`found` are the rates over their limits in words, empty when all is as it should be.

    `stops` says that the tasks of `submission` are to stop; a later submission goes on, for somebody sent it
    who could see this.
    """

    submission: int
    num_items: int
    rates: Mapping[str, float]
    found: tuple[str, ...]
    stops: bool
    judged_by: str
    time: float

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if not self.found:
            return f"the first {self.num_items} items are within the limits"
        return f"of the first {self.num_items} items {'; '.join(self.found)}"

    def stops_submission(self, submission: int) -> bool:
        """Whether the tasks of a submission are to stop for it."""
        return self.stops and self.submission == submission


def read_canary(run: RunPaths) -> CanaryRecord | None:
    """The judgement on a run; None while there is none, while it is being written, or when it is damaged.

    StorageError for one that is there and cannot be read now.
    """
    with read_errors(run.canary):
        row = read_json(run.canary)
    return _record(row) if row is not None and has_fields(row, FIELDS) else None


def keep_canary(run: RunPaths, record: CanaryRecord) -> CanaryRecord | None:
    """Keeps a judgement unless another one came first; the one that counts, None while that is written."""
    with storage_errors(run.canary):
        try:
            descriptor = os.open(run.canary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return _other(run, record)
        try:
            write_all(descriptor, json_line(asdict(record)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsync_directory(run.root)
    return record


def _other(run: RunPaths, record: CanaryRecord) -> CanaryRecord | None:
    kept = read_canary(run)
    if kept is None and filesystem_now(run.root) - run.canary.stat().st_mtime > EMPTY_CLAIM_S:
        write_json(run.canary, asdict(record))
        return record
    return kept


def _record(row: Mapping[str, Any]) -> CanaryRecord:
    values = {name: row[name] for name in FIELDS}
    rates = {name: rate for name, rate in row["rates"].items() if isinstance(rate, int | float)}
    return CanaryRecord(**{**values, "rates": rates, "found": tuple(map(str, row["found"]))})
