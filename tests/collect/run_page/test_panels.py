"""What a page shows without a script: shares, the queue, settings."""

from types import SimpleNamespace
from typing import Any

import pytest

from launch.collect.run_page import panels
from tests.collect.run_page.test_facts import LEDGER


def test_shares_of_the_time_have_what_is_unexplained_and_sum_to_one() -> None:
    found = panels.ledger_shares({"ledger": LEDGER})
    assert [(share.name, share.part, share.amount) for share in found] == [
        ("loading", 0.3, "5 min 0 s"),
        ("generating", 0.6, "10 min 0 s"),
        ("unexplained", 0.1, "100.0 s"),
    ]
    assert (
        panels.ledger_shares({}) == [] == panels.ledger_shares({"ledger": {"phases": {}, "unexplained": 0.0}})
    )


def test_the_queue_is_apart() -> None:
    said = "Apart from that, tasks waited 2 h 0 min in the queue."
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
