"""The seam to submitit, held with a small sbatch on PATH; tests/slurm/test_executors.py asks the real one."""

import configparser
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launch.errors import SchedulerError
from launch.slurm import executors
from launch.slurm.executors import send_job
from launch.slurm.sbatch import SbatchJob

ARRAY = SbatchJob("tasks-0", "demo.1.tasks-0.abcdef", "#!/bin/bash\n#SBATCH --array=0-1\n电影 \"'\n", 0, 2)
MERGE = replace(ARRAY, name="merge", job_name="demo.1.merge.abcdef", size=0)
RECORD = """
printf '%s\\n' "$@" > "$RECORD/arguments"
cat "${@: -1}" > "$RECORD/text"
env > "$RECORD/environment"
dirname "${@: -1}" > "$RECORD/folder"
ls "$(dirname "${@: -1}")" > "$RECORD/files"
"""
ACCEPT = "echo 'Submitted batch job 42'"


class FakeSlurm:
    """sbatch and srun as bash scripts; what sbatch was given lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("srun", "exit 1")
        self.write("sbatch", RECORD + ACCEPT)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.folder / name).chmod(0o755)

    def read(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("RECORD", str(tmp_path))
    return FakeSlurm(tmp_path)


@pytest.mark.parametrize("job", [ARRAY, MERGE])
def test_text_and_command_line_are_ours(slurm: FakeSlurm, job: SbatchJob) -> None:
    assert send_job(job, ["--output=/logs/%A_%a.log", "--chdir=/a b'c"]) == "42"
    assert (slurm.folder / "text").read_text() == job.text
    *arguments, script = slurm.read("arguments")
    assert arguments == ["--output=/logs/%A_%a.log", "--chdir=/a b'c"]
    assert script.endswith(".sh")


def test_a_locale_that_lacks_a_letter_of_the_text(slurm: FakeSlurm) -> None:
    script = "from tests.slurm_room.test_executors import ARRAY, send_job\nsend_job(ARRAY, [])"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **locale, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert r"ConfigError: sbatch, demo.1.tasks-0.abcdef: its text has '\u7535'" in done.stderr
    assert "Set LC_ALL=C.UTF-8." in done.stderr
    assert not (slurm.folder / "text").exists()


def test_nothing_is_pickled_and_nothing_stays(slurm: FakeSlurm) -> None:
    send_job(ARRAY, [])
    assert not [line for line in slurm.read("files") if line.endswith(".pkl")]
    (folder,) = slurm.read("folder")
    assert folder and not Path(folder).exists()


def test_an_enclosing_job_does_not_reach_sbatch(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "elsewhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    send_job(ARRAY, [])
    names = {line.partition("=")[0] for line in slurm.read("environment")}
    assert "SLURM_CONF" in names and not names & {"SLURM_JOB_ID", "SBATCH_PARTITION", "CUDA_VISIBLE_DEVICES"}


def test_a_refusal_is_one_line(slurm: FakeSlurm, capfd: pytest.CaptureFixture[str]) -> None:
    slurm.write(
        "sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2; exit 1"
    )
    with pytest.raises(SchedulerError) as caught:
        send_job(MERGE, [])
    assert str(caught.value) == (
        "sbatch, demo.1.merge.abcdef: Batch job submission failed: Invalid qos specification."
        " Set resources.qos to one that you may use."
    )
    assert capfd.readouterr() == ("", "")


def test_an_answer_without_a_job_id(slurm: FakeSlurm) -> None:
    slurm.write("sbatch", "echo 'see you later'")
    with pytest.raises(
        SchedulerError, match=r'^sbatch, demo.1.merge.abcdef: expected a job id.*"see you later"'
    ) as caught:
        send_job(MERGE, [])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "job_id"),
    [
        ("note: a job 2 days long waits longer\nSubmitted batch job 4711 on cluster c", "4711"),
        ("Submitted batch job 4711\nnote: you have 1 job 12 waits", "4711"),
        ("OK: job 4711", "4711"),  # as submitit reads it
    ],
)
def test_the_id_among_what_a_sites_wrapper_says(slurm: FakeSlurm, said: str, job_id: str) -> None:
    slurm.write("sbatch", f"printf '%s\\n' {shlex.quote(said)}")
    assert send_job(MERGE, []) == job_id


def test_no_answer(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "SBATCH_TIMEOUT_S", 1)
    slurm.write("sbatch", "exec sleep 60")
    with pytest.raises(
        SchedulerError, match=r"^sbatch, demo.1.merge.abcdef: no answer in 1 s; is the controller busy"
    ):
        send_job(MERGE, [])


@pytest.mark.parametrize("command", ["sbatch", "srun"])
def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    slurm = FakeSlurm(tmp_path)
    (slurm.folder / command).unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match=f"^{command}: not found; this machine has no Slurm commands"):
        send_job(MERGE, [])


def test_submitit_is_pinned_to_the_release_that_was_read() -> None:
    config = configparser.ConfigParser()
    config.read(Path(__file__).resolve().parents[2] / "setup.cfg", encoding="utf-8")
    pinned = re.search(r"^submitit==(.*)$", config["options"]["install_requires"], re.MULTILINE)
    assert pinned is not None and importlib.metadata.version("submitit") == pinned.group(1).strip() == "1.5.4"
