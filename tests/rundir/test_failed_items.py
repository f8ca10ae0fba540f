"""What is advised over failed items: to try again what may not fail again, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from launch.errors import RunError
from launch.rundir.failed_items import read_classes
from launch.rundir.layout import RunPaths
from launch.rundir.missing_items import missing_items
from launch.rundir.progress import survey_settled
from launch.scenarios.records import Failure
from tests.collect.builders import make_generations, plan_run, write_results
from tests.models import make_tiny_llama

TOO_LONG = "What is too_long fails again: a new run with a larger --max-model-len or --max-prompt-tokens, or"
AGAIN = "resume RUN --retry-failed` tries failed ones again, and with --max-failed-items 2 publishes without"


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    checkpoint = make_tiny_llama(tmp_path / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    return plan_run(tmp_path, checkpoint)


def refused(run: RunPaths, *classes: str) -> str:
    """What a resume says when the last items have failed so."""
    items = make_generations(run)
    failed = [
        replace(item, samples=(), failure=Failure(name, "no"))
        for item, name in zip(items[-len(classes) :], classes, strict=True)
    ]
    write_results(run, [*items[: -len(classes)], *failed])
    settled = survey_settled(run)
    with pytest.raises(RunError) as found:
        missing_items(run, settled, retry_failed=False)
    assert len(missing_items(run, settled, retry_failed=True)) == len(classes)
    return str(found.value).replace(str(run.root), "RUN")


def test_what_is_too_long_is_not_worth_another_try(run: RunPaths) -> None:
    said = refused(run, "too_long", "too_long")
    assert said.startswith(f"RUN: every item is settled, 2 failed; nothing is left to generate. {TOO_LONG}")
    assert said.endswith("`vllm-launch merge RUN --max-failed-items 2` publishes without those that failed.")
    assert "--retry-failed" not in said


def test_beside_others_it_is_told_apart(run: RunPaths) -> None:
    said = refused(run, "poison", "too_long")
    assert TOO_LONG in said and AGAIN in said


def test_another_class_and_one_that_cannot_be_read_may_be_tried_again(run: RunPaths) -> None:
    said = refused(run, "poison", "refused")
    assert TOO_LONG not in said and AGAIN in said
    (results,) = run.tasks.rglob("*.results.jsonl")
    settled = survey_settled(run)
    results.unlink()
    assert read_classes(run, settled) == ["", ""]
