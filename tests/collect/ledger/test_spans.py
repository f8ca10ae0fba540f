"""Whose seconds they are: GPUs shared, spare, none at all, clocks that differ, attempts that were killed."""

from dataclasses import replace
from pathlib import Path

import pytest

from launch.collect.ledger.allocations import Allocation
from launch.collect.ledger.lanes import JOIN_S
from launch.collect.ledger.spans import NEXT_SIGN_S, AttemptSpans, phase_spans, spans_of
from launch.collect.ledger.times import AttemptTimes, SlotTimes, StartTimes
from launch.rundir.journal import Journal, write_json
from launch.rundir.layout import RunPaths
from launch.worker.gpu import STOP_TIMEOUT_S
from tests.runs import REPOSITORY
from tests.worker.build_run import build_run
from tests.worker.tasks import kill_9, num_committed, run_task, start_task, wait_until
from tests.worker.test_gpu_watch import NVML

PLACE = (1, 0, 0)
TICK_S = 2 / 100
"""When a process began is told in hundredths of a second (proc(5)), from a boot time that is."""
FINISHED = StartTimes(
    start=0, opened=10, generating=30, drained=80, ended=90, has_finished=True, last_commit=79
)
TIMES = AttemptTimes(
    began=0,
    started=5,
    ended=92,
    shell_ended=100,
    seen=91,
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
    slots = (SlotTimes(0, ("0", "1"), (killed,)),)
    times = replace(TIMES, ended=None, shell_ended=None, seen=85, last_sign=85, slots=slots)
    found = spans_of(PLACE, times)
    assert (found.end, found.end_by, gpu_seconds(found)["lost"]) == (85, "last sign", 12)
    told = spans_of(PLACE, times, Allocation(-3, 92))
    assert (told.begin, told.end, told.end_by, gpu_seconds(told)["lost"]) == (-3, 92, "sacct", 26)
    assert gpu_seconds(told)["setup"] == 26


def test_a_supervisor_that_was_killed_below_its_shell_is_not_alive_until_that_ends() -> None:
    killed = replace(FINISHED, drained=None, ended=None, has_finished=False)
    slots = (SlotTimes(0, ("0", "1"), (killed,)),)
    times = replace(TIMES, ended=None, shell_ended=500, seen=85, last_sign=500, slots=slots)
    found = spans_of(PLACE, times)
    assert (found.end, found.end_by) == (500, "itself")
    assert gpu_seconds(found)["lost"] == 2 * (85 + NEXT_SIGN_S - 79)


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


HANGING_NVML = f"import time\n{NVML}\ndef nvmlDeviceGetUtilizationRates(handle): time.sleep(600)\n"


@pytest.mark.process
def test_a_real_supervisor_that_stood_still_after_its_engines_end_is_not_explained(tmp_path: Path) -> None:
    """It waits for its GPU sampler, whose driver hangs; nobody wrote down what it did meanwhile."""
    run = build_run(tmp_path, num_users=1)
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml" / "pynvml.py").write_text(HANGING_NVML)
    path = f"{tmp_path / 'nvml'}:{REPOSITORY}"
    code, said = run_task(run, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="0")
    assert code == 0, said
    (attempt,) = phase_spans(run)
    unexplained = attempt.end - attempt.begin - sum(gpu_seconds(attempt).values())
    assert STOP_TIMEOUT_S <= unexplained < STOP_TIMEOUT_S + JOIN_S


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
    assert second.begin >= first.end - TICK_S


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


@pytest.mark.parametrize(
    ("decided", "step"),
    [
        (116.0, {"class": "gpu_busy", "action": "restart", "wait_s": 30.0}),
        (146.0, {"class": "kv_cache_too_small", "action": "shrink", "decided_s": 30.5}),
    ],
)
def test_an_hour_after_the_engines_end_is_in_no_span(
    tmp_path: Path, decided: float, step: dict[str, object]
) -> None:
    """Out of the files of an attempt whose supervisor stood still; its GPUs were sampled all the same."""
    run = RunPaths(tmp_path)
    paths = run.attempt(1, 0, 0)
    paths.root.mkdir(parents=True)
    slots = [{"slot": 0, "start": start, "opened": 110.0 + 40 * start, "gpus": ["0"]} for start in (0, 1)]
    about = {"started": 100.0, "supervisor_began": 99.0, "shell_began": 95.0, "gpus": ["0"]}
    write_json(paths.attempt_json, {**about, "slots": slots})
    events = Journal(paths.events)
    first, second = ({"slot": 0, "start": start} for start in (0, 1))
    events.append({"time": 115.0, "event": "engine_end", **first, "said": None})
    events.append({"time": decided, "event": "ladder", **first, **step})
    events.append({"time": 160.0, "event": "phase", **second, "phase": "generating"})
    events.append({"time": 190.0, "event": "engine_end", **second, "said": "drained"})
    events.append({"time": 3790.0, "event": "ended", "code": 75, "reason": "drained"})
    events.close()
    samples = Journal(paths.gpu)
    samples.append({"time": 3789.0, "gpus": []})
    samples.close()
    shells = Journal(run.shells(1, 0))
    shells.append({"job": "12_0", "began": 95.0, "ended": 3797.0, "code": 75})
    shells.close()
    (found,) = phase_spans(run)
    assert (found.begin, found.end, found.end_by) == (95, 3797, "itself")
    setup = 15 + 31 + 7  # to the first start; its end and the wait; from the supervisor's end to the shell's
    assert gpu_seconds(found) == {"setup": setup, "loading": 5 + 10, "generating": 30}
    assert [(span.begin, span.end) for span in found.spans if span.phase == "setup"] == [
        (95, 110),
        (115, 146),
        (3790, 3797),
    ]


def test_engines_that_a_damaged_attempt_names_no_more_are_known_by_their_events(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    paths = run.attempt(1, 0, 0)
    paths.root.mkdir(parents=True)
    paths.attempt_json.write_text('{"started": 1')
    events = Journal(paths.events)
    place = {"slot": 0, "start": 0}
    for time, phase in ((110.0, "starting"), (120.0, "generating")):
        events.append({"time": time, "event": "phase", **place, "phase": phase})
    events.append({"time": 121.0, "event": "phase", "slot": [0], "start": 0, "phase": "loading"})
    events.append({"time": 150.0, "event": "engine_end", **place, "said": "empty"})
    events.close()
    write_json(paths.ended, {"code": 0, "reason": "empty", "ended": 151.0})
    (found,) = phase_spans(run)
    assert gpu_seconds(found) == {"loading": 10, "generating": 30, "setup": 1}


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
