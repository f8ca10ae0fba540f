"""Whether a merge job sends the missing items again: why each task left some, and whether that may pass.

Files come first: what an attempt said when it ended. Slurm's word counts where the files are silent or say no
more than "told to stop": a time limit, a preemption and a lost node pass; a user's scancel is respected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from launch.errors import ExitCode
from launch.worker.failures import Retry, retry_of


class Cause(StrEnum):
    """Why a task left items unsettled."""

    CONTINUED = "told to continue"
    TIME_LIMIT = "time limit"
    PREEMPTED = "preempted"
    NODE_FAILED = "node failed"
    LOST = "ended without a word"
    NOT_STARTED = "never started"
    ELSEWHERE = "failed, and may not on another node or later"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out of host memory"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def may_pass(self) -> bool:
        """Whether sending the items again, with nothing changed, may generate them."""
        return self not in (Cause.CANCELLED, Cause.OUT_OF_MEMORY, Cause.FAILED, Cause.REFUSED)


_BY_STATE = {
    "CANCELLED": Cause.CANCELLED,
    "OUT_OF_MEMORY": Cause.OUT_OF_MEMORY,
    "TIMEOUT": Cause.TIME_LIMIT,
    "DEADLINE": Cause.CANCELLED,
    "PREEMPTED": Cause.PREEMPTED,
    "NODE_FAIL": Cause.NODE_FAILED,
    "BOOT_FAIL": Cause.NODE_FAILED,
    "LAUNCH_FAILED": Cause.NODE_FAILED,
}


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """How a task ended, as far as that decides about another round."""

    task: int
    cause: Cause
    said: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands when its merge job looks: the number of its round, what is missing now and before.

    `num_missing_before` is what this round was to generate; `stopped` is what the canary found, if it stopped
    the submission.
    """

    round: int
    max_rounds: int
    num_missing: int
    num_missing_before: int
    ends: tuple[TaskEnd, ...]
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to send again, and why, in one sentence without its full stop."""

    sends: bool
    why: str


def cause_of(ended: dict[str, Any] | None, state: str | None, *, started: bool) -> Cause | None:
    """Why a task left items, from its last attempt's ended.json and Slurm's word; None when it ended well."""
    code = None if ended is None else ended.get("code")
    if ended is not None and code == ExitCode.OK:
        return None
    if ended is not None and code not in (None, ExitCode.CONTINUE):
        failure_class = str((ended.get("failure") or {}).get("class", ""))
        if retry_of(failure_class) in (Retry.AGAIN, Retry.ELSEWHERE):
            return Cause.ELSEWHERE
        return Cause.REFUSED if code == ExitCode.USER else Cause.FAILED
    if state in _BY_STATE:
        return _BY_STATE[state]
    if ended is not None:
        return Cause.CONTINUED
    return Cause.LOST if started else Cause.NOT_STARTED


def decide(standing: Standing) -> Decision:
    """Sends when something is missing for a reason that may pass, rounds are left and the last one helped."""
    missing = f"{standing.num_missing:,} items are missing"
    if standing.stopped is not None:  # whatever else befell a task: the user is to look first
        return Decision(False, f"{missing}, for the canary stopped the run: {standing.stopped}")
    passing = [end for end in standing.ends if end.cause.may_pass]
    if not passing and standing.ends:
        return Decision(False, f"{missing}, and no reason for it passes by itself ({_causes(standing.ends)})")
    if standing.max_rounds == 0:
        return Decision(False, f"{missing}, and resources.max_rounds is 0")
    if standing.round >= standing.max_rounds:
        return Decision(
            False, f"{missing} after {standing.round} rounds, as many as resources.max_rounds allows"
        )
    if standing.round > 0 and standing.num_missing >= standing.num_missing_before:
        return Decision(False, f"{missing}, as many as before round {standing.round}: it brought no progress")
    why = _causes(passing) if passing else "results that did not stand the checks"
    return Decision(True, f"{missing} ({why})")


def _causes(ends: Sequence[TaskEnd]) -> str:
    """`2 tasks: preempted; task 5: cancelled`."""
    by_cause: dict[Cause, list[TaskEnd]] = {}
    for end in ends:
        by_cause.setdefault(end.cause, []).append(end)
    parts = []
    for cause, group in by_cause.items():
        who = f"task {group[0].task}" if len(group) == 1 else f"{len(group)} tasks"
        said = next((end.said for end in group if end.said), "")
        parts.append(f"{who}: {cause.value}{f', {said}' if said else ''}")
    return "; ".join(parts)
