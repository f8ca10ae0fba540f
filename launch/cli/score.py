"""`vllm-launch score`: a published directory against the true continuations."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from launch.cli.find_published import find_published
from launch.cli.options import GivenPath
from launch.cli.pages import write_pages
from launch.cli.scoring import score_into
from launch.collect.manifest import ITEM_SCORES_FILE, SCORES_FILE
from launch.collect.published import open_published
from launch.collect.reference_texts import known_references
from launch.collect.scoring.record import as_json
from launch.collect.scoring.score import Options
from launch.collect.scoring.view import render
from launch.config.wording import json_text
from launch.errors import ExitCode

PATH = GivenPath()
TELL_S = 5.0


@click.command("score", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR|RUN", type=PATH)
@click.option(
    "--references", metavar="FILE", type=PATH, help='True continuations: {"user_hash": ["text", ...]}.'
)
@click.option("--processes", type=click.IntRange(1), help="How many; as many as there are cores, up to 16.")
@click.option(
    "--embeddings", metavar="DIR", type=PATH, help="Embedding similarity by this model (extra embeddings)."
)
@click.option("--bertscore", metavar="DIR", type=PATH, help="BERTScore by this model (extra bertscore).")
@click.option("--json", "as_text", is_flag=True, help="The same as JSON.")
def command(directory: Path, references: Path | None, as_text: bool, **flags: Any) -> int:
    """Score what is published of a run: BLEU, chrF++, ROUGE-L, MAE, accuracy, variety, with 95 % intervals.

    References are those of the scenario's items, of references.json beside it, or of a file. Writes
    scores.json and item_scores.jsonl into the directory; merge does so by itself where references are known.
    """
    directory = find_published(directory)
    published = open_published(directory)
    options = Options(tell=_teller(), **flags)
    record = score_into(published, known_references(published, references), options)
    write_pages(directory.absolute(), tell=False)
    if as_text:
        click.echo(json_text(as_json(record)))
        return ExitCode.OK
    Console(highlight=False).print(render(record, str(directory)))
    click.echo(f"{'written':<12}{SCORES_FILE}, {ITEM_SCORES_FILE}")
    return ExitCode.OK


def _teller() -> Callable[[int, int], None]:
    """Says on a terminal every few seconds how far it is."""
    told = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal told
        if sys.stderr.isatty() and time.monotonic() - told > TELL_S:
            told = time.monotonic()
            click.echo(f"{done:,} of {of:,} items scored", err=True)

    return tell
