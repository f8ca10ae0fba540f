"""What has to be said beside scores so that nobody reads more into them."""

from collections.abc import Iterator

from launch.collect.metrics.bootstrap import MIN_USERS, MIN_USERS_FOR_INTERVAL
from launch.collect.metrics.texts import MAX_CHRF_CHARS
from launch.collect.scoring.record import ScoresRecord


def notes_of(record: ScoresRecord, num_clipped: int) -> Iterator[str]:
    """Sentences, most weighty first."""
    yield from _of_results(record)
    yield from _of_references(record)
    lone = [name for name, each in record.types.items() if each.num_users < MIN_USERS_FOR_INTERVAL]
    if lone:
        yield f"One user alone has {' or '.join(lone)}: no interval can be told."
    few = [name for name, each in record.types.items() if each.num_users < MIN_USERS and name not in lone]
    if few:
        yield f"Fewer than {MIN_USERS} users have {' or '.join(few)}: their intervals are too narrow."
    if "tok:char" in record.signatures["bleu"]:
        yield "BLEU is over characters, for MeCab is not installed: pip install 'vllm-launch[ja]'."
    if num_clipped:
        yield f"{num_clipped:,} samples are scored by their first {MAX_CHRF_CHARS:,} characters."


def _of_results(record: ScoresRecord) -> Iterator[str]:
    if record.stub:
        yield "A stub run: its texts are made up and say nothing about a model."
    if record.subset is not None:
        yield f"Limited to {record.subset.num_items:,} of {record.subset.of_items:,} items."
    if not record.complete:
        yield (
            f"Incomplete: {record.num_failed:,} items failed and {record.num_missing:,} are missing; they are"
            " in no score."
        )


def _of_references(record: ScoresRecord) -> Iterator[str]:
    used = record.references
    if used is None:
        yield "No references: the scenario holds no continuations (--references FILE)."
        return
    without = record.num_done - used.num_items
    if without:
        yield f"{without:,} items with samples have no reference."
    if used.num_unplaced_users:
        yield (
            f"{used.num_unplaced_users:,} users have no reference: those of the file cannot be told apart by"
            " item."
        )
    for name, each in record.types.items():
        if each.num_unusable_references:
            yield f"{each.num_unusable_references:,} references of {name} are no number and are left out."
