"""`vllm-launch check-model`: whether a checkpoint will run as asked, without a GPU and without vLLM."""

from typing import Any

import click

from launch.cli.options import GivenPath, chosen_options, collect_flags
from launch.config.layers import Layers, overlay, resolve
from launch.config.schema import RunConfig
from launch.config.wording import json_text
from launch.errors import ExitCode
from launch.model.checkpoint import inspect_checkpoint
from launch.model.engine_fit import choose_engine
from launch.model.findings import Level
from launch.model.fit_check import LARGEST_TP
from launch.model.fit_view import as_json, as_rows
from launch.model.preflight import examine, named_gpu

TYPICAL_TOKENS = 1280
"""1,024 of prompt and 256 generated: the work of docs/performance.md."""

SETTINGS = (
    *("model.base_checkpoint", "model.tokenizer", "model.engine", "model.dtype", "model.quantization"),
    *("model.kv_cache_dtype", "model.trust_remote_code"),
    *("engine.tensor_parallel_size", "engine.gpu_memory_utilization", "engine.max_model_len"),
    *("engine.max_num_seqs", "engine.enforce_eager", "engine.load_format", "engine.cpu_kvcache_space_gib"),
    "sampling.max_tokens",
)


@click.command("check-model", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=GivenPath())
@click.option("--preset", metavar="NAME", help="Take the settings of a preset; flags override them.")
@click.option("--gpu", metavar="TYPE", help="A type of configs/gpus.yaml, such as h100 or a100-40gb.")
@click.option(
    "--num-gpus", type=click.IntRange(1), default=LARGEST_TP, show_default=True, help="GPUs of one host."
)
@click.option(
    "--typical-tokens",
    type=click.IntRange(1),
    default=TYPICAL_TOKENS,
    show_default=True,
    help="Length of a usual prompt with its sample, to count sequences.",
)
@click.option("--json", "as_text", is_flag=True, help="The same as JSON.")
@chosen_options(*SETTINGS)
def command(**flags: Any) -> int:
    """Whether CHECKPOINT will run as asked, how much of a GPU it takes, and what to change. Exit 2 if not."""
    config = _configuration(flags["preset"], collect_flags(flags))
    model = config.model
    checkpoint = inspect_checkpoint(
        flags["checkpoint"],
        base=model.base_checkpoint,
        tokenizer=model.tokenizer,
        needs_weights=config.engine.load_format != "dummy",
    )
    kind, said = choose_engine(model.engine, checkpoint, trust_remote_code=model.trust_remote_code)
    choice, *notes = *said, *checkpoint.notes
    gpu = None if flags["gpu"] is None else named_gpu(flags["gpu"], "--gpu")
    report = examine(config, checkpoint, kind, gpu, flags["num_gpus"])
    if flags["as_text"]:
        value = {"choice": choice, "notes": notes, **as_json(report, flags["typical_tokens"])}
        click.echo(json_text(value))
    else:
        told = [("engine", choice.removeprefix("engine ")), *(("note", note) for note in notes)]
        for name, text in [*told, *as_rows(report, flags["typical_tokens"])]:
            click.echo(f"{name:<12}{text}")
    return ExitCode.USER if report.of(Level.ERROR) else ExitCode.OK


def _configuration(preset: str | None, flags: dict[str, tuple[str, Any]]) -> RunConfig:
    if preset is None:
        return overlay(RunConfig(), flags=flags).config
    return resolve(Layers(preset, None, flags)).config
