"""Temperature 0 means one sample: said aloud, recorded, and never against what was asked for."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.commands import submit_words, succeed
from tests.cli.refusals import refusal

pytestmark = pytest.mark.process


@pytest.fixture
def words(checkpoint: Path, scenario: Path) -> list[str]:
    """production, which asks for five samples."""
    return [*submit_words(checkpoint, scenario), "--preset", "production"]


def test_one_sample_is_said_and_recorded(tmp_path: Path, words: list[str]):
    said = succeed(*words, "--temperature", "0", cwd=tmp_path)
    note = [line for line in said.notes if "greedy" in line]
    assert len(note) == 1, "said once"
    assert note[0].startswith("--temperature: temperature 0 is greedy: num_samples becomes 1 (was 5, ")
    assert note[0].endswith("configs/presets/production.yaml:10).")
    record = yaml.safe_load((tmp_path / "outputs" / "runs" / "r" / "run.yaml").read_text())
    assert record["sampling"]["num_samples"] == 1 and note[0] in record["notes"]
    published = tmp_path / "outputs" / "leaderboards" / "r"
    summary = json.loads((published / "inference_summary.json").read_text())
    assert summary["num_samples_per_item"] == 1 and summary["sampling_params"]["temperature"] == 0
    assert summary["total_samples"] == 2
    for line in (published / "generations.jsonl").read_bytes().splitlines():
        assert len(json.loads(line)["samples"]) == 1


def test_top_p_and_top_k_are_said_to_be_ignored(tmp_path: Path, words: list[str]):
    said = succeed(*words, "--temperature", "0", "--dry-run", cwd=tmp_path)
    assert sum("ignored, temperature is 0" in line for line in said.notes) == 1


@pytest.mark.parametrize("asked", [["--num-samples", "2"], ["--set", "sampling.num_samples=2"]])
def test_more_samples_asked_for_is_an_error(tmp_path: Path, words: list[str], asked: list[str]):
    place = "--num-samples" if asked[0] != "--set" else " ".join(asked)
    assert refusal(tmp_path, *words, "--temperature", "0", *asked) == (
        f"{place}: sampling.num_samples: expected 1 with temperature 0 (--temperature), got 2; greedy samples"
        " would be copies. Leave num_samples out or raise temperature."
    )


def test_a_preset_that_contradicts_itself(tmp_path: Path, words: list[str]):
    (tmp_path / "greedy.yaml").write_text("sampling:\n  temperature: 0\n  num_samples: 3\n")
    assert refusal(tmp_path, *words, "--preset", "greedy.yaml") == (
        "greedy.yaml:3: sampling.num_samples: expected 1 with temperature 0, got 3; greedy samples would be"
        " copies. Leave num_samples out or raise temperature."
    )
