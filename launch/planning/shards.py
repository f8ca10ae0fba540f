"""Shares users out over tasks: whole users, balanced by cost, independent of input order.

The longest-processing-time rule: the costliest user first, each to the shard with the least so far. It is
at most 4/3 of the best possible (Graham 1969), and within 5 % of even where a shard holds many users. Only a
user larger than a shard's fair share is split, because the items of a user share a prompt prefix.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import accumulate
from math import ceil, fsum

from launch.planning.cost import UserCost, user_order


@dataclass(frozen=True, slots=True)
class ShardUser:
    """A user, or a part of one, in a shard: `items` are global numbers, `costs` theirs in the same order."""

    position: int
    items: tuple[int, ...]
    costs: tuple[float, ...]

    @property
    def cost(self) -> float:
        """Token equivalents of these items."""
        return fsum(self.costs)

    def split(self, num_parts: int) -> tuple["ShardUser", ...]:
        """At most `num_parts` runs of neighbouring items, in order, of about equal cost; none is empty."""
        owners = share_out(self.costs, [1.0] * num_parts)
        starts = [place for place, owner in enumerate(owners) if place == 0 or owner != owners[place - 1]]
        return tuple(
            ShardUser(self.position, self.items[start:stop], self.costs[start:stop])
            for start, stop in zip(starts, [*starts[1:], len(owners)], strict=True)
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """The users given to one array task, the costliest first."""

    task: int
    users: tuple[ShardUser, ...]
    cost: float


# -cost, order of the user, place of its first item: a total order without positions or numbers.
Piece = tuple[float, bytes, int, ShardUser]


def plan_shards(users: Sequence[UserCost], num_tasks: int) -> tuple[Shard, ...]:
    """Exactly min(num_tasks, number of items) shards, none empty; every item is in exactly one.

    The same users give the same shards (but for positions and numbers) whatever the order of `users`. Raises
    ValueError for num_tasks below 1, a negative cost or two users of the same hash.
    """
    if num_tasks < 1:
        raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
    pieces = sorted(_split_large(_pieces(users), num_tasks), key=_key)
    count = min(num_tasks, sum(len(piece[3].items) for piece in pieces))
    shards: list[list[ShardUser]] = [[] for _ in range(count)]
    loads = [(0.0, 0, task) for task in range(count)]  # cost, pieces, task: an empty shard goes first
    for cost, _, _, piece in pieces:
        load, held, task = loads[0]
        shards[task].append(piece)
        heappop(loads)
        heappush(loads, (load - cost, held + 1, task))
    return tuple(
        Shard(task, tuple(pieces), fsum(piece.cost for piece in pieces)) for task, pieces in enumerate(shards)
    )


def share_out(costs: Sequence[float], weights: Sequence[float]) -> list[int]:
    """The part each of a row of costs belongs to when the row is cut into parts proportional to `weights`.

    A cost belongs to the part that its middle lies in, so nothing is divided, the answers never fall along
    the row, and a part may stay empty.
    """
    total = fsum(costs)
    if total <= 0:
        return share_out([1.0] * len(costs), weights) if costs else []
    unit = total / fsum(weights)
    bounds = [bound * unit for bound in accumulate(weights)][:-1]
    ends = accumulate(costs)
    return [bisect_right(bounds, end - cost / 2) for end, cost in zip(ends, costs, strict=True)]


def _pieces(users: Iterable[UserCost]) -> list[Piece]:
    """One piece a user; users without items have none."""
    pieces: list[Piece] = []
    seen: set[str] = set()
    for user in users:
        if user.user_hash in seen:
            raise ValueError(f"two users have the hash {user.user_hash!r}")
        seen.add(user.user_hash)
        if user.items:
            numbers, costs = zip(*user.items, strict=True)
            if min(costs) < 0:
                raise ValueError(f"user {user.user_hash!r} has a negative cost")
            piece = ShardUser(user.position, numbers, costs)
            pieces.append((-piece.cost, user_order(user.user_hash), 0, piece))
    return pieces


def _split_large(pieces: list[Piece], num_tasks: int) -> list[Piece]:
    """Splits users above the fair share of a shard, and more until there is a piece for every shard."""
    num_items = sum(len(piece[3].items) for piece in pieces)
    fair_share = -fsum(piece[0] for piece in pieces) / max(1, min(num_tasks, num_items))
    split: list[Piece] = []
    for piece in pieces:
        parts = ceil(-piece[0] / fair_share - 1e-9) if fair_share > 0 else 1
        split += _split(piece, parts) if parts > 1 else [piece]
    missing = min(num_tasks, num_items) - len(split)
    return _split_more(split, missing) if missing > 0 else split


def _split_more(pieces: list[Piece], missing: int) -> list[Piece]:
    """Halves the costliest piece of several items, until there are `missing` more pieces."""
    single = [piece for piece in pieces if len(piece[3].items) == 1]
    several = [(_key(piece), piece) for piece in pieces if len(piece[3].items) > 1]
    heapify(several)
    for _ in range(missing):
        for half in _split(heappop(several)[1], 2):
            if len(half[3].items) > 1:
                heappush(several, (_key(half), half))
            else:
                single.append(half)
    return single + [piece for _, piece in several]


def _split(piece: Piece, num_parts: int) -> list[Piece]:
    _, order, first, user = piece
    parts = user.split(num_parts)
    if len(parts) == 1 and len(user.items) > 1:  # one item outweighs the rest: part it from them
        parts = _part_from_rest(user)
    split: list[Piece] = []
    for part in parts:
        split.append((-part.cost, order, first, part))
        first += len(part.items)
    return split


def _part_from_rest(user: ShardUser) -> tuple[ShardUser, ShardUser]:
    """Two non-empty parts, cut beside the costliest item."""
    largest = max(range(len(user.costs)), key=user.costs.__getitem__)
    cut = largest if largest > 0 else 1
    return (
        ShardUser(user.position, user.items[:cut], user.costs[:cut]),
        ShardUser(user.position, user.items[cut:], user.costs[cut:]),
    )


def _key(piece: Piece) -> tuple[float, bytes, int]:
    return piece[:3]
