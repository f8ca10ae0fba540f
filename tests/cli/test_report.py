"""`report`, and the leaderboard that publishing and scoring make by themselves."""

import json
import shutil
from pathlib import Path

import pytest

from launch.collect.manifest import PLOTLY_FILE
from tests.cli.commands import Said, submit_words, succeed, vllm_launch
from tests.collect.leaderboard.publications import Publications, publish_one

FILES = {"index.html", "leaderboard.csv", "leaderboard.json"}


@pytest.fixture(scope="module")
def publications(tmp_path_factory: pytest.TempPathFactory) -> Publications:
    return Publications(publish_one(tmp_path_factory.mktemp("publications")))


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def entries_in(folder: Path) -> list[str]:
    value = json.loads((folder / "leaderboard.json").read_text())
    return [entry["directory"] for entry in value["entries"]]


def report(*words: str | Path, cwd: Path) -> Said:
    return vllm_launch("report", *words, cwd=cwd)


def test_the_usual_folder(publications: Publications, tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "leaderboards"
    for name in "ab":
        publications.write(folder / name)
    said = report(cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert said.row("leaderboard") == f"{folder}/index.html: 2 runs, 2 ranked"
    assert files_in(folder) == FILES and entries_in(folder) == ["a", "b"]


def test_what_is_left_out_is_said(publications: Publications, tmp_path: Path) -> None:
    publications.write(tmp_path / "lb" / "a")
    (tmp_path / "lb" / "other").mkdir()
    said = report("lb", cwd=tmp_path)
    assert said.code == 0
    assert said.notes == ["other: no manifest.json of vllm-launch here."]
    assert said.row("leaderboard").endswith("1 run, 1 ranked, 1 left out")


def test_a_published_directory_stands_for_its_folder(publications: Publications, tmp_path: Path) -> None:
    for name in ("x/a", "x/b", "y/c"):
        publications.write(tmp_path / name)
    assert report("x/a", "x/b", "y", cwd=tmp_path).code == 0
    assert (entries_in(tmp_path / "x"), entries_in(tmp_path / "y")) == (["a", "b"], ["c"])
    assert "leaderboard.json" not in files_in(tmp_path)


def test_one_leaderboard_of_several_places(publications: Publications, tmp_path: Path) -> None:
    for name in ("x/a", "x/b", "y/c"):
        publications.write(tmp_path / name)
    (tmp_path / "x" / "a" / "run.html").touch()
    assert report("x", "y/c", "x/a", "--out", "all/of/them", cwd=tmp_path).code == 0
    folder = tmp_path / "all" / "of" / "them"
    assert entries_in(folder) == ["../../../x/a", "../../../x/b", "../../../y/c"]
    assert 'href="./../../../x/a/run.html"' in (folder / "index.html").read_text()
    assert files_in(tmp_path / "x") == set(), "nothing is written elsewhere"


def test_copied_to_another_place_it_is_the_same(publications: Publications, tmp_path: Path) -> None:
    publications.write(tmp_path / "lb" / "a")
    succeed("report", "lb", cwd=tmp_path)
    shutil.copytree(tmp_path / "lb", tmp_path / "copied" / "lb")
    before = {name: (tmp_path / "lb" / name).read_bytes() for name in FILES}
    for name in FILES:
        (tmp_path / "copied" / "lb" / name).unlink()
    succeed("report", "copied/lb", cwd=tmp_path)
    assert {name: (tmp_path / "copied" / "lb" / name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "outputs/leaderboards: no directory here. Give a folder"),
        (("nowhere",), "nowhere: no directory here. Give a folder"),
        (("lb/a/manifest.json",), "manifest.json: no directory here. Give a folder"),
        (
            ("lb", "--out", "lb/a/manifest.json"),
            "manifest.json: is no folder, nor a link to one. Choose another --out.",
        ),
        (("lb", "--out", "circle"), "circle: is no folder, nor a link to one. Choose another --out."),
        (("taken",), "taken/index.html: is not of vllm-launch's making; nothing was written."),
        (("",), "expected a path, got ''."),
        (("thesis",), "thesis: no published directory here; nothing was written. Give a folder"),
        (("lb", "thesis"), "thesis: no published directory here; nothing was written. Give a folder"),
        (("thesis", "--out", "all"), "thesis: no published directory here; nothing was written. Give a"),
    ],
)
def test_what_cannot_be_is_one_line(
    publications: Publications, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    publications.write(tmp_path / "lb" / "a")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    publications.write(tmp_path / "taken" / "a")
    (tmp_path / "taken" / "index.html").write_text("my own page")
    (tmp_path / "thesis" / "chapters").mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    found = report(*words, cwd=tmp_path)
    assert found.code == 2 and len(found.err.splitlines()) == 1
    assert said in found.err
    assert set(tmp_path.rglob("*")) == before


def test_a_folder_that_lost_its_last_directory_is_told_again(
    publications: Publications, tmp_path: Path
) -> None:
    publications.write(tmp_path / "lb" / "a")
    succeed("report", "lb", cwd=tmp_path)
    shutil.rmtree(tmp_path / "lb" / "a")
    succeed("report", "lb", cwd=tmp_path)
    assert entries_in(tmp_path / "lb") == []


@pytest.mark.process
def test_a_submission_makes_it_and_scoring_brings_it_up_to_date(checkpoint: Path, tmp_path: Path) -> None:
    """From submit to the page: a real run of the stub, which is on no board."""
    said = succeed(*submit_words(checkpoint), "--limit-items", "2", cwd=tmp_path)
    folder = tmp_path / "outputs" / "leaderboards"
    assert said.row("leaderboard") == f"{folder}/index.html: 1 run, 0 ranked"
    assert files_in(folder) == {*FILES, PLOTLY_FILE}
    assert said.row("page") == f"{folder}/r/run.html" and (folder / "r" / "timeline.json").is_file()
    (entry,) = json.loads((folder / "leaderboard.json").read_text())["entries"]
    assert (entry["directory"], entry["stub"], entry["subset"]["num_items"]) == ("r", True, 2)
    (folder / "r" / "scores.json").unlink()
    succeed("score", "outputs/leaderboards/r", cwd=tmp_path)
    (entry,) = json.loads((folder / "leaderboard.json").read_text())["entries"]
    assert entry["scores"] is not None
    succeed("verify", "outputs/leaderboards/r", cwd=tmp_path)


@pytest.mark.process
def test_publishing_succeeds_whatever_becomes_of_the_pages(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "leaderboards"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("mine")
    said = succeed(*submit_words(checkpoint), "--limit-items", "1", cwd=tmp_path)
    assert [note for note in said.notes if "leaderboard" in note] == [
        f"no leaderboard: {folder}/index.html: is not of vllm-launch's making; nothing was written. Move it"
        " away, or choose another folder."
    ]
    assert files_in(folder) == {"index.html", PLOTLY_FILE} and (folder / "r" / "manifest.json").is_file()


@pytest.mark.process
def test_a_folder_with_other_things_gets_no_pages(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "my-notes.txt").touch()
    said = succeed(*submit_words(checkpoint), "--limit-items", "1", "--output-dir", "published", cwd=tmp_path)
    assert "leaderboard " not in said.out and not FILES & files_in(tmp_path)
