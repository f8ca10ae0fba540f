"""Why an engine failed, read from its log: the one table from log text to a failure class.

The cause of most failures is in no exception that reaches us: vLLM's own processes print it and die, and the
parent only learns that they are gone. The whole log is searched, row by row: what can never work comes before
what memory has to do with, and that before what merely follows from something else. Texts are vLLM 0.32's and
0.26's; tests/worker/failure_logs has a log per row, recorded or quoted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from launch.errors import NodeError, StorageTroubleError
from launch.worker.failure_table import TABLE, FailureClass, FailureRow, Retry

__all__ = ["TABLE", "Diagnosis", "FailureClass", "FailureRow", "Retry", "classify", "retry_of"]

MAX_EVIDENCE = 240
UNKNOWN_MEANING = "the engine failed"
SIGKILL_MEANING = "something killed it, most likely the kernel for want of host memory"
SIGKILLED = (-9, 137)
NODE_UNFIT = "node_unfit"
STORAGE_TROUBLE = "storage_trouble"
OF_THE_NODE = (NODE_UNFIT, STORAGE_TROUBLE)
"""Classes that no log tells: an error of ours says them. Another node, or a later try, may do."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A failure's class, the line that tells it, and the numbers in that text."""

    failure_class: FailureClass
    meaning: str
    retry: Retry
    evidence: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def retry_of(failure_class: str) -> Retry:
    """Whether trying again can help after a failure of this class; never for one that nobody knows."""
    if failure_class in OF_THE_NODE:
        return Retry.ELSEWHERE
    return next((row.retry for row in TABLE if row.failure_class == failure_class), Retry.NEVER)


def class_of(error: Exception) -> str:
    """The class of an error that no log has to explain; its type's name unless the node is to blame."""
    if isinstance(error, NodeError):
        return NODE_UNFIT
    return STORAGE_TROUBLE if isinstance(error, StorageTroubleError) else type(error).__name__


def classify(log_text: str, returncode: int | None = None) -> Diagnosis:
    """The first row of TABLE that the text shows; SIGKILL without one is the host's memory, else UNKNOWN.

    `returncode` is that of an engine process which nobody of ours killed.
    """
    for row in TABLE:
        if row.also is not None and not re.search(row.also, log_text):
            continue
        for pattern in row.patterns:
            match = re.search(pattern, log_text)
            if match is not None:
                return _diagnosis(row, match)
    if returncode in SIGKILLED:
        evidence = "the engine process was killed by SIGKILL without a word"
        return Diagnosis(FailureClass.HOST_OUT_OF_MEMORY, SIGKILL_MEANING, Retry.CHANGED, evidence)
    return Diagnosis(FailureClass.UNKNOWN, UNKNOWN_MEANING, Retry.NEVER, "")


def memory_kill(num_killed: int) -> Diagnosis:
    """What the kernel counted: it killed processes of the job for want of memory while the engine lived."""
    row = next(row for row in TABLE if row.failure_class is FailureClass.HOST_OUT_OF_MEMORY)
    what = "a process" if num_killed == 1 else f"{num_killed} processes"
    evidence = f"the kernel killed {what} of this job because its memory was full"
    return Diagnosis(row.failure_class, row.meaning, row.retry, evidence)


def device_fault(errors: Sequence[str]) -> Diagnosis:
    """What the GPUs themselves told: errors such as an Xid, shortly before the engine died."""
    row = next(row for row in TABLE if row.failure_class is FailureClass.DEVICE_FAULT)
    return Diagnosis(row.failure_class, row.meaning, row.retry, f"NVML told {', '.join(errors)}")


def _diagnosis(row: FailureRow, match: re.Match[str]) -> Diagnosis:
    numbers = {name: float(text) for name, text in match.groupdict().items() if text is not None}
    return Diagnosis(row.failure_class, row.meaning, row.retry, _line(match), numbers)


def _line(match: re.Match[str]) -> str:
    """The line of a match from the match's own beginning, in one line and not too long."""
    text, begin = match.string, match.start()
    end = text.find("\n", match.end())
    line = " ".join(text[begin : end if end >= 0 else len(text)].split())
    return line if len(line) <= MAX_EVIDENCE else f"{line[: MAX_EVIDENCE - 3]}..."
