"""Output whose reader left, as `head` does: what it no longer takes is dropped, and the command goes on.

A command that sends jobs or writes files is not over because nobody reads on: `submit | head` sends its jobs.
"""

import io
import os
import sys
from typing import Any


class DroppingFile(io.FileIO):
    """A file descriptor that leads nowhere from the moment on at which its pipe has no reader."""

    def write(self, data: Any, /) -> int:
        """Writes the bytes, or drops all of them."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for the processes that it is handed to, too
            os.close(nowhere)
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Lets this process go on when stdout or stderr has no reader any longer; what a test captures stays."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _dropping(stream))


def _dropping(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    file = DroppingFile(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        file if stream.write_through else io.BufferedWriter(file),  # as Python itself has it
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
