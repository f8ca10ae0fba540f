"""What a GPU of a task can be held for: the words of the ledger. docs/ledger.md has their definitions."""

from enum import StrEnum


class Phase(StrEnum):
    """Each is an interval between two things that were written down when they happened, none is what is left.

    QUEUED is apart: no GPU is held. REPEATED is known at merge only, and is taken out of GENERATING.
    """

    SETUP = "setup"
    """Batch shell and supervisor: before the first engine, waits of the ladder, after the supervisor."""
    LOADING = "loading"
    """An engine process from its start until it generates, without what it compiles."""
    COMPILING = "compiling"
    """The part of that start that vLLM says it spent on torch.compile, kernels and graphs."""
    GENERATING = "generating"
    DRAINING = "draining"
    """From the order to stop, or from when nothing was left to generate, to the engine's end."""
    IDLE_TAIL = "idle_tail"
    """This slot has ended, others of its task have not."""
    LOST = "lost"
    """Generated, and never durable: from an engine's last commit to a death that was not its own end."""
    REPEATED = "repeated"
    """Generated and durable, and not used: another line of the item counts."""
    UNUSED = "unused"
    """A GPU of the task that no slot was given."""


PHASES = tuple(Phase)
