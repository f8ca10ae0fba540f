"""An engine that costs nothing, and a clock of threads: what is left is what the worker's loop needs."""

import threading
from collections import deque
from pathlib import Path

from benchmarks.synthetic import Shape
from launch.config.schema import EngineKind
from launch.scenarios.records import Generation, Request, Sample
from launch.worker.engines.protocol import EngineFacts

SAMPLE_PERIOD_S = 0.1
WINDOW = 410
TEXT = "The harbour was quiet that morning, and she read his letter again by the window. "


class InstantEngine:
    """Finishes what it holds at the next step, with texts made beforehand."""

    def __init__(self, shape: Shape) -> None:
        text = (TEXT * (shape.output_tokens // 16 + 1))[: shape.output_tokens * 5]
        self._samples = (Sample(text, "length", shape.output_tokens),) * shape.num_samples
        self._waiting: deque[Request] = deque()
        self.facts = EngineFacts(EngineKind.STUB, "1", "none", WINDOW // 2, {}, {})
        self.num_aborted = self.num_cached_tokens = 0
        self.window = WINDOW

    @property
    def num_unfinished(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> None:
        self._waiting.append(request)

    def step(self) -> list[Generation]:
        ended, self._waiting = list(self._waiting), deque()
        return [
            Generation(
                each.number, each.key, each.digest, each.seed, len(each.token_ids), each.cuts, self._samples
            )
            for each in ended
        ]

    def close(self) -> None:
        self._waiting.clear()


class ThreadClock:
    """CPU seconds of this process's threads by name, read from /proc every 0.1 s from `begin` to `stop`."""

    def __init__(self) -> None:
        self._first: dict[int, float] = {}
        self._last: dict[int, tuple[str, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def begin(self) -> None:
        """Counts from here on."""
        self._read()
        self._first = {thread: seconds for thread, (_, seconds) in self._last.items()}
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Seconds by thread name."""
        self._stop.set()
        self._thread.join()
        found: dict[str, float] = {}
        for thread, (name, seconds) in self._last.items():
            found[name] = found.get(name, 0.0) + seconds - self._first.get(thread, 0.0)
        return found

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_PERIOD_S):
            self._read()

    def _read(self) -> None:
        for thread in threading.enumerate():
            try:
                text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text(encoding="ascii")
            except (FileNotFoundError, ProcessLookupError):
                continue
            self._last[thread.native_id or 0] = (thread.name, int(text.split()[0]) / 1e9)
