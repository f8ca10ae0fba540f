"""The two pipes between supervisor and engine process, and what keeps the engine process from outliving it.

Down: a line `drain <seconds left>`; end of file means that the supervisor died. Up: JSON lines: phase,
counts, what became of caches and staging, what the canary found. Nothing else passes between the two but
files.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from typing import Any

import orjson

from launch.worker.forked import keep_private

_PR_SET_PDEATHSIG = 1

# Slurm sends TERM to every process of a job, whatever its session; the tether must outlast that.
_TETHER = 'trap "" TERM INT HUP USR1 USR2; read -r _; kill -s KILL -- "-$1"'


class Channel:
    """The engine process's side. Taking it re-points stdin, stdout of the process: prints go to the log."""

    def __init__(self) -> None:
        self._down = os.dup(0)
        self._up = os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        self._lock = threading.Lock()  # keeps lines of several threads from mixing
        self.drain_deadline: float | None = None
        """By time.monotonic()."""
        self.drain_asked = threading.Event()

    def listen(self) -> None:
        """Follows the pipe down in a thread of its own."""
        keep_private(self._down)
        keep_private(self._up)
        threading.Thread(target=self._follow, name="channel", daemon=True).start()

    def send(self, **message: Any) -> None:
        """Sends one message up, with the time. A supervisor that is gone is no error here: `listen` acts."""
        line = orjson.dumps({"time": round(time.time(), 3), **message}, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            try:
                os.write(self._up, line)
            except BrokenPipeError:
                return

    def _follow(self) -> None:
        with os.fdopen(self._down, encoding="ascii") as lines:
            for line in lines:
                word, _, value = line.strip().partition(" ")
                if word == "drain":
                    self.drain_deadline = time.monotonic() + float(value)
                    self.drain_asked.set()
        os.killpg(0, signal.SIGKILL)


def tether() -> None:
    """Ties this process and its group to the supervisor's life.

    The kernel kills this process when its parent dies, and a waiting shell outside the group kills the whole
    group when this process dies, whatever killed it: vLLM's engine core and workers never outlive it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    read_end, write_end = os.pipe()
    subprocess.Popen(
        ["/bin/sh", "-c", _TETHER, "sh", str(os.getpgrp())],
        stdin=read_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(read_end)
    os.set_inheritable(write_end, False)
    keep_private(write_end)
