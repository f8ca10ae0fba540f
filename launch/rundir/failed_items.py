"""What helps items that failed for good, by their classes: one wording for all who refuse over them."""

from collections.abc import Sequence

from launch.rundir.first_items import Place, read_rows
from launch.rundir.layout import RunPaths
from launch.rundir.progress import FAILED, Settled, settled_items
from launch.scenarios.fit import TOO_LONG


def ways_for_failed(run: RunPaths, classes: Sequence[str]) -> list[str]:
    """Sentences without their full stop; to try an item again helps none that is too long."""
    without = f"--max-failed-items {len(classes)}"
    num_too_long = classes.count(TOO_LONG)
    ways = []
    if num_too_long:
        ways.append(
            "What is too_long fails again: a new run with a larger --max-model-len or --max-prompt-tokens, or"
            " a smaller --max-tokens, may have room"
        )
    if num_too_long == len(classes):
        return [*ways, f"`vllm-launch merge {run.root} {without}` publishes without those that failed"]
    return [
        *ways,
        f"`vllm-launch resume {run.root} --retry-failed` tries failed ones again, and with {without}"
        " publishes without those that fail",
    ]


def read_classes(run: RunPaths, settled: Settled) -> list[str]:
    """The class of every failed item, out of its result line; empty where that cannot be read."""
    places: dict[int, Place] = {}
    for start, item in settled_items(run):
        if item.failed and settled.states[item.number] == FAILED:
            places.setdefault(item.number, (start, item))
    rows = read_rows(run, places.values())
    classes = [str(row["failure"]["class"]) for row in rows if "failure" in row]
    return classes + [""] * (settled.num_failed - len(classes))
