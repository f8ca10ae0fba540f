"""The ladder as a table: what is done about each class, in which order, and what is never done."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from launch.config.schema import EngineConfig, EngineKind
from launch.worker.failures import TABLE, FailureClass, Retry, classify
from launch.worker.ladder import MAX_LOCAL_STARTS, changed, next_step
from launch.worker.rungs import LADDER
from launch.worker.steps import Action, Fall, Step
from tests.worker.test_failures import read

FLOOR = 4096
KV = "max seq len (8192) is larger than the maximum number of tokens that can be stored in KV cache ({})"
# Whatever shapes outputs is no part of the section engine; these are, and they are the user's.
MORE_GRAPHS = {"full_cuda_graphs": True, "torch_compile": False}
KEPT = {"tensor_parallel_size", "engines_per_node", "load_format", "enable_prefix_caching", "batch_invariant"}


def fall(name: FailureClass | str, *, ran: bool = False, **more: Any) -> Fall:
    """A failed start: of a recorded log, or of a line."""
    text = read(name) if isinstance(name, FailureClass) else name
    engine = more.pop("engine", {})
    values = {"kind": EngineKind.VLLM, "floor_tokens": FLOOR, "ran": ran, "gpus_asked": 1, **more}
    return Fall(diagnosis=classify(text), engine=EngineConfig.model_validate(engine), **values)


def climb(start: Fall) -> Iterator[Step]:
    """The steps when the same failure comes again and again."""
    now = start
    while (step := next_step(now)) is not None:
        yield step
        if not step.is_local:
            return
        changes = {step.setting: step.after} if step.setting and step.action is Action.SHRINK else {}
        now = replace(now, engine=changed(now.engine, changes), taken=(*now.taken, step))


def shown(start: Fall) -> list[str]:
    """The steps in short."""
    rows = [step.as_row() for step in climb(start)]
    return [f"{row.get('setting', row['action'])} {row.get('to', '')}".strip() for row in rows]


@pytest.mark.parametrize("name", FailureClass)
@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("can_move", [False, True])
@pytest.mark.parametrize("on_cpu", [False, True])
def test_it_ends_and_touches_only_what_it_may(name: FailureClass, ran: bool, can_move: bool, on_cpu: bool):
    start = fall(
        name, ran=ran, can_move=can_move, on_cpu=on_cpu, gpus_asked=2, engine={"tensor_parallel_size": 2}
    )
    steps = list(climb(start))
    assert sum(step.is_local for step in steps) <= MAX_LOCAL_STARTS
    assert can_move or all(step.is_local for step in steps)
    for step in steps:
        assert step.setting not in KEPT
        if step.setting == "max_model_len":
            assert step.after >= FLOOR


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.retry is Retry.NEVER], ids=lambda row: row.failure_class
)
def test_what_can_never_work_is_not_tried_again(row: Any):
    steps = list(climb(fall(row.failure_class, ran=True, can_move=True, gpus_asked=0)))
    assert steps == [], "TOO_FEW_GPUS moves only a task that asked for enough"


def test_an_unknown_failure_is_not_tried_again():
    assert list(climb(fall("what is this", ran=True, can_move=True))) == []


@pytest.mark.parametrize(
    ("start", "steps"),
    [
        (
            fall(FailureClass.GPU_MEMORY_AT_START, engine={"max_num_seqs": 512}),
            ["max_num_seqs 512", "gpu_memory_utilization 0.85", "max_num_batched_tokens 4096"],
        ),
        (
            fall("CUDA out of memory", ran=True, engine={"max_num_seqs": 64}),
            ["gpu_memory_utilization 0.85", "max_num_seqs 32", "max_num_batched_tokens 4096"],
        ),
        (
            fall(KV.format(5000)),
            ["max_model_len 4992", "gpu_memory_utilization 0.95", "enforce_eager True"],
        ),
        (
            fall(KV.format(99)),
            ["max_model_len 4096", "gpu_memory_utilization 0.95", "enforce_eager True"],
        ),
        (
            fall("No available memory for the cache blocks", on_cpu=True, engine={"max_model_len": FLOOR}),
            [],
        ),
        (
            fall("No available memory for the cache blocks", engine={"gpu_memory_utilization": 0.1}),
            ["max_model_len 4096", "restart", "enforce_eager True"],
        ),
        (
            fall(
                "No available memory for the cache blocks",
                on_cpu=True,
                engine={"gpu_memory_utilization": 0.1},
            ),
            ["max_model_len 4096"],
        ),
        (fall(FailureClass.PORT_IN_USE), ["restart"] * 3),
        (fall(FailureClass.ENGINE_DEAD, ran=True), ["restart", "in_flight 8", "in_flight 8"]),
        (fall(FailureClass.ENGINE_DEAD), []),
        (fall(FailureClass.GPU_BUSY, can_move=True), ["restart", "elsewhere"]),
        (fall(FailureClass.GPU_BUSY), ["restart"]),
        (fall("NVRM: Xid (PCI:0000:01:00): 79", ran=True, can_move=True), ["elsewhere"]),
        (fall("NVRM: Xid (PCI:0000:01:00): 79", ran=True), []),
        (
            fall("CUBLAS_STATUS_EXECUTION_FAILED", can_move=True, engine={"tensor_parallel_size": 2}),
            ["fuse_allreduce_rms False", "disable_custom_all_reduce True", "enforce_eager True", "elsewhere"],
        ),
        (
            fall(FailureClass.NO_FULL_GRAPHS, engine=MORE_GRAPHS),
            ["full_cuda_graphs False", "enforce_eager True"],
        ),
        (
            fall("CUDA error: an illegal memory access", engine=MORE_GRAPHS, ran=True),
            ["full_cuda_graphs False", "restart"],
        ),
        (fall("NVRM: Xid (PCI:0000:01:00): 79", engine=MORE_GRAPHS, ran=True), []),
        *(
            (fall(FailureClass.NO_FULL_GRAPHS, engine=MORE_GRAPHS | {name: True}), ["enforce_eager True"])
            for name in ("torch_compile", "batch_invariant")
        ),
        (
            fall(FailureClass.NO_FULL_GRAPHS, engine=MORE_GRAPHS | {"tensor_parallel_size": 2}),
            ["enforce_eager True"],
        ),
        (fall(FailureClass.NO_FULL_GRAPHS), ["enforce_eager True"]),
        (fall("CUDA error: an illegal memory access", ran=True, can_move=True), ["restart", "elsewhere"]),
        (fall("No CUDA GPUs are available", can_move=True), ["elsewhere"]),
        (fall("No CUDA GPUs are available", can_move=True, gpus_asked=0), []),
        (fall("No space left on device", can_move=True), ["elsewhere"]),
        (fall("Disk quota exceeded", can_move=True), []),
        (fall(FailureClass.START_TIMEOUT, can_move=True), ["restart", "elsewhere"]),
        (fall(FailureClass.PROGRESS_TIMEOUT, ran=True, can_move=True), ["restart", "restart", "elsewhere"]),
        (
            fall("oom_kill", on_cpu=True, engine={"cpu_kvcache_space_gib": 4}),
            ["cpu_kvcache_space_gib 2", "cpu_kvcache_space_gib 1"],
        ),
        (
            fall("oom_kill", engine={"safetensors_load_strategy": "prefetch"}),
            ["safetensors_load_strategy lazy"],
        ),
        (fall("oom_kill", ran=True), ["restart"]),
        (fall("CUDA out of memory", ran=True, kind=EngineKind.TRANSFORMERS), []),
    ],
)
def test_the_order_of_steps(start: Fall, steps: list[str]):
    assert shown(start) == steps


def test_what_is_not_set_is_halved_from_what_ran():
    step = next_step(
        fall(
            "CUDA out of memory",
            ran=True,
            engine={"gpu_memory_utilization": 0.5},
            as_run={"max_num_seqs": 1024},
        )
    )
    assert step == Step("out_of_memory", Action.SHRINK, "max_num_seqs", None, 512)


def test_whole_prompts_have_to_fit_a_step_without_chunked_prefill():
    engine = {"enable_chunked_prefill": False, "gpu_memory_utilization": 0.5, "max_num_seqs": 1}
    assert list(climb(fall("CUDA out of memory", ran=True, engine=engine))) == []


def test_another_node_is_asked_for_when_the_starts_here_are_spent():
    taken = (Step("port_in_use", Action.RESTART),) * MAX_LOCAL_STARTS
    step = next_step(fall(FailureClass.GPU_BUSY, can_move=True, taken=taken))
    assert step is not None and step.action is Action.ELSEWHERE


def test_every_class_that_may_be_tried_again_has_rungs():
    assert set(LADDER) == {row.failure_class for row in TABLE if row.retry is not Retry.NEVER} | {
        FailureClass.TOO_FEW_GPUS
    }


def test_a_poison_item_is_searched_for_when_the_engine_died_twice():
    first = fall(FailureClass.ENGINE_DEAD, ran=True)
    restart = next_step(first)
    assert restart is not None and restart.action is Action.RESTART
    group = next_step(replace(first, taken=(restart,)))
    assert group is not None and group.as_row()["to"] == 8
    alone = next_step(replace(first, taken=(restart, group), flight=(3, 5, 9)))
    assert alone == Step("engine_dead", Action.BISECT, "in_flight", 3, 1)
    found = next_step(replace(first, taken=(restart, group, alone), flight=(5,)))
    assert found == Step("engine_dead", Action.FAIL_ITEM, "item", None, 5)
    taken = (restart, group, alone, found)
    assert next_step(replace(first, taken=taken)) is None, "it died of something else, before it did anything"
    assert next_step(replace(first, taken=taken, committed=True)) == group
