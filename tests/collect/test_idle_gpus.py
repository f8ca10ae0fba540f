"""Spells in which GPUs idled beside requests, out of events."""

from typing import Any

import pytest

from launch.collect.idle_gpus import IdleGpu, idle_gpus

Row = dict[str, Any]


def event(time: float, name: str, **more: Any) -> Row:
    return {"time": time, "event": name, "slot": 0, **more}


def idle(time: float, gpu: str, **more: Any) -> Row:
    return event(time, "gpu_idle", **{"gpu": gpu, "idle_s": 60, **more})


def test_a_spell_goes_on_until_it_is_said_to_be_over() -> None:
    rows = [idle(100, "0", spell=1), idle(100, "1", spell=1), event(150, "gpu_idle_end", gpu="0")]
    assert idle_gpus(rows, 200) == (IdleGpu(0, "0", 1, None), IdleGpu(0, "1", 1, 160))
    assert idle_gpus(rows, None) == (IdleGpu(0, "0", 1, None), IdleGpu(0, "1", 1, None)), "the task is over"


def test_the_end_of_its_engine_ends_it() -> None:
    rows = [idle(100, "0"), idle(100, "1", slot=1), event(150, "engine_end", code=1)]
    assert [each.for_s for each in idle_gpus(rows, 200)] == [None, 160]


def test_spells_that_are_not_in_the_rows_count_as_well() -> None:
    assert [
        each.num_spells for each in idle_gpus([idle(100, "0", spell=9), idle(200, "0", spell=10)], 300)
    ] == [10]
    assert [each.num_spells for each in idle_gpus([idle(100, "0"), idle(200, "0")], 300)] == [2]


@pytest.mark.parametrize(
    "row", [idle(1, "0", slot="x"), idle(1, "0", idle_s=None), event(1, "gpu_idle", gpu=[0])]
)
def test_a_damaged_event_is_none(row: Row) -> None:
    assert idle_gpus([row], 10) == ()
