"""--limit-users and --limit-items: deterministic, nested, independent of input order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from launch.planning.subset import choose_subset

SIZES = st.lists(st.integers(0, 12), max_size=30)
LIMIT = st.none() | st.integers(1, 40)


def named(sizes: list[int]) -> list[tuple[str, int]]:
    return [(f"user{place}", size) for place, size in enumerate(sizes)]


@given(SIZES, LIMIT, LIMIT)
def test_a_subset_keeps_limits_and_input_order(
    sizes: list[int], limit_users: int | None, limit_items: int | None
) -> None:
    chosen = choose_subset(named(sizes), limit_users, limit_items)
    assert list(chosen) == sorted(chosen)
    assert all(1 <= taken <= sizes[position] for position, taken in chosen.items())
    filled = [position for position, size in enumerate(sizes) if size]
    if limit_users is None:
        assert sum(chosen.values()) == min(sum(sizes), limit_items or sum(sizes))
    else:
        assert len(chosen) <= limit_users
        if limit_items is None:
            assert len(chosen) == min(limit_users, len(filled))
    assert sum(taken < sizes[position] for position, taken in chosen.items()) <= 1


@given(SIZES, LIMIT, LIMIT, st.randoms(use_true_random=False))
def test_input_order_does_not_matter(
    sizes: list[int], limit_users: int | None, limit_items: int | None, draw: random.Random
) -> None:
    users = named(sizes)
    shuffled = draw.sample(users, len(users))
    plain = choose_subset(users, limit_users, limit_items)
    other = choose_subset(shuffled, limit_users, limit_items)
    assert {users[p][0]: n for p, n in plain.items()} == {shuffled[p][0]: n for p, n in other.items()}


@given(SIZES, st.integers(1, 40), st.integers(0, 40))
def test_a_larger_subset_holds_a_smaller_one(sizes: list[int], limit: int, more: int) -> None:
    small = choose_subset(named(sizes), None, limit)
    large = choose_subset(named(sizes), None, limit + more)
    assert all(large.get(position, 0) >= taken for position, taken in small.items())


def test_no_limit_takes_all() -> None:
    assert choose_subset(named([2, 0, 3])) == {0: 2, 2: 3}
