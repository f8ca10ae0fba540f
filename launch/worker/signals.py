"""Signals as something to wait for: handlers do nothing, the numbers come out of a socket, the loop acts."""

import signal
import socket
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CAUGHT = (signal.SIGUSR2, *STOP_SIGNALS, signal.SIGCHLD)


class Signals:
    """While it is entered, signals of `CAUGHT` are readable here. In the main thread; one at a time."""

    def __init__(self, caught: Sequence[signal.Signals] = CAUGHT) -> None:
        self._caught = caught
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> "Signals":
        self._wakeup_before = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in self._caught:
            self._before[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._read_end.close()
        self._write_end.close()

    def fileno(self) -> int:
        """What a selector waits for."""
        return self._read_end.fileno()

    def take(self) -> list[signal.Signals]:
        """The signals since the last call, in order; none when there was none."""
        try:
            numbers = self._read_end.recv(4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers]


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler written in Python makes the interpreter write the number to the wakeup socket."""
