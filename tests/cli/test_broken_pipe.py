"""A command whose reader has left, as `head` does, goes on to its end; those that show what comes end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import submit_words, vllm_launch
from tests.collect.test_schemas import check_directory
from tests.runs import REPOSITORY, RUN_S

pytestmark = pytest.mark.process
ITEMS = ("--limit-items", "3")


def unread(*words: str | Path, cwd: Path, both: bool = False, **environment: str) -> int:
    """Runs a command into a pipe that nobody reads, stderr too when `both`; its exit code."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "launch.cli.app", *map(str, words)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write if both else subprocess.PIPE,
            timeout=RUN_S,
            check=False,
        )
    finally:
        os.close(write)
    assert both or (b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr), done.stderr
    return done.returncode


@pytest.mark.parametrize("both", [False, True])
def test_a_submission_is_generated_and_published(tmp_path: Path, checkpoint: Path, both: bool) -> None:
    assert unread(*submit_words(checkpoint, name="r"), *ITEMS, cwd=tmp_path, both=both) == 0
    published = tmp_path / "outputs" / "leaderboards" / "r"
    check_directory(published)
    assert (published / "run.html").is_file() and (published.parent / "index.html").is_file()


def test_a_merge_writes_its_pages(tmp_path: Path, checkpoint: Path) -> None:
    assert vllm_launch(*submit_words(checkpoint, name="r"), *ITEMS, cwd=tmp_path).code == 0
    published = tmp_path / "outputs" / "leaderboards" / "r"
    for page in (published / "run.html", published.parent / "index.html"):
        page.unlink()
    assert unread("merge", "r", cwd=tmp_path) == 0
    assert (published / "run.html").is_file() and (published.parent / "index.html").is_file()


def test_an_error_keeps_its_exit_code(tmp_path: Path) -> None:
    assert unread("merge", "none", cwd=tmp_path, both=True) == 2


def test_who_shows_what_comes_ends_with_its_reader(tmp_path: Path, checkpoint: Path) -> None:
    assert vllm_launch(*submit_words(checkpoint, name="r"), *ITEMS, "--dry-run", cwd=tmp_path).code == 0
    assert unread("watch", "r", cwd=tmp_path) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_printed_comes_as_soon_as_before(unbuffered: str) -> None:
    code = "from launch.cli.broken_pipe import outlive_readers as o; o(); print('x', flush=True); input()"
    if unbuffered:
        code = code.replace(", flush=True", "")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"x\n", "before the process ends, which waits for us"
    assert process.communicate(b"\n", timeout=RUN_S) == (b"", None)
    assert process.returncode == 0
