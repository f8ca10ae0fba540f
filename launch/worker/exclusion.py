"""The nodes that a task left because of the node: a file of names, which its batch shell excludes in Slurm.

Slurm would start a requeued task on the same node again: it is the one that has just become free.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from launch.config.schema import RunConfig, Scheduler
from launch.rundir.journal import read_whole, write_bytes
from launch.rundir.read_errors import read_errors
from launch.rundir.storage_errors import NO_FILE

MAX_EXCLUDED = 3
"""Nodes that one task may leave. What fails on more is not the node's fault."""


def node_name(environment: Mapping[str, str] = os.environ) -> str:
    """This node as Slurm calls it."""
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def excluded_nodes(path: Path) -> list[str]:
    """The nodes that a task has left, in order; what was damaged and can be no name is passed over."""
    with read_errors(path):
        try:
            words = read_whole(path).decode(errors="replace").split()
        except NO_FILE:
            return []
    return [word for word in words if word.isascii() and word.isprintable()]


def may_leave(config: RunConfig, path: Path, node: str) -> bool:
    """Whether a task may ask for another node than `node`: on Slurm, not too often, and not twice for one.

    A task that is back on a node that it left has no other one to go to.
    """
    left = excluded_nodes(path)
    return config.resources.scheduler is Scheduler.SLURM and node not in left and len(left) < MAX_EXCLUDED


def leave(path: Path, node: str) -> None:
    """Adds a node to those that the task has left."""
    names = [*excluded_nodes(path), node]
    write_bytes(path, "".join(f"{name}\n" for name in names).encode())
