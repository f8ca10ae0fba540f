"""Slurm's job states in three words. Flags such as COMPLETING ride on a base state and count as running."""

from enum import StrEnum


class JobPhase(StrEnum):
    """What a state means for us."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


_WAITING = {
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
    "EXPEDITING",
}  # fmt: skip
_RUNNING = {
    "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "POWER_UP_NODE",
    "UPDATE_DB",
}  # fmt: skip
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL",
    "OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT",
}  # fmt: skip


def job_phase(state: str) -> JobPhase:
    """The phase of a state of squeue or sacct (`CANCELLED by 1000`); unknown words count as running.

    An unknown word must not pass for an end: a second sender would then work beside the first.
    """
    word = state.split(maxsplit=1)[0].rstrip("+") if state.strip() else ""
    if word in _ENDED:
        return JobPhase.ENDED
    return JobPhase.WAITING if word in _WAITING else JobPhase.RUNNING


KNOWN_STATES = frozenset(_WAITING | _RUNNING | _ENDED)
