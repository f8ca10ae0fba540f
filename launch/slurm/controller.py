"""Which cluster's controller answers here and how its clock is set: asked for once, then carried on.

No job is over because a controller does not know its id, unless that controller issued it. So the name of a
cluster is carried on only to those who reach the same one. On a node a job's environment says which that is;
elsewhere each client, which is a host with its squeue and its SLURM_CONF, asks for itself, once.
"""

import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch.errors import SchedulerError
from launch.rundir.attempts import filesystem_now
from launch.slurm.commands import call, node_cluster, parse_time, setting_in

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Controller:
    """A cluster's controller and by how much its clock is ahead of the file system's; None: nobody has told.

    `clients` are those that have asked, outside of jobs, each with the cluster that it reaches.
    """

    cluster: str | None = None
    ahead_s: float | None = None
    clients: Mapping[str, str] = field(default_factory=dict)


def recognise(known: Controller, directory: Path, timeout_s: float) -> Controller:
    """The controller that answers here; it is asked, in one call, when `known` does not tell."""
    client = _client()
    cluster = node_cluster() or known.clients.get(client)
    if cluster is not None and cluster == known.cluster and known.ahead_s is not None:
        return known
    told = ask_controller(directory, min(timeout_s, TIMEOUT_S))
    cluster = node_cluster() or told.cluster or cluster
    is_same = cluster is not None and cluster == known.cluster
    ahead_s = known.ahead_s if told.ahead_s is None and is_same else told.ahead_s
    clients = dict(known.clients)
    if cluster is not None and node_cluster() is None:
        clients[client] = cluster
    return Controller(cluster, ahead_s, clients)


def ask_controller(directory: Path, timeout_s: float) -> Controller:
    """What one `scontrol show config` tells, of its clock against the file system of `directory` to a second.

    It says as of when it speaks, by the controller's clock (measured with a client whose clock was ten
    minutes off, 22.05).
    """
    asked = filesystem_now(directory)
    try:
        text = call(["scontrol", "show", "config"], timeout_s)
    except SchedulerError:
        return Controller()
    answered = filesystem_now(directory)
    found = re.match(r"Configuration data as of (\S+)", text)
    told = None if found is None else parse_time(found.group(1), near=answered)
    ahead_s = None if told is None else told + 0.5 - (asked + answered) / 2  # whole seconds are told
    return Controller(setting_in(text, "ClusterName", r"\S+"), ahead_s)


def _client() -> str:
    return f"{socket.gethostname()} {shutil.which('squeue')} {os.environ.get('SLURM_CONF', '')}".strip()
