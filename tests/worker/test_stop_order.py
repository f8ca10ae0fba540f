"""What signals ask for, and by when."""

import signal

import pytest

from launch.worker.stop_order import Asked, StopOrder

NOW = 1_800_000_000.0


def test_usr2_leaves_a_reserve_of_its_lead():
    order = StopOrder(120)
    assert order.hear(signal.SIGUSR2, NOW) is Asked.DRAIN
    assert order.deadline == NOW + 105


def test_a_short_lead_is_halved():
    order = StopOrder(10)
    order.hear(signal.SIGUSR2, NOW)
    assert order.deadline == NOW + 5


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGTERM, 20), (signal.SIGINT, 8)])
def test_a_stop_signal_drains_within_kill_wait(number: signal.Signals, seconds: int):
    order = StopOrder(120)
    assert order.hear(number, NOW) is Asked.DRAIN
    assert order.deadline == NOW + seconds


def test_a_task_whose_driver_died_has_little_time():
    order = StopOrder(120)
    assert order.hear(signal.SIGHUP, NOW) is Asked.DRAIN
    assert order.deadline == NOW + 5


def test_a_stop_signal_brings_the_deadline_of_usr2_nearer_and_never_farther():
    order = StopOrder(120)
    order.hear(signal.SIGUSR2, NOW)
    assert order.hear(signal.SIGTERM, NOW + 10) is Asked.DRAIN
    assert order.deadline == NOW + 30
    assert order.hear(signal.SIGUSR2, NOW + 11) is Asked.NOTHING
    assert order.deadline == NOW + 30


def test_the_same_order_from_two_sides_is_one_and_a_later_one_kills():
    order = StopOrder(120)
    order.hear(signal.SIGTERM, NOW)
    assert order.hear(signal.SIGTERM, NOW + 2.9) is Asked.NOTHING
    assert order.hear(signal.SIGINT, NOW + 3.1) is Asked.KILL


def test_other_signals_ask_for_nothing():
    assert StopOrder(120).hear(signal.SIGCHLD, NOW) is Asked.NOTHING
