"""The work of `vllm-launch quantize`: checks, then prompts, environment, recipe and comparison."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from launch.cli.calibration import CalibrationPrompts, draw_prompts
from launch.cli.options import collect_flags
from launch.cli.quantize_compare import compare, comparison_dir
from launch.collect.publish import check_writable, try_writing
from launch.config.datasets import with_dataset
from launch.config.layers import Layers, resolve
from launch.config.schema import RunConfig
from launch.config.shipped import shipped
from launch.config.wording import listed
from launch.errors import ConfigError, ExitCode
from launch.model.checkpoint import Checkpoint, inspect_checkpoint
from launch.model.preflight import refuse_tensors
from launch.model.quantize.environment import cache_dir, describe_environment, differing, open_environment
from launch.model.quantize.produce import (
    Quantization,
    produce,
    refuse_full,
    refuse_quantized,
    refuse_taken,
)
from launch.model.quantize.record import RECORD, describe, made_otherwise, read_record
from launch.model.quantize.schemes import Scheme
from launch.model.weights import format_bytes
from launch.rundir.storage_errors import storage_errors
from launch.worker.driver import visible_gpus

# Flags of `submit` that this command sets itself, and what to write instead.
OWN_SETTINGS = {
    "model.checkpoint": "Give the checkpoint as the first word.",
    "model.quantization": "The checkpoint made says it itself: leave it out.",
    "publish.output_dir": "Results of the comparison lie beside OUT: leave it out.",
    "data.limit_users": "Write --compare-users.",
    "data.limit_items": "Write --compare-users.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line, checked."""

    original: Checkpoint
    out: Path
    scheme: Scheme
    config: RunConfig
    compares: bool
    is_made: bool


def quantize(flags: dict[str, Any]) -> int:
    """Makes the quantised checkpoint of the flags of `vllm-launch quantize`; the exit code."""
    asked = _check(flags)
    prompts = draw_prompts(asked.config, flags["calibration_items"]) if asked.scheme.needs_prompts else None
    if asked.is_made:
        _refuse_made_otherwise(asked, prompts, flags["group_size"])
    else:
        _make(asked, prompts, flags)
    if not asked.compares:
        return ExitCode.OK
    return compare(flags, asked.config, (asked.original.path, asked.out))


def _make(asked: Asked, prompts: CalibrationPrompts | None, flags: dict[str, Any]) -> None:
    """Makes the checkpoint and says what it is."""
    with storage_errors(cache_dir()):
        python, versions = _environment(flags["quantizer_python"])
    wanted = Quantization(
        checkpoint=asked.original,
        out=asked.out,
        scheme=asked.scheme,
        group_size=flags["group_size"],
        prompts=list(prompts.token_ids.values()) if prompts else [],
        trust_remote_code=asked.config.model.trust_remote_code,
        record=describe(asked.original, asked.scheme, versions) | calibration_of(asked.config, prompts),
    )
    _tell("scheme", f"{asked.scheme}: {asked.scheme.meaning}")
    if prompts:
        taken = f"{len(prompts.token_ids)} of {prompts.of_items} items"
        _tell("prompts", f"{taken}, {prompts.num_tokens:,} tokens")
    with storage_errors(asked.out):
        made = produce(wanted, python)
    _tell_result(asked.original, made)


def _refuse_made_otherwise(asked: Asked, prompts: CalibrationPrompts | None, group_size: int | None) -> None:
    """ConfigError unless OUT is what this command line makes: then only the comparison is left to do."""
    now = describe(asked.original, asked.scheme, {}) | calibration_of(asked.config, prompts)
    found = made_otherwise(read_record(asked.out), now, group_size)
    if found:
        raise ConfigError(
            f"{asked.out}: is there already and was made {found}. Name another directory, or remove it."
        )
    inspect_checkpoint(asked.out)
    _tell("checkpoint", f"{asked.out}: is there already, made as asked")


def _check(flags: dict[str, Any]) -> Asked:
    """Everything that can be seen before time is spent."""
    if flags["scheme"] is None:
        raise ConfigError(f"--scheme: not set; expected {listed(Scheme)}. Give one.")
    scheme = Scheme(flags["scheme"])
    if flags["group_size"] is not None and scheme is not Scheme.W4A16:
        raise ConfigError(
            f"--group-size: has no meaning with --scheme {scheme}. Leave it out, or choose w4a16."
        )
    config = _resolve(flags)
    out = flags["out"].expanduser().absolute()
    original = inspect_checkpoint(flags["checkpoint"].expanduser())
    refuse_quantized(original)
    refuse_tensors(original, trust_remote_code=config.model.trust_remote_code)
    is_made = (out / RECORD).is_file()
    compares = not flags["no_compare"]
    if not is_made:
        refuse_taken(out)
        check_writable(out.parent, "Name another directory.")
        try_writing(out, "Name another directory.")
        refuse_full(out, original, scheme)
        if compares:
            refuse_taken(comparison_dir(out))
    if compares or scheme.needs_prompts:
        config = with_dataset(config, flags["data_root"])
    if compares and not scheme.needs_prompts:
        draw_prompts(config, 1)  # which reads the whole scenario, and complains of it now
    return Asked(original, out, scheme, config, compares, is_made)


def _resolve(flags: dict[str, Any]) -> RunConfig:
    given = collect_flags(flags)
    for key, advice in OWN_SETTINGS.items():
        if key in given:
            raise ConfigError(f"{given[key][0]}: is not taken by quantize. {advice}")
    given["model.checkpoint"] = ("CHECKPOINT", str(flags["checkpoint"]))
    return resolve(Layers(flags["preset"], None, given, flags["sets"])).config


def _environment(given: Path | None) -> tuple[Path, dict[str, str]]:
    """The Python that has llm-compressor, and the versions of what matters in it."""
    requirements = shipped("configs", "quantize", "requirements.txt")
    if given is None:
        if not cache_dir().is_dir():
            try_writing(cache_dir(), "Set VLLM_LAUNCH_CACHE to another place.")
        python = open_environment(requirements, cpu=not visible_gpus(), say=_note)
        return python, describe_environment(python, requirements)
    python = given.expanduser().absolute()
    versions = describe_environment(python, requirements)
    if "llmcompressor" not in versions:
        raise ConfigError(
            f"--quantizer-python: {given}: has no llmcompressor. Install {requirements} into it, or leave"
            " --quantizer-python out."
        )
    for line in differing(versions, requirements):
        _note(f"{given}: {line}")
    return python, versions


def calibration_of(config: RunConfig, prompts: CalibrationPrompts | None) -> dict[str, Any]:
    """What quantization_recipe.json says of the prompts, None of them where the scheme needs none."""
    if prompts is None:
        return {"calibration": None}
    return {
        "calibration": {
            "dataset": config.data.dataset,
            "scenario_path": str(config.data.scenario_path),
            "ablation_config": config.prompt.ablation_config.value,
            "num_prompts": len(prompts.token_ids),
            "num_tokens": prompts.num_tokens,
            "max_prompt_tokens": prompts.max_prompt_tokens,
            "digest": prompts.digest,
        }
    }


def _tell_result(original: Checkpoint, made: Checkpoint) -> None:
    record = read_record(made.path)
    group = f", group size {record['group_size']}" if record["group_size"] else ""
    _tell(
        "quantised", f"{record['num_modules']} layers{group}, {record['seconds']:.0f} s on {record['device']}"
    )
    before, after = original.num_weight_bytes, made.num_weight_bytes
    _tell("weights", f"{format_bytes(before)} -> {format_bytes(after)} ({after / before:.0%})")
    _tell("checkpoint", str(made.path))


def _tell(name: str, value: str) -> None:
    click.echo(f"{name:<12}{value}")


def _note(line: str) -> None:
    click.echo(f"note: {line}", err=True)
