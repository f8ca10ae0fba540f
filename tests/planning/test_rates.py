"""What a task is expected to do, and how honestly it is said."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from pydantic import ValidationError

from launch.config.gpus import GpuSpeed, gpu_speeds
from launch.planning.cost import ItemCost
from launch.planning.rates import (
    SUPERVISOR_S,
    EarlierStarts,
    TaskShape,
    Uncompiled,
    assume_rate,
    measured_for,
    started_as,
)
from tests.runs import REPOSITORY

SPEEDS = gpu_speeds()
EIGHT = 8_030_261_248
KNOWN = measured_for("h200", SPEEDS)
COLD_S, WARM_S, BESIDE_S = KNOWN.start_cold_s, KNOWN.start_warm_s, KNOWN.beside_s
UNCOMPILED_S = KNOWN.start_uncompiled_s
H200 = TaskShape(1, 1, 1, "h200", EIGHT, num_seqs=1024)
EQUIVALENTS = 1 + 0.8 / 3  # of an output token with its share of the prompt, 1,024 for 1,280


def rate(shape: TaskShape) -> float:
    return assume_rate(shape, SPEEDS).tokens_per_s


def source(shape: TaskShape) -> str:
    return assume_rate(shape, SPEEDS).source


def test_what_was_measured_is_taken_and_called_so() -> None:
    seen = assume_rate(H200, SPEEDS)
    assert seen.tokens_per_s == pytest.approx(13_042 * EQUIVALENTS)
    assert (seen.startup_s, seen.warm_startup_s) == (COLD_S + BESIDE_S, WARM_S + BESIDE_S)
    assert seen.source == "measured on one h200 with a model of 8.0B"
    assert rate(replace(H200, gpu_type="h100")) == pytest.approx(11_749 * EQUIVALENTS)
    assert source(replace(H200, parameters=7_250_000_000)) == seen.source


def test_engines_add_up_and_tensor_parallel_costs_what_was_measured() -> None:
    four = replace(H200, gpus_per_task=4, num_engines=4)
    parallel = replace(H200, gpus_per_task=4, tensor_parallel_size=4)
    assert rate(four) == pytest.approx(4 * rate(H200))
    assert rate(parallel) == pytest.approx(0.46 * rate(four))
    assert source(four) == "measured on one h200 with a model of 8.0B, x 4 GPUs"
    assert source(parallel) == (
        "assumed from one h200 with a model of 8.0B, x 4 GPUs; x 0.46 for tensor parallelism, measured with"
        " 4 GPUs"
    )
    of_eight = replace(H200, gpus_per_task=8, tensor_parallel_size=8)
    assert "x 0.46 for tensor parallelism, measured with 4 GPUs" in source(of_eight)
    of_three = replace(H200, gpus_per_task=3, tensor_parallel_size=3)
    assert "x 0.83 for tensor parallelism, measured with 2 GPUs" in source(of_three)


def test_another_model_is_scaled_and_called_assumed() -> None:
    large = replace(H200, parameters=10 * EIGHT)
    assert rate(large) == pytest.approx(rate(H200) / 10)
    assert source(large) == "assumed from one h200 with a model of 8.0B; scaled to 80.3B"
    tiny = replace(H200, parameters=135_000_000)
    assert (
        rate(tiny)
        == rate(replace(H200, parameters=1_000_000_000))
        == pytest.approx(8.03 * rate(H200), rel=0.01)
    )
    assert source(tiny).endswith("scaled to 135M")


def test_what_is_not_known_is_said() -> None:
    assert source(TaskShape(1, 1, 1)) == (
        "assumed from one h100 with a model of 8.0B; the GPU is not known; the model's size is not known;"
        " starts as on one h200"
    )
    assert rate(TaskShape(1, 1, 1)) == rate(replace(H200, gpu_type="h100"))
    assert "a40 was not measured" in source(replace(H200, gpu_type="a40"))


def test_without_compilation_it_starts_earlier_by_what_was_measured() -> None:
    seen = assume_rate(H200, SPEEDS, compiles=False)
    assert seen.warm_startup_s == pytest.approx(UNCOMPILED_S + BESIDE_S)
    assert seen.startup_s == pytest.approx(KNOWN.start_uncompiled_cold_s + BESIDE_S)
    assert seen.tokens_per_s == pytest.approx(KNOWN.uncompiled.shares[1024] * rate(H200))
    eager_share = KNOWN.uncompiled.eager_share
    for number, share in ((256, KNOWN.uncompiled.shares[256]), (1025, eager_share), (None, None)):
        few = replace(H200, num_seqs=number)
        expected = (share or KNOWN.uncompiled.shares[128]) * rate(few)
        assert assume_rate(few, SPEEDS, compiles=False).tokens_per_s == pytest.approx(expected)
    full = replace(H200, num_seqs=128, full_graphs=True)
    expected = KNOWN.uncompiled.full_shares[128] * rate(full)
    assert assume_rate(full, SPEEDS, compiles=False).tokens_per_s == pytest.approx(expected)
    assert expected > assume_rate(replace(full, full_graphs=False), SPEEDS, compiles=False).tokens_per_s
    eager = assume_rate(H200, SPEEDS, compiles=False, is_eager=True)
    assert eager.tokens_per_s == pytest.approx(eager_share * rate(H200))
    of_few = assume_rate(replace(H200, num_seqs=128), SPEEDS, compiles=False, is_eager=True)
    assert of_few.tokens_per_s < 0.91 * rate(replace(H200, num_seqs=128)), "no faster than graphs"


def test_few_sequences_a_step_are_slower_and_called_assumed() -> None:
    """Two numbers were measured with lengths that differ; the curve is laid through them."""
    h = KNOWN.half_speed_seqs
    for number in (8, 128, 256, 700):
        few = replace(H200, num_seqs=number)
        share = number / (number + h) * (1024 + h) / 1024
        assert rate(few) == pytest.approx(share * rate(H200))
        assert source(few) == (
            f"assumed from one h200 with a model of 8.0B; x {share:.2f} for {number} sequences at a time,"
            " measured with 1,024"
        )
    for number in (None, 768, 2048):
        assert rate(replace(H200, num_seqs=number)) == rate(H200)
        assert source(replace(H200, num_seqs=number)) == source(H200)


def test_quantised_models_are_called_assumed() -> None:
    assert source(replace(H200, is_quantized=True)) == (
        "assumed from one h200 with a model of 8.0B; quantised weights or KV cache were not"
    )


def test_what_a_row_lacks_comes_from_another() -> None:
    known = measured_for("h100", SPEEDS)
    assert (known.gpu_type, known.is_own, known.uncompiled.gpu_type) == ("h100", True, "h200")
    own = {"uncompiled_shares": {256: 0.9}, "eager_share": 0.8, "parameters": 70}
    speeds = SPEEDS | {"h100": SPEEDS["h100"].model_copy(update=own)}
    assert measured_for("h100", speeds).uncompiled == Uncompiled("h100", 70, {256: 0.9}, {256: 0.9}, 0.8)
    own |= {"full_graph_shares": {256: 0.95}}
    speeds = SPEEDS | {"h100": SPEEDS["h100"].model_copy(update=own)}
    assert measured_for("h100", speeds).uncompiled.full_shares == {256: 0.95}
    with pytest.raises(ValidationError, match="full_graph_shares are there only beside uncompiled_shares"):
        GpuSpeed.model_validate(SPEEDS["h100"].model_dump() | {"full_graph_shares": {256: 0.9}})
    with pytest.raises(ValidationError, match="uncompiled_shares and eager_share go together"):
        GpuSpeed.model_validate(SPEEDS["h100"].model_dump() | {"eager_share": 0.9})
    assert (known.start_cold_s, known.start_warm_s) == (COLD_S, WARM_S)
    assert known.parallel_shares == {2: 0.83, 4: 0.46}
    assert source(replace(H200, gpu_type="h100")) == (
        "measured on one h100 with a model of 8.0B; starts as on one h200"
    )


def test_a_cpu_is_slow_whatever_the_model() -> None:
    cpu = assume_rate(TaskShape(0, 1, 1, None, EIGHT), SPEEDS)
    assert cpu.tokens_per_s < rate(H200) / 100 and cpu.source.startswith("assumed: ")


def test_the_other_engine_is_slower_and_starts_at_once() -> None:
    seen = assume_rate(replace(H200, is_transformers=True), SPEEDS, compiles=False)
    assert seen.tokens_per_s == pytest.approx(rate(H200) * 1887 / 13_042)
    assert (seen.startup_s, seen.warm_startup_s) == (UNCOMPILED_S + BESIDE_S, None)
    assert seen.source == "measured with transformers on one h200 with a model of 8.0B"


def test_every_speed_has_its_evidence() -> None:
    assert all(
        (isinstance(row, GpuSpeed) and "vLLM" in row.evidence) or "same work" in row.evidence
        for row in SPEEDS.values()
    )
    two, parallel = 26_195, 21_779  # facts of 2026-11-22
    assert SPEEDS["h200"].parallel_shares[2] == pytest.approx(parallel / two, abs=0.002)
    four = json.loads((REPOSITORY / "benchmarks/results/h200-x4-2026-11-30/four.json").read_text())
    of_four = four["parts"]["bare"]["tok/s"] / (4 * SPEEDS["h200"].output_tokens_per_s)
    assert SPEEDS["h200"].parallel_shares[4] == pytest.approx(of_four, abs=0.005)
    warm = REPOSITORY / "benchmarks/results/h200-x4-2026-11-30/four-throughput-warm.json"
    of_engines = json.loads(warm.read_text())["parts"]["throughput"]["tok/s"]
    over = of_engines / four["parts"]["production"]["tok/s"]
    assert SPEEDS["h200"].engines_over_parallel[4] == pytest.approx(over, abs=0.005)
    results = REPOSITORY / "benchmarks/results"
    assert SPEEDS["h200"].eager_share == pytest.approx(
        uncompiled(results / "h200-2026-12-01/search"), abs=0.001
    )
    graphs = results / "h200-graphs-2026-12-01"
    full = {part: uncompiled(graphs / part) for part in ("search", "search-ragged", "search-small")}
    shares = SPEEDS["h200"].uncompiled_shares
    assert shares[1024] == pytest.approx(full["search-ragged"], abs=0.001)
    assert min(full.values()) == full["search-ragged"], "the least of them is taken"
    for number, hosts in ((128, ("worker", "full")), (256, ("few", "full"))):
        assert shares[number] == pytest.approx(of_hosts(hosts, number, "uncompiled"), abs=0.001)
    full_shares = SPEEDS["h200"].full_graph_shares
    for number in (128, 256):
        assert full_shares[number] == pytest.approx(
            of_hosts(("full", "full-second"), number, "full-graphs"), abs=0.001
        )
    ragged = results / "h200-full-2026-12-01/search-ragged"
    over_other_graphs = read_speed(ragged / "full-graphs.json") / read_speed(ragged / "uncompiled.json")
    assert full_shares[1024] == pytest.approx(over_other_graphs * shares[1024], abs=0.001)


def of_hosts(hosts: tuple[str, ...], num_seqs: int, graphs: str) -> float:
    """The mean over hosts of the speed with graphs alone over that of compiled engines there."""
    searches = [REPOSITORY / f"benchmarks/results/h200-{host}-2026-12-01/search-ragged" for host in hosts]
    without = f"{graphs}-seqs-{num_seqs}"
    return fmean(uncompiled(search, f"seqs-{num_seqs}", without) for search in searches)


def test_the_curve_of_few_sequences_is_laid_through_what_was_measured() -> None:
    """One host; what it made with 1,024 sequences it made without torch.compile."""
    ragged = REPOSITORY / "benchmarks/results/h200-full-2026-12-01/search-ragged"
    full = read_speed(ragged / "uncompiled.json") / SPEEDS["h200"].uncompiled_shares[1024]
    for number in (128, 256):
        over = full / read_speed(ragged / f"seqs-{number}.json")
        assert rate(H200) / rate(replace(H200, num_seqs=number)) == pytest.approx(over, rel=0.03)


def uncompiled(search: Path, compiled: str = "defaults", without: str = "uncompiled") -> float:
    """Speed without torch.compile over that with it, of two bare engines of one run."""
    return read_speed(search / f"{without}.json") / read_speed(search / f"{compiled}.json")


def read_speed(record: Path) -> float:
    """Output tokens/s of a record of a bare engine."""
    return float(json.loads(record.read_text())["output tok/s"])


def test_what_tasks_were_measured_to_cost_is_what_is_forecast() -> None:
    """15 tasks of an H200 that did not compile, as one, 8 and 64; the row's beside_s is of them."""
    record = json.loads(
        (REPOSITORY / "benchmarks/results/h200-x2-starts-2026-11-30/task-cost.json").read_text()
    )
    rate = assume_rate(H200, SPEEDS, compiles=False)
    work = 1600 * ItemCost(1030, 5 * 256).cost
    for part in ("one", "8", "64"):
        found = record["parts"][part]
        expected = found["tasks"] * (rate.warm_startup_s or 0.0) + work / rate.tokens_per_s
        assert expected == pytest.approx(found["cost_s"], rel=0.025), part


@pytest.mark.parametrize("compiles", [True, False])
def test_starts_that_were_measured_here_count_with_the_table_as_one(compiles: bool) -> None:
    table = assume_rate(H200, SPEEDS, compiles=compiles)
    assert table.warm_startup_s is not None and table.warm_startup_s < 60
    cases: list[tuple[tuple[float, ...], float]] = [
        ((60.0,), (table.warm_startup_s + 60.0 + SUPERVISOR_S) / 2),  # one may have been disturbed
        ((300.0, 60.0), 60.0 + SUPERVISOR_S),
        ((300.0, 60.0, 62.0), 61.0 + SUPERVISOR_S),
    ]
    adds_s = COLD_S - WARM_S if compiles else KNOWN.start_uncompiled_cold_s - UNCOMPILED_S
    for seconds, expected_s in cases:
        here = started_as(table, EarlierStarts(seconds))
        assert here.warm_startup_s == pytest.approx(expected_s)
        assert here.startup_s - expected_s == pytest.approx(adds_s), "what empty caches add"
        assert (here.tokens_per_s, here.source) == (table.tokens_per_s, table.source)
    assert started_as(table, None) is table


def test_a_cold_start_on_a_cpu_is_no_faster_than_a_warm_one_that_was_measured() -> None:
    table = assume_rate(TaskShape(0, 1, 1), SPEEDS)
    fast, slow = (started_as(table, EarlierStarts((start_s,) * 3)) for start_s in (9.0, 99.0))
    assert (fast.startup_s, fast.warm_startup_s) == (table.startup_s, 9.0 + SUPERVISOR_S)
    assert slow.startup_s == slow.warm_startup_s == 99.0 + SUPERVISOR_S
