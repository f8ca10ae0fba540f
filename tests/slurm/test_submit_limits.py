"""Limits on what may be queued are asked of a real Slurm, and are those that its sbatch enforces."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.config.schema import ResourcesConfig
from launch.rundir.journal import read_journal
from launch.rundir.layout import SubmissionPaths
from launch.slurm.commands import list_queue
from launch.slurm.pending_reasons import in_words
from launch.slurm.reason_limits import allowed_by
from launch.slurm.submit_limits import SubmitLimit, ask_submit_limit
from tests.models import make_tiny_llama
from tests.slurm.private_slurm import PrivateSlurm
from tests.slurm.test_end_to_end import Site

OF_USER = ("user", "name=root", "set")


@pytest.fixture
def limited(slurm_with_slurmdbd: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateSlurm]:
    """Four jobs for root, and no limit again afterwards."""
    slurm = slurm_with_slurmdbd
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    slurm.run("sacctmgr", "-i", "modify", *OF_USER, "MaxSubmitJobs=4")
    yield slurm
    slurm.run("sacctmgr", "-i", "modify", *OF_USER, "MaxSubmitJobs=-1")
    slurm.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=-1")


def test_what_is_told_is_what_sbatch_enforces(limited: PrivateSlurm, tmp_path: Path) -> None:
    script = "#!/bin/bash\nsleep 60\n"
    assert ask_submit_limit(ResourcesConfig()) == SubmitLimit(4, "MaxSubmitJobs of your association", 0)
    with pytest.raises(AssertionError, match="submit limit"):
        limited.sbatch(script, "--array=0-4", cwd=tmp_path)
    job = limited.sbatch(script, "--array=0-2", cwd=tmp_path)
    limit = ask_submit_limit(ResourcesConfig())
    assert limit is not None and (limit.num_queued, limit.tasks()) == (3, 0)
    limited.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=9")
    assert ask_submit_limit(ResourcesConfig()) == SubmitLimit(9, "MaxSubmitJobsPerUser of QOS normal", 3)
    limited.sbatch(script, "--array=0-5", cwd=tmp_path)  # more than the association alone would take
    with pytest.raises(AssertionError, match="submit limit"):
        limited.sbatch(script, cwd=tmp_path)
    limited.run("scancel", "--user=root")
    assert job


@pytest.mark.parametrize(
    ("more", "sizes"),
    [
        ((), [3, 0]),
        (("--set", "resources.max_submit=4"), [3, 0]),
        (("--set", "resources.max_submit=4", "--set", "resources.sbatch_on_nodes=false"), [1, 0, 1, 0]),
    ],
)
def test_the_true_limit_as_max_submit_is_kept(
    limited: PrivateSlurm, tmp_path: Path, more: tuple[str, ...], sizes: list[int]
) -> None:
    """Of four jobs one is the merge job's; with a queued follow-up there are two rounds of two."""
    site = Site(limited, tmp_path, make_tiny_llama(tmp_path / "model"))
    work = ("--engine", "stub", "--dataset", "Chameleons", "--limit-items", "null", "--num-samples", "4000")
    wanted = ("--set", "resources.num_tasks=null", "--set", "resources.max_rounds=1", "--max-tokens", "1000")
    later = ("--set", "resources.extra_sbatch={begin: now+1hour}")
    run = site.submit("run", *work, *wanted, *later, *more)
    sent = [row["size"] for row in read_journal(run.submission(1).jobs) if row.get("job_id")]
    assert sent == sizes
    site.launch("cancel", str(run.root))


@pytest.fixture
def one_cpu(slurm_with_slurmdbd: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateSlurm]:
    """One CPU for each user of QOS normal, and no limit again afterwards."""
    slurm = slurm_with_slurmdbd
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    slurm.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxTRESPerUser=cpu=1")
    yield slurm
    slurm.run("scancel", "--user=root")
    slurm.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxTRESPerUser=cpu=-1")


def test_why_a_job_waits_with_the_number_of_its_limit(one_cpu: PrivateSlurm, tmp_path: Path) -> None:
    job = one_cpu.sbatch("#!/bin/bash\nsleep 60\n", "--array=0-1", cwd=tmp_path)
    deadline = time.monotonic() + 60
    reasons: set[str] = set()
    while "QOSMaxCpuPerUserLimit" not in reasons and time.monotonic() < deadline:
        reasons = {row.reason for row in list_queue(job_ids=[job])}
        time.sleep(0.2)
    allowed = allowed_by(SubmissionPaths(tmp_path), ResourcesConfig(), reasons, time.time())
    assert allowed == {"QOSMaxCpuPerUserLimit": "1 CPU"}
    assert in_words("QOSMaxCpuPerUserLimit", allowed["QOSMaxCpuPerUserLimit"]) == (
        "QOSMaxCpuPerUserLimit: your QOS allows 1 CPU per user"
    )
