"""A packed environment: unpacked once, engines started from it, and from elsewhere when there is no copy."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import ResourcesConfig, RunConfig
from launch.rundir.attempts import EngineStart
from launch.rundir.journal import read_json
from launch.rundir.layout import RunPaths
from launch.worker.commands import engine_command
from launch.worker.startup.ledger import STAGING_VARIABLE
from launch.worker.startup.packed_environment import PYTHON, environment_content, in_environment, is_image
from launch.worker.startup.staging import StagingArea
from launch.worker.startup.unpacked_files import NOTE
from tests.runs import make_run
from tests.worker.startup.trees import contents
from tests.worker.tasks import ROOT, events, run_task

AT = EngineStart(1, 0, 0, 0, 0)
MODULE = "launch.worker.startup.packed_environment"


def pack(root: Path, top: str = "") -> Path:
    """An archive with a bin/python that is this one, under the directory `top`."""
    folder = root / "unpacked" / top / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(f'#!/bin/sh\nPACKED="$0" exec {sys.executable} "$@"\n')
    (folder / "python").chmod(0o755)
    (folder.parent / "lib" / "package").mkdir(parents=True)
    (folder.parent / "lib" / "package" / "module.py").write_text("number = 1\n")
    (folder.parent / "lib" / "caf\udce9").write_bytes(b"a name that is no UTF-8")
    (folder.parent / "lib64").symlink_to("lib")
    with tarfile.open(root / "env.tar.gz", "w:gz") as tar:
        tar.add(root / "unpacked", arcname=".")
    return root / "env.tar.gz"


def run_module(
    environment: Path, scratch: Path, command: list[str], *words: str
) -> subprocess.CompletedProcess[str]:
    """Starts a command through the module; `{python}` in it is the environment's, else `false`."""
    own = [
        sys.executable,
        "-m",
        MODULE,
        str(environment),
        "--scratch",
        str(scratch),
        "--python",
        sys.executable,
    ]
    return subprocess.run(
        [*own, *words, "--", *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


SHOW = [PYTHON, "-c", "import os; print(os.environ.get('PACKED'), os.environ['VLLM_LAUNCH_STAGING_S'])"]


@pytest.mark.parametrize("top", ["", "env-1.0"])
def test_unpacked_once_and_run_from_there(tmp_path: Path, top: str):
    archive = pack(tmp_path, top)
    for made in (True, False):
        done = run_module(archive, tmp_path / "scratch", SHOW)
        event, said = done.stdout.splitlines()
        assert (done.returncode, json.loads(event)["startup"]["made"]) == (0, made)
        assert json.loads(event)["startup"]["what"] == "environment_staged"
        python, seconds = said.split()
        assert Path(python).is_relative_to(tmp_path / "scratch" / "staged")
        assert float(seconds) > 0


def damage(copy: Path, loss: str) -> None:
    """What cleans scratch folders does to an unpacked environment, or a disk that loses data."""
    module = copy / "lib" / "package" / "module.py"
    if loss == "file":
        module.unlink()
    elif loss == "empty file":
        os.truncate(module, 0)
    elif loss == "folder":
        shutil.rmtree(copy / "lib")
    elif loss == "link":
        (copy / "lib64").unlink()
    elif loss == "odd name":
        (copy / "lib" / "caf\udce9").unlink()
    else:
        (copy / NOTE).unlink()  # as copies of before there were notes


@pytest.mark.parametrize("loss", ["file", "empty file", "folder", "link", "odd name", "note"])
def test_a_copy_that_lost_something_is_made_anew(tmp_path: Path, loss: str):
    content = environment_content(pack(tmp_path))
    scratch = tmp_path / "scratch"
    copy, _ = StagingArea(scratch, None).place(content, 0)
    before = contents(copy)
    damage(copy, loss)
    assert not content.is_whole(copy)
    assert StagingArea(scratch, None).place(content, 0) == (copy, True)
    assert contents(copy) == before
    assert (copy / "lib64").is_symlink()
    assert StagingArea(scratch, None).place(content, 0) == (copy, False)


def test_what_is_added_to_a_copy_is_no_loss(tmp_path: Path):
    """Python compiles what it imports, and a compiled module may go as well."""
    content = environment_content(pack(tmp_path))
    copy, _ = StagingArea(tmp_path / "scratch", None).place(content, 0)
    source = copy / "lib" / "package" / "module.py"
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=True, timeout=60)
    (compiled,) = source.parent.glob("__pycache__/*.pyc")
    (source.parent / "made_on_first_use.json").write_text("{}")
    assert StagingArea(tmp_path / "scratch", None).place(content, 0) == (copy, False)
    compiled.unlink()
    assert StagingArea(tmp_path / "scratch", None).place(content, 0) == (copy, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], {"what": "environment_staged", "made": True}),
        (["--budget-gib", "0"], {"what": "environment_not_staged"}),
    ],
)
def test_the_task_after_a_loss_has_a_whole_copy_or_the_original(
    tmp_path: Path, words: list[str], said: dict[str, Any]
):
    archive, scratch = pack(tmp_path), tmp_path / "scratch"
    run_module(archive, scratch, SHOW)
    (copy,) = (scratch / "staged").glob("environment-*/")
    damage(copy, "file")
    done = run_module(archive, scratch, SHOW, *words)
    event, shown = done.stdout.splitlines()
    assert done.returncode == 0
    assert json.loads(event)["startup"].items() >= said.items()
    assert (shown.split()[0] == "None") is ("made" not in said)


@pytest.mark.parametrize("trouble", ["absent", "torn", "no python", "no budget"])
def test_without_a_copy_the_command_runs_all_the_same_and_says_so(tmp_path: Path, trouble: str):
    archive = pack(tmp_path)
    words: list[str] = []
    if trouble == "absent":
        archive.unlink()
    elif trouble == "torn":
        archive.write_bytes(archive.read_bytes()[:-60])
    elif trouble == "no python":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(__file__, arcname="x")
    else:
        archive.write_bytes(archive.read_bytes() + bytes(2**20))
        words = ["--budget-gib", "0"]
    done = run_module(archive, tmp_path / "scratch", SHOW, *words)
    event, said = done.stdout.splitlines()
    assert done.returncode == 0
    assert json.loads(event)["startup"]["what"] == "environment_not_staged"
    assert said.split()[0] == "None"
    (line,) = done.stderr.splitlines()
    assert line.startswith("resources.environment: used from its own place: ")


def test_an_image_is_found_where_the_container_names_it(tmp_path: Path):
    image = tmp_path / "vllm.sif"
    image.write_bytes(bytes(1000))
    assert is_image(image)
    command = ["apptainer", "exec", str(image), "python3", f"{image}.txt"]
    content = environment_content(image)
    copy = tmp_path / "copy"
    copy.mkdir()
    content.fill(copy)
    assert content.is_whole(copy)
    staged = in_environment(command, image, copy, "python3")
    assert staged == ["apptainer", "exec", str(copy / "vllm.sif"), "python3", f"{image}.txt"]
    assert in_environment(command, image, None, "python3") == command
    (copy / "vllm.sif").write_bytes(bytes(999))
    assert not content.is_whole(copy)


def with_resources(resources: ResourcesConfig, **engine: Any) -> RunConfig:
    """Settings of a run that differ from the default in these."""
    return RunConfig.model_validate({"resources": resources, "engine": engine})


def test_the_command_of_the_engine_process():
    run = RunPaths(Path("/runs/r"))
    plain = engine_command(run, AT, with_resources(ResourcesConfig()), scratch=Path("/s"))
    assert plain[:4] == [sys.executable, "-P", "-m", "launch.worker.engine_process"]
    assert plain[-2:] == ["--scratch", "/s"]
    archive = ResourcesConfig(environment=Path("/e.tar.zst"), stage_budget_gib=7)
    words = engine_command(run, AT, with_resources(archive, start_timeout_s=300), scratch=Path("/s"))
    mark = words.index("--")
    assert words[:5] == [sys.executable, "-P", "-m", MODULE, "/e.tar.zst"]
    assert " ".join(words[5:mark]) == f"--scratch /s --python {sys.executable} --budget-gib 7 --wait-s 120"
    assert words[mark + 1 : mark + 5] == [PYTHON, "-P", "-m", "launch.worker.engine_process"]
    image = ResourcesConfig(
        environment=Path("/v.sif"), container=("apptainer", "exec", "/v.sif"), python="python3"
    )
    words = engine_command(run, AT, with_resources(image), scratch=Path("/s"))
    assert words[words.index("--") + 1 :][:5] == ["apptainer", "exec", "/v.sif", "python3", "-P"]


@pytest.mark.process
def test_a_task_runs_from_a_packed_environment(tmp_path: Path):
    archive = pack(tmp_path)
    scratch = tmp_path / "scratch"
    settings = {"resources.environment": str(archive), "resources.scratch_dir": str(scratch)}
    run = make_run(tmp_path, "Chameleons", {**settings, "data.limit_items": 3})
    code, errors = run_task(run)
    assert (code, errors) == (0, "")
    (event,) = events(run, "startup")
    assert (event["what"], event["made"], event["slot"]) == ("environment_staged", True, 0)
    engine = read_json(run.attempt(1, 0, 0).engine(0, 0).engine_json)
    assert engine is not None
    parts = {row["part"]: row["seconds"] for row in engine["startup"]["parts"] if row["within"] == "start"}
    assert parts["stage_environment"] > 0
    assert STAGING_VARIABLE not in os.environ
    assert engine["startup"]["total_s"] >= sum(parts.values()) - 0.1
