"""What a process must not have that vLLM forks of the engine process: our pipes, and a lock that is held.

Beside a GPU vLLM forks its core (launch/worker/environment.py) unless the user says otherwise; a spawned one
starts anew, and imports all again. A forked child has every descriptor of its parent: with the write end of
the tether's pipe it hid its parent's death, and outlived it (seen). And it has every lock as it was, without
the threads that would give it back: a fork waits while one of ours is at work.
"""

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")

_private: set[int] = set()
_at_work = threading.RLock()


def keep_private(descriptor: int) -> None:
    """A forked child has /dev/null in its place. For a descriptor that stays open to this process's end."""
    _private.add(descriptor)


def before_or_after_forks(call: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same call, which a fork of another thread does not fall into: it waits for its end."""

    def at_work(*words: Given.args, **named: Given.kwargs) -> Made:
        with _at_work:
            return call(*words, **named)

    return at_work


def _in_child() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in _private:
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)
    _at_work.release()


@cache
def prepare_forks() -> None:
    """From here on forks are as said above; to be called when all is imported that has such hooks of its own.

    The hook that was registered last runs first: before logging's, whose lock who is at work may need.
    """
    os.register_at_fork(before=_at_work.acquire, after_in_parent=_at_work.release, after_in_child=_in_child)
