"""Claims chunks and turns their items into requests, ahead of the engine.

One thread. It keeps at most READ_AHEAD requests ready, so that a task claims what fills its engine and little
more. An item that cannot become a request has failed and goes straight to the writer.
"""

import queue
import threading
from collections.abc import Callable

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

READ_AHEAD = 256

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
        self._ready: queue.Queue[Request | None] = queue.Queue(maxsize=READ_AHEAD)
        self._stop = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run_thread, name="reader", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether `take` has given out all there is."""
        return self._ended

    @property
    def num_ready(self) -> int:
        """Requests that wait for the engine."""
        return self._ready.qsize()

    def take(self, *, wait: bool) -> Request | None:
        """The next request; None when none is ready (without `wait`) or none will come.

        Raises what stopped the reader.
        """
        if self._ended:
            return None
        try:
            request = self._ready.get(block=wait)
        except queue.Empty:
            return None
        if request is None:
            self._ended = True
            self._thread.join()
            if self._error is not None:
                raise self._error
        return request

    def stop(self) -> None:
        """Claims nothing more; what is ready stays ready until `take` is no longer called."""
        self._stop.set()

    def _run_thread(self) -> None:
        try:
            self._claim_all()
        except BaseException as error:  # noqa: BLE001  handed to the main thread by take
            self._error = error
        self._offer(None)

    def _claim_all(self) -> None:
        """The tokenizer is loaded for the first chunk only: a task with nothing to claim ends at once."""
        make_request: MakeRequest | None = None
        while not self._stop.is_set():
            held = self._book.claim_next()
            if held is None:
                return
            make_request = make_request or self._open_maker()
            self._read(held, make_request)

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

    def _offer(self, request: Request | None) -> None:
        while True:
            try:
                self._ready.put(request, timeout=0.5)
            except queue.Full:
                if self._stop.is_set() and request is not None:
                    return
            else:
                return


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
