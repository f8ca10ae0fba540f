"""Claims chunks and turns their items into requests, ahead of the engine.

One thread. It keeps no more requests ready than fill the engine's window once. Before the engine is up it
claims one chunk only, and makes requests of what its shard has next all the same: tokenising is done while
weights load, and who claims those chunks first is free to. It claims a further chunk when it and the engine
hold little, so that a task has what it can work on and leaves the rest to others; one of another task's only
when the engine would run less than it can. An item that cannot become a request has failed and goes straight
to the writer. When nothing is left to claim and the engine has room it looks again from time to time, and
once more at the end: a task that died meanwhile has left its chunks.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from math import ceil

from launch.errors import StorageError
from launch.rundir.attempts import EngineStart, list_starts
from launch.rundir.claim_files import Owner
from launch.rundir.claims import ClaimBook, Held
from launch.rundir.durable import make_durable
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.plan import KeyIndex
from launch.rundir.progress import settled_by
from launch.rundir.records import RunRecord
from launch.scenarios.records import Request
from launch.worker.chunk_requests import ChunkRequests, MakeRequest
from launch.worker.writer import ResultWriter

CLAIMED_AT_START = 1
"""Before the engine is up, chunks are claimed until so many requests are ready: one chunk. Of two engines on
a slow node the one that starts first would else hold all of a short shard."""
READY_AT_START = 256
"""And so many requests are made, a few MB: a full batch of five samples each."""
MIN_READ_AHEAD = 8
"""Requests that are kept ready for an engine with a smaller window, of what is claimed."""
AHEAD_SHARE = 1 / 16
"""Of what is left of the own shard, that is claimed beside what runs. With 1/4 and 1/8 eight tasks of 500
items ended later (benchmarks/balance.py, four seeds: 1.402 and 1.373 of the bound; with 1/16 1.355, as before
that there was any)."""
CLOSE_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 30.0
"""While the engine still has work; Slurm's word is no newer before."""
CHUNKS_PER_S = 100
"""A submission of many chunks is looked through more rarely: every look lists all claims."""
LAST_LOOK_S = 5.0
"""Before the task ends, unless the last look was just now."""
UNJUDGED_PAUSE_S = 1.0
MAX_NAMED = 10


class Reader:
    """The requests of all chunks that one engine process claims, in order of work."""

    def __init__(
        self,
        run: RunPaths,
        record: RunRecord,
        submission: int,
        book: ClaimBook,
        writer: ResultWriter,
        open_maker: Callable[[], MakeRequest],
    ) -> None:
        self._run = run
        self._settings = settings_digest(record)
        self._submission = submission
        self._book = book
        self._writer = writer
        self._open_maker = open_maker
        self._ready: deque[Request] = deque()
        self._changed = threading.Condition()  # guards what follows, to _ended
        self._ahead = READY_AT_START
        self._window: int | None = None
        self._is_helping = False  # nothing of the own shard is left; of the reader's thread alone
        self._settled: dict[EngineStart, set[int]] = {}  # by the dead, durable; as the line above
        self._unread: dict[EngineStart | Owner, Exception] = {}
        self._keys: KeyIndex | None = None
        self._num_in_engine = 0
        self._stop = threading.Event()
        self._has_room = False  # the engine would have taken a request
        self._is_idle = False  # the engine has nothing left and waits for one
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run_thread, name="reader", daemon=True)
        self._thread.start()

    @property
    def num_ready(self) -> int:
        """Requests that wait for the engine."""
        return len(self._ready)

    def read_ahead(self, window: int) -> None:
        """From now on keeps up to `window` requests ready, and claims by `claim_below`."""
        with self._changed:
            self._ahead = max(window, MIN_READ_AHEAD)
            self._window = window
            self._changed.notify_all()

    def take(self, *, wait: bool, num_in_engine: int = 0) -> Request | None:
        """The next request; None when none is ready (without `wait`) or none will come.

        `num_in_engine` is what the engine holds. Raises what stopped the reader.
        """
        with self._changed:
            self._num_in_engine = num_in_engine
            while wait and not self._ready and not self._ended:
                if not self._is_idle:
                    self._is_idle = True
                    self._changed.notify_all()
                self._changed.wait()
            self._is_idle, self._has_room = False, not self._ready
            self._num_in_engine += bool(self._ready)  # the one that is handed out now
            self._changed.notify_all()
            if self._ready:
                return self._ready.popleft()
            if self._ended and self._error is not None:
                raise self._error
            return None

    @property
    def trouble(self) -> list[str]:
        """What could not be read and what that costs, in sentences; whole when the reader has ended."""
        lines = []
        unreadable = self._book.unreadable
        if unreadable:
            names = [str(chunk) for chunk in sorted(unreadable)[:MAX_NAMED]]
            more = f" and {len(unreadable) - MAX_NAMED} more" if len(unreadable) > MAX_NAMED else ""
            lines.append(
                f"left out, for it cannot be told who holds them: chunks {', '.join(names)}{more}"
                f" ({next(iter(unreadable.values()))}). What nobody else settles of them is missing, and"
                " `vllm-launch resume` sends it."
            )
        if self._unread:
            why = next(iter(self._unread.values()))
            lines.append(f"generated again: what dead tasks had settled and cannot be read ({why})")
        return lines

    def stop(self) -> None:
        """Claims and prepares nothing more."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stops, and returns when no claim is half made: an empty claim would be nobody's for a minute.

        After two seconds it returns anyway: the thread may be loading a tokenizer.
        """
        self.stop()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run_thread(self) -> None:
        try:
            self._claim_all()
        except BaseException as error:  # noqa: BLE001  handed to the main thread by take
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _claim_all(self) -> None:
        """The tokenizer is loaded for the first chunk only: a task with nothing to claim ends at once.

        A claim still empty is being written, or its writer was killed just then and the chunk is to be had
        when the claim is a minute old: an engine that starts again at once would else leave it behind. One
        that cannot be read is waited for as long.
        """
        requests: ChunkRequests | None = None
        while self._wait_until_scarce():
            held = self._book.claim_next(helping=self._is_helping)
            if held is None and not self._is_helping:
                self._is_helping = True
                continue
            if held is None and self._book.has_unjudged:
                self._stop.wait(UNJUDGED_PAUSE_S)
                continue
            if held is None:
                if self._is_worth_another_look(time.monotonic()):
                    continue
                return
            requests = requests or ChunkRequests(self._run, self._open_maker())
            self._read(held, requests)
            self._read_early(requests)

    def _wait_until_scarce(self) -> bool:
        """Waits until a further chunk is wanted; False when the reader has been told to stop."""
        with self._changed:
            while self._num_held >= self._wanted and not self._stop.is_set():
                self._changed.wait()
        return not self._stop.is_set()

    @property
    def _num_held(self) -> int:
        return len(self._ready) + self._num_in_engine

    @property
    def _wanted(self) -> int:
        if self._window is None:
            return CLAIMED_AT_START
        return claim_below(self._window, self._book.num_left, is_helping=self._is_helping)

    def _is_worth_another_look(self, looked: float) -> bool:
        """Waits until the engine has room and the last look is old, or it has nothing left; False to end."""
        pause_s = max(LOOK_AGAIN_S, self._book.num_chunks / CHUNKS_PER_S)
        with self._changed:
            while not self._stop.is_set():
                age_s = time.monotonic() - looked
                if self._is_idle:
                    return age_s >= LAST_LOOK_S
                if self._has_room and age_s >= pause_s:
                    return True
                self._changed.wait(max(1.0, pause_s - age_s))
        return False

    def _read(self, held: Held, requests: ChunkRequests) -> None:
        settled, chunk = self._settled_before(held), held.chunk
        self._writer.open_chunk(chunk.number, [item for item in chunk.items if item not in settled])
        for made in requests.each(chunk, settled):
            if self._stop.is_set():
                return
            if isinstance(made, Request):
                self._offer(made)
            else:
                self._writer.put(made)

    def _read_early(self, requests: ChunkRequests) -> None:
        """While the engine starts and holds what it may: what the own shard has next, claimed by nobody."""

        def wants_more() -> bool:
            starts = self._window is None and not self._stop.is_set()
            return starts and len(self._ready) + requests.num_early < READY_AT_START

        if self._window is None and self._num_held >= CLAIMED_AT_START:
            requests.make_early(self._book.unclaimed_of_own(), wants_more)

    def _settled_before(self, held: Held) -> set[int]:
        """What earlier holders of a chunk settled before they died: durable, as the chunk's mark will say."""
        settled: set[int] = set()
        for owner in held.earlier:
            for start in self._starts_of(owner):
                settled |= self._settled_by(start)
        return settled.intersection(held.chunk.items)

    def _starts_of(self, owner: Owner) -> list[EngineStart]:
        try:
            return list_starts(self._run, self._submission, owner.task, owner.attempt, owner.slot)
        except OSError as error:
            self._unread[owner] = error
            return []

    def _settled_by(self, start: EngineStart) -> set[int]:
        """Of a dead start, which settles no more; nothing, when its files cannot be read or made durable."""
        if start not in self._settled:
            self._keys = self._keys or KeyIndex(self._run)
            try:
                make_durable(start.paths(self._run).results, self._run.root)
                self._settled[start] = settled_by(self._run, [start], self._keys, self._settings)
            except (OSError, StorageError) as error:
                self._unread[start] = error
                return set()
        return self._settled[start]

    def _offer(self, request: Request) -> None:
        """Waits until there is room, or until the reader is told to stop."""
        with self._changed:
            while len(self._ready) >= self._ahead and not self._stop.is_set():
                self._changed.wait()
            self._ready.append(request)
            self._changed.notify_all()


def claim_below(window: int, num_left: int, *, is_helping: bool) -> int:
    """A further chunk is claimed when a task holds fewer items than this, those in its engine included.

    The engine runs half of `window` at a time. Of its own shard, of which `num_left` items are unclaimed, a
    task claims as much again beside, for samples of one length end all at once; and less the less is left,
    down to a quarter more than runs, since nobody can help with what is claimed. Of others it claims what it
    can run at once: what would only wait here is better off where it was.
    """
    runs = ceil(window / 2)
    if is_helping:
        return runs
    return runs + min(max(int(num_left * AHEAD_SHARE), window // 8), window // 2)
