"""A plugin by which one item kills vLLM's core: abort() in the step that schedules its prompt."""

import os
import re
from typing import Any

VARIABLE = "VLLM_LAUNCH_TEST_POISON"


def register() -> None:
    """The plugin: wraps Scheduler.schedule, which only the core calls."""
    number = os.environ.get(VARIABLE)
    if number is None:
        return
    from vllm.v1.core.sched.scheduler import Scheduler

    schedule = Scheduler.schedule
    # A request's name is the item's number; vLLM puts `<sample>_` before it and `-<random>` behind.
    name = re.compile(rf"(?:\d+_)?{re.escape(number)}(?:-.*)?")

    def deadly_schedule(self: Any, *words: Any, **named: Any) -> Any:
        output = schedule(self, *words, **named)
        if any(name.fullmatch(request.req_id) for request in output.scheduled_new_reqs):
            os.abort()
        return output

    Scheduler.schedule = deadly_schedule
