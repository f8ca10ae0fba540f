"""One look at a whole run: within it each directory is listed, and each small file read, once.

A look asks for the same attempt from several sides: whether it lives, how it stands, what it has cost. On a
shared file system every question is a call to a server, and there are 1,000 tasks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_KEPT: ContextVar[dict[tuple[Callable[..., Any], Path], Any] | None] = ContextVar("kept", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """While it is entered what was read is of one moment; nothing is kept after it, nor in other threads."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def read_once(read: Callable[[Path], T], path: Path) -> T:
    """What `read` says of a path, asked once within a look. The answer is shared: not to be changed."""
    kept = _KEPT.get()
    if kept is None:
        return read(path)
    if (read, path) not in kept:
        kept[read, path] = read(path)
    answer: T = kept[read, path]
    return answer


def keep_answer(read: Callable[[Path], T | None], path: Path, answer: T) -> None:
    """Has a look know what `read` says of a path, by somebody who read more of it."""
    kept = _KEPT.get()
    if kept is not None:
        kept[read, path] = answer
