"""What a private Slurm is made of, before a daemon is started: its configuration, and what it needs here."""

from pathlib import Path

import pytest

from tests.slurm import accounting
from tests.slurm.cluster_conf import ClusterSpec, Partition, Ports, gres_conf, slurm_conf, slurmdbd_conf
from tests.slurm.conftest import skip_unless_possible
from tests.slurm.private_slurm import NEEDED_COMMANDS, list_missing

ROOT = Path("/tmp/slurm-x")
PORTS = Ports(slurmctld=11, slurmd=[21, 22], slurmdbd=31)


def lines_of(spec: ClusterSpec) -> list[str]:
    return slurm_conf(spec, ROOT, PORTS, "host").splitlines()


def test_each_node_has_its_own_port_and_gpus() -> None:
    spec = ClusterSpec(num_nodes=2, gpus_per_node=1, cpus_per_node=3, mem_mib_per_node=100)
    where, what = "NodeHostname=host NodeAddr=127.0.0.1", "CPUs=3 RealMemory=100 Gres=gpu:1 State=UNKNOWN"
    assert [line for line in lines_of(spec) if line.startswith("NodeName")] == [
        f"NodeName=n1 {where} Port=21 {what}",
        f"NodeName=n2 {where} Port=22 {what}",
    ]
    assert gres_conf(spec, ROOT) == (
        "NodeName=n1 Name=gpu File=/tmp/slurm-x/gpus/n1/nvidia0\n"
        "NodeName=n2 Name=gpu File=/tmp/slurm-x/gpus/n2/nvidia0\n"
    )


def test_no_gpus() -> None:
    spec = ClusterSpec(num_nodes=2, gpus_per_node=0)
    assert not [line for line in lines_of(spec) if "gpu:" in line]
    assert gres_conf(spec, ROOT) == ""


def test_a_number_of_ports_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        lines_of(ClusterSpec(num_nodes=3))


def test_extra_conf_replaces_and_adds() -> None:
    lines = lines_of(ClusterSpec(num_nodes=2, kill_wait_s=9, extra_conf={"KillWait": "7", "Epilog": "/x"}))
    assert [line for line in lines if line.startswith(("KillWait", "Epilog"))] == ["KillWait=7", "Epilog=/x"]


def test_partitions() -> None:
    spec = ClusterSpec(num_nodes=2, partitions=[Partition("a", "n1", {"MaxTime": "5"}), Partition("b")])
    assert lines_of(spec)[-2:] == [
        "PartitionName=a Nodes=n1 MaxTime=5 State=UP",
        "PartitionName=b Nodes=ALL MaxTime=INFINITE State=UP",
    ]


def test_every_file_lies_under_root_and_the_keys_are_unique() -> None:
    spec = ClusterSpec(num_nodes=2, accounting=True)
    keys = [line.split("=")[0] for line in lines_of(spec) if not line.startswith(("NodeName", "Partition"))]
    assert len(keys) == len(set(keys))
    paths = [word for line in lines_of(spec) for word in line.split("=") if word.startswith("/")]
    assert [path for path in paths if not path.startswith(f"{ROOT}/")] == ["/bin/true"]


@pytest.mark.parametrize("accounting", [False, True])
def test_slurmdbd_is_named_only_where_it_is(accounting: bool) -> None:
    lines = lines_of(ClusterSpec(num_nodes=2, accounting=accounting))
    assert ("AccountingStoragePort=31" in lines) is accounting
    assert ("AccountingStorageType=accounting_storage/none" in lines) is not accounting
    assert "DbdPort=31" in slurmdbd_conf(ROOT, PORTS, "host").splitlines()


def test_what_is_missing_is_said_exactly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.slurm.private_slurm.search_path", lambda: str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for name in (*NEEDED_COMMANDS[1:], *accounting.NEEDED_COMMANDS[:-1]):
        (tmp_path / name).touch(mode=0o755)
    assert list_missing() == ["root", "command munged"]
    assert list_missing(with_accounting=True) == ["root", "command munged", "command slurmdbd"]
    with pytest.raises(pytest.skip.Exception, match="a private Slurm needs: root, command munged \\(make"):
        skip_unless_possible()
