"""`vllm-launch quantize`: its flags. The work is in quantizing.py, imported on call: --help stays fast."""

import importlib
from typing import Any

import click

from launch.cli.options import GivenPath, setting_options

SCHEMES = ("fp8", "w4a16", "w8a8")


@click.command("quantize", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkpoint", type=GivenPath())
@click.argument("out", type=GivenPath())
@click.option("--scheme", type=click.Choice(SCHEMES), help="How weights and activations are held; required.")
@click.option(
    "--group-size",
    type=click.IntRange(1),
    help="Of w4a16; the largest of 128, 64, 32 that divides every layer's input width unless given.",
)
@click.option(
    "--calibration-items",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Prompts of the dataset to calibrate w4a16 and w8a8 with.",
)
@click.option(
    "--compare-users",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Users whose items both generate; compare gives no verdict on fewer than 20.",
)
@click.option("--no-compare", is_flag=True, help="Do not generate with both and compare.")
@click.option(
    "--preset", default="quick_test", show_default=True, metavar="NAME", help="Of prompt and sampling."
)
@click.option("--data-root", type=GivenPath(), help="Directory that holds the datasets.")
@click.option(
    "--quantizer-python",
    type=GivenPath(),
    help="Python with llmcompressor, instead of the pinned one.",
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting.")
@setting_options
def command(**flags: Any) -> int:
    """Make a quantised checkpoint OUT of CHECKPOINT and compare the two.

    llm-compressor does it, in a pinned environment of its own that is made on first use; AutoAWQ, which older
    guides name, is deprecated. Both checkpoints then generate all items of --compare-users users, greedily;
    results lie beside OUT in OUT.compare. vLLM loads OUT as it is: no --quantization is needed.

    fp8 needs no calibration and is the choice for throughput on GPUs that compute in it (Ada, Hopper, newer);
    w8a8 is for older ones; w4a16 is the smallest.
    """
    return int(importlib.import_module("launch.cli.quantizing").quantize(flags))
