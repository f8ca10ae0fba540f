"""The pinned environment: made once, never used half made, and what is said when it cannot be made.

Made here of one small real package instead of llm-compressor and its 1.5 GB.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch.config.shipped import shipped
from launch.errors import ConfigError, QuantizeError
from launch.model.quantize.environment import (
    LOG,
    STAMP,
    cache_dir,
    describe_environment,
    differing,
    environment_dir,
    open_environment,
    pins,
)

SMALL = "# one small package\niniconfig==2.1.0\n"


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A requirements file of a small package, and an empty cache."""
    monkeypatch.setenv("VLLM_LAUNCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "requirements.txt"
    path.write_text(SMALL)
    return path


def test_other_pins_and_another_torch_are_another_environment(requirements: Path):
    on_cpu, on_gpu = (environment_dir(requirements, cpu=cpu) for cpu in (True, False))
    assert on_cpu.parent == cache_dir() and on_cpu != on_gpu
    assert on_cpu == environment_dir(requirements, cpu=True)
    requirements.write_text(SMALL.replace("2.1.0", "2.0.0"))
    assert environment_dir(requirements, cpu=True) not in (on_cpu, on_gpu)


def test_the_cache_is_in_the_home_directory_unless_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VLLM_LAUNCH_CACHE", raising=False)
    assert cache_dir() == Path.home() / ".cache" / "vllm-launch"


def test_the_shipped_pins_hold_what_shapes_the_weights():
    shipped_pins = pins(shipped("configs", "quantize", "requirements.txt"))
    assert {"llmcompressor", "compressed-tensors", "torch", "transformers"} <= set(shipped_pins)
    assert all(version[0].isdigit() for version in shipped_pins.values())


def test_versions_that_differ_from_the_pins_are_named(requirements: Path):
    requirements.write_text("torch==2.13.0\niniconfig==2.1.0\n")
    assert differing({"torch": "2.13.0+cpu", "iniconfig": "2.1.0"}, requirements) == []
    assert differing({"torch": "2.14.0"}, requirements) == [
        "torch 2.14.0, pinned is 2.13.0",
        "iniconfig is absent, pinned is 2.1.0",
    ]


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_a_python_that_is_none_is_refused(tmp_path: Path, requirements: Path, what: str):
    python = tmp_path / "python"
    if what == "a file":
        python.write_text("#!/bin/false\n")
        python.chmod(0o755)
    with pytest.raises(
        ConfigError, match=r"--quantizer-python: .*python: .* Give the Python of an environment\."
    ):
        describe_environment(python, requirements)


@pytest.mark.process
@pytest.mark.timeout(120)
def test_it_is_made_once_and_again_when_it_was_not_finished(requirements: Path):
    said: list[str] = []
    python = open_environment(requirements, cpu=True, say=said.append)
    directory = environment_dir(requirements, cpu=True)
    assert python == directory / "bin" / "python" and len(said) == 1 and str(directory) in said[0]
    assert describe_environment(python, requirements)["iniconfig"] == "2.1.0"
    assert json.loads((directory / STAMP).read_text()) == {
        "requirements": {"iniconfig": "2.1.0"},
        "cpu": True,
    }

    log = (directory / LOG).read_bytes()
    assert open_environment(requirements, cpu=True, say=said.append) == python
    assert len(said) == 1 and (directory / LOG).read_bytes() == log, "pip was not asked again"

    (directory / STAMP).unlink()  # as a kill leaves it
    (directory / "left over").touch()
    assert open_environment(requirements, cpu=True, say=said.append) == python
    assert len(said) == 2 and not (directory / "left over").exists()


@pytest.mark.process
@pytest.mark.timeout(120)
def test_of_two_at_once_one_makes_it_and_one_waits(requirements: Path):
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        ask = [pool.submit(open_environment, requirements, cpu=True, say=said.append) for _ in range(2)]
    assert ask[0].result() == ask[1].result()
    assert sorted(line.split()[0] for line in said) == ["making", "waiting"]


@pytest.mark.process
@pytest.mark.timeout(120)
def test_what_pip_cannot_find_is_said_and_leaves_nothing_that_is_used(requirements: Path):
    requirements.write_text("iniconfig==0.0.0\n")
    with pytest.raises(
        QuantizeError, match=r"No matching distribution found for iniconfig==0\.0\.0"
    ) as raised:
        open_environment(requirements, cpu=True, say=lambda line: None)
    directory = environment_dir(requirements, cpu=True)
    assert str(directory / LOG) in str(raised.value) and "--quantizer-python" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (directory / STAMP).exists()


def test_a_python_without_venv_is_said(requirements: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "_base_executable", "/bin/false")
    with pytest.raises(QuantizeError, match=r"python -m venv failed: it said nothing\. Install python3-venv"):
        open_environment(requirements, cpu=True, say=lambda line: None)


def test_versions_of_an_environment_without_any(bare_python: Path, requirements: Path):
    assert set(describe_environment(bare_python, requirements)) == {"python"}
