"""What a published directory says of itself becomes an entry; what is damaged is named in a line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from launch.collect.leaderboard.folder import read_directories
from launch.collect.leaderboard.reading import read_entry
from launch.collect.leaderboard.record import Entry, GpuUse
from launch.errors import RunError
from tests.collect.leaderboard.publications import LEDGER, SUMMARY, Publications


def read(directory: Path) -> Entry:
    entry = read_entry(directory, directory.parent)
    assert entry is not None
    return entry


def test_a_real_publication_of_the_stub(publications: Publications, tmp_path: Path) -> None:
    """As merge and score wrote it."""
    directory = Path(shutil.copytree(publications.original, tmp_path / "copied"))
    entry = read(directory)
    assert (entry.directory, entry.run_id, entry.model, entry.dataset) == (
        "copied",
        "run",
        "model",
        "scenario-run",
    )
    assert (entry.stub, entry.complete, entry.is_full, entry.num_done) == (True, True, False, 4)
    assert entry.gpu == GpuUse(
        gpu_hours=None,
        energy_kwh=None,
        energy_covers=None,
        samples_per_gpu_hour=None,
        cost=None,
        no_gpu=entry.gpu.no_gpu,
    )
    assert entry.gpu.no_gpu, "a run without a GPU says so, and has no zeros"
    assert entry.scores is not None and entry.scores["dialogue"].scores["chrf_mean"].value == 3.125
    assert entry.settings["sampling.temperature"] == 1.0
    assert entry.page is None


def test_a_full_run_with_a_ledger_and_a_page(publications: Publications, tmp_path: Path) -> None:
    directory = publications.write(tmp_path / "a")
    (directory / "run.html").write_text("x")
    entry = read(directory)
    assert entry.is_full and entry.page == "a/run.html"
    assert (entry.model, entry.dataset, entry.samples_per_min) == ("org/model", "Chameleons", 750.0)
    assert entry.gpu.model_dump(exclude={"no_gpu"}) == LEDGER


def test_energy_without_a_ledger_is_of_what_was_sampled_if_all_was(
    publications: Publications, tmp_path: Path
) -> None:
    gpu: dict[str, Any] = {"energy_j": 7.2e6, "no_gpu": None}
    for name, unmeasured, kwh in (("all", 0, 2.0), ("some", 1, None)):
        changes = {"ledger": None, "gpu": gpu | {"num_unmeasured_attempts": unmeasured}}
        assert read(publications.write(tmp_path / name, summary=changes)).gpu.energy_kwh == kwh


def test_a_ledger_with_prices_that_differ_and_fields_that_are_new(
    publications: Publications, tmp_path: Path
) -> None:
    cost = {"price_per_gpu_hour": None, "currency": "EUR", "amount": 3.0, "more": 1}
    entry = read(publications.write(tmp_path / "a", summary={"ledger": LEDGER | {"cost": cost, "tasks": []}}))
    assert entry.gpu.cost is not None and entry.gpu.cost.model_dump() == {
        "price_per_gpu_hour": None,
        "currency": "EUR",
        "amount": 3.0,
    }


def test_a_directory_where_nothing_was_published(tmp_path: Path) -> None:
    assert read_entry(tmp_path, tmp_path.parent) is None


def test_a_path_from_a_folder_elsewhere(publications: Publications, tmp_path: Path) -> None:
    entry = read_entry(publications.write(tmp_path / "x" / "a"), tmp_path / "y")
    assert entry is not None and entry.directory == "../x/a"


def damage(directory: Path, how: str) -> None:
    summary, manifest = directory / SUMMARY, directory / "manifest.json"
    about = json.loads(manifest.read_text())
    if how == "no summary":
        summary.unlink()
    elif how == "summary changed":
        summary.write_text(summary.read_text() + "\n")
    elif how == "manifest torn":
        manifest.write_bytes(manifest.read_bytes()[:100])
    elif how == "manifest of others":
        manifest.write_text('{"name": "a web app"}')
    elif how == "manifest of another version":
        manifest.write_text(json.dumps(about | {"format": "vllm-launch/9"}))
    elif how == "manifest names no results":
        manifest.write_text(json.dumps(about | {"files": {}}))
    elif how == "wrong type":
        manifest.write_text(json.dumps(about | {"num_items": "many"}))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no summary", "inference_summary.json: is missing."),
        ("summary changed", "inference_summary.json: has other bytes than were published (sha256)."),
        ("manifest torn", "manifest.json: no JSON;"),
        ("manifest of others", "manifest.json: run_id: Field required;"),
        ("manifest of another version", "manifest.json: is of format vllm-launch/9;"),
        ("manifest names no results", "manifest.json: does not name what was published."),
        ("wrong type", "manifest.json: num_items: "),
    ],
)
def test_what_is_damaged(publications: Publications, tmp_path: Path, how: str, said: str) -> None:
    """Each is one line, does not hide the others, and says what to do."""
    bad, good = publications.write(tmp_path / "bad"), publications.write(tmp_path / "good")
    damage(bad, how)
    found = read_directories([bad, good], tmp_path)
    assert [entry.directory for entry in found.entries] == ["good"]
    ((name, why),) = [(each.directory, each.why) for each in found.left_out]
    assert name == "bad" and why.startswith(said) and "\n" not in why
    assert "Publish it again" in why or "Move the directory away" in why or "move the directory away" in why


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"total_samples": "8"}, "total_samples"),
        ({"gpu": None}, "gpu"),
        ({"ledger": {"gpu_hours": "1"}}, "ledger.gpu_hours"),
        ({"submissions": [{}]}, "settings (KeyError)"),
        ({"prompt": None}, "prompt"),
        ({"prompt": {"ablation_config": 1}, "engines": None}, "settings (TypeError)"),
    ],
)
def test_a_summary_that_another_version_wrote(
    publications: Publications, tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    directory = publications.write(tmp_path / "a", summary=changes)
    with pytest.raises(RunError) as raised:
        read(directory)
    assert str(raised.value).startswith(f"inference_summary.json: {where}")


def test_scores_that_are_damaged_count_as_none_and_are_named(
    publications: Publications, tmp_path: Path
) -> None:
    directory = publications.write(tmp_path / "a")
    file = directory / "scores.json"
    file.write_text(file.read_text().replace('"value":3.125', '"value":99.0'))
    entry = read(directory)
    assert entry.scores is None
    assert [note[:24] for note in entry.notes] == ["scores.json: was changed"]


def test_scores_of_earlier_results_are_none(publications: Publications, tmp_path: Path) -> None:
    directory = publications.write(tmp_path / "a")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["generations.jsonl"]["sha256"] = "0" * 64
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert read(directory).scores is None and read(directory).notes == ()
