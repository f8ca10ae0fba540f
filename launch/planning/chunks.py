"""Cuts shards into chunks, the smallest parts that a task claims.

Costs shrink along a shard (trapezoid self-scheduling, Tzen and Ni 1993: the n chunks of a shard aim at
n, n-1, ..., 1 parts of its cost), so that little is left to wait for at the end: owner and helpers both take
from the front, and the small chunks come last. The big users of a shard come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, fsum
from operator import attrgetter

from launch.planning.shards import Shard, ShardUser, share_out

MAX_CHUNKS_PER_SHARD = 16
MAX_CHUNKS = 20_000


@dataclass(frozen=True, slots=True)
class ChunkUser:
    """The items (global numbers, rising) that a chunk takes of the user at `position`."""

    position: int
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The smallest part of a shard that a task claims; `number` counts over the submission, from 0."""

    number: int
    shard: int
    cost: float
    users: tuple[ChunkUser, ...]


def plan_chunks(
    shards: Sequence[Shard], *, max_per_shard: int = MAX_CHUNKS_PER_SHARD, max_total: int = MAX_CHUNKS
) -> tuple[Chunk, ...]:
    """Every item of `shards` in exactly one chunk; numbers follow the shards, costs never rise along one.

    A user's items stay in one chunk unless they cost more than an even share of its shard. ValueError when
    there are more shards than `max_total`.
    """
    if len(shards) > max_total:
        raise ValueError(f"{len(shards)} shards do not fit in {max_total} chunks")
    per_shard = min(max_per_shard, max_total // max(1, len(shards)))
    chunks: list[Chunk] = []
    for shard in shards:
        for cost, users in _cut(shard, per_shard):
            chunks.append(Chunk(len(chunks), shard.task, cost, users))
    return tuple(chunks)


def _cut(shard: Shard, num_chunks: int) -> list[tuple[float, tuple[ChunkUser, ...]]]:
    pieces = _pieces(shard, num_chunks)
    owners = share_out([piece.cost for piece in pieces], [float(n) for n in range(num_chunks, 0, -1)])
    groups: dict[int, list[ShardUser]] = {}
    for owner, piece in zip(owners, pieces, strict=True):
        groups.setdefault(owner, []).append(piece)
    cut = [(fsum(piece.cost for piece in group), _join(group)) for group in groups.values()]
    return sorted(cut, key=lambda chunk: -chunk[0])


def _pieces(shard: Shard, num_chunks: int) -> list[ShardUser]:
    """The users of a shard, costliest first; one above an even share of the shard is split into parts."""
    share = shard.cost / num_chunks
    pieces: list[ShardUser] = []
    for user in sorted(shard.users, key=attrgetter("cost"), reverse=True):
        parts = ceil(user.cost / share - 1e-9) if share > 0 else len(user.items)
        pieces += user.split(parts) if parts > 1 else [user]
    return pieces


def _join(group: list[ShardUser]) -> tuple[ChunkUser, ...]:
    """One entry a user, in order of work."""
    items: dict[int, list[int]] = {}
    for piece in group:
        items.setdefault(piece.position, []).extend(piece.items)
    return tuple(ChunkUser(position, tuple(sorted(numbers))) for position, numbers in items.items())
