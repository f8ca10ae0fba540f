"""The loop of an engine process: requests from the reader into the engine, generations out to the writer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from launch.scenarios.records import Failure, Generation, Request
from launch.worker.caution import POISON, POISON_MESSAGE, Caution
from launch.worker.channel import Channel
from launch.worker.engines.protocol import Engine, RequestRefused
from launch.worker.reader import Reader
from launch.worker.writer import ResultWriter

REPORT_PERIOD_S = 1.0
FLUSH_RESERVE_S = 3.0
CAUTIOUS_S = 3.0
"""A cautious start is so for this long at least: what it passed is durable then, and is not passed again."""


@dataclass(slots=True)
class Counts:
    """What an engine process has done so far and holds now.

    `cached_tokens`, of the prompt tokens of what is done, were found in the engine's prefix cache.
    """

    done: int = 0
    failed: int = 0
    in_flight: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    samples: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Safeguards:
    """What keeps an engine from wasting its time: on texts that are not right, and on an item that kills it.

    `check_canary` raises when the run is stopped for what its first items look like; `note` writes down which
    items are in flight.
    """

    check_canary: Callable[[], None]
    caution: Caution
    note: Callable[[Sequence[int]], None]


class Generator:
    """The loop: fill the engine's window, step, hand generations to the writer, until there is no work."""

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        writer: ResultWriter,
        channel: Channel,
        safeguards: Safeguards,
    ) -> None:
        self._engine = engine
        self._check_canary = safeguards.check_canary
        self._reader = reader
        self._writer = writer
        self._channel = channel
        self._caution = safeguards.caution
        self._note = safeguards.note
        self._num_cautious = engine.window if self._caution.group else 0
        self._cautious_until = time.monotonic() + (CAUTIOUS_S if self._caution.group else 0)
        self._has_note = False
        self._held_back: list[Request] = []
        self._reported = 0.0
        self.counts = Counts()

    def run(self, first: Request) -> None:
        """Works until all is generated, or until a drain's deadline is near."""
        self._start(first)
        while not self._is_past_deadline():
            self._check_canary()
            if not self._channel.drain_asked.is_set():
                self._fill()
            if self._engine.num_unfinished:
                for generation in self._engine.step():
                    self._take(generation)
                    self._give_up_held_back()
            elif self._channel.drain_asked.is_set():
                break
            else:
                request = self._reader.take(wait=True)
                if request is None:
                    self._give_up_held_back()
                    break
                self._start(request)
            self._report()
        self._report(always=True)

    def _is_past_deadline(self) -> bool:
        deadline = self._channel.drain_deadline
        if deadline is None:
            return False
        self._reader.stop()
        return time.monotonic() > deadline - FLUSH_RESERVE_S

    def _start(self, request: Request) -> None:
        """Adds a request to an engine that has none, with a group of others where caution is asked for."""
        group = [request]
        if self._is_cautious():
            while len(group) < (self._caution.group or 1) and (more := self._reader.take(wait=True)):
                group.append(more)
            self._note([each.number for each in group])
            self._has_note = True
            self._num_cautious -= len(group)
        for each in group:
            self._add(each)

    def _is_cautious(self) -> bool:
        return self._num_cautious > 0 or time.monotonic() < self._cautious_until

    def _fill(self) -> None:
        if self._is_cautious():
            return
        if self._has_note:  # from now on others run beside those that were written down
            self._note(())
            self._has_note = False
        while self._engine.num_unfinished < self._engine.window:
            request = self._reader.take(wait=False, num_in_engine=self._engine.num_unfinished)
            if request is None:
                return
            self._add(request)

    def _add(self, request: Request) -> None:
        if request.number in self._caution.poison:
            self._held_back.append(request)
            return
        try:
            self._engine.add(request)
        except RequestRefused as refused:
            self._take(failed(request, refused.failure_class, refused.message))

    def _give_up_held_back(self) -> None:
        while self._held_back:
            self._take(failed(self._held_back.pop(), POISON, POISON_MESSAGE))

    def _take(self, generation: Generation) -> None:
        self._writer.put(generation)
        self.counts.prompt_tokens += generation.num_prompt_tokens
        self.counts.output_tokens += generation.num_output_tokens
        self.counts.samples += len(generation.samples)

    def _report(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported >= REPORT_PERIOD_S:
            self._reported = now
            self._writer.check()
            self.refresh_counts()
            self._channel.send(counts=asdict(self.counts))

    def refresh_counts(self) -> None:
        """Brings the counts of what is durable and what is held up to date."""
        self.counts.done = self._writer.num_done
        self.counts.failed = self._writer.num_failed
        self.counts.cached_tokens = self._engine.num_cached_tokens
        self.counts.in_flight = self._engine.num_unfinished
        self.counts.waiting = self._reader.num_ready


def failed(request: Request, failure_class: str, message: str) -> Generation:
    """The result of an item that the engine would not take."""
    return Generation(
        number=request.number,
        key=request.key,
        digest=request.digest,
        seed=request.seed,
        num_prompt_tokens=len(request.token_ids),
        cuts=request.cuts,
        failure=Failure(failure_class, message),
    )
