"""Commands that ask a driver, which may hang: an answer in time, or none."""

import contextlib
import subprocess
from collections.abc import Mapping, Sequence

KILLED_S = 1.0
_LEFT: list[subprocess.Popen[str]] = []
"""Those that could not be killed: a call into a driver that hangs does not end before the driver does."""


def answer_of(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> str | None:
    """What a command prints; None when it cannot be started, fails, or has not ended in time."""
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return None
    try:
        printed, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _leave(process)
        return None
    return printed if process.returncode == 0 else None


def _leave(process: subprocess.Popen[str]) -> None:
    process.kill()
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILLED_S)
        return
    _LEFT.append(process)
