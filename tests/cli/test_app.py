"""The command line as a whole: what it says to words it does not know, and to bugs of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import launch
from launch.cli import presets
from launch.cli.app import COMMANDS
from tests.cli.commands import Said, finish, start, submit_words, succeed, vllm_launch
from tests.runs import REPOSITORY


def test_an_unknown_command(tmp_path: Path):
    said = vllm_launch("sumbit", "--preset", "x", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert said.errors == [
        "vllm-launch: no command named 'sumbit'. Did you mean submit? See `vllm-launch --help`."
    ]
    said = vllm_launch("zzz", cwd=tmp_path)
    assert said.errors == [
        "vllm-launch: no command named 'zzz'. Write one of submit, resume, status, watch, logs, list, cancel,"
        " merge, verify, clean, score, report, compare, check-model, prompts, quantize, presets."
        " See `vllm-launch --help`."
    ]


def test_no_command_shows_help(tmp_path: Path):
    said = vllm_launch(cwd=tmp_path)
    assert said.code == 2
    assert said.err.startswith("Usage: vllm-launch ")
    assert all(name in said.err for name in COMMANDS)


def test_a_command_without_what_it_needs(tmp_path: Path):
    assert vllm_launch("submit", cwd=tmp_path).errors == [
        "vllm-launch submit: Missing option '--preset'. See `vllm-launch submit --help`."
    ]
    assert vllm_launch("status", cwd=tmp_path).errors == [
        "vllm-launch status: Missing argument 'RUN'. See `vllm-launch status --help`."
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(tmp_path: Path, name: str):
    assert succeed(name, "--help", cwd=tmp_path).out.startswith(f"Usage: vllm-launch {name} ")


def test_version(tmp_path: Path):
    assert succeed("--version", cwd=tmp_path).out == f"vllm-launch, version {launch.__version__}\n"


def test_a_bug_shows_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(presets, "list_presets", fail)
    said = vllm_launch("presets", cwd=tmp_path)
    assert said.code == 1
    assert said.err.startswith("Traceback (most recent call last):")
    assert said.err.endswith("RuntimeError: a bug\n")


def test_in_a_directory_that_was_removed(tmp_path: Path, checkpoint: Path):
    def say(*words: str) -> Said:
        script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
        return finish(start(*words, cwd=tmp_path, before=["bash", "-c", script, "bash"]))

    assert say("presets").code == 0
    said = say("status", "r")
    assert said.code == 2 and "no run here" in said.err
    said = say(*submit_words(checkpoint))
    assert said.code == 2
    assert said.err == "vllm-launch: the current directory was removed. Go to one that is there.\n"


@pytest.mark.parametrize(
    ("script", "program"),
    [("launch/submit.py", "vllm-launch"), ("inference_vllm.py", "inference_vllm.py")],
)
def test_interrupted_while_modules_are_imported(tmp_path: Path, script: str, program: str):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, REPOSITORY / script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, f"{program}: interrupted\n")


@pytest.mark.parametrize("command", ["status", "resume", "cancel", "merge", "verify", "clean"])
def test_a_message_stays_one_line(tmp_path: Path, command: str):
    said = vllm_launch(command, "a\nb\x1b[31m\u2028c", cwd=tmp_path)
    wanted = "a published directory, a run directory" if command == "verify" else "a run directory"
    assert said.code == 2
    assert said.err == (
        "vllm-launch: a\\nb\\x1b[31m\\u2028c: no run here; looked for run.yaml in a\\nb\\x1b[31m\\u2028c and"
        f" outputs/runs/a\\nb\\x1b[31m\\u2028c. Give {wanted} or a run id.\n"
    )


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_name_too_long_for_a_path(tmp_path: Path, command: str):
    said = vllm_launch(command, "x" * 300, cwd=tmp_path)
    assert said.code == 2
    assert len(said.errors) == 1
    assert said.errors[0].endswith(": file name too long. Check the path and its permissions.")


@pytest.mark.parametrize("words", [["presets"], ["submit", "--help"]])
def test_the_reader_of_the_output_leaves(tmp_path: Path, words: list[str]):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "launch.cli.app", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_submit_is_a_script_too(tmp_path: Path):
    said = finish(start("submit", "--preset", "quick_tst", cwd=tmp_path))
    assert said.code == 2
    assert said.errors[0].startswith("vllm-launch: --preset: no preset named 'quick_tst'.")
