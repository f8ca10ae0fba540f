"""rounds.jsonl: what the merge jobs of a submission decided about items that were missing, a line each."""

import time
from typing import Any

from launch.rundir.journal import Journal, read_journal
from launch.rundir.layout import RunPaths


def add_round(
    run: RunPaths, submission: int, *, round_: int, num_missing: int, sends: bool, why: str
) -> None:
    """Records a decision, durably: `sends` says that the missing items are tried again."""
    journal = Journal(run.submission(submission).rounds)
    try:
        row = {"time": round(time.time(), 3), "round": round_, "num_missing": num_missing}
        journal.append({**row, "sends": sends, "why": why}, durable=True)
    finally:
        journal.close()


def num_missing_before(run: RunPaths, submission: int, otherwise: int) -> int:
    """How many items the last decision found missing; `otherwise` where there was none."""
    rows = _decisions(run, submission)
    return int(rows[-1]["num_missing"]) if rows else otherwise


def why_stopped(run: RunPaths, submission: int) -> str | None:
    """Why no further round is wanted, if the last decision was that."""
    rows = _decisions(run, submission)
    return None if not rows or rows[-1]["sends"] else str(rows[-1]["why"])


def _decisions(run: RunPaths, submission: int) -> list[dict[str, Any]]:
    return list(read_journal(run.submission(submission).rounds, num_missing=int, sends=bool, why=str))
