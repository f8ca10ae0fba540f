"""The canary at the end: a run too small, or too fast, to be judged while it ran is judged by its merge."""

from launch.config.schema import CanaryAction, CanaryConfig
from launch.errors import StorageError
from launch.rundir.canary import CanaryRecord, keep_canary, read_canary
from launch.rundir.first_items import find_first
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.worker.canary_watch import judge_first


def canary_at_the_end(run: RunPaths, config: CanaryConfig, submission: int) -> CanaryRecord | None:
    """The judgement on a run, made now if there is none: there is nothing left to stop, so it only tells.

    None where it is not wanted, where nothing is done, and where fewer items are settled than it asks for
    while others are missing: a resume may bring them, and is to be judged then. None as well where one is
    there that cannot be read now: no publication waits for it.
    """
    try:
        record = read_canary(run)
    except StorageError:
        return None
    if record is not None or config.action is CanaryAction.NONE:
        return record
    first = find_first(run, config.num_items)
    is_whole = first.num_settled == load_counts(run).num_items
    if not first.places or (len(first.places) < config.num_items and not is_whole):
        return None
    told = config.model_copy(update={"action": CanaryAction.WARN})
    return keep_canary(run, judge_first(run, first, told, submission, "merge"))
