"""Failures of a start: what vLLM refuses, and what it dies of before it generates."""

import signal
from pathlib import Path

from launch.rundir.layout import RunPaths
from tests.faults.memory_group import memory_group
from tests.faults.runs import CPU, QUICK, TASK_S, VLLM, build_unchecked
from tests.faults.seen import Case, Expected, Seen, look
from tests.models import make_tiny_llama
from tests.worker.build_run import build_run
from tests.worker.cores import wait_for_core
from tests.worker.tasks import finish, run_task, start_task, wait_for_phase

START_TIMEOUT_S = 60
TOO_LITTLE_MIB = 500
"""Less than the engine process alone holds once it has imported torch and vLLM."""


def _run(run: RunPaths) -> Seen:
    code, _ = run_task(run, timeout_s=TASK_S, **CPU)
    return look(run, code)


def _unsupported_model(home: Path) -> Seen:
    return _run(build_unchecked(home, architecture="FooForCausalLM"))


def _needs_remote_code(home: Path) -> Seen:
    code = {"auto_map": {"AutoConfig": "foo.FooConfig", "AutoModelForCausalLM": "foo.FooForCausalLM"}}
    return _run(build_unchecked(home, edits={"model_type": "foo", **code}))


def _bad_tensor_parallel(home: Path) -> Seen:
    return _run(build_unchecked(home, num_heads=8, engine={"tensor_parallel_size": 3}))


def _bad_max_model_len(home: Path) -> Seen:
    return _run(build_unchecked(home, max_position_embeddings=256))  # 512 are asked for


def _bad_quantization(home: Path) -> Seen:
    return _run(build_unchecked(home, model={"quantization": "gguf"}))


def _truncated_weights(home: Path) -> Seen:
    """Cut after the task's own look at the checkpoint, which finds that, and before vLLM reads it."""
    run = build_run(home, num_users=1, engine=QUICK, model=VLLM)
    process = start_task(run, **CPU)
    wait_for_phase(run, "loading")
    weights = home / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    code, _ = finish(process, TASK_S)
    return look(run, code)


def _missing_tensor(home: Path) -> Seen:
    def rename(checkpoint: Path) -> None:
        weights = checkpoint / "model.safetensors"
        weights.write_bytes(weights.read_bytes().replace(b'"model.norm.weight"', b'"model.nope.weight"'))

    return _run(build_unchecked(home, damage=rename))


def _kv_cache_too_small(home: Path) -> Seen:
    # 16 layers of 8 KV heads in float32: 32 KiB a token, so the 1 GiB of a CPU holds half of 65,536 tokens.
    shape = {"num_layers": 16, "num_kv_heads": 8, "max_position_embeddings": 131072}
    model = make_tiny_llama(home / "model", **shape)
    return _run(
        build_run(
            home,
            num_users=1,
            engine={**QUICK, "max_model_len": 65536},
            model={**VLLM, "checkpoint": model},
            prompt={"max_prompt_tokens": 512},
        )
    )


def _more_kv_cache_than_memory(home: Path) -> Seen:
    return _run(build_run(home, num_users=1, engine={**QUICK, "cpu_kvcache_space_gib": 4096}, model=VLLM))


def _host_out_of_memory(home: Path) -> Seen:
    run = build_run(home, num_users=1, engine=QUICK, model=VLLM)
    with memory_group("start") as group:
        group.limit(TOO_LITTLE_MIB)
        process = start_task(run, **CPU)
        group.procs.write_text(str(process.pid))
        code, _ = finish(process, TASK_S)
        facts = {"memory_limit_mib": TOO_LITTLE_MIB, "killed_by_kernel": group.num_killed}
        return look(run, code, facts, ["the kernel killed nothing"] if not group.num_killed else [])


def _start_timeout(home: Path) -> Seen:
    run = build_run(home, num_users=1, engine={**QUICK, "start_timeout_s": START_TIMEOUT_S}, model=VLLM)
    process = start_task(run, **CPU)
    wait_for_core(run).send_signal(signal.SIGSTOP)
    code, _ = finish(process, TASK_S)
    return look(run, code)


def _killed_core(home: Path) -> Seen:
    run = build_run(home, num_users=1, engine=QUICK, model=VLLM)
    process = start_task(run, **CPU)
    wait_for_core(run).kill()
    code, _ = finish(process, TASK_S)
    return look(run, code)


STARTS = (
    Case(
        "unsupported_model",
        "unsupported_model",
        "config.json names the architecture FooForCausalLM",
        _unsupported_model,
        Expected(2, "unsupported_model"),
    ),
    Case(
        "needs_remote_code",
        "needs_remote_code",
        "config.json has model_type foo and an auto_map",
        _needs_remote_code,
        Expected(2, "needs_remote_code"),
    ),
    Case(
        "bad_tensor_parallel",
        "bad_tensor_parallel",
        "tensor_parallel_size 3 for a model of 8 heads",
        _bad_tensor_parallel,
        Expected(2, "bad_tensor_parallel"),
    ),
    Case(
        "bad_max_model_len",
        "bad_max_model_len",
        "max_model_len 512 for a model of 256 positions",
        _bad_max_model_len,
        Expected(2, "bad_max_model_len"),
    ),
    Case(
        "bad_quantization",
        "bad_quantization",
        "quantization gguf, which this vLLM does not have",
        _bad_quantization,
        Expected(2, "bad_quantization"),
    ),
    Case(
        "bad_checkpoint",
        "bad_checkpoint",
        "model.safetensors is cut to half its length while the engine starts",
        _truncated_weights,
        Expected(1, "bad_checkpoint"),
    ),
    Case(
        "bad_checkpoint_tensor",
        "bad_checkpoint",
        "a tensor of model.safetensors has another name",
        _missing_tensor,
        Expected(1, "bad_checkpoint"),
    ),
    Case(
        "kv_cache_too_small",
        "kv_cache_too_small",
        "max_model_len 65536 where the cache holds half of it",
        _kv_cache_too_small,
        Expected(0, None, (("kv_cache_too_small", "shrink max_model_len"),), num_done=3),
    ),
    Case(
        "host_out_of_memory_kv_cache",
        "host_out_of_memory",
        "a KV cache of 4096 GiB",
        _more_kv_cache_than_memory,
        Expected(1, "host_out_of_memory", (("host_out_of_memory", "shrink cpu_kvcache_space_gib"),) * 3),
    ),
    Case(
        "host_out_of_memory_start",
        "host_out_of_memory",
        f"a cgroup of {TOO_LITTLE_MIB} MiB: the kernel kills the largest process while the engine starts",
        _host_out_of_memory,
        Expected(1, "host_out_of_memory"),
    ),
    Case(
        "start_timeout",
        "start_timeout",
        f"SIGSTOP to vLLM's core while it starts, start_timeout_s {START_TIMEOUT_S}",
        _start_timeout,
        Expected(0, None, (("start_timeout", "restart"),), num_done=3),
    ),
    Case(
        "engine_dead_start",
        "engine_dead",
        "SIGKILL to vLLM's core while it starts",
        _killed_core,
        Expected(1, "engine_dead", or_class="host_out_of_memory"),  # vLLM names the exit code, or not yet
    ),
)
