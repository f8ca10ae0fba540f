"""The flags that the single-node commands share, and the settings they make."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from launch.cli.options import GivenPath, collect_flags, setting_options
from launch.config.layers import Layers, Resolved, resolve
from launch.config.schema import Scheduler
from launch.config.wording import listed
from launch.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_PRESET = "single_node"
REQUIRED = {
    "model.checkpoint": "--checkpoint_dir",
    "data.dataset": "--dataset",
    "prompt.ablation_config": "--ablation_config",
    "publish.output_dir": "--output_dir",
}
MEANINGS = {
    "publish.output_dir": "The published directory; the run itself lies beside it in OUTPUT_DIR.run.",
    "resources.num_tasks": "Tasks, each with engines and GPUs of its own; 1 unless set.",
}


def single_node_options(command: Command) -> Command:
    """Decorates a click command with the flags of a single-node command, every setting included."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Write the run and show its plan; start nothing."),
        click.option("--print-config", is_flag=True, help="Show every setting and its origin; do nothing."),
        click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting."),
        click.option("--data-root", type=GivenPath(), help="Directory of the datasets."),
        click.option(
            "--resume/--no-resume",
            default=True,
            show_default=True,
            help="Continue what an earlier call left in OUTPUT_DIR.run; else set that aside and begin anew.",
        ),
        click.option(
            "--preset",
            default=DEFAULT_PRESET,
            show_default=True,
            metavar="NAME",
            help="Defaults to begin with.",
        ),
    ):
        command = option(command)
    return setting_options(command, REQUIRED, MEANINGS)


def resolve_here(flags: Mapping[str, Any], extra: Mapping[str, tuple[str, Any]]) -> Resolved:
    """The settings of a single-node command; `extra` are flags that the command itself gives.

    ConfigError names every required flag that neither the command line nor the preset has.
    """
    given = {**collect_flags(flags), **extra}
    resolved = resolve(Layers(flags["preset"], "none", given, flags["sets"]))
    missing = [flag for key, flag in REQUIRED.items() if key not in resolved.places]
    if missing:
        raise ConfigError(
            f"{listed(missing, 'and')}: not given. Write {'it' if len(missing) == 1 else 'them'}."
        )
    if resolved.config.resources.scheduler is not Scheduler.NONE:
        raise ConfigError(
            f"{resolved.origins['resources.scheduler']}: resources.scheduler: this command runs on this"
            " machine. For Slurm use `python launch/submit.py`."
        )
    return resolved
