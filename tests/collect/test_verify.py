"""A published directory is compared with its manifest, a run with what is published."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.collect.merge import merge
from launch.collect.verify import verify_published
from launch.collect.verify_run import verify_run
from launch.errors import RunError
from launch.rundir.layout import RunPaths
from tests.collect.builders import change_publish, make_generations, write_results


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


def test_a_copy_elsewhere_under_another_name_is_whole_until_a_byte_of_it_changes(
    run: RunPaths, tmp_path: Path
) -> None:
    write_results(run, make_generations(run))
    copy = tmp_path / "elsewhere" / "of another name"
    shutil.copytree(merge(run).output_dir, copy)
    report = verify_published(copy)
    assert report.is_whole and report.output_dir == copy
    for name in report.manifest.files:
        path = copy / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert verify_published(copy).problems == (f"{name}: has other bytes than were published (sha256)",)
        path.write_bytes(data)
    assert verify_published(copy).is_whole


def test_a_directory_that_is_published_anew_while_it_is_verified_is_one_line(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files then are another manifest's, which is no damage."""
    write_results(run, make_generations(run)[1:])
    change_publish(run, allow_missing=True)
    directory = merge(run).output_dir
    write_results(run, make_generations(run)[:1], task=1)
    digest = hashlib.file_digest

    def published_anew(*given: object) -> object:
        monkeypatch.undo()
        merge(run)
        return digest(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", published_anew)
    with pytest.raises(RunError, match=r": was changed while it was read\. Say the same again"):
        verify_published(directory)
    assert verify_published(directory).is_whole


def test_a_file_that_nfs_takes_away_while_it_is_verified_is_one_line(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(run, make_generations(run))
    directory = merge(run).output_dir

    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(hashlib, "file_digest", stale)
    with pytest.raises(RunError, match="was changed while it was read"):
        verify_published(directory)


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
