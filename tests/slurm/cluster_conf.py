"""Configuration texts of a private Slurm: pure functions from a `ClusterSpec` and `Ports` to files' contents.

The settings were measured on Debian 12's Slurm 22.05.8 as root without systemd. What each unusual one is for:

- several slurmd on one host need ``%n`` in every path, a port each, and ``config_overrides`` (a node may
  claim more CPUs than the host has);
- a GPU without ``File=`` is not counted by slurmd, so each fake GPU is a link to /dev/null;
- ``cred_expire`` is also the delay of a requeue (120 s unless set): 5 s keeps requeue tests short;
- ``MinJobAge`` keeps finished jobs visible to squeue, the only witness when there is no slurmdbd;
- with slurmdbd, clients look for MUNGE's default socket unless ``AccountingStoragePass`` names another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: `nodes` as Slurm's node list (``ALL`` or ``n[1-2]``), `options` as in slurm.conf."""

    name: str
    nodes: str = "ALL"
    options: Mapping[str, str] = field(default_factory=dict)


# slurmd opens a cgroup plugin even if nothing uses it: v1 does not mind a host without a cgroup file system.
CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"
CLUSTER_NAME = "private"
DATABASE = "slurm_acct_db"
DATABASE_USER = "slurm"
DEFAULT_PARTITIONS = (
    Partition("gpu", options={"Default": "YES"}),
    Partition("cpu", options={"MaxCPUsPerNode": "4"}),
)


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a private cluster looks like. Every node is the same; all of them are this host.

    mem_mib_per_node is only booked, never enforced (no cgroups). accounting adds slurmdbd with a MariaDB.
    extra_conf: settings of slurm.conf that are added or replace those made here.
    """

    num_nodes: int = 4
    gpus_per_node: int = 2
    cpus_per_node: int = 8
    mem_mib_per_node: int = 512 * 1024
    partitions: Sequence[Partition] = DEFAULT_PARTITIONS
    kill_wait_s: int = 5
    cred_expire_s: int = 5
    max_array_size: int = 1001
    slurmd_timeout_s: int = 60
    accounting: bool = False
    extra_conf: Mapping[str, str] = field(default_factory=dict)

    @property
    def node_names(self) -> list[str]:
        """n1 .. nN."""
        return [f"n{number}" for number in range(1, self.num_nodes + 1)]


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of one cluster: the controller's, one per node in the order of node_names, slurmdbd's."""

    slurmctld: int
    slurmd: Sequence[int]
    slurmdbd: int


def munge_socket(root: Path) -> Path:
    """Where the cluster's own munged listens."""
    return root / "munge.sock"


def fake_gpu(root: Path, node: str, index: int) -> Path:
    """The file that stands for a GPU of a node; Slurm reads the index from the digits at its end."""
    return root / "gpus" / node / f"nvidia{index}"


def slurm_conf(spec: ClusterSpec, root: Path, ports: Ports, hostname: str) -> str:
    """The text of slurm.conf for a cluster whose files all live under root.

    extra_conf wins over every ``Key=Value`` line made here except the lines of nodes and partitions.
    """
    settings = _daemon_settings(spec, root, ports, hostname) | _job_settings(spec)
    if spec.accounting:
        settings |= _accounting_settings(root, ports)
    settings |= spec.extra_conf
    lines = [f"{key}={value}" for key, value in settings.items()]
    for node, port in zip(spec.node_names, ports.slurmd, strict=True):
        lines.append(_node_line(spec, node, port, hostname))
    lines += [_partition_line(partition) for partition in spec.partitions]
    return "\n".join(lines) + "\n"


def gres_conf(spec: ClusterSpec, root: Path) -> str:
    """The text of gres.conf: a line per fake GPU (empty without GPUs)."""
    return "".join(
        f"NodeName={node} Name=gpu File={fake_gpu(root, node, index)}\n"
        for node in spec.node_names
        for index in range(spec.gpus_per_node)
    )


def slurmdbd_conf(root: Path, ports: Ports, hostname: str) -> str:
    """The text of slurmdbd.conf; slurmdbd refuses a file that others can read (mode 600 wanted)."""
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge_socket(root)}",
        "DbdHost": hostname,
        "DbdAddr": "127.0.0.1",
        "DbdPort": str(ports.slurmdbd),
        "SlurmUser": "root",
        "PidFile": str(root / "slurmdbd.pid"),
        "LogFile": str(root / "slurmdbd.log"),
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": DATABASE_USER,
        "StoragePass": DATABASE_USER,
        "StorageLoc": DATABASE,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _daemon_settings(spec: ClusterSpec, root: Path, ports: Ports, hostname: str) -> dict[str, str]:
    return {
        "ClusterName": CLUSTER_NAME,
        "SlurmctldHost": f"{hostname}(127.0.0.1)",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "SlurmctldPort": str(ports.slurmctld),
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge_socket(root)},cred_expire={spec.cred_expire_s}",
        "CredType": "cred/munge",
        "StateSaveLocation": str(root / "state"),
        "SlurmctldPidFile": str(root / "slurmctld.pid"),
        "SlurmctldLogFile": str(root / "slurmctld.log"),
        "SlurmdSpoolDir": f"{root}/spool.%n",
        "SlurmdPidFile": f"{root}/slurmd.%n.pid",
        "SlurmdLogFile": f"{root}/slurmd.%n.log",
        "SlurmdParameters": "config_overrides",
        "SlurmdTimeout": str(spec.slurmd_timeout_s),
        "ReturnToService": "2",
        "MailProg": "/bin/true",
    }


def _job_settings(spec: ClusterSpec) -> dict[str, str]:
    return {
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": "1024",
        "GresTypes": "gpu",
        "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0",
        "JobRequeue": "1",
        "KillWait": str(spec.kill_wait_s),
        "MaxArraySize": str(spec.max_array_size),
        "MinJobAge": "3600",
        "AccountingStorageType": "accounting_storage/none",
        "JobAcctGatherType": "jobacct_gather/none",
    }


def _accounting_settings(root: Path, ports: Ports) -> dict[str, str]:
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(ports.slurmdbd),
        "AccountingStoragePass": str(munge_socket(root)),
        "AccountingStorageTRES": "gres/gpu",
        "AccountingStorageEnforce": "limits",
        "JobAcctGatherType": "jobacct_gather/linux",
    }


def _node_line(spec: ClusterSpec, node: str, port: int, hostname: str) -> str:
    gres = f" Gres=gpu:{spec.gpus_per_node}" if spec.gpus_per_node else ""
    return (
        f"NodeName={node} NodeHostname={hostname} NodeAddr=127.0.0.1 Port={port} "
        f"CPUs={spec.cpus_per_node} RealMemory={spec.mem_mib_per_node}{gres} State=UNKNOWN"
    )


def _partition_line(partition: Partition) -> str:
    options = {"MaxTime": "INFINITE", "State": "UP", **partition.options}
    joined = " ".join(f"{key}={value}" for key, value in options.items())
    return f"PartitionName={partition.name} Nodes={partition.nodes} {joined}"
