"""The number of a limit, as sacctmgr tells it: which field a reason means, and that it is asked once."""

from pathlib import Path

import pytest

from launch.config.schema import ResourcesConfig
from launch.rundir.layout import SubmissionPaths
from launch.slurm.reason_limits import KEPT_FOR_S, allowed_by, field_of


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sacctmgr that has limits and notes what it was asked, a line a call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    asked = tmp_path / "asked"
    texts = {
        "sacctmgr": f'echo "$*" >>{asked}\ncase "$*" in\n'
        "*maxtresperuser) echo 'cpu=64,gres/gpu=8,gres/gpu:h100=4,mem=1T';;\n"
        "*maxjobsperuser) echo 1;;\n*maxwall) echo 1-00:00:00;;\n"
        "*grptres,defaultqos) echo '|gres/gpu=16|gpus';;\n"
        "*defaultqos) echo '||gpus';;\n*defaultaccount) echo ours;;\nesac",
        "scontrol": "echo 'ClusterName = c1'",
    }
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    return asked


def ask(tmp_path: Path, *reasons: str, now: float = 1000.0, **resources: str) -> dict[str, str]:
    return allowed_by(SubmissionPaths(tmp_path), ResourcesConfig(**resources), reasons, now)


def test_numbers_with_their_units(calls: Path, tmp_path: Path) -> None:
    assert ask(
        tmp_path, "QOSMaxGRESPerUser", "QOSMaxCpuPerUserLimit", "QOSMaxJobsPerUserLimit", "AssocGrpGRES"
    ) == {
        "QOSMaxGRESPerUser": "8 GPUs",
        "QOSMaxCpuPerUserLimit": "64 CPUs",
        "QOSMaxJobsPerUserLimit": "1 job",
        "AssocGrpGRES": "16 GPUs",
    }
    assert "show qos where name=gpus format=maxtresperuser" in calls.read_text()


def test_our_type_of_gpu_comes_first(calls: Path, tmp_path: Path) -> None:
    assert ask(tmp_path, "QOSMaxGRESPerUser", gpu_type="h100") == {"QOSMaxGRESPerUser": "4 h100 GPUs"}
    assert calls.exists()


def test_what_was_asked_is_kept_and_what_has_no_number_is_not_asked(calls: Path, tmp_path: Path) -> None:
    assert ask(tmp_path, "Priority", "QOSGrpCPUMinutesLimit", "") == {}
    assert not calls.exists()
    first = ask(tmp_path, "QOSMaxWallDurationPerJobLimit", "QOSGrpNodeLimit")
    assert first == {"QOSMaxWallDurationPerJobLimit": "1-00:00:00 of wall time"}
    num_calls = len(calls.read_text().splitlines())
    assert ask(tmp_path, "QOSMaxWallDurationPerJobLimit", "QOSGrpNodeLimit", now=1500.0) == first
    assert len(calls.read_text().splitlines()) == num_calls
    ask(tmp_path, "QOSGrpNodeLimit", now=1001.0 + KEPT_FOR_S)
    assert len(calls.read_text().splitlines()) > num_calls


def test_a_kept_file_of_others_is_no_text_of_ours(calls: Path, tmp_path: Path) -> None:
    hostile = '{"asked": 1000, "allowed": {"QOSMaxGRESPerUser": "\\u001b[31m9", "AssocGrpGRES": 3}}'
    (tmp_path / "limits.json").write_text(hostile)
    assert ask(tmp_path, "QOSMaxGRESPerUser") == {"QOSMaxGRESPerUser": "8 GPUs"}
    assert calls.exists()


def test_without_an_answer_there_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask(tmp_path, "QOSMaxGRESPerUser") == {}


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        ("QOSMaxGRESPerUser", ("maxtresperuser", "gres/gpu")),
        ("MaxGRESPerAccount", ("maxtresperaccount", "gres/gpu")),
        ("QOSMaxMemoryPerNode", ("maxtrespernode", "mem")),
        ("QOSMaxNodePerJobLimit", ("maxtres", "node")),
        ("AssocMaxJobsLimit", ("maxjobs", None)),
        ("QOSGrpJobsLimit", ("grpjobs", None)),
        ("QOSMaxSubmitJobPerUserLimit", ("maxsubmitjobsperuser", None)),
        ("QOSMinGRES", None),
        ("AssocGrpEnergy", None),
        ("Resources", None),
    ],
)
def test_fields(reason: str, field: tuple[str, str | None] | None) -> None:
    assert field_of(reason) == field
