"""The requests of chunks: each item of the plan rendered and tokenised, when its chunk is read or before."""

from collections.abc import Callable, Container, Generator, Iterable
from contextlib import closing

from launch.rundir.chunks import ChunkLine
from launch.rundir.layout import RunPaths
from launch.rundir.plan import HistoryEntries, PlannedUser, PlanReader
from launch.scenarios.history import leave_out_test_items
from launch.scenarios.records import Generation, Item, ItemType, Request, item_key

MakeRequest = Callable[[PlannedUser, Item, HistoryEntries], Request | Generation]
"""A request, or for an item that cannot become one its failure."""


class ChunkRequests:
    """Makes the requests of chunks with `make_request`; for one thread."""

    def __init__(self, run: RunPaths, make_request: MakeRequest) -> None:
        self._run = run
        self._make = make_request
        self._early: dict[int, Request | Generation] = {}

    @property
    def num_early(self) -> int:
        """How many were made before they were asked for, and not asked for yet."""
        return len(self._early)

    def each(self, chunk: ChunkLine, settled: Container[int]) -> Generator[Request | Generation, None, None]:
        """Those of a chunk in order of work, without what is settled."""
        plan = PlanReader(self._run)
        try:
            for user in chunk.users:
                numbers = [number for number in user.items if number not in settled]
                if not numbers:
                    continue
                planned = plan.user(user.span)
                history, _ = leave_out_test_items(plan.history(user.history_span), planned.record)
                for number in numbers:
                    early = self._early.pop(number, None)
                    yield early or self._make(planned, planned_item(planned, number), history)
        finally:
            plan.close()

    def make_early(self, chunks: Iterable[ChunkLine], wants_more: Callable[[], bool]) -> None:
        """Makes those of chunks in their order while `wants_more`; they are kept until they are asked for."""
        for chunk in chunks:
            with closing(self.each(chunk, self._early)) as requests:
                while wants_more() and (made := next(requests, None)) is not None:
                    self._early[made.number] = made


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
