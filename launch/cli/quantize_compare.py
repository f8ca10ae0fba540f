"""Generates the same items with the original and the quantised checkpoint, as inference_vllm.py does.

Each has its run beside its results, so what was interrupted goes on when the command is typed again.
"""

import importlib
from pathlib import Path
from typing import Any

import click

from launch.cli.options import collect_flags
from launch.cli.publishing import merge_and_tell
from launch.cli.run_beside import open_here
from launch.cli.sending import Sending, send
from launch.config.layers import Layers, resolve
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
        code = _generate(run_flags(flags, checkpoint, folder, name), folder)
        if code != ExitCode.OK:
            return code
    click.echo()
    command = importlib.import_module("launch.cli.compare").command
    code = command.main([str(folder / name) for name in PLACES], "vllm-launch compare", standalone_mode=False)
    return int(code or ExitCode.OK)


def _generate(flags: dict[str, Any], folder: Path) -> int:
    """One of the two runs, begun or continued, to its published directory; the exit code."""
    resolved = resolve(Layers(flags["preset"], "none", collect_flags(flags), flags["sets"]))
    work = open_here(resolved, flags, f"Ask as before, or move {folder} away.")
    if work.opened is None:
        return merge_and_tell(work.run)
    return send(work.run, work.opened, Sending())


def run_flags(flags: dict[str, Any], checkpoint: Path, folder: Path, name: str) -> dict[str, Any]:
    """The flags of inference_vllm.py for one of the two runs: those given, and what makes them comparable."""
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
        "data_root": flags["data_root"],
        "sets": flags["sets"],
        "resume": True,
        "dry_run": False,
    }
