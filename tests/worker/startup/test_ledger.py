"""The ledger of a start: what was measured, and what nothing explains under its own name."""

import subprocess
import sys
import time

import pytest

from launch.worker.startup.ledger import STAGING_VARIABLE, StartLedger, process_age_s
from launch.worker.startup.vllm_lines import VllmLines


def rows_of(ledger: StartLedger, lines: VllmLines | None = None) -> dict[tuple[str, str], float]:
    """Seconds by (within, part)."""
    return {
        (row["within"], row["part"]): row["seconds"] for row in ledger.as_json(lines or VllmLines())["parts"]
    }


def test_parts_and_what_they_leave():
    ledger = StartLedger(lived_s=10.0, environment={})
    ledger.add("import", 3.0)
    ledger.add("engine", 5.0)
    ledger.add("warm_up", 0.5)
    ledger.add("first_token", 0.2)
    found = rows_of(ledger)
    assert found["start", "python"] == 10.0
    assert found["warm_up", "first_token"] == 0.2
    assert found["start", "unexplained"] == 0.0  # parts that were added never passed
    assert found["start", "overlap"] == pytest.approx(8.5, abs=0.1)
    assert ("engine", "unexplained") not in found  # vLLM said nothing: then nothing in it is explained or not


def test_time_that_nothing_explains_is_called_so():
    ledger = StartLedger(lived_s=1.0, environment={})
    with ledger.part("import"):
        time.sleep(0.05)
    time.sleep(0.2)
    value = ledger.as_json(VllmLines())
    found = rows_of(ledger)
    assert found["start", "import"] >= 0.05
    assert 0.2 <= found["start", "unexplained"] < 0.3 + value["total_s"] - 1.25
    own = [row["seconds"] for row in value["parts"] if row["within"] == "start"]
    assert sum(own) == pytest.approx(value["total_s"], abs=0.01)


def test_a_part_within_another_is_not_counted_twice():
    ledger = StartLedger(lived_s=0.0, environment={})
    began = time.monotonic()
    with ledger.part("wait_for_caches"):
        time.sleep(0.05)
        with ledger.part("import"), ledger.part("stage_weights"):
            time.sleep(0.2)
        with ledger.part("import"):
            time.sleep(0.1)
    took_s = time.monotonic() - began
    parts = {name: ledger.parts[name] for name in ("wait_for_caches", "import", "stage_weights")}
    assert parts["stage_weights"] >= 0.2 and 0.1 <= parts["import"] < 0.2
    assert 0.05 <= parts["wait_for_caches"] < 0.15
    assert sum(parts.values()) == pytest.approx(took_s, abs=0.01)


def test_what_vllm_counts_lies_within_what_we_measure():
    ledger = StartLedger(lived_s=0.0, environment={})
    ledger.add("engine", 60.0)
    lines = VllmLines(
        {"weights": 2.5, "load_model": 3.0, "compile": 19.0, "graphs": 5.0, "init_engine": 40.0},
        {"compiled": 1},
    )
    found = rows_of(ledger, lines)
    assert found["engine", "unexplained"] == 17.0  # 60 - 3 - 40: processes that start and import
    assert found["init_engine", "unexplained"] == 16.0  # 40 - 19 - 5: what vLLM prints no seconds of
    assert found["load_model", "unexplained"] == 0.5
    assert not {whole for whole, part in found if part == "overlap"} - {"start"}
    assert found["init_engine", "compile"] == 19.0
    assert ledger.as_json(lines)["vllm_lines"] == {"compiled": 1}


def test_parts_that_overlap_are_told_and_not_called_explained_to_the_second():
    """Processes of vLLM that work side by side are each as long as the slowest of them."""
    ledger = StartLedger(lived_s=0.0, environment={})
    ledger.add("engine", 60.0)
    found = rows_of(ledger, VllmLines({"load_model": 25.0, "init_engine": 40.0}))
    assert (found["engine", "unexplained"], found["engine", "overlap"]) == (0.0, 5.0)


def test_what_vllm_does_not_print_holds_nothing():
    """On a CPU it prints no seconds of the whole load, and of compilation only when it begins and ends."""
    ledger = StartLedger(lived_s=0.0, environment={})
    ledger.add("engine", 50.0)
    lines = VllmLines(
        {"weights": 1.0, "init_model": 2.0, "profile": 4.0, "compile_and_run": 20.0, "init_engine": 30.0}
    )
    found = rows_of(ledger, lines)
    assert found["engine", "weights"] == 1.0
    assert found["engine", "unexplained"] == 17.0  # 50 - 1 - 2 - 30
    assert found["compile_and_run", "profile"] == 4.0
    assert found["init_engine", "unexplained"] == 10.0  # the 4 s are in the 20
    assert found["start", "unexplained"] == 0.0


def test_a_part_that_fails_is_timed_too():
    ledger = StartLedger(lived_s=0.0, environment={})
    with pytest.raises(ValueError, match="no room"), ledger.part("stage_weights"):
        raise ValueError("no room")
    assert "stage_weights" in ledger.parts


def test_staging_before_our_own_process_is_not_called_python():
    environment = {STAGING_VARIABLE: "7.5", "HOME": "/h"}
    ledger = StartLedger(lived_s=8.0, environment=environment)
    assert ledger.parts == {"stage_environment": 7.5, "python": 0.5}
    assert environment == {"HOME": "/h"}


def test_the_kernel_says_how_long_a_process_has_lived():
    code = """
import time
from launch.worker.startup.ledger import process_age_s
time.sleep(0.5)
print(process_age_s())
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.5 <= float(done.stdout) <= time.monotonic() - began + 0.02  # the kernel counts hundredths
    assert process_age_s() > 0
