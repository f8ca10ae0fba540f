"""The start-up part of the summary and of the status: what was measured, of which starts."""

import copy
import io
from typing import Any

from jsonschema import Draft202012Validator
from rich.console import Console

from launch.collect.merge import merge
from launch.collect.schemas import read_schema
from launch.collect.startup_figures import sentence, startup_figures, startup_of
from launch.collect.status import status
from launch.collect.status_view import as_json, render
from launch.rundir.journal import read_json, write_json
from launch.rundir.layout import RunPaths
from tests.collect.builders import FACTS, make_generations, published, read_value, write_results

LEDGER: dict[str, Any] = {
    "total_s": 30.0,
    "parts": [
        {"part": "python", "seconds": 0.5, "within": "start", "by": "engine process"},
        {"part": "import", "seconds": 5.0, "within": "start", "by": "engine process"},
        {"part": "engine", "seconds": 23.0, "within": "start", "by": "engine process"},
        {"part": "weights", "seconds": 3.0, "within": "engine", "by": "vLLM's log"},
        {"part": "unexplained", "seconds": 1.5, "within": "start", "by": "what is left"},
        {"part": "unexplained", "seconds": 20.0, "within": "engine", "by": "what is left"},
    ],
    "vllm_lines": {"compiled": 1, "loaded": 0, "not_loadable": 0},
    "caches": {"state": "compiles", "variables": {}},
    "weights": None,
}


def ledger(**changes: Any) -> dict[str, Any]:
    """A ledger with something else in it."""
    return {**copy.deepcopy(LEDGER), **changes}


def test_parts_over_starts() -> None:
    seeded = ledger(total_s=20.0, vllm_lines={"compiled": 0, "loaded": 1}, caches={"state": "seeded"})
    seeded["parts"] = [{**row, "seconds": 1.0} for row in seeded["parts"] if row["part"] != "weights"]
    found = startup_figures([{"startup": LEDGER}, {"startup": seeded}, {}, FACTS], [])
    assert (found["num_starts"], found["num_starts_that_compiled"]) == (2, 1)
    assert found["total_s"] == {"mean": 25.0, "max": 30.0}
    assert found["caches"] == {"compiles": 1, "seeded": 1}
    assert found["queue_wait_s"] is None
    rows = {
        (row["within"], row["part"]): (row["num_starts"], row["mean"], row["max"]) for row in found["parts"]
    }
    assert rows["start", "import"] == (2, 3.0, 5.0)
    assert rows["engine", "weights"] == (1, 3.0, 3.0)
    assert rows["engine", "unexplained"] == (2, 10.5, 20.0)


def test_ledgers_that_are_damaged_count_as_never_written() -> None:
    bad_row = {"part": "x", "seconds": "1", "within": "start", "by": "y"}
    for value in (None, [], {}, {"total_s": "1", "parts": []}, {"total_s": 1.0, "parts": {}}):
        assert startup_of({"startup": value}) is None
    kept = startup_of({"startup": ledger(parts=[bad_row, 3, {**bad_row, "seconds": -1}, LEDGER["parts"][0]])})
    assert kept is not None
    assert kept["parts"] == [LEDGER["parts"][0]]
    odd = ledger(vllm_lines=3, caches="x")
    assert startup_figures([{"startup": odd}], [])["caches"] == {"none": 1}


def test_a_start_in_a_line() -> None:
    assert sentence(LEDGER) == "30.0 s: engine 23.0, import 5.0, unexplained 1.5, python 0.5"


def test_status_and_summary_say_it(run: RunPaths) -> None:
    everything = make_generations(run)
    first, second = write_results(run, everything[:6]), write_results(run, everything[6:], task=1)
    write_json(first.paths(run).engine_json, {**FACTS, "startup": ledger(total_s=12.0)})
    write_json(second.paths(run).engine_json, {**FACTS, "startup": LEDGER})
    paths = run.attempt(1, 1, 0)
    write_json(paths.attempt_json, {**(read_json(paths.attempt_json) or {}), "queue_wait_s": 61.2})
    found = status(run)
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(render(found))
    said = " ".join(console.export_text().split())
    assert f"start {sentence(LEDGER)} (task 1, the slowest, after 61 s in the queue)" in said
    assert as_json(found)["submissions"][0]["tasks"][1]["startup"]["total_s"] == 30.0
    merge(run)
    summary = read_value(published(run) / "inference_summary.json")
    Draft202012Validator(read_schema("inference_summary")).validate(summary)
    assert summary["startup"]["num_starts"] == 2
    assert summary["startup"]["queue_wait_s"] == {"mean": 61.2, "max": 61.2}
    (engine,) = summary["engines"]  # two starts of one kind of engine, whatever they took
    assert engine["num_starts"] == 2
    assert "startup" not in engine
