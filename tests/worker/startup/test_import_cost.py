"""benchmarks/import_cost.py: our way to import takes less CPU, and without compiled modules it takes more."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
BENCHMARK_S = 850
"""A minute on a quiet machine."""


@pytest.mark.engine
@pytest.mark.process
@pytest.mark.timeout(BENCHMARK_S + 20)
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_cpu_of_imports_by_way(tmp_path: Path):
    out = tmp_path / "import-cost.json"
    command = [sys.executable, "-m", "benchmarks.import_cost", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BENCHMARK_S, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text(encoding="utf-8"))
    assert {"measured", "hardware", "versions", "load_1_min_before"} <= set(record)
    assert record["rounds"] == 1 and str(tmp_path) not in str(record)
    rows = {row["imports"]: row for row in record["rows"]}
    names = ["plain", "engine process", "plain, nothing compiled", "plain, compiled elsewhere"]
    assert list(rows) == names
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["imports", *names]
    assert record["processes"] == [
        {"imports": name, "round": 1, "s": row["s"], "CPU s": row["CPU s"]} for name, row in rows.items()
    ]
    assert all(row["s"] == row["median s"] > 0 for row in rows.values())
    shares = {name: row["CPU s"] / rows["plain"]["CPU s"] for name, row in rows.items()}
    assert shares == pytest.approx({name: row["CPU / plain"] for name, row in rows.items()})
    assert shares["engine process"] < 1
    assert shares["plain, nothing compiled"] >= 1.3


def test_without_vllm_it_says_so_in_a_line():
    without_packages = [sys.executable, "-S", "-m", "benchmarks.import_cost"]
    done = subprocess.run(without_packages, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "vLLM is not installed for this Python: there is nothing to import.\n"
