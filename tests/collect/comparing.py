"""Published stub runs to compare, alike but for what a test changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.collect.compare import Options, compare
from launch.collect.comparison import Comparison
from launch.collect.merge import merge
from launch.collect.published import Published, open_published
from launch.collect.reference_texts import references_of
from launch.scenarios.records import Generation
from tests.collect.builders import change_publish, make_generations, make_users, plan_run, write_results
from tests.runs import make_run

NUM_USERS = 24  # enough for a verdict
Change = Callable[[Generation], Generation]


def unchanged(generation: Generation) -> Generation:
    return generation


def publish(
    root: Path,
    checkpoint: Path,
    change: Change = unchanged,
    *,
    users: Sequence[Mapping[str, Any]] | None = None,
    missing: Iterable[int] = (),
    failed: Iterable[int] = (),
    name: str = "run",
) -> Path:
    """Publishes a run of 24 users with two items each, generations changed one by one."""
    run = plan_run(root, checkpoint, users or make_users(NUM_USERS, 2), name=name)
    generations = [
        change(each) for each in make_generations(run, failed=failed) if each.number not in set(missing)
    ]
    write_results(run, generations)
    change_publish(run, allow_missing=True, max_failed_items=len(list(failed)))
    return merge(run).output_dir


def publish_demo(
    root: Path,
    checkpoint: Path,
    dataset: str,
    change: Change = unchanged,
    *,
    name: str,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """The same for all items of a demo scenario."""
    values = {"sampling.num_samples": 2, **(settings or {})}
    run = make_run(root, dataset, values, name=name, checkpoint=checkpoint)
    write_results(run, [change(each) for each in make_generations(run)])
    return merge(run).output_dir


def say(text: Callable[[Generation, int], str], *, numbers: Iterable[int] | None = None) -> Change:
    """A change of the texts of some items, all unless told: `text` of an item and a sample number."""
    chosen = None if numbers is None else set(numbers)

    def change(generation: Generation) -> Generation:
        if chosen is not None and generation.number not in chosen:
            return generation
        samples = tuple(
            replace(sample, text=text(generation, place)) for place, sample in enumerate(generation.samples)
        )
        return replace(generation, samples=samples)

    return change


def opened(a: Path, b: Path) -> tuple[Published, Published]:
    return open_published(a), open_published(b)


def compared(a: Path, b: Path, options: Options | None = None) -> Comparison:
    of_a, of_b = opened(a, b)
    return compare(of_a, of_b, references_of(of_a), options)
