"""damaged.jsonl: committed lines that did not stand a merge's checks; a resume generates their items again.

Without it a commit whose line was lost on the disk would count as settled for ever.
"""

from collections.abc import Sequence
from dataclasses import asdict

from launch.collect.outcomes import Findings
from launch.rundir.attempts import EngineStart
from launch.rundir.journal import json_line, write_bytes
from launch.rundir.layout import RunPaths


def read_damage(run: RunPaths) -> bytes:
    """What the last merge or verify found, as it was written; empty where that was nothing."""
    return run.damaged.read_bytes() if run.damaged.exists() else b""


def write_damage(run: RunPaths, starts: Sequence[EngineStart], findings: Findings) -> None:
    """Replaces it by what this merge found, a line each: engine start, offset and item number."""
    if not findings.damaged_lines and not run.damaged.exists():
        return
    rows = [
        {**asdict(starts[line.source]), "offset": line.offset, "number": line.number}
        for line in findings.damaged_lines
    ]
    write_bytes(run.damaged, b"".join(json_line(row) for row in rows))
