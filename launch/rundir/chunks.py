"""chunks.jsonl: the chunks of one submission, with the byte spans a task needs to read its users."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from launch.planning.chunks import Chunk
from launch.rundir.journal import write_bytes
from launch.rundir.layout import SubmissionPaths
from launch.rundir.plan import IndexEntry, Span


@dataclass(frozen=True, slots=True)
class ChunkUser:
    """The items (global numbers) that a chunk takes of one user, and where that user lies."""

    span: Span
    history_span: Span | None
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkLine:
    """The smallest part of a shard that a task claims."""

    number: int
    shard: int
    cost: float
    users: tuple[ChunkUser, ...]

    @property
    def items(self) -> tuple[int, ...]:
        """Item numbers in order of work."""
        return tuple(number for user in self.users for number in user.items)


def write_chunks(paths: SubmissionPaths, chunks: Iterable[Chunk], index: Sequence[IndexEntry]) -> None:
    """Writes the chunks of a submission; `index` holds the users of the run by position."""
    lines = []
    for chunk in chunks:
        users = [
            {
                "span": index[user.position].span,
                "history": index[user.position].history_span,
                "items": user.items,
            }
            for user in chunk.users
        ]
        row = {"chunk": chunk.number, "shard": chunk.shard, "cost": round(chunk.cost, 1), "users": users}
        lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    write_bytes(paths.chunks, b"".join(lines))


def read_chunks(paths: SubmissionPaths) -> list[ChunkLine]:
    """The chunks of a submission by number."""
    with paths.chunks.open("rb") as handle:
        return [_parse(line) for line in handle]


def _parse(line: bytes) -> ChunkLine:
    row = orjson.loads(line)
    users = tuple(
        ChunkUser(
            span=(user["span"][0], user["span"][1]),
            history_span=(user["history"][0], user["history"][1]) if user["history"] else None,
            items=tuple(user["items"]),
        )
        for user in row["users"]
    )
    return ChunkLine(row["chunk"], row["shard"], row["cost"], users)
