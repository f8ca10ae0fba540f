"""What no single value shows: settings that contradict each other, and settings that will be ignored.

`places` has, for every dotted key that was set, where: `file:line`, a flag or a --set. Keys at their default
are not in it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from launch.config.schema import IMAGE_SUFFIXES, EngineKind, RunConfig, Scheduler
from launch.config.slurm_values import time_limit_s
from launch.config.wording import listed
from launch.errors import ConfigError

Places = Mapping[str, str]

ONLY_SLURM = (
    "partition account qos constraint gpu_request gpu_type whole_node_gpus mem exclusive max_array_size"
    " max_submit cpus_per_task setup extra_sbatch merge"
).split()
ONLY_VLLM = (
    "gpu_memory_utilization max_num_batched_tokens enforce_eager torch_compile full_cuda_graphs"
    " enable_prefix_caching enable_chunked_prefill safetensors_load_strategy disable_custom_all_reduce"
    " fuse_allreduce_rms cpu_kvcache_space_gib"
).split()
ONLY_HISTORY = ("max_history_entries",)
ONLY_CONTEXT = ("max_context_turns",)
ONLY_RANDOM = ("top_p", "top_k", "min_p")


def greedy(sampling: Mapping[str, Any], ranks: Mapping[str, int], places: Places) -> str | None:
    """The sentence to say when temperature 0 makes num_samples 1; None when it does not.

    A num_samples above 1 from a lower layer than temperature counts as a default; from the same or a higher
    one it is a contradiction: ConfigError.
    """
    if sampling.get("temperature") != 0 or sampling.get("num_samples") == 1:
        return None
    wanted, key = sampling.get("num_samples"), "sampling.num_samples"
    said_by = places["sampling.temperature"]
    if wanted is None:
        return f"{said_by}: temperature 0 is greedy: num_samples becomes 1."
    if ranks[key] < ranks["sampling.temperature"]:
        return f"{said_by}: temperature 0 is greedy: num_samples becomes 1 (was {wanted}, {places[key]})."
    raise ConfigError(
        f"{places[key]}: {key}: expected 1 with temperature 0 ({said_by}), got {wanted}; greedy samples would"
        " be copies. Leave num_samples out or raise temperature."
    )


def refuse_impossible(config: RunConfig, ranks: Mapping[str, int], places: Places) -> None:
    """ConfigError for the first settings that cannot hold together, at the place of the last one given."""
    for check in (_lengths, _gpus, _lead, _memory, _environment, _compilation):
        for keys, sentence in check(config):
            last = max(keys, key=lambda key: ranks.get(key, -1))
            raise ConfigError(f"{places.get(last, 'defaults')}: {sentence}")


def ignored(config: RunConfig, places: Places) -> list[str]:
    """A sentence for each group of settings that someone set and nothing will read."""
    found = []
    for section, names, reason in _ignored_groups(config):
        keys = [key for key in places if _is_one_of(key, section, names)]
        if keys:
            found.append(f"{places[keys[0]]}: {listed(keys, 'and')}: ignored, {reason}.")
    return found + _idle_gpus(config, places)


def ignored_by_engine(kind: EngineKind, places: Places) -> list[str]:
    """The same for settings that only vLLM reads, once the engine is known."""
    if kind is not EngineKind.TRANSFORMERS:
        return []
    keys = [key for key in places if _is_one_of(key, "engine", ONLY_VLLM)]
    return [f"{places[keys[0]]}: {listed(keys, 'and')}: ignored, the engine is transformers."] if keys else []


def _ignored_groups(config: RunConfig) -> Iterator[tuple[str, tuple[str, ...] | list[str], str]]:
    if config.resources.scheduler is Scheduler.NONE:
        yield "resources", ONLY_SLURM, "resources.scheduler is none"
        yield "resources", ("time",), "but for the number of tasks: resources.scheduler is none"
        if not config.resources.container:
            yield "resources", ("python",), "resources.scheduler is none, and there is no container"
    if not config.resources.stage_weights and config.resources.environment is None:
        yield "resources", ("stage_budget_gib",), "nothing is staged"
    if (reason := _other_graphs(config)) is not None:
        yield "engine", ("full_cuda_graphs",), reason
    if config.sampling.temperature == 0:
        yield "sampling", ONLY_RANDOM, "temperature is 0"
    ablation = config.prompt.ablation_config
    if not ablation.uses_history:
        yield "prompt", ONLY_HISTORY, f"{ablation} has no history"
    if not ablation.uses_context:
        yield "prompt", ONLY_CONTEXT, f"{ablation} has no context"


def _other_graphs(config: RunConfig) -> str | None:
    """Why full_cuda_graphs is not looked at, if it is not."""
    if config.engine.enforce_eager:
        return "engine.enforce_eager has no CUDA graphs"
    if config.engine.compiles:
        return "with torch.compile vLLM has graphs of its own"
    if config.engine.batch_invariant:
        return "such graphs are off with batch invariance"
    if not config.engine.allows_full_graphs:
        return "such graphs are off with tensor parallelism"
    return None


def _is_one_of(key: str, section: str, names: tuple[str, ...] | list[str]) -> bool:
    own_section, _, rest = key.partition(".")
    return own_section == section and rest.partition(".")[0] in names


def _idle_gpus(config: RunConfig, places: Places) -> list[str]:
    needed = config.engine.tensor_parallel_size * config.num_engines
    if config.gpus_per_task <= needed:
        return []
    idle = config.gpus_per_task - needed
    set_by = "gpus_per_task" if config.resources.gpus_per_task is not None else "whole_node_gpus"
    key = f"resources.{set_by}"
    return [
        f"{places[key]}: {key}: {idle} of {config.gpus_per_task} GPUs will idle; the engines take {needed}."
    ]


Findings = Iterator[tuple[tuple[str, ...], str]]


def _lengths(config: RunConfig) -> Findings:
    limit, sample, prompt = "engine.max_model_len", "sampling.max_tokens", "prompt.max_prompt_tokens"
    max_model_len, max_tokens = config.engine.max_model_len, config.sampling.max_tokens
    if config.max_prompt_tokens < 1:
        yield (
            (sample, limit),
            f"{sample}: {max_tokens} leaves no room for a prompt in {limit} {max_model_len}."
            f" Write less than {max_model_len}, or raise {limit}.",
        )
    if config.max_prompt_tokens + max_tokens > max_model_len:
        yield (
            (prompt, sample, limit),
            f"{prompt}: {config.max_prompt_tokens} and {sample} {max_tokens} are more than {limit}"
            f" {max_model_len}. Write at most {max_model_len - max_tokens}, or leave it out.",
        )


def _gpus(config: RunConfig) -> Findings:
    engine, whole = config.engine, config.resources.whole_node_gpus
    needed = engine.tensor_parallel_size * config.num_engines
    if whole is not None and config.resources.scheduler is Scheduler.SLURM and whole < needed:
        yield (
            ("resources.whole_node_gpus", "engine.tensor_parallel_size", "engine.engines_per_node"),
            f"resources.whole_node_gpus: a node has {whole}, and a task needs {needed}"
            f" (engine.tensor_parallel_size {engine.tensor_parallel_size} x {config.num_engines} engines)."
            " Lower one of them.",
        )
    elif whole is not None and config.resources.scheduler is Scheduler.SLURM and whole < config.gpus_per_task:
        yield (
            ("resources.whole_node_gpus", "resources.gpus_per_task"),
            f"resources.gpus_per_task: got {config.gpus_per_task}, and a node has"
            f" resources.whole_node_gpus {whole}. Write {whole} or less, or leave it out.",
        )
    if 0 < config.gpus_per_task < needed:
        yield (
            ("resources.gpus_per_task", "engine.tensor_parallel_size", "engine.engines_per_node"),
            f"resources.gpus_per_task: expected {needed} (engine.tensor_parallel_size"
            f" {engine.tensor_parallel_size} x engine.engines_per_node {config.num_engines}) or 0 on a"
            f" CPU, got {config.gpus_per_task}. Leave it out.",
        )


def _lead(config: RunConfig) -> Findings:
    lead, limit = config.resources.signal_lead_s, config.resources.time
    if lead >= time_limit_s(limit):
        yield (
            ("resources.time", "resources.signal_lead_s"),
            f"resources.time: {limit} is not longer than resources.signal_lead_s, {lead} s."
            " Write a longer time, or a smaller lead.",
        )


def _memory(config: RunConfig) -> Findings:
    resources = config.resources
    for section, options, mem in (
        ("resources", resources.extra_sbatch, resources.mem),
        ("resources.merge", resources.merge.extra_sbatch, resources.merge.mem),
    ):
        for name in ("mem-per-cpu", "mem-per-gpu"):
            if name in options and mem is not None:
                yield (
                    (f"{section}.extra_sbatch.{name}",),
                    f"{section}.extra_sbatch.{name}: Slurm takes it or --mem, and {section}.mem is {mem}."
                    f" Write one of them; {section}.mem: null unsets the other.",
                )


def _environment(config: RunConfig) -> Findings:
    image, container = config.resources.environment, config.resources.container
    if image is not None and image.suffix in IMAGE_SUFFIXES and str(image) not in container:
        yield (
            ("resources.environment", "resources.container"),
            f"resources.environment: no word of resources.container is {image}, so that image would start"
            " nothing. Write the command there with this path, or leave the environment out.",
        )


def _compilation(config: RunConfig) -> Findings:
    if config.engine.enforce_eager and config.engine.torch_compile:
        yield (
            ("engine.torch_compile", "engine.enforce_eager"),
            "engine.torch_compile: got true, and engine.enforce_eager true compiles nothing."
            " Write false for one of them.",
        )
