"""Every figure of inference_summary.json is counted or measured, and says so where it is not."""

import shutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from launch.collect.attempt_files import covered_s, generating_intervals, read_attempts
from launch.collect.gpu_figures import energy_gpu_s, gpu_figures
from launch.collect.merge import merge
from launch.collect.schemas import read_schema
from launch.collect.status import status
from launch.rundir.attempts import EngineStart
from launch.rundir.journal import Journal, json_line, write_json
from launch.rundir.layout import RunPaths
from tests.collect.builders import (
    FACTS,
    make_generations,
    published,
    read_lines,
    read_value,
    write_events,
    write_results,
)

Event = tuple[float, str, dict[str, Any]]


def phase(time: float, name: str, slot: int = 0) -> Event:
    return time, "phase", {"slot": slot, "start": 0, "phase": name}


def set_commit_times(run: RunPaths, start: EngineStart, *times: float) -> None:
    """Leaves commit lines that settle nothing more, at these times."""
    start.paths(run).commits.write_bytes(b"".join(json_line({"time": time, "items": []}) for time in times))


def test_gpus_that_idled_beside_requests_are_noted(run: RunPaths) -> None:
    everything = make_generations(run)
    first, second = write_results(run, everything[:6]), write_results(run, everything[6:], task=1)
    spells = [("0", 2), ("1", 1), ("2", 1), ("3", 1)]
    idle = [(100.0, "gpu_idle", {"slot": 0, "gpu": gpu}) for gpu, count in spells for _ in range(count)]
    write_events(run, second, idle)
    write_events(run, first, [(100.0, "gpu_idle_end", {"slot": 0, "gpu": "0"})])
    merge(run)
    notes = read_value(published(run) / "inference_summary.json")["notes"]
    assert [note for note in notes if "idle" in note] == [
        "idle beside requests for a minute and more, by spells: task 1 of submission 1, GPU 0 (2),"
        " task 1 of submission 1, GPU 1 (1), task 1 of submission 1, GPU 2 (1), and 1 more"
    ]


GPU = {"name": "H200", "mean_power_w": 1.0, "peak_power_w": 1.0, "energy_j": 9.0, "throttle": {"power": 0.5}}
SUMMED = {"num_samples": 2, "sampled_s": 1.0, "gpus": [GPU], "total": {"energy_j": 9.0}, "no_gpu": None}
ENDED = {"code": 0, "reason": "empty", "gpu": SUMMED}


@pytest.mark.parametrize(
    "damaged",
    [
        {"gpu": SUMMED | {"sampled_s": None}},
        {"gpu": SUMMED | {"num_xids": None}},
        {"gpu": SUMMED | {"no_gpu": ["none"]}},
        {"gpu": SUMMED | {"gpus": [GPU | {"mean_power_w": "1 W"}]}},
        {"gpu": SUMMED | {"gpus": [GPU | {"energy_j": []}]}},
        {"gpu": SUMMED | {"gpus": [GPU | {"throttle": {"power": None}}]}},
        {"failure": {"class": "oom", "message": "no room", "advice": 5}},
    ],
    ids=lambda damaged: str(damaged)[:60],
)
def test_how_an_attempt_ended_with_fields_of_another_type(run: RunPaths, damaged: dict[str, Any]) -> None:
    """Edited, or another version's: what cannot be read counts as not written, and results are published."""
    attempt = run.attempt(1, 0, write_results(run, make_generations(run)).attempt)
    for value, num_measured in ((ENDED, 1), (ENDED | damaged, 0 if "gpu" in damaged else 1)):
        write_json(attempt.ended, value)
        (published(run) / "inference_summary.json").unlink(missing_ok=True)
        merge(run)
        status(run)
        summary = read_value(published(run) / "inference_summary.json")
        assert summary["gpu"]["num_measured_attempts"] == num_measured


def test_an_engine_and_events_with_fields_of_another_type(run: RunPaths) -> None:
    start = write_results(run, make_generations(run))
    write_json(start.paths(run).engine_json, FACTS | {"settings": ["none"], "notes": [{}, "slow", []]})
    write_events(run, start, [(100.0, "phase", {"slot": [], "start": 0, "phase": "generating"})])
    canary = {"submission": 1, "num_items": 3, "found": [], "stops": False, "judged_by": "merge", "time": 1}
    write_json(run.canary, canary | {"rates": {"empty": 0.5, "cut": "half"}})
    merge(run)
    status(run)
    summary = read_value(published(run) / "inference_summary.json")
    assert "slow" in summary["notes"] and summary["canary"]["rates"] == {"empty": 0.5}


def test_counts_and_rates(run: RunPaths) -> None:
    everything = make_generations(run)
    first, second = write_results(run, everything[:6]), write_results(run, everything[6:], task=1)
    write_events(run, first, [phase(100, "generating"), phase(110, "draining"), phase(111, "ended")])
    write_events(run, second, [phase(105, "generating"), phase(112, "draining")])
    merge(run)
    summary = read_value(published(run) / "inference_summary.json")
    assert not any("idle" in note for note in summary["notes"])
    assert summary["inference_time_seconds"] == 12
    assert summary["throughput_samples_per_sec"] == 2
    assert summary["throughput_output_tokens_per_sec"] == 6
    assert summary["total_samples"] == 24
    assert summary["num_data_items_filled"] == summary["num_items"] == 12
    assert summary["finish_reasons"] == {"stop": 24}
    assert (summary["num_prompt_tokens"], summary["num_output_tokens"]) == (132, 72)
    assert summary["num_items_cut"] == {"history": 6}
    assert summary["engine"] == "stub"
    assert summary["stub"] is True
    assert summary["sampling_params"]["temperature"] == 1.0
    assert summary["output_file"] == str(published(run) / "test_leaderboard.json")
    (engine,) = summary["engines"]
    assert (engine["num_starts"], engine["mean_start_s"], engine["kind"]) == (2, 0.5, "stub")


def test_engines_that_differ_are_told_apart_and_noted(run: RunPaths) -> None:
    everything = make_generations(run)
    write_results(run, everything[:6])
    other = write_results(run, everything[6:], task=1)
    write_json(other.paths(run).engine_json, {**FACTS, "version": "2", "notes": ["fell back to eager"]})
    merge(run)
    summary = read_value(published(run) / "inference_summary.json")
    assert sorted(engine["version"] for engine in summary["engines"]) == ["1", "2"]
    assert "fell back to eager" in summary["notes"]
    assert "mixed: engines of several versions generated this run: 1, 2" in summary["notes"]


def test_kernels_of_both_kinds_in_one_run_are_noted(run: RunPaths) -> None:
    everything = make_generations(run)
    starts = [write_results(run, everything[:6]), write_results(run, everything[6:], task=1)]
    for start, invariant in zip(starts, (True, False), strict=True):
        settings = {"batch_invariant": invariant}
        write_json(start.paths(run).engine_json, {**FACTS, "settings": settings})
    merge(run)
    notes = read_value(published(run) / "inference_summary.json")["notes"]
    assert "mixed: some engines of this run had batch-invariant kernels, others had not" in notes


def test_the_ladders_steps_are_listed(run: RunPaths) -> None:
    everything = make_generations(run)
    write_results(run, everything[:6])
    second = write_results(run, everything[6:], task=1)
    shrunk = {"class": "out_of_memory", "action": "shrink", "setting": "max_num_seqs", "from": None, "to": 8}
    again = {"class": "engine_dead", "action": "restart"}
    place = {"slot": 0, "start": 0}
    write_events(
        run, second, [(1, "ladder", {**place, **shrunk}), (2, "ladder", {**place, **again, "start": 1})]
    )
    merge(run)
    summary = read_value(published(run) / "inference_summary.json")
    task = {"submission": 1, "task": 1, "attempt": 0}
    assert summary["ladder"] == [
        {**task, **place, **shrunk},
        {**task, **place, **again, "start": 1, "setting": None, "from": None, "to": None},
    ]
    Draft202012Validator(read_schema("inference_summary")).validate(summary)


@pytest.mark.parametrize(
    ("events", "commits", "expected"),
    [
        ([phase(10, "loading"), phase(20, "generating"), phase(30, "draining")], [25, 29], (20, 30)),
        ([phase(20, "generating"), (35, "engine_end", {"slot": 0, "start": 0})], [25], (20, 35)),
        ([phase(20, "generating"), (35, "engine_end", {"slot": 1, "start": 0})], [25, 29], (20, 29)),
        ([phase(20, "generating"), (50, "counts", {"done": 3})], [25], (20, 50)),
        ([phase(20, "generating", slot=1)], [25, 29], (25, 29)),
        ([], [25, 29], (25, 29)),
        ([phase(20, "loading")], [], None),
    ],
)
def test_when_an_engine_generated(
    run: RunPaths, events: list[Event], commits: list[float], expected: tuple[float, float] | None
) -> None:
    start = write_results(run, [])
    write_events(run, start, events)
    set_commit_times(run, start, *commits)
    assert generating_intervals(run, [start]) == ([] if expected is None else [expected])


def test_nodes_whose_clocks_are_ten_minutes_apart_generated_at_the_same_time(run: RunPaths) -> None:
    everything = make_generations(run)
    for task, ahead_s, chosen in ((0, 600.0, everything[:6]), (1, -600.0, everything[6:])):
        start = write_results(run, chosen, task=task)
        edit_about(run, start, clock_ahead_s=ahead_s)
        write_events(run, start, [phase(1000 + ahead_s, "generating"), phase(1010 + ahead_s, "draining")])
        commits = start.paths(run).commits
        commits.write_bytes(
            b"".join(json_line({**line, "time": 1005 + ahead_s}) for line in read_lines(commits))
        )
    merge(run)
    assert read_value(published(run) / "inference_summary.json")["inference_time_seconds"] == 10.0
    assert {row["time"] for row in read_lines(published(run) / "provenance.jsonl")} == {1005.0}


def edit_about(run: RunPaths, start: EngineStart, **what: object) -> None:
    """Adds to attempt.json."""
    path = run.attempt(start.submission, start.task, start.attempt).attempt_json
    write_json(path, {**read_value(path), **what})


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=12))
def test_the_union_counts_every_second_once(spans: list[tuple[int, int]]) -> None:
    intervals = [(float(begin), float(begin + length)) for begin, length in spans]
    seconds = {second for begin, length in spans for second in range(begin, begin + length)}
    assert covered_s(intervals) == len(seconds)


def sample_gpu(run: RunPaths, start: EngineStart, *readings: tuple[float, float, float, float]) -> None:
    """gpu.jsonl of one GPU: (time, utilisation, memory, power)."""
    journal = Journal(run.attempt(start.submission, start.task, start.attempt).gpu)
    journal.append({"time": 0.0, "devices": [{"id": "0", "name": "NVIDIA H200"}]})
    for time, utilization, memory, power in readings:
        reading = {"utilization_percent": utilization, "memory_used_mib": memory, "power_w": power}
        journal.append({"time": time, "gpus": [{**reading, "energy_j": None, "temperature_c": 50.0}]})
    journal.close()


def test_gpu_figures_are_weighted_by_samples_and_energy_is_summed(run: RunPaths) -> None:
    first, second = write_results(run, []), write_results(run, [], task=1)
    sample_gpu(run, first, (0, 90, 1000, 500), (1, 90, 3000, 500), (2, 90, 1000, 500))
    sample_gpu(run, second, (0, 10, 2000, 100))
    figures = gpu_figures(list(read_attempts(run)))
    assert figures["devices"] == ["NVIDIA H200"]
    assert figures["mean_utilization_percent"] == 70
    assert figures["peak_memory_used_mib"] == 3000
    assert figures["mean_power_w"] == 400
    assert figures["energy_j"] == 1000
    assert (figures["num_measured_attempts"], figures["no_gpu"]) == (2, None)
    assert [row["host"] for row in figures["attempts"]] == ["node0", "node1"]


def test_the_seconds_of_energy_are_of_gpus_that_tell_it(run: RunPaths) -> None:
    """A GPU beside a MIG device, which has memory alone, in one attempt; no GPU in the other."""
    first, second = write_results(run, []), write_results(run, [], task=1)
    journal = Journal(run.attempt(first.submission, first.task, first.attempt).gpu)
    journal.append({"time": 0.0, "devices": [{"id": "0", "name": "H200"}, {"id": "MIG-1", "name": "MIG"}]})
    for time in (0.0, 10.0):
        whole = {"utilization_percent": 60, "memory_used_mib": 1000, "power_w": 500.0}
        mig = {"utilization_percent": None, "memory_used_mib": 3000, "power_w": None}
        journal.append({"time": time, "gpus": [whole, mig]})
    journal.close()
    journal = Journal(run.attempt(second.submission, second.task, second.attempt).gpu)
    journal.append({"time": 1.0, "no_gpu": "no GPU is visible to this task"})
    journal.close()
    attempts = list(read_attempts(run))
    figures = gpu_figures(attempts)
    assert (figures["mean_memory_used_mib"], figures["mean_utilization_percent"]) == (2000, 60)
    assert (figures["energy_j"], energy_gpu_s(attempts)) == (5000, 10)


def test_without_a_gpu_the_reason_stands_in_place_of_zeros(run: RunPaths) -> None:
    start = write_results(run, [])
    journal = Journal(run.attempt(1, 0, start.attempt).gpu)
    journal.append({"time": 1.0, "no_gpu": "no GPU is visible to this task"})
    journal.close()
    figures = gpu_figures(list(read_attempts(run)))
    assert figures["no_gpu"] == "no GPU is visible to this task"
    assert figures["energy_j"] is figures["mean_utilization_percent"] is None
    assert gpu_figures([])["no_gpu"] == "no attempt was sampled"


def test_an_attempt_that_was_copied_by_hand_counts_once(run: RunPaths) -> None:
    everything = make_generations(run)
    start = write_results(run, everything)
    edit_about(run, start, submission=1, task=0, attempt=0)
    attempt = run.attempt(1, 0, 0).root
    shutil.copytree(attempt, attempt.with_name("7"))
    shutil.copytree(attempt.parent, attempt.parent.with_name("5"))
    assert [(each.task, each.attempt) for each in read_attempts(run)] == [(0, 0)]
