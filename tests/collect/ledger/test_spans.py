"""Whose seconds they are: GPUs shared, spare, none at all, clocks that differ, attempts that were killed."""

from dataclasses import replace
from pathlib import Path

import pytest

from launch.collect.ledger.allocations import Allocation
from launch.collect.ledger.spans import AttemptSpans, phase_spans, spans_of
from launch.collect.ledger.times import AttemptTimes, SlotTimes, StartTimes
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from tests.worker.build_run import build_run
from tests.worker.tasks import kill_9, num_committed, run_task, start_task, wait_until

PLACE = (1, 0, 0)
FINISHED = StartTimes(
    start=0, opened=10, generating=30, drained=80, ended=90, has_finished=True, last_commit=79
)
TIMES = AttemptTimes(
    began=0,
    started=5,
    left=100,
    last_sign=100,
    stop_asked=None,
    queue_wait_s=12,
    host="n1",
    gpus=("0", "1"),
    slots=(SlotTimes(0, ("0", "1"), (FINISHED,)),),
    slurm={},
    clock_ahead_s=0,
    is_copy=False,
)


def gpu_seconds(attempt: AttemptSpans) -> dict[str, float]:
    """By phase."""
    sums: dict[str, float] = {}
    for span in attempt.spans:
        sums[span.phase.value] = sums.get(span.phase.value, 0.0) + span.gpu_seconds
    return sums


def test_an_engine_on_two_gpus_holds_both() -> None:
    assert gpu_seconds(spans_of(PLACE, TIMES)) == {
        "setup": 40,
        "loading": 40,
        "generating": 100,
        "draining": 20,
    }


def test_slots_with_gpus_of_their_own_and_one_that_nobody_was_given() -> None:
    early = replace(FINISHED, drained=40, ended=50)
    slots = (SlotTimes(0, ("0",), (FINISHED,)), SlotTimes(1, ("1",), (early,)))
    found = spans_of(PLACE, replace(TIMES, gpus=("0", "1", "2"), slots=slots))
    sums = gpu_seconds(found)
    assert (sums["unused"], sums["idle_tail"]) == (100, 40)
    assert sum(sums.values()) == found.num_lanes * (found.end - found.begin) == 300


def test_gpus_that_all_slots_see_are_counted_once() -> None:
    slots = tuple(SlotTimes(number, ("0", "1"), (FINISHED,)) for number in range(4))
    assert gpu_seconds(spans_of(PLACE, replace(TIMES, slots=slots))) == gpu_seconds(spans_of(PLACE, TIMES))


def test_without_a_gpu_the_seconds_are_those_of_slots() -> None:
    slots = tuple(SlotTimes(number, (), (FINISHED,)) for number in range(3))
    found = spans_of(PLACE, replace(TIMES, gpus=(), slots=slots))
    assert found.num_lanes == 3 and sum(gpu_seconds(found).values()) == 300


def test_an_attempt_that_never_had_an_engine_is_setup() -> None:
    assert gpu_seconds(spans_of(PLACE, replace(TIMES, slots=()))) == {"setup": 200}


def test_a_killed_one_ends_with_its_last_sign_and_where_slurm_tells_with_that() -> None:
    killed = replace(FINISHED, drained=None, ended=None, has_finished=False)
    times = replace(TIMES, left=None, last_sign=85, slots=(SlotTimes(0, ("0", "1"), (killed,)),))
    found = spans_of(PLACE, times)
    assert (found.end, found.end_by, gpu_seconds(found)["lost"]) == (85, "last sign", 12)
    told = spans_of(PLACE, times, Allocation(-3, 92))
    assert (told.begin, told.end, told.end_by, gpu_seconds(told)["lost"]) == (-3, 92, "sacct", 26)
    assert gpu_seconds(told)["setup"] == 26


def test_slurm_has_the_last_word_about_an_end_and_none_about_a_job_that_runs() -> None:
    assert spans_of(PLACE, TIMES, Allocation(0, 70)).end == 70
    found = spans_of(PLACE, TIMES, Allocation(0, None))
    assert (found.end, found.end_by) == (100, "itself")


@pytest.mark.parametrize(("waited", "queued"), [(12, 7), (2, 0), (None, None)])
def test_the_queue_ends_where_the_gpus_are_held(waited: float | None, queued: float | None) -> None:
    """What attempt.json has ends with the supervisor; five seconds before it the batch shell began."""
    assert spans_of(PLACE, replace(TIMES, queue_wait_s=waited)).queued_s == queued


def test_spans_are_by_the_file_systems_clock() -> None:
    found = spans_of(PLACE, replace(TIMES, clock_ahead_s=600))
    assert (found.begin, found.end, found.spans[0].begin) == (-600, -500, -600)


@pytest.mark.process
def test_a_real_task_that_finished_is_explained_to_its_ends(tmp_path: Path) -> None:
    run = build_run(tmp_path, num_users=2, engine={"engines_per_node": 2})
    told = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.1", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert run_task(run, **told) == (0, "")
    (attempt,) = phase_spans(run)
    sums = gpu_seconds(attempt)
    assert sums.keys() >= {"setup", "loading", "generating", "draining", "idle_tail"}
    assert sums["generating"] > 0.6 - 0.1 and "lost" not in sums
    assert sum(sums.values()) == pytest.approx(2 * (attempt.end - attempt.begin))
    assert attempt.gpus == ("0", "1") and attempt.end_by == "itself"


@pytest.mark.process
def test_a_real_task_that_was_killed_lost_what_it_had_not_committed(tmp_path: Path) -> None:
    run = build_run(tmp_path, num_users=4)
    process = start_task(run, VLLM_LAUNCH_STUB_SECONDS_PER_ITEM="0.5", CUDA_VISIBLE_DEVICES="0")
    wait_until(lambda: num_committed(run) > 0, "a commit")
    kill_9(process)
    (attempt,) = phase_spans(run)
    assert attempt.end_by == "last sign"
    assert [span.phase.value for span in attempt.spans][:3] == ["setup", "loading", "generating"]
    assert run_task(run) == (0, "")
    first, second = phase_spans(run)
    assert (first.attempt, second.attempt, second.end_by) == (0, 1, "itself")
    assert second.begin >= first.end


def test_what_a_damaged_attempt_left_is_read_and_a_copy_is_not(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    for attempt, about in enumerate(
        (
            {"started": "yesterday", "slots": [3, {"slot": 0}, {"slot": 0, "start": 0}], "gpus": "all"},
            {"submission": 1, "task": 0, "attempt": 0, "started": 7},
        )
    ):
        paths = run.attempt(1, 0, attempt)
        paths.root.mkdir(parents=True)
        write_json(paths.attempt_json, about)
    events = Journal(run.attempt(1, 0, 0).events)
    events.append({"time": 5.0, "event": "phase", "slot": 0, "start": 0, "phase": "generating"})
    events.close()
    (found,) = phase_spans(run)
    assert found.attempt == 0 and found.gpus == () and found.begin <= found.end


def test_what_vllm_told_of_its_compiling_is_a_phase(tmp_path: Path) -> None:
    """Out of engine.json, as the engine process writes it; a row that is none of ours is passed over."""
    run = RunPaths(tmp_path)
    paths = run.attempt(1, 0, 0)
    paths.root.mkdir(parents=True)
    slot = {"slot": 0, "start": 0, "opened": 110.0, "gpus": ["0"]}
    write_json(paths.attempt_json, {"started": 100.0, "gpus": ["0"], "slots": [slot]})
    rows = [
        {"part": part, "seconds": seconds, "within": within, "by": "vLLM's log"}
        for part, seconds, within in (
            ("load_model", 5.0, "engine"),
            ("compile", 12.0, "compile_and_run"),
            ("graphs", 3, "init_engine"),
            ("jit", 1.5, "init_engine"),
            ("warm_up", 2.0, "start"),
            ("compile", "long", "engine"),
        )
    ]
    facts = {"kind": "vllm", "version": "1", "device": "none", "notes": []}
    write_json(paths.engine(0, 0).engine_json, {**facts, "startup": {"total_s": 40.0, "parts": rows}})
    events = Journal(paths.events)
    place = {"slot": 0, "start": 0}
    events.append({"time": 150.0, "event": "phase", **place, "phase": "generating"})
    events.append({"time": 160.0, "event": "engine_end", **place, "said": "drained"})
    events.close()
    write_json(paths.ended, {"code": 75, "reason": "drained", "ended": 160.5})
    (found,) = phase_spans(run)
    assert gpu_seconds(found) == {"setup": 10.5, "loading": 40 - 16.5, "compiling": 16.5, "generating": 10}
    (compiling,) = (span for span in found.spans if span.phase == "compiling")
    assert (compiling.begin, compiling.end) == (131.5, 148)
