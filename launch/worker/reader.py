"""Claims chunks and turns their items into requests, ahead of the engine.

One thread. It keeps no more requests ready than fill the engine's window once. Before the engine is up it
makes those of the few chunks that it claims by then: tokenising is done while weights load. It claims a
further chunk when it and the engine hold little, so that a task has what it can work on and leaves the rest
to others. An item that cannot become a request has failed and goes straight to the writer. When nothing is
left to claim and the engine has room it looks again from time to time, and once more at the end: a task that
died meanwhile has left its chunks.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from math import ceil

from launch.rundir.attempts import list_starts
from launch.rundir.chunks import ChunkUser
from launch.rundir.claims import ClaimBook, Held
from launch.rundir.identity import settings_digest
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, KeyIndex, PlannedUser, PlanReader
from launch.rundir.progress import settled_by
from launch.rundir.records import RunRecord
from launch.scenarios.records import Generation, Item, ItemType, Request, item_key
from launch.worker.writer import ResultWriter

FIRST_READ_AHEAD = 8
"""Before the engine is up, chunks are claimed for this many requests."""
READY_AT_START = 256
"""And so many of their requests are made: a full batch of five samples each, a few MB."""
CLAIM_BELOW = 5 / 8
"""Of the engine's window, which is twice what it runs at a time: claimed is a quarter more than runs."""
CLOSE_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 30.0
"""While the engine still has work; Slurm's word is no newer before."""
CHUNKS_PER_S = 100
"""A submission of many chunks is looked through more rarely: every look lists all claims."""
LAST_LOOK_S = 5.0
"""Before the task ends, unless the last look was just now."""
UNWRITTEN_PAUSE_S = 1.0

MakeRequest = Callable[[PlannedUser, Item, HistoryEntries], Request | Generation]


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
        self._claim_below = FIRST_READ_AHEAD
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
        """From now on keeps up to `window` requests ready, and claims when little of a window is left."""
        with self._changed:
            self._ahead = max(window, FIRST_READ_AHEAD)
            self._claim_below = ceil(window * CLAIM_BELOW)
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
            self._changed.notify_all()
            if self._ready:
                return self._ready.popleft()
            if self._ended and self._error is not None:
                raise self._error
            return None

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
        when the claim is a minute old: an engine that starts again at once would else leave it behind.
        """
        make_request: MakeRequest | None = None
        while self._wait_until_scarce():
            held = self._book.claim_next()
            if held is None and self._book.has_unwritten:
                self._stop.wait(UNWRITTEN_PAUSE_S)
                continue
            if held is None:
                if self._is_worth_another_look(time.monotonic()):
                    continue
                return
            make_request = make_request or self._open_maker()
            self._read(held, make_request)

    def _wait_until_scarce(self) -> bool:
        """Waits until a further chunk is wanted; False when the reader has been told to stop."""
        with self._changed:
            while len(self._ready) + self._num_in_engine >= self._claim_below and not self._stop.is_set():
                self._changed.wait()
        return not self._stop.is_set()

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

    def _read(self, held: Held, make_request: MakeRequest) -> None:
        settled = self._settled_before(held)
        chunk = held.chunk
        self._writer.open_chunk(chunk.number, [item for item in chunk.items if item not in settled])
        plan = PlanReader(self._run)
        try:
            for user in chunk.users:
                self._read_user(plan, user, settled, make_request)
        finally:
            plan.close()

    def _settled_before(self, held: Held) -> set[int]:
        """What earlier holders of a chunk settled before they died."""
        starts = [
            start
            for owner in held.earlier
            for start in list_starts(self._run, self._submission, owner.task, owner.attempt, owner.slot)
        ]
        return settled_by(self._run, starts, KeyIndex(self._run), self._settings) if starts else set()

    def _read_user(
        self, plan: PlanReader, user: ChunkUser, settled: set[int], make_request: MakeRequest
    ) -> None:
        planned = plan.user(user.span)
        history = plan.history(user.history_span)
        for number in user.items:
            if self._stop.is_set():
                return
            if number in settled:
                continue
            made = make_request(planned, planned_item(planned, number), history)
            if isinstance(made, Request):
                self._offer(made)
            else:
                self._writer.put(made)

    def _offer(self, request: Request) -> None:
        """Waits until there is room, or until the reader is told to stop."""
        with self._changed:
            while len(self._ready) >= self._ahead and not self._stop.is_set():
                self._changed.wait()
            self._ready.append(request)
            self._changed.notify_all()


def planned_item(planned: PlannedUser, number: int) -> Item:
    """The item of a planned user by its number."""
    place_in_user = number - planned.first_item
    collection, place = planned.places[place_in_user]
    behaviour = planned.record["task"]["task_behavior_collections"][collection]
    return Item(
        number=number,
        key=item_key(planned.user_hash, collection, place),
        digest=planned.digests[place_in_user],
        item_type=ItemType(behaviour["type"]),
        collection=collection,
        place=place,
        data=behaviour["data"][place],
    )
