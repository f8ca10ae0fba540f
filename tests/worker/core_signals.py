"""A plugin by which vLLM's core signals itself amid its work: SIGSTOP in its first start, then SIGKILL.

Signals from outside, sent once a commit is to be seen, come too late where the disk is slow: a tiny model is
through with hundreds of items in seconds.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

VARIABLE = "VLLM_LAUNCH_TEST_ATTEMPT"
"""The attempt's directory: how many logs it has says which start this is."""
SIGNALS = (signal.SIGSTOP, signal.SIGKILL)
NUM_REQUESTS = 40
"""So many have begun by then, and the first of their results is committed."""


def register() -> None:
    """The plugin: wraps Scheduler.schedule, which only the core calls."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        return
    from vllm.v1.core.sched.scheduler import Scheduler

    schedule = Scheduler.schedule
    attempt, num_begun = Path(directory), 0

    def schedule_and_signal(self: Any, *words: Any, **named: Any) -> Any:
        nonlocal num_begun
        output = schedule(self, *words, **named)
        num_begun += len(output.scheduled_new_reqs)
        start = len(list(attempt.glob("0.*.log"))) - 1
        if num_begun >= NUM_REQUESTS and start < len(SIGNALS):
            commits = attempt / f"0.{start}.commits.jsonl"
            while not commits.stat().st_size:
                time.sleep(0.05)
            os.kill(os.getpid(), SIGNALS[start])
        return output

    Scheduler.schedule = schedule_and_signal
