"""What a page shows without a script: shares, the queue, settings."""

from types import SimpleNamespace
from typing import Any

import pytest

from launch.collect.run_page import panels
from launch.collect.run_page.timeline_record import GpuSeries
from tests.collect.run_page.test_facts import LEDGER


def test_shares_of_the_time_have_what_is_unexplained_and_sum_to_one() -> None:
    found = panels.ledger_shares({"ledger": LEDGER})
    assert [(share.name, share.part, share.amount) for share in found] == [
        ("loading", 0.3, "5 min"),
        ("generating", 0.6, "10 min"),
        ("unexplained", 0.1, "2 min"),
    ]
    assert (
        panels.ledger_shares({}) == [] == panels.ledger_shares({"ledger": {"phases": {}, "unexplained": 0.0}})
    )


def test_the_queue_is_apart() -> None:
    said = "Apart from that, tasks waited 2 h in the queue."
    assert panels.queue_words({"ledger": LEDGER}) == said and panels.queue_words({}) is None


def test_how_samples_ended_the_most_first() -> None:
    found = panels.finish_shares({"length": 1, "stop": 3})
    assert [(share.name, share.part) for share in found] == [
        ("stop: ended by itself", 0.75),
        ("length: cut at max_tokens", 0.25),
    ]
    assert panels.finish_shares({}) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [("text", "text"), (None, "null"), ([1, "二"], '[1,"二"]'), (True, "true")],
)
def test_settings_in_words(value: Any, said: str) -> None:
    assert panels.in_words(value) == said


def test_a_command_is_whole_or_said_to_be_elsewhere() -> None:
    timeline: Any = SimpleNamespace(command="vllm-launch submit")
    assert panels.commands(timeline)[-1] == ("Ask for the same again, as another run", "vllm-launch submit")
    timeline.command = "x" * 9000
    assert panels.commands(timeline)[-1][1].startswith("9,000 characters, too long for this page")
    assert panels.commands(None) == list(panels.COMMANDS)


def gpus(busy: float | None, memory: float | None, **more: Any) -> GpuSeries:
    """A series of one bin."""
    used = {f"utilization_{name}": (busy,) for name in ("mean", "low", "high")}
    held = {f"memory_{name}_gib": (memory,) for name in ("mean", "high")}
    values = {"begin_s": 0.0, "bin_s": 2, "devices": ("H200",), "num_gpus": (3,), **used, **held, **more}
    return GpuSeries.model_validate(values)


@pytest.mark.parametrize(
    ("series", "silent"),
    [
        (gpus(50, 1, num_utilization_gpus=(3,), num_memory_gpus=(3,)), ("", "")),
        (gpus(50, 1), ("", "")),
        (
            gpus(50, 1, num_utilization_gpus=(2,), num_memory_gpus=(1,)),
            (" 1 GPU tells none. NVML has none of a MIG device.", " 2 GPUs tell none."),
        ),
    ],
)
def test_charts_of_gpus_say_how_many_tell_none(series: GpuSeries, silent: tuple[str, str]) -> None:
    used, held = panels.gpu_charts(series)
    assert (used.name, held.name, used.is_told, held.is_told) == ("utilization", "memory", True, True)
    assert used.text == (
        f"Mean over the GPUs that tell it, and from the least to the most used one.{silent[0]}"
    )
    assert held.text == f"Mean over the GPUs that tell it, and the one with the most in use.{silent[1]}"


def test_a_reading_that_no_gpu_tells_has_no_chart_and_a_line() -> None:
    used, held = panels.gpu_charts(gpus(None, None, num_utilization_gpus=(0,), num_memory_gpus=(0,)))
    assert not used.is_told and not held.is_told and panels.gpu_charts(None) == []
    assert used.text == "The GPUs of this run tell no utilisation. NVML has none of a MIG device."
    assert held.text == "The GPUs of this run tell no memory."
