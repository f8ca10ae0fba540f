"""The users and items of a scenario that a run takes: all, or what --limit-users and --limit-items leave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.config.schema import DataConfig
from launch.planning.subset import choose_subset
from launch.scenarios.records import Item, User
from launch.scenarios.stream import stream_users


@dataclass(frozen=True, slots=True)
class Chosen:
    """How many of its first items each user gives, by position, of how many users and items; None: all."""

    num_items_of: dict[int, int] | None = None
    of_users: int = 0
    of_items: int = 0


def choose(scenario: Path, data: DataConfig) -> Chosen:
    """What the limits leave of a scenario file, which is read through only where there are some."""
    if data.limit_users is None and data.limit_items is None:
        return Chosen()
    sizes = [(user.user_hash, len(user.items)) for user in stream_users(scenario)]
    chosen = choose_subset(sizes, data.limit_users, data.limit_items)
    return Chosen(chosen, len(sizes), sum(size for _, size in sizes))


def stream_chosen(scenario: Path, chosen: Chosen) -> Iterator[tuple[User, Sequence[Item]]]:
    """The users that a run takes, whole as they were read, each with the items that it generates."""
    sizes = chosen.num_items_of
    for user in stream_users(scenario):
        if sizes is None:
            yield user, user.items
        elif user.position in sizes:
            yield user, user.items[: sizes[user.position]]
