"""Everything that a private Slurm's daemons find on disk before they start."""

import os
import random
import socket
from pathlib import Path

from tests.slurm.cluster_conf import (
    CGROUP_CONF,
    ClusterSpec,
    Ports,
    fake_gpu,
    gres_conf,
    slurm_conf,
    slurmdbd_conf,
)


def write_cluster_files(spec: ClusterSpec, root: Path) -> None:
    """Write the configuration (with free ports), MUNGE's key, the fake GPUs and the daemons' folders."""
    hostname = socket.gethostname().split(".")[0]
    slurmctld, slurmdbd, *slurmd = pick_free_ports(2 + spec.num_nodes)
    ports = Ports(slurmctld=slurmctld, slurmdbd=slurmdbd, slurmd=slurmd)
    (root / "slurm.conf").write_text(slurm_conf(spec, root, ports, hostname))
    (root / "gres.conf").write_text(gres_conf(spec, root))
    (root / "cgroup.conf").write_text(CGROUP_CONF)
    _write_secret(root / "munge.key", os.urandom(128))
    if spec.accounting:
        _write_secret(root / "slurmdbd.conf", slurmdbd_conf(root, ports, hostname).encode())
    (root / "state").mkdir()
    for node in spec.node_names:
        (root / f"spool.{node}").mkdir()
        _make_gpus(spec, root, node)


def pick_free_ports(count: int) -> list[int]:
    """Distinct TCP ports that are free, below those that the kernel gives to outgoing connections."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        ports.add(port)
    return list(ports)


def _make_gpus(spec: ClusterSpec, root: Path, node: str) -> None:
    for index in range(spec.gpus_per_node):
        gpu = fake_gpu(root, node, index)
        gpu.parent.mkdir(parents=True, exist_ok=True)
        gpu.symlink_to("/dev/null")


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
