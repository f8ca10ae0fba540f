"""Every item in exactly one shard, balanced, whatever the input order."""

import random
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.planning.cost import UserCost
from launch.planning.shards import Shard, plan_shards, share_out
from tests.planning.users import make_users

COSTS = st.one_of(st.just(0.0), st.floats(0.001, 1e6), st.integers(1, 5).map(float))
USERS = st.lists(st.lists(COSTS, max_size=12), max_size=25)


def lognormal_users(count: int, seed: int = 1) -> list[UserCost]:
    """Users of 1 to 20 items with lognormal costs."""
    draw = random.Random(seed)
    return make_users([[draw.lognormvariate(6, 1) for _ in range(draw.randint(1, 20))] for _ in range(count)])


def numbers_of(shards: tuple[Shard, ...]) -> list[int]:
    return [number for shard in shards for user in shard.users for number in user.items]


def by_name(shards: tuple[Shard, ...], users: list[UserCost]) -> list[list[tuple[str, tuple[int, ...]]]]:
    """Shards as (user_hash, places of items), which no input order is part of."""
    named = {user.position: user for user in users}
    first = {user.position: user.items[0][0] for user in users if user.items}
    return [
        [
            (named[user.position].user_hash, tuple(number - first[user.position] for number in user.items))
            for user in shard.users
        ]
        for shard in shards
    ]


@given(USERS, st.integers(1, 40))
def test_every_item_is_in_exactly_one_shard_and_no_shard_is_empty(
    rows: list[list[float]], num_tasks: int
) -> None:
    shards = plan_shards(make_users(rows), num_tasks)
    num_items = sum(map(len, rows))
    assert sorted(numbers_of(shards)) == list(range(num_items))
    assert len(shards) == min(num_tasks, num_items)
    assert [shard.task for shard in shards] == list(range(len(shards)))
    assert all(user.items for shard in shards for user in shard.users)
    for shard in shards:
        assert shard.cost == pytest.approx(fsum(user.cost for user in shard.users))


@given(USERS.filter(bool), st.integers(1, 40), st.randoms(use_true_random=False))
def test_input_order_does_not_change_the_plan(
    rows: list[list[float]], num_tasks: int, draw: random.Random
) -> None:
    users = make_users(rows)
    order = list(range(len(rows)))
    draw.shuffle(order)
    shuffled = make_users([rows[place] for place in order])
    renamed = [
        UserCost(user.position, f"user{place}", user.items)
        for user, place in zip(shuffled, order, strict=True)
    ]
    assert by_name(plan_shards(users, num_tasks), users) == by_name(plan_shards(renamed, num_tasks), renamed)


@pytest.mark.parametrize("num_tasks", [8, 16, 32, 64])
def test_a_thousand_lognormal_users_are_balanced_within_five_percent(num_tasks: int) -> None:
    costs = [shard.cost for shard in plan_shards(lognormal_users(1000), num_tasks)]
    assert max(costs) * num_tasks / sum(costs) <= 1.05


def test_a_user_above_the_fair_share_is_split_and_others_stay_whole() -> None:
    users = make_users([[10.0] * 30] + [[10.0] * 2] * 15)
    shards = plan_shards(users, 4)
    holders = [sum(user.position == position for s in shards for user in s.users) for position in range(16)]
    assert holders == [2] + [1] * 15
    assert [shard.cost for shard in shards] == [150.0, 150.0, 160.0, 140.0]


def test_one_huge_item_beside_small_ones_still_fills_every_shard() -> None:
    shards = plan_shards(make_users([[1.0, 1.0, 1000.0, 1.0]]), 4)
    assert [user.items for shard in shards for user in shard.users] == [(2,), (0,), (1,), (3,)]


def test_what_a_plan_refuses() -> None:
    with pytest.raises(ValueError, match="num_tasks must be at least 1"):
        plan_shards(make_users([[1.0]]), 0)
    with pytest.raises(ValueError, match="two users have the hash 'a'"):
        plan_shards([UserCost(0, "a", ((0, 1.0),)), UserCost(1, "a", ((1, 1.0),))], 1)
    with pytest.raises(ValueError, match="negative cost"):
        plan_shards(make_users([[1.0, -1.0]]), 1)


def test_share_out_cuts_a_row_by_weight() -> None:
    assert share_out([1, 1, 1, 1, 1, 1], [3, 2, 1]) == [0, 0, 0, 1, 1, 2]
    assert share_out([5.0], [1, 1, 1]) == [1]
    assert share_out([0.0, 0.0], [1, 1]) == [0, 1]
    assert share_out([], [1, 1]) == []
