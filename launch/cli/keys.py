"""A terminal's keys one by one, without Enter, and as they were when it is over."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def single_keys() -> Iterator[bool]:
    """Within it keys come as they are pressed (Ctrl-C still interrupts); False where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def wait_for_key(keys: str, timeout_s: float, *, has_keys: bool) -> bool:
    """Waits so long, or until one of `keys` is pressed: True then. Without keys it only waits."""
    deadline = time.monotonic() + timeout_s
    while has_keys and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], left)
        if ready:
            pressed = os.read(sys.stdin.fileno(), 64)
            if any(key.encode() in pressed for key in keys):
                return True
            has_keys = bool(pressed)
    time.sleep(max(0.0, deadline - time.monotonic()))
    return False
