"""A published directory is compared with its manifest, a run with what is published."""

from collections.abc import Callable
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.collect.verify import verify_published
from launch.collect.verify_run import verify_run
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from tests.collect.builders import make_generations, write_results


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"text 0.0", b"text 9.9"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda root: flip(root / "users" / "u0.json"), "users/u0.json: has other bytes than were published"),
        (lambda root: (root / "generations.jsonl").unlink(), "generations.jsonl: is missing"),
        (
            lambda root: (root / "provenance.jsonl").write_bytes(b""),
            "provenance.jsonl: has 0 bytes, published",
        ),
        (lambda root: (root / "notes.txt").touch(), "notes.txt: is not in manifest.json"),
    ],
)
def test_every_change_is_named(run: RunPaths, change: Callable[[Path], None], problem: str) -> None:
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    assert verify_published(directory).problems == ()
    change(directory)
    (found,) = verify_published(directory).problems
    assert found.startswith(problem)


def test_a_directory_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no manifest\.json of vllm-launch here"):
        verify_published(tmp_path)


def test_a_run_is_checked_line_by_line_and_against_what_is_published(run: RunPaths) -> None:
    assert verify_run(run).problems == ("12 of 12 items are missing",)
    start = write_results(run, make_generations(run, failed=[2]))
    assert verify_run(run).problems == ("1 of 12 items failed",)
    write_results(run, make_generations(run)[2:3], task=1)
    merge(run)
    report = verify_run(run)
    assert report.problems == ()
    assert (report.tally.num_done, report.tally.num_samples) == (12, 24)
    flip(start.paths(run).results)
    damaged, missing, differing = verify_run(run).problems
    assert "offset 0: its bytes are not those that were committed" in damaged
    assert missing == "1 of 12 items are missing"
    assert differing == "published generations are not those that the run holds now"
