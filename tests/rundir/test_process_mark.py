"""A process is found again by its host, boot and start in ticks: no clock is asked, and none can mislead."""

import os
import signal
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


HIDDEN = """
import os, subprocess, sys
from launch.rundir.process_mark import mark_process

living, ended = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
marks = [mark_process(living.pid), mark_process(ended.pid)]
ended.kill()
ended.wait()
subprocess.run(["mount", "-t", "proc", "-o", f"hidepid={sys.argv[1]}", "proc", "/proc"], check=True)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print([(mark.is_gone, mark.is_here, mark.is_stopped) for mark in marks], mark_process(living.pid).ticks)
"""


@pytest.mark.process
@pytest.mark.parametrize("hidepid", [1, 2])
def test_of_a_process_that_proc_hides_nothing_is_known_until_it_is_gone(hidepid: int) -> None:
    """Another user's, as many login nodes hide them; in a pid namespace of its own, whose /proc it is."""
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make a mount and a pid namespace")
    words = [*alone, sys.executable, "-c", HIDDEN, str(hidepid)]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.stdout == "[(False, False, False), (True, False, False)] None\n", said.stderr


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_a_number_that_no_process_can_have_is_of_none(pid: int) -> None:
    mark = replace(OURS, pid=pid)
    assert mark.is_gone and not mark.is_here


def test_a_process_that_is_stopped_is_here() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = mark_process(child.pid)
    assert not mark.is_stopped
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert mark.is_stopped and mark.is_here and not mark.is_gone
    child.kill()
    child.communicate()
    assert not mark.is_stopped


@pytest.mark.parametrize(
    "value", [None, {}, {"host": 5, "pid": 1}, {"host": "n1"}, {"host": "n1", "pid": "1"}]
)
def test_what_is_no_mark(value: dict[str, object] | None) -> None:
    assert read_mark(value) is None


def test_a_mark_with_fields_of_other_types_keeps_what_it_can() -> None:
    assert read_mark({"host": "n1", "pid": 7, "boot": 5, "ticks": "x"}) == ProcessMark("n1", 7)
