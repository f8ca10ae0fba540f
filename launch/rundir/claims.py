"""Who works on which chunk: the claims of a submission as one engine process sees and makes them.

The owner of a shard takes its chunks from the front, and who has none left helps the shard with most work
open, from its front too: costs shrink along a shard, so the small chunks are what is left for the end,
whoever takes them.

A claim that cannot be read, or whose holder's signs cannot, is never taken over. It is looked at again, and
after a minute nobody waits for it any more: its chunk is left to those who can read it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from launch.rundir.chunks import ChunkLine
from launch.rundir.claim_files import NOBODY, Owner, Survey, make_claim, mark_done, read_claim, survey_claims
from launch.rundir.layout import SubmissionPaths

UNREADABLE_CLAIM_S = 60


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk just claimed, and those who held it before and may have settled some of its items."""

    chunk: ChunkLine
    earlier: tuple[Owner, ...]


class ClaimBook:
    """The claims of one submission as one engine process sees and makes them."""

    def __init__(
        self,
        paths: SubmissionPaths,
        chunks: Sequence[ChunkLine],
        owner: Owner,
        is_alive: Callable[[Owner], bool],
    ) -> None:
        self._paths = paths
        self._chunks = chunks
        self._owner = owner
        self._is_alive = is_alive
        self._held: set[int] = set()
        self._of_earlier_starts: set[int] | None = None
        self._has_unwritten = False
        self._holders: dict[tuple[int, int], Owner] = {}  # by claim; a written one changes no more
        self._unreadable: dict[tuple[int, int], tuple[float, OSError]] = {}  # since when, and why
        self.num_left = 0
        """Items of the own shard that nobody had claimed before the last `claim_next`."""

    @property
    def num_chunks(self) -> int:
        """Of the whole submission."""
        return len(self._chunks)

    @property
    def has_unjudged(self) -> bool:
        """Whether the last `claim_next` met a chunk that may yet be had.

        Its claim is still empty, or has not been readable, or its holder's signs, for less than a minute.
        """
        until = time.monotonic() - UNREADABLE_CLAIM_S
        return self._has_unwritten or any(since > until for since, _ in self._unreadable.values())

    @property
    def unreadable(self) -> Mapping[int, OSError]:
        """The chunks of which the last looks could not tell who holds them, and why not."""
        found = list(self._unreadable.items())  # a copy: another thread may be looking
        return {chunk: error for (chunk, _), (_, error) in found}

    def claim_next(self, *, helping: bool = True) -> Held | None:
        """Takes the next chunk: of the own shard from the front, else of the shard with most work left.

        None when every chunk is done or held by the living; unless `helping`, every chunk of the own shard.
        """
        survey = survey_claims(self._paths)
        self._has_unwritten = False
        self._forget_unreadable(survey)
        for chunk in self._candidates(survey, helping):
            held = self._try(chunk, survey.highest.get(chunk.number, 0))
            if held is not None:
                self._held.add(chunk.number)
                return held
        return None

    def unclaimed_of_own(self) -> list[ChunkLine]:
        """Chunks of the own shard that are nobody's at this moment, in order."""
        survey = survey_claims(self._paths)
        return [
            chunk
            for chunk in self._open(survey)
            if chunk.shard == self._owner.task and chunk.number not in survey.highest
        ]

    def mark_done(self, chunk: int) -> None:
        """Says that all items of a chunk are settled and durable; the caller has fsynced their lines."""
        mark_done(self._paths, chunk)

    def _open(self, survey: Survey) -> list[ChunkLine]:
        """What is neither done nor held by this process."""
        return [
            chunk
            for chunk in self._chunks
            if chunk.number not in survey.done and chunk.number not in self._held
        ]

    def _candidates(self, survey: Survey, helping: bool) -> Iterator[ChunkLine]:
        open_chunks = self._open(survey)
        own = [chunk for chunk in open_chunks if chunk.shard == self._owner.task]
        self.num_left = sum(len(chunk.items) for chunk in own if chunk.number not in survey.highest)
        yield from own
        if not helping:
            return
        left: dict[int, float] = {}
        for chunk in open_chunks:
            if chunk.shard != self._owner.task and chunk.number not in survey.highest:
                left[chunk.shard] = left.get(chunk.shard, 0.0) + chunk.cost
        others = [chunk for chunk in open_chunks if chunk.shard != self._owner.task]
        inherited = self._inherited(others, survey)
        others.sort(
            key=lambda chunk: (
                chunk.number not in inherited,
                -left.get(chunk.shard, 0.0),
                chunk.shard,
                chunk.number,
            )
        )
        yield from others

    def _inherited(self, others: Sequence[ChunkLine], survey: Survey) -> set[int]:
        """Chunks that earlier starts of this slot died over, looked up once: they come first.

        An item that killed the engine is searched for among the first that the next start runs.
        """
        if not self._owner.start:
            return set()
        if self._of_earlier_starts is None:
            own = (self._owner.task, self._owner.attempt, self._owner.slot)
            claimed = [chunk.number for chunk in others if chunk.number in survey.highest]
            owners = {number: self._read_if_possible(number, survey.highest[number]) for number in claimed}
            self._of_earlier_starts = {
                number
                for number, owner in owners.items()
                if owner is not None and (owner.task, owner.attempt, owner.slot) == own
            }
        return self._of_earlier_starts

    def _try(self, chunk: ChunkLine, highest: int) -> Held | None:
        if highest and not self._is_free(chunk.number, highest):
            return None
        if not make_claim(self._paths, chunk.number, highest + 1, self._owner):
            return None
        earlier = [self._read_if_possible(chunk.number, number) for number in range(1, highest + 1)]
        return Held(chunk, tuple(owner for owner in earlier if owner is not None and owner != NOBODY))

    def _is_free(self, chunk: int, number: int) -> bool:
        """Whether the holder of a claim is no more; what cannot be read proves no death.

        Claims of the living are read once. A death is held against the file: it may have been deleted, and
        the chunk be claimed anew.
        """
        claim = chunk, number
        try:
            holder = self._holders.get(claim)
            if holder is None or not self._is_alive(holder):
                holder = read_claim(self._paths, chunk, number)
            is_free = holder is not None and (holder == NOBODY or not self._is_alive(holder))
        except OSError as error:
            self._unreadable.setdefault(claim, (time.monotonic(), error))
            return False
        self._unreadable.pop(claim, None)
        self._has_unwritten |= holder is None
        if holder is not None and not is_free:
            self._holders[claim] = holder
        return is_free

    def _forget_unreadable(self, survey: Survey) -> None:
        """Of chunks that are done, claimed anew, or nobody's any more."""
        self._unreadable = {
            (chunk, number): found
            for (chunk, number), found in self._unreadable.items()
            if chunk not in survey.done and survey.highest.get(chunk) == number
        }

    def _read_if_possible(self, chunk: int, number: int) -> Owner | None:
        """`read_claim` for who can do without: what an unknown owner settled is generated again."""
        with contextlib.suppress(OSError):
            return read_claim(self._paths, chunk, number)
        return None
