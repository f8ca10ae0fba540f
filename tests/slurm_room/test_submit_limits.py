"""How many tasks may be queued, as sacctmgr, scontrol and squeue tell it; answers as of Slurm 22.05."""

from pathlib import Path

import pytest

from launch.config.schema import ResourcesConfig
from launch.slurm.submit_limits import SubmitLimit, ask_submit_limit, submit_limit

ENFORCED = "AccountingStorageEnforce = associations,limits,qos\\n"


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes commands that print what is given; those left out fail."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)

    def write(associations: str = "", qos: str = "", config: str = ENFORCED, queue: str = "") -> None:
        texts = {
            "sacctmgr": f'case "$4" in associations) printf "{associations}";;'
            f' qos) printf "{qos}";; user) echo ours;; esac',
            "scontrol": f'printf "ClusterName = c1\\n{config}"',
            "squeue": f'printf "{queue}"',
        }
        for name, text in texts.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)

    return write


def test_the_association_limits(answer) -> None:
    answer(associations="|200|\n", queue="1\n2_0\n2_1\n")
    assert ask_submit_limit(ResourcesConfig()) == SubmitLimit(200, "MaxSubmitJobs of your association", 3)


def test_the_one_for_the_partition_counts_and_others_do_not(answer) -> None:
    answer(associations="|200|\ngpu|50|\ncpu|9|\n")
    limit = ask_submit_limit(ResourcesConfig(partition="gpu"))
    assert limit is not None and limit.num_jobs == 50


def test_the_qos_comes_before_the_association(answer) -> None:
    answer(associations="|200|normal\n", qos="500\n", config=ENFORCED + "MaxJobCount = 10000\\n")
    assert ask_submit_limit(ResourcesConfig()) == SubmitLimit(500, "MaxSubmitJobsPerUser of QOS normal", 0)
    answer(associations="|200|normal\n", qos="\n")
    assert ask_submit_limit(ResourcesConfig()) == SubmitLimit(200, "MaxSubmitJobs of your association", 0)


def test_the_controller_limits_everybody(answer) -> None:
    answer(associations="||\n", config="MaxJobCount             = 300\n")
    assert ask_submit_limit(ResourcesConfig()) == SubmitLimit(300, "MaxJobCount of the controller", 0)


def test_limits_that_are_not_enforced_are_none(answer) -> None:
    answer(associations="|200|\n", config="AccountingStorageEnforce = none\\n")
    assert ask_submit_limit(ResourcesConfig()) is None


def test_nothing_is_told(answer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer(associations="||\n")
    assert ask_submit_limit(ResourcesConfig()) is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert ask_submit_limit(ResourcesConfig()) is None


def test_one_that_is_set_is_a_number_of_jobs_too_and_comes_first(answer) -> None:
    answer(associations="|200|\n", queue="1\n2_0\n")
    assert submit_limit(ResourcesConfig(max_submit=300)) == SubmitLimit(300, "max_submit", 2)
    assert submit_limit(ResourcesConfig()) == SubmitLimit(200, "MaxSubmitJobs of your association", 2)


@pytest.mark.parametrize(
    ("limit", "queued", "rounds", "tasks"),
    [(200, 0, 0, 199), (200, 150, 0, 49), (200, 0, 3, 49), (5, 4, 0, 0), (5, 9, 0, 0)],
)
def test_merge_jobs_and_follow_ups_count_too(limit: int, queued: int, rounds: int, tasks: int) -> None:
    assert SubmitLimit(limit, "a test", queued).tasks(rounds) == tasks
