"""Every item in exactly one chunk; costs shrink along a shard; users stay together."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.planning.chunks import Chunk, plan_chunks
from launch.planning.shards import plan_shards
from tests.planning.users import make_users

COSTS = st.one_of(st.just(0.0), st.floats(0.001, 1e6), st.integers(1, 5).map(float))
USERS = st.lists(st.lists(COSTS, max_size=20), max_size=25)


def of_shard(chunks: tuple[Chunk, ...], shard: int) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk.shard == shard]


@given(USERS, st.integers(1, 12), st.integers(1, 16), st.integers(12, 60))
def test_items_numbers_order_and_limits(
    rows: list[list[float]], num_tasks: int, per_shard: int, total: int
) -> None:
    shards = plan_shards(make_users(rows), num_tasks)
    chunks = plan_chunks(shards, max_per_shard=per_shard, max_total=total)
    taken = sorted(number for chunk in chunks for user in chunk.users for number in user.items)
    assert taken == list(range(sum(map(len, rows))))
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.shard for chunk in chunks] == sorted(chunk.shard for chunk in chunks)
    assert len(chunks) <= total
    for shard in shards:
        own = of_shard(chunks, shard.task)
        assert 1 <= len(own) <= per_shard
        assert [chunk.cost for chunk in own] == sorted((chunk.cost for chunk in own), reverse=True)
        assert sum(chunk.cost for chunk in own) == pytest.approx(shard.cost)
        in_shard = sorted(number for user in shard.users for number in user.items)
        in_chunks = sorted(number for chunk in own for user in chunk.users for number in user.items)
        assert in_shard == in_chunks


@given(USERS, st.integers(1, 12))
def test_a_user_is_named_once_in_a_chunk_with_rising_items(rows: list[list[float]], num_tasks: int) -> None:
    for chunk in plan_chunks(plan_shards(make_users(rows), num_tasks)):
        positions = [user.position for user in chunk.users]
        assert len(positions) == len(set(positions))
        assert all(list(user.items) == sorted(user.items) and user.items for user in chunk.users)


def test_chunks_shrink_to_a_small_last_one() -> None:
    draw = random.Random(3)
    rows = [[draw.uniform(50, 150) for _ in range(draw.randint(1, 4))] for _ in range(2000)]
    (shard,) = plan_shards(make_users(rows), 1)
    chunks = plan_chunks([shard])
    assert len(chunks) == 16
    assert chunks[0].cost == pytest.approx(shard.cost * 16 / 136, rel=0.02)
    assert chunks[-1].cost == pytest.approx(shard.cost / 136, rel=0.1)


def test_users_below_an_even_share_are_never_divided_and_big_users_come_first() -> None:
    draw = random.Random(5)
    rows = [[100.0] * draw.randint(1, 6) for _ in range(200)]
    chunks = plan_chunks(plan_shards(make_users(rows), 2))
    held = [user.position for chunk in chunks for user in chunk.users]
    assert len(held) == len(set(held)) == 200
    sizes = [[len(user.items) for user in chunk.users] for chunk in of_shard(chunks, 0)]
    assert all(row == sorted(row, reverse=True) for row in sizes)
    assert set(sizes[0]) == {6} and set(sizes[-1]) == {1}


def test_one_user_of_many_items_gives_many_chunks() -> None:
    chunks = plan_chunks(plan_shards(make_users([[10.0] * 160]), 1))
    assert [len(chunk.users[0].items) for chunk in chunks][:2] == [20, 20]
    assert len(chunks) > 8
    assert chunks[0].users[0].items == tuple(range(20))


def test_twenty_thousand_shards_of_a_chunk_each_and_no_more() -> None:
    shards = plan_shards(make_users([[1.0]] * 20_001), 20_001)
    assert len(plan_chunks(shards[:20_000])) == 20_000
    with pytest.raises(ValueError, match="20001 shards do not fit in 20000 chunks"):
        plan_chunks(shards)
