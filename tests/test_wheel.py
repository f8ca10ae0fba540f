"""The built wheel in a clean environment, outside the repository: it carries what a submission needs."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.models import make_tiny_llama
from tests.runs import REPOSITORY, SCENARIOS

# What a build reads: a copy, so that it leaves nothing in the repository and finds no leftovers there.
SOURCES = (
    "launch",
    "configs",
    "templates",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel, and an empty directory to work in."""

    bin: Path
    home: Path

    def call(self, *words: str) -> str:
        """Runs a program of the environment in `home`; what it printed, both streams."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.home,
            env={**environment, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def must(*words: str) -> None:
    """Runs a command that has to succeed, away from the repository."""
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        found = REPOSITORY / name
        if found.is_dir():
            shutil.copytree(found, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(found, source / name)
    must(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("elsewhere")
    venv = home / "venv"
    must(sys.executable, "-m", "venv", "--without-pip", str(venv))
    # Its dependencies come from the package index, as on a login node that has nothing else: no torch.
    must(sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", str(wheel))
    work = home / "work"
    work.mkdir()
    return Installed(venv / "bin", work)


def test_the_package_comes_from_the_wheel(installed: Installed):
    code = "import launch, sys; print(launch.__file__); print(*sys.path, sep='\\n')"
    place, *path = installed.call("python", "-c", code).splitlines()
    assert Path(place).is_relative_to(installed.bin.parent)
    assert str(REPOSITORY) not in path


def test_everything_that_is_not_python_travels(installed: Installed):
    code = (
        "from launch.config.shipped import shipped_root; print(shipped_root());"
        "from launch.collect.schemas import NAMES, read_schema; print(*map(read_schema, NAMES))"
    )
    root = Path(installed.call("python", "-c", code).splitlines()[0])
    assert root == Path(next((installed.bin.parent / "lib").glob("python*/site-packages/launch")))
    for folder in ("configs", "templates"):
        carried = {path.relative_to(root) for path in (root / folder).rglob("*.*")}
        there = {path.relative_to(REPOSITORY) for path in (REPOSITORY / folder).rglob("*.*")}
        assert {path for path in carried if "__pycache__" not in path.parts} == there
    assert (root / "py.typed").is_file()
    said = installed.call("vllm-launch", "presets")
    for name in ("quick_test", "production", "high_quality", "throughput", "slurm", "Chameleons", "DMSC"):
        assert f"  {name} " in said


def test_a_submission_runs_to_a_published_directory(installed: Installed):
    scenario = installed.home / "scenario"
    shutil.copytree(SCENARIOS / "DMSC", scenario)
    checkpoint = make_tiny_llama(installed.home / "model")
    said = installed.call(
        *("vllm-launch", "submit", "--preset", "quick_test", "--cluster", "none", "--engine", "stub"),
        *("--checkpoint", str(checkpoint), "--scenario-path", str(scenario), "--language", "zh"),
        *("--limit-items", "null", "--num-tasks", "2", "--output-dir", "published", "--name", "wheel"),
    )
    assert "41 of 41 items done" in said
    summary = json.loads((installed.home / "published" / "inference_summary.json").read_text())
    assert summary["num_data_items_filled"] == 41 and summary["stub"] is True
    assert (installed.home / "outputs" / "runs" / "wheel" / "run.yaml").is_file()
    said = installed.call("vllm-launch", "verify", "published")
    commands = [json.loads(path.read_text()) for path in installed.home.rglob("attempt.json")]
    assert len(commands) == 2
    assert all(
        each["slots"][0]["command"][0] == str(installed.bin / "python") for each in commands if each["slots"]
    )
    assert str(REPOSITORY) not in json.dumps(commands)


def test_sbatch_text_names_the_environment_and_not_the_repository(installed: Installed):
    checkpoint = make_tiny_llama(installed.home / "other-model")
    said = installed.call(
        *("vllm-launch", "submit", "--preset", "production", "--cluster", "slurm", "--dry-run"),
        *("--engine", "stub", "--checkpoint", str(checkpoint), "--name", "dry", "--dataset", "Chameleons"),
        *("--scenario-path", str(SCENARIOS / "Chameleons")),
    )
    assert "#SBATCH --job-name" in said
    assert f"{installed.bin / 'python'} -m launch.worker" in said
    texts = sorted((installed.home / "outputs" / "runs" / "dry").rglob("*.sbatch"))
    assert [path.name for path in texts] == ["merge.sbatch", "tasks-0.sbatch"]
    for path in texts:
        text = path.read_text()
        assert str(REPOSITORY / "launch") not in text and "PYTHONPATH=" not in text
        assert f"{installed.bin / 'python'} -m launch." in text
