"""What vLLM is asked for and what it made of it: pure functions between EngineSetup and vLLM's names."""

from typing import Any

from launch.config.schema import EngineConfig
from launch.errors import EngineError
from launch.worker.engines.adapted import lora_arguments
from launch.worker.engines.protocol import EngineSetup

CPU_BATCHED_TOKENS = 4096
"""vLLM's own default for max_num_batched_tokens on a CPU (vllm/platforms/cpu.py)."""
FUSION_FAILS = "0.26."
"""With TP > 1 on CUDA the fusion failed at start with vLLM 0.26.0 (measured on two H200)."""
GRAPH_SIZES = (1, 8, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024)
"""Sequences of a step for which a CUDA graph is captured without torch.compile; a step takes the next larger.

vLLM captures some 20 a second of an 8B shape on an H200, and has 51 sizes of its own up to 512. With 1,024
sequences in a step they gain that shape some 4 % (1.011 of the compiled speed, on another host 0.973 with
sizes up to 512); where the engine runs fewer, vLLM leaves the larger sizes out."""
MIN_CAPABILITY = (8, 0)
"""Of the GPUs for which vLLM 0.32 has batch-invariant kernels (docs.vllm.ai, features/batch_invariance)."""

_PASSED_ON = (
    *("tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "max_num_seqs", "enforce_eager"),
    *("max_num_batched_tokens", "enable_prefix_caching", "enable_chunked_prefill", "load_format"),
    *("safetensors_load_strategy", "disable_custom_all_reduce"),
)


def llm_arguments(setup: EngineSetup, *, on_cpu: bool, version: str) -> tuple[dict[str, Any], list[str]]:
    """Keyword arguments of vllm.LLM and notes on what was adjusted; EngineError for what cannot run."""
    arguments: dict[str, Any] = {
        "model": str(setup.checkpoint),
        "trust_remote_code": setup.model.trust_remote_code,
        "dtype": setup.model.dtype,
        "quantization": setup.model.quantization,
        "kv_cache_dtype": setup.model.kv_cache_dtype,
        # Sampling defaults of generation_config.json would otherwise be taken over.
        "generation_config": "vllm",
        "disable_log_stats": True,
    }
    if setup.tokenizer is not None:
        arguments["tokenizer"] = str(setup.tokenizer)
    arguments |= lora_arguments(setup)
    arguments |= {name: getattr(setup.engine, name) for name in _PASSED_ON}
    notes: list[str] = []
    if on_cpu:
        arguments |= _cpu_arguments(setup.engine, notes)
    compilation = {} if on_cpu else _compilation(setup.engine)
    if not _fuses(setup.engine, on_cpu, version, notes):
        compilation["pass_config"] = {"fuse_allreduce_rms": False}
    arguments["compilation_config"] = compilation or None
    return {name: value for name, value in arguments.items() if value is not None}, notes


def check_batch_invariance(
    asked: bool, *, is_on: bool, device: str, capability: tuple[int, int] | None
) -> None:
    """EngineError where batch-invariant kernels were asked for and are not to be had.

    `is_on`: vLLM's own variable is set. `capability` is that of an NVIDIA GPU, None elsewhere; on a CPU vLLM
    would take the variable and fail later.
    """
    if not asked and not is_on:
        return
    if capability is None or capability < MIN_CAPABILITY:
        wanted = "engine.batch_invariant: got true" if asked else "VLLM_BATCH_INVARIANT: is set"
        raise EngineError(
            f"{wanted}, but vLLM has such kernels for NVIDIA GPUs of compute capability"
            f" {'.'.join(map(str, MIN_CAPABILITY))} and newer, and this is {device}. Leave it out."
        )
    if not is_on:
        raise EngineError(
            "engine.batch_invariant: got true, but vLLM did not take VLLM_BATCH_INVARIANT=1. Let the"
            " container pass it on, or install vLLM 0.26 or newer."
        )


def check_room(setup: EngineSetup) -> None:
    """EngineError unless the longest planned prompt and max_tokens fit max_model_len."""
    needed = setup.max_prompt_tokens + setup.sampling.max_tokens
    if setup.engine.max_model_len < needed:
        raise EngineError(
            f"engine.max_model_len: got {setup.engine.max_model_len}, but the run was planned for prompts of"
            f" up to {setup.max_prompt_tokens} tokens and {setup.sampling.max_tokens} to generate."
            f" Set {needed} or more."
        )


def _cpu_arguments(engine: EngineConfig, notes: list[str]) -> dict[str, Any]:
    if engine.enable_chunked_prefill:
        raise EngineError(
            "engine.enable_chunked_prefill: got true, but vLLM on a CPU dies of a seeded request whose prompt"
            " is split (CPU Generator does not use offset). Leave it out."
        )
    notes.append("CPU: enable_chunked_prefill is off, because seeds need it there")
    asked = engine.max_num_batched_tokens or CPU_BATCHED_TOKENS
    batched = max(asked, engine.max_model_len)
    if batched != engine.max_num_batched_tokens:
        notes.append(f"CPU: max_num_batched_tokens is {batched}, for whole prompts have to fit a step")
    return {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": batched,
        "kv_cache_memory_bytes": engine.cpu_kvcache_space_gib * 2**30,
        # A CPU has no graphs.
        "enforce_eager": True if engine.compiles is False else engine.enforce_eager,
    }


def _compilation(engine: EngineConfig) -> dict[str, Any]:
    """Graphs of whole steps, of code that is not compiled; eager has none, the rest is vLLM's.

    A step that decodes has a token a sequence, one with a prompt in it more: graphs of such are captured up
    to twice as many tokens, 1,024 at most (more gained nothing on an H200, with 128 and 256 sequences).
    Where the attention kernels do not allow them vLLM says so and captures those that decode. With batch
    invariance and with tensor parallelism they were not measured.
    """
    if engine.enforce_eager or engine.compiles is not False:
        return {}
    with_prompts = bool(engine.full_cuda_graphs) and engine.allows_full_graphs
    tokens = None if engine.max_num_seqs is None else engine.max_num_seqs * (2 if with_prompts else 1)
    limits = (GRAPH_SIZES[-1], tokens, engine.max_num_batched_tokens)
    largest = min(limit for limit in limits if limit is not None)
    sizes = [*(size for size in GRAPH_SIZES if size < largest), largest]
    mode = "FULL" if with_prompts else "FULL_DECODE_ONLY"
    return {"mode": 0, "cudagraph_mode": mode, "cudagraph_capture_sizes": sizes}


def _fuses(engine: EngineConfig, on_cpu: bool, version: str, notes: list[str]) -> bool:
    """Whether all-reduce + RMS fusion is left as vLLM has it."""
    if engine.fuse_allreduce_rms is not None:
        return engine.fuse_allreduce_rms
    if on_cpu or engine.tensor_parallel_size == 1 or not version.startswith(FUSION_FAILS):
        return True
    notes.append(f"fuse_allreduce_rms is off: it fails at start with vLLM {version}")
    return False


def settings_as_run(config: Any) -> dict[str, Any]:
    """The settings of a VllmConfig after every default; None for what this version does not tell."""
    model, cache, scheduler = config.model_config, config.cache_config, config.scheduler_config
    passes = getattr(config.compilation_config, "pass_config", None)
    return {
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "max_model_len": model.max_model_len,
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "gpu_memory_utilization": cache.gpu_memory_utilization,
        "enforce_eager": model.enforce_eager,
        "compilation_mode": _name(getattr(config.compilation_config, "mode", None)),
        "cudagraph_mode": _name(getattr(config.compilation_config, "cudagraph_mode", None)),
        "enable_prefix_caching": cache.enable_prefix_caching,
        "enable_chunked_prefill": getattr(scheduler, "enable_chunked_prefill", None),
        "async_scheduling": getattr(scheduler, "async_scheduling", None),
        "dtype": str(model.dtype).removeprefix("torch."),
        "quantization": model.quantization,
        "kv_cache_dtype": cache.cache_dtype,
        "kv_cache_tokens": _kv_cache_tokens(cache),
        "load_format": str(getattr(config.load_config.load_format, "value", config.load_config.load_format)),
        "fuse_allreduce_rms": getattr(passes, "fuse_allreduce_rms", None),
    }


def _name(value: Any) -> str | None:
    """Of a member of one of vLLM's enumerations."""
    return None if value is None else str(getattr(value, "name", value))


def _kv_cache_tokens(cache: Any) -> int | None:
    told = getattr(cache, "kv_cache_size_tokens", None)
    if told is None and cache.num_gpu_blocks and cache.block_size:
        told = cache.num_gpu_blocks * cache.block_size
    return None if told is None else int(told)
