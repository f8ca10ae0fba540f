"""The page beside what was published: the same from a copy, never an error of the results, and honest."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.collect.manifest import read_published
from launch.collect.merge import merge
from launch.collect.run_page import write as module
from launch.collect.run_page.write import write_run_page
from launch.collect.verify import verify_published
from launch.errors import RunError, StorageError
from launch.rundir.journal import Journal
from launch.rundir.layout import RunPaths
from tests.collect.builders import change_publish, make_generations, plan_run, write_results
from tests.collect.run_page.builders import write_attempt
from tests.scenarios.builders import dialogue_item, turn, user

BEGAN = 1_700_000_000.0


@pytest.fixture
def published(run: RunPaths) -> Path:
    """A whole run of one attempt."""
    start = write_results(run, make_generations(run))
    write_attempt(run.attempt(1, 0, start.attempt), BEGAN, ended={})
    return merge(run).output_dir


def data_of(page: Path, block: str = "data") -> Any:
    """What the page's scripts read."""
    (text,) = re.findall(rf'<script type="application/json" id="{block}">(.*?)</script>', page.read_text())
    return json.loads(text)


def test_page_timeline_and_plotly_lie_where_they_should_and_verify_stays_whole(
    run: RunPaths, published: Path
) -> None:
    page = write_run_page(published, run)
    assert page == published / "run.html" and (published / "timeline.json").is_file()
    assert "plotly.js v" in (published.parent / "plotly.min.js").read_text(encoding="utf-8")[:100]
    assert 'data-plotly="../plotly.min.js"' in page.read_text()
    assert verify_published(published).is_whole
    assert not merge(run).is_new and page.is_file(), "a merge with nothing new leaves it"


def test_in_a_folder_of_other_things_plotly_lies_beside_the_page(run: RunPaths, published: Path) -> None:
    (published.parent / "my-notes.txt").touch()
    page = write_run_page(published, run)
    assert {path.name for path in published.parent.iterdir()} == {"my-notes.txt", "run"}
    assert 'data-plotly="plotly.min.js"' in page.read_text() and (published / "plotly.min.js").is_file()
    assert verify_published(published).is_whole


def test_a_copy_has_the_same_page(run: RunPaths, published: Path, tmp_path: Path) -> None:
    first = write_run_page(published, run).read_bytes()
    assert write_run_page(published, run).read_bytes() == first, "made again it is the same"
    copied = tmp_path / "elsewhere" / "copied"
    shutil.copytree(published, copied)
    shutil.rmtree(run.root)
    (copied / "run.html").unlink()
    assert write_run_page(copied, None).read_bytes() == first


def test_without_the_timeline_the_page_says_why(published: Path) -> None:
    page = write_run_page(published, None)
    assert page.read_text().count("timeline.json is not in this directory") == 3, "time, GPU, failures"
    assert data_of(page)["timeline"] is None and data_of(page)["throughput"]["items"]


def test_what_the_scripts_get(run: RunPaths, published: Path) -> None:
    page = write_run_page(published, run)
    data, samples = data_of(page), data_of(page, "data-samples")
    assert data["language"] == "en" and data["timeline"]["attempts"][0]["end"] == "ended"
    assert data["prompts_command"] == "vllm-launch prompts run --item"
    assert "The command below an item shows it whole" in page.read_text()
    assert data["throughput"]["items"][-1] == 12 and data["throughput"]["begin"] == BEGAN
    assert data["prompt_tokens"]["num_values"] == 12 and data["output_tokens"]["counts"] == {"stop": [24]}
    assert len(samples) == 12 and samples[0]["samples"][0]["text"] == "text 0.0\n影\u2028"
    assert "No GPU" in page.read_text() and "No task had a failure or a retry." in page.read_text()


def test_a_run_on_mig_devices_has_a_chart_of_memory_and_a_line_on_utilisation(
    run: RunPaths, published: Path
) -> None:
    journal = Journal(run.attempt(1, 0, 0).gpu)
    journal.append({"time": BEGAN, "devices": [{"id": "MIG-1", "name": "H200 MIG 3g.71gb"}]})
    journal.append({"time": BEGAN + 20, "gpus": [{"utilization_percent": None, "memory_used_mib": 30_720}]})
    journal.close()
    page = write_run_page(published, run)
    text = page.read_text()
    assert "No GPU" not in text and "H200 MIG 3g.71gb" in text
    assert 'data-chart="memory"' in text and 'data-chart="utilization"' not in text
    assert "The GPUs of this run tell no utilisation. NVML has none of a MIG device." in text
    assert 30 in data_of(page)["timeline"]["gpu"]["memory_mean_gib"]


def test_a_run_that_is_not_whole_says_so_on_its_head(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint, data={"limit_items": 8})
    write_results(run, make_generations(run, failed=[0])[:5])
    change_publish(run, allow_missing=True, max_failed_items=1)
    directory = merge(run).output_dir
    text = write_run_page(directory, run).read_text()
    assert re.findall(r'class="tag warn">(\w+)<', text) == ["stub", "limited", "partial"]
    assert "4 of 8 items have samples; 1 failed, 3 are missing." in text
    assert "8 of the scenario&#39;s 12 items were asked for." in text
    assert data_of(directory / "run.html", "data-samples")[-1]["missing"] is True


def test_references_of_a_file_travel_with_the_page(tmp_path: Path, checkpoint: Path) -> None:
    items = [dialogue_item(turn("BEN", f"Hello {place}."), continuation=None) for place in range(3)]
    run = plan_run(tmp_path, checkpoint, [user(name, dialogue=items) for name in ("u0", "u1")])
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"u1": ["</script>", "二", "three"]}))
    change_publish(run, references=given)
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    first = write_run_page(directory, run)
    texts = {item["key"]: item.get("reference") for item in data_of(first, "data-samples")}
    assert [texts[f"u1#0.{place}"] for place in range(3)] == ["</script>", "二", "three"]
    assert texts["u0#0.0"] is None
    before = first.read_bytes()
    given.unlink()
    assert write_run_page(directory, None).read_bytes() == before
    assert write_run_page(directory, run).is_file(), "a file that is gone costs references, not the page"


def test_scores_that_were_changed_are_not_shown(published: Path) -> None:
    (published / "item_scores.jsonl").write_text("{}\n")
    text = write_run_page(published, None).read_text()
    assert "item_scores.jsonl: there is no scores.json to it." in text


def test_a_directory_that_was_changed_has_no_page_and_keeps_the_old_one(
    run: RunPaths, published: Path
) -> None:
    before = write_run_page(published, run).read_bytes()
    with (published / "generations.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(RunError, match=r"generations\.jsonl: has .* it was changed after publishing"):
        write_run_page(published, run)
    assert (published / "run.html").read_bytes() == before


def test_what_is_published_again_meanwhile_gets_no_page_of_earlier_results(
    run: RunPaths, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = module.make_page

    def slowly(*words: Any) -> bytes:
        write_results(run, make_generations(run)[:1], task=1)
        assert merge(run).is_new
        return make(*words)

    monkeypatch.setattr(module, "make_page", slowly)
    with pytest.raises(RunError, match="was published again while its page was made"):
        write_run_page(published, run)
    assert not (published / "run.html").exists() and read_published(published) is not None


def test_a_directory_that_cannot_be_written_is_one_line(
    run: RunPaths, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageError(f"{path}: cannot write: the disk is full. Free space or choose another directory.")

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(StorageError, match=r"run\.html: cannot write: the disk is full"):
        write_run_page(published, run)
    assert verify_published(published).is_whole


def test_without_plotly_there_is_no_page_and_one_line(
    run: RunPaths, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(
        RunError, match=r"^plotly is not installed, .* `vllm-launch report` makes the page\.$"
    ):
        write_run_page(published, run)
    assert not (published / "run.html").exists()


def test_none_of_ours_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no manifest\.json of vllm-launch here"):
        write_run_page(tmp_path, None)
