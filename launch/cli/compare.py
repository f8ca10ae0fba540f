"""`vllm-launch compare`: two published directories, text by text."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from launch.cli.find_published import find_published
from launch.cli.options import GivenPath
from launch.collect.compare import MAX_ITEMS, Options, compare
from launch.collect.compare_view import render
from launch.collect.comparison import as_json
from launch.collect.published import Published, open_published
from launch.collect.reference_texts import References, references_from, references_of
from launch.config.wording import json_text
from launch.errors import ExitCode

PATH = GivenPath()


@click.command("compare", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("a", metavar="A", type=PATH)
@click.argument("b", metavar="B", type=PATH)
@click.option("--json", "as_text", is_flag=True, help="The same as JSON.")
@click.option(
    "--show", type=click.IntRange(0), default=0, help="Show the first N pairs of texts that differ."
)
@click.option(
    "--references", metavar="FILE", type=PATH, help='True continuations: {"user_hash": ["text", ...]}.'
)
@click.option(
    "--tokenizer", metavar="DIR", type=PATH, help="Whose tokens count first differences; else A's checkpoint."
)
@click.option(
    "--max-items",
    type=click.IntRange(0),
    default=MAX_ITEMS,
    show_default=True,
    help="Items for chrF, first differences and references; 0 is all of them.",
)
def command(a: Path, b: Path, as_text: bool, references: Path | None, **flags: Any) -> int:
    """Compare the texts of two published directories, or of the runs published there, B with A.

    Says which settings differ, how many texts are equal, and of lengths, variety and scores how far A and B
    are apart, with intervals and a verdict. Exit code 3 when not all of their items match, 2
    when not one has samples in both, as for all that is refused.
    """
    of_a, of_b = open_published(find_published(a)), open_published(find_published(b))
    options = Options(flags["max_items"] or None, flags["show"], flags["tokenizer"])
    found = compare(of_a, of_b, _references(references, of_a), options)
    if as_text:
        click.echo(json_text(as_json(found)))
    else:
        Console(highlight=False).print(render(found))
    return ExitCode.OK if found.matching.is_exact else ExitCode.INCOMPLETE


def _references(path: Path | None, published: Published) -> References:
    return references_of(published) if path is None else references_from(path, published)
