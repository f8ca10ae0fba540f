"""Generates the same items with the original and the quantised checkpoint, as `submit` does."""

import importlib
from pathlib import Path
from typing import Any

import click

from launch.cli.new_run import submit
from launch.config.schema import EngineKind, RunConfig
from launch.errors import ExitCode
from launch.model.engines import installed_vllm

PLACES = ("original", "quantized")


def comparison_dir(out: Path) -> Path:
    """Where runs and results of the comparison lie: beside the checkpoint, never in it."""
    return out.with_name(f"{out.name}.compare")


def compare(flags: dict[str, Any], config: RunConfig, checkpoints: tuple[Path, Path]) -> int:
    """Both runs, one after the other, then `vllm-launch compare`; the exit code of what did not end well.

    `checkpoints` are the original and the quantised one; results lie in `comparison_dir` of the latter.
    Greedy unless the flags say otherwise: samples differ by chance alone, greedy texts by the weights.
    """
    if config.model.engine is EngineKind.AUTO and installed_vllm() is None:
        click.echo(
            "note: vLLM is not installed here, so nothing was compared. Where it is, submit both checkpoints"
            " with --temperature 0 and run `vllm-launch compare`.",
            err=True,
        )
        return ExitCode.OK
    folder = comparison_dir(checkpoints[1])
    for name, checkpoint in zip(PLACES, checkpoints, strict=True):
        click.echo(f"\n{name}: {checkpoint}")
        code = submit(run_flags(flags, checkpoint, folder, name))
        if code != ExitCode.OK:
            return code
    click.echo()
    command = importlib.import_module("launch.cli.compare").command
    code = command.main([str(folder / name) for name in PLACES], "vllm-launch compare", standalone_mode=False)
    return int(code or ExitCode.OK)


def run_flags(flags: dict[str, Any], checkpoint: Path, folder: Path, name: str) -> dict[str, Any]:
    """The flags of `submit` for one of the two runs: those given, and what makes the two comparable."""
    settings = {key: value for key, value in flags.items() if "__" in key}
    settings |= {
        "model__checkpoint": str(checkpoint),
        "model__quantization": "null",  # each is what its own config.json says
        "data__limit_users": str(flags["compare_users"]),
        "data__limit_items": "null",  # which the preset may set
        "publish__output_dir": str(folder / name),
    }
    if settings["sampling__temperature"] is None:
        settings["sampling__temperature"] = "0"
    return settings | {
        "preset": flags["preset"],
        "cluster": "none",
        "name": name,
        "data_root": flags["data_root"],
        "runs_dir": folder / "runs",
        "sets": flags["sets"],
        "print_config": False,
        "dry_run": False,
        "foreground": False,
    }
