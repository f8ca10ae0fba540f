"""Where the seconds of one engine start went: parts that were measured, and what none of them explains.

The engine process times its own parts by the monotonic clock, from the moment the kernel made it to "ready".
What happens inside vllm.LLM(...) is taken from vLLM's own log lines. Nothing is a remainder under another
name: seconds that no part explains are called so, and so are seconds that two parts explain.
"""

import os
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from launch.rundir.process_mark import mark_process
from launch.worker.startup.vllm_lines import ENGINE, INIT_ENGINE, LOAD_MODEL, VllmLines, within_of

UNEXPLAINED = "unexplained"
OVERLAP = "overlap"
START = "start"
"""The whole; everything lies within it."""
STAGING_VARIABLE = "VLLM_LAUNCH_STAGING_S"
"""Set by launch.worker.startup.packed_environment, which becomes the engine process: the seconds it took."""
OWN_PARTS = (
    "stage_environment",
    "python",
    "first_request",
    "stage_weights",
    "wait_for_caches",
    "seed_caches",
    "import",
    ENGINE,
    "warm_up",
)
"""What the engine process times itself, in the order in which it happens.

python: the interpreter and our own imports. first_request: a chunk is claimed and tokenised. wait_for_caches:
another engine on the node compiles. engine: vllm.LLM(...), or the load of another engine. warm_up: one
request with the run's sampling; `first_token` lies within it.
"""
_FIRST_TOKEN = "first_token"


class StartLedger:
    """The parts of one start; `parts` are seconds by name, and a part that was entered twice has the sum."""

    def __init__(
        self, lived_s: float | None = None, environment: MutableMapping[str, str] = os.environ
    ) -> None:
        """`lived_s`: for how long the process has lived already, as the kernel says unless given."""
        lived = process_age_s() if lived_s is None else lived_s
        self._began = time.monotonic() - lived
        staged = environment.pop(STAGING_VARIABLE, None)
        self.parts: dict[str, float] = {} if staged is None else {"stage_environment": float(staged)}
        self.parts["python"] = max(0.0, lived - float(staged or 0.0))
        self._inner_s = 0.0
        """What parts within the current one took so far."""

    @property
    def age_s(self) -> float:
        """Seconds since the process was made."""
        return time.monotonic() - self._began

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times what happens inside, without the parts that are entered there; also when it fails."""
        began, outer_s, self._inner_s = time.monotonic(), self._inner_s, 0.0
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            self.add(name, took_s - self._inner_s)
            self._inner_s = outer_s + took_s

    def add(self, name: str, seconds: float) -> None:
        """Adds seconds that were measured elsewhere in this process."""
        self.parts[name] = self.parts.get(name, 0.0) + seconds

    def as_json(self, lines: VllmLines) -> dict[str, Any]:
        """What engine.json keeps; to be called when the engine is ready.

        `parts` are rows of a part's name, its seconds, in which part it lies and who measured it.
        """
        total = self.age_s
        rows = [_row(name, self.parts[name], START, "engine process") for name in self._own()]
        if _FIRST_TOKEN in self.parts:
            rows.append(_row(_FIRST_TOKEN, self.parts[_FIRST_TOKEN], "warm_up", "engine process"))
        for part, seconds in lines.seconds.items():
            rows.append(_row(part, seconds, within_of(part, lines.seconds), "vLLM's log"))
        rows += list(_unexplained(rows, total))
        return {"total_s": round(total, 3), "parts": rows, "vllm_lines": lines.counts}

    def _own(self) -> list[str]:
        return [name for name in OWN_PARTS if name in self.parts]


def process_age_s() -> float:
    """Seconds since the kernel made this process (proc(5), starttime); 0 where it does not say."""
    ticks = mark_process().ticks
    if ticks is None:
        return 0.0
    made = ticks / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - made)


def _row(part: str, seconds: float, within: str, by: str) -> dict[str, Any]:
    return {"part": part, "seconds": round(seconds, 3), "within": within, "by": by}


def _unexplained(rows: list[dict[str, Any]], total: float) -> Iterator[dict[str, Any]]:
    """A row for each part that has others within it, and for the whole: what those leave unexplained.

    vLLM's lines round, and its processes work side by side, so that parts may be longer than their whole:
    then 0 is left, and a row of its own has by how much they are longer. Of vLLM only lengths are known, not
    when: parts that overlap by less than what nothing explains make that look smaller, and no row tells.
    """
    wholes: Mapping[str, float] = {START: total} | {
        row["part"]: row["seconds"] for row in rows if row["part"] in (ENGINE, LOAD_MODEL, INIT_ENGINE)
    }
    for whole, seconds in wholes.items():
        inside = [row["seconds"] for row in rows if row["within"] == whole]
        left = round(seconds - sum(inside), 3)
        if inside:
            yield _row(UNEXPLAINED, max(0.0, left), whole, "what is left")
        if inside and left < 0:
            yield _row(OVERLAP, -left, whole, "what is too much")
