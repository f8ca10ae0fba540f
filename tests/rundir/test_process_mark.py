"""A process is found again by its host, boot and start in ticks: no clock is asked, and none can mislead."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from launch.rundir.process_mark import ProcessMark, mark_process, read_mark

OURS = mark_process()


def test_a_process_that_lives_is_here() -> None:
    assert OURS.is_here and not OURS.is_gone
    assert read_mark({**OURS.as_json(), "more": 1}) == OURS


def test_a_zombie_and_a_process_that_was_reaped_are_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = mark_process(child.pid)
    assert mark.is_here
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert mark.is_gone and not mark.is_here
    child.wait()
    assert mark.is_gone


@pytest.mark.parametrize(
    ("mark", "is_here", "is_gone"),
    [
        (replace(OURS, ticks=(OURS.ticks or 0) + 1), False, True),  # another process of its number
        (replace(OURS, boot="another"), False, True),
        (replace(OURS, pid=2**22 + 1), False, True),
        (replace(OURS, host="elsewhere"), False, False),
        (replace(OURS, pid_namespace=1), False, False),
        (replace(OURS, boot=None, ticks=None), False, False),  # of before: it may be another by now
        (replace(OURS, pid=2**22 + 1, boot=None, ticks=None), False, True),
    ],
)
def test_what_is_known_of_others(mark: ProcessMark, is_here: bool, is_gone: bool) -> None:
    assert (mark.is_here, mark.is_gone) == (is_here, is_gone)


@pytest.mark.parametrize(
    "value", [None, {}, {"host": 5, "pid": 1}, {"host": "n1"}, {"host": "n1", "pid": "1"}]
)
def test_what_is_no_mark(value: dict[str, object] | None) -> None:
    assert read_mark(value) is None


def test_a_mark_with_fields_of_other_types_keeps_what_it_can() -> None:
    assert read_mark({"host": "n1", "pid": 7, "boot": 5, "ticks": "x"}) == ProcessMark("n1", 7)
