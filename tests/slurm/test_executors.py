"""One job at a time through submitit to the real sbatch: what arrives, what is refused and in which words."""

import string
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.errors import SchedulerError
from launch.slurm.commands import cancel_jobs, list_queue, max_array_size
from launch.slurm.executors import send_job
from launch.slurm.sbatch import SbatchJob, format_options
from tests.runs import REPOSITORY
from tests.slurm.private_slurm import PrivateSlurm

WAIT_S = 60.0
PRINTABLE = "".join(character for character in string.printable if character.isprintable()) + "é电影"
DEAD = """
ClusterName=dead
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=9
AuthType=auth/munge
AuthInfo=socket={socket}
NodeName=n1
PartitionName=gpu Nodes=ALL
"""


@pytest.fixture(autouse=True)
def client(slurm: PrivateSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a client of the private Slurm."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)


def make_job(body: str = "true", name: str = "executors", **options: str | int | bool) -> SbatchJob:
    lines = format_options(
        {"job-name": name, "output": "/dev/null"}
        | {name.replace("_", "-"): value for name, value in options.items()}
    )
    head = "\n".join(f"#SBATCH {line}" for line in lines)
    return SbatchJob("tasks-0", name, f"#!/bin/bash\n{head}\n{body}\n", 0, 1)


def send_held(**options: str | int | bool) -> str:
    return send_job(make_job(hold=True, **options), [])


@pytest.fixture
def features(slurm: PrivateSlurm) -> Iterator[None]:
    """Nodes 1 and 2 have features to ask for."""
    slurm.scontrol("update", "NodeName=n[1-2]", "AvailableFeatures=rack1,h100", "ActiveFeatures=rack1,h100")
    yield
    slurm.scontrol("update", "NodeName=n[1-2]", "AvailableFeatures=", "ActiveFeatures=")


def test_every_printable_character_arrives_as_it_was_given(slurm: PrivateSlurm) -> None:
    name = PRINTABLE.replace("|", "")
    job = send_held(name=name, comment=PRINTABLE)
    assert slurm.run("squeue", "--noheader", "--format=%k", f"--jobs={job}") == PRINTABLE + "\n"
    assert slurm.run("squeue", "--noheader", "--format=%j", f"--jobs={job}") == name + "\n"
    cancel_jobs([job])


@pytest.mark.parametrize("constraint", ["rack1&h100", "rack1|h100", "[rack1|h100]", "[rack1*1&h100*1]"])
def test_constraints_arrive(slurm: PrivateSlurm, features: None, constraint: str) -> None:
    job = send_held(constraint=constraint, nodes=2 if "*" in constraint else 1)
    assert slurm.run("squeue", "--noheader", "--format=%f", f"--jobs={job}") == constraint + "\n"
    cancel_jobs([job])


def test_an_array_of_one_is_an_array(slurm: PrivateSlurm) -> None:
    job = send_job(make_job(name="one", array="0-0"), [])
    assert [row.id for row in slurm.wait(job, WAIT_S)] == [f"{job}_0"]
    assert [(row.job_id, row.array_task, row.state) for row in list_queue(job_ids=[job])] == [
        (job, 0, "COMPLETED")
    ]
    assert {row.job_id for row in list_queue(names=["one"])} == {job}


def test_a_long_list_of_waiting_tasks_is_not_cut_short(slurm: PrivateSlurm) -> None:
    tasks = [number * number for number in range(31)]
    job = send_held(array=",".join(str(task) for task in tasks))
    assert [row.array_task for row in list_queue(job_ids=[job])] == tasks
    cancel_jobs([job])
    assert {row.state for row in list_queue(job_ids=[job])} == {"CANCELLED"}


def test_jobs_that_slurm_does_not_know_are_not_there(slurm: PrivateSlurm) -> None:
    known = send_held()
    assert list_queue(job_ids=["99999"]) == list_queue(job_ids=["99999", "99998"]) == []
    assert [row.job_id for row in list_queue(job_ids=["99999", known])] == [known]
    assert list_queue(names=["nobody's"]) == []
    cancel_jobs([known, "99999"])
    cancel_jobs([known])


def test_the_size_of_arrays(slurm: PrivateSlurm) -> None:
    assert max_array_size() == slurm.spec.max_array_size


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "nope"}, "Set resources.partition"),
        ({"gres": "npu:1"}, "Set resources.gpu_type"),
        ({"gres": "gpu:3"}, "lower GPUs, CPUs or memory"),
        ({"mem": "99T"}, "lower"),
        ({"constraint": "nope"}, "Set resources.constraint"),
        ({"array": "0-1001"}, "set resources.max_array_size"),
        ({"no-such-option": 1}, "look at extra_sbatch"),
        ({"comment": "x" * 5000}, "Shorten the longest value"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    options: dict[str, str | int | bool], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SchedulerError) as caught:
        send_job(make_job(**options), [])
    said = str(caught.value)
    assert said.startswith("sbatch, executors: ") and words in said and "\n" not in said
    assert capfd.readouterr() == ("", "")


def test_without_a_controller(slurm: PrivateSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's own commands try for 9 s."""
    (tmp_path / "slurm.conf").write_text(DEAD.format(socket=slurm.root / "munge.sock"))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(
        SchedulerError, match="Slurm's controller does not answer: look with `scontrol ping`"
    ) as caught:
        send_job(make_job(), [])
    assert "\n" not in str(caught.value)


def test_what_an_enclosing_job_set_does_not_reach_the_next(slurm: PrivateSlurm, tmp_path: Path) -> None:
    """A job on 2 GPUs and 3 CPUs, with variables of a profile, sends one that asks for less."""
    seen = "${SLURM_JOB_CPUS_PER_NODE} ${CUDA_VISIBLE_DEVICES-none} ${SLURM_RESTART_COUNT-none}"
    inner = make_job(f'echo "{seen}" > inner')
    (tmp_path / "send.py").write_text(
        "from launch.slurm.executors import send_job\n"
        "from launch.slurm.sbatch import SbatchJob\n"
        f"job = {inner!r}\n"
        f"print(send_job(job, ['--chdir={tmp_path}']))\n"
    )
    script = f"""#!/bin/bash
        export SBATCH_PARTITION=nope SBATCH_GRES=gpu:9 SBATCH_ARRAY_INX=0-3 SLURM_RESTART_COUNT=4
        PYTHONPATH={REPOSITORY} {sys.executable} send.py > sent 2>&1
    """
    outer = slurm.sbatch(script, "--gres=gpu:2", "--cpus-per-task=3", cwd=tmp_path)
    slurm.wait(outer, WAIT_S)
    sent = (tmp_path / "sent").read_text().strip()
    assert sent.isdecimal(), sent
    slurm.wait(sent, WAIT_S)
    assert (tmp_path / "inner").read_text() == "1 none none\n"
