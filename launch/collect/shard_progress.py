"""How much of each task's shard is settled, by whichever task: helpers take each other's chunks."""

from dataclasses import dataclass

from launch.errors import RunError
from launch.rundir.chunks import read_chunks
from launch.rundir.layout import SubmissionPaths
from launch.rundir.progress import MISSING


@dataclass(slots=True)
class ShardProgress:
    """Items of a shard, and how many of them are settled."""

    num_items: int = 0
    num_settled: int = 0


def shard_progress(paths: SubmissionPaths, sha256: str | None, states: bytearray) -> dict[int, ShardProgress]:
    """By task; `states` are those of the run's items (rundir.progress). Empty where chunks are damaged."""
    try:
        chunks = read_chunks(paths, sha256)
    except (RunError, ValueError, KeyError, TypeError):  # no result depends on it: a resume plans anew
        return {}
    shards: dict[int, ShardProgress] = {}
    for chunk in chunks:
        shard = shards.setdefault(chunk.shard, ShardProgress())
        for number in chunk.items:
            shard.num_items += 1
            shard.num_settled += number < len(states) and states[number] != MISSING
    return shards
