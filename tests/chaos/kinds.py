"""The kinds of kill: what is killed, or taken away."""

from enum import StrEnum


class Kind(StrEnum):
    """What is killed, or taken away."""

    CORE = "engine core"
    WORKER = "vLLM worker"
    ENGINE = "engine process"
    SUPERVISOR = "supervisor"
    SHELL = "batch shell"
    NODE = "whole node"
    SCANCEL = "scancel"
    REQUEUE = "requeue"
    PREEMPT_REQUEUE = "preemption REQUEUE"
    PREEMPT_CANCEL = "preemption CANCEL"
    MERGE = "merge"
    TWO_MERGES = "two merges"

    @property
    def hits_a_task(self) -> bool:
        """Whether generation is cut short by it."""
        return self not in (Kind.MERGE, Kind.TWO_MERGES)
