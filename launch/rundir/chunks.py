"""chunks.jsonl: the chunks of one submission, with the byte spans a task needs to read its users."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from launch.errors import RunError
from launch.planning.chunks import Chunk
from launch.rundir.journal import read_whole, write_bytes
from launch.rundir.layout import SubmissionPaths
from launch.rundir.plan import IndexEntry, Span, as_span


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


def write_chunks(paths: SubmissionPaths, chunks: Iterable[Chunk], index: Sequence[IndexEntry]) -> str:
    """Writes the chunks of a submission, and gives their sha256; `index` holds the users by position."""
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
    text = b"".join(lines)
    write_bytes(paths.chunks, text)
    return hashlib.sha256(text).hexdigest()


def read_chunks(paths: SubmissionPaths, sha256: str | None = None) -> list[ChunkLine]:
    """The chunks of a submission by number; RunError when they are not those of `sha256`, if it is known."""
    try:
        text = read_whole(paths.chunks)
    except (FileNotFoundError, IsADirectoryError):
        raise _damaged(paths, "not found") from None
    if sha256 not in (None, hashlib.sha256(text).hexdigest()):
        raise _damaged(paths, "is not as it was planned (sha256)")
    return [_parse(line) for line in text.splitlines()]


def _damaged(paths: SubmissionPaths, what: str) -> RunError:
    return RunError(
        f"{paths.chunks}: {what}; it was damaged or edited. Nothing that is settled is lost: `vllm-launch"
        f" resume {paths.root.parent.parent}` plans the rest anew."
    )


def _parse(line: bytes) -> ChunkLine:
    row = orjson.loads(line)
    users = tuple(
        ChunkUser(
            span=as_span(user["span"]),
            history_span=as_span(user["history"]) if user["history"] else None,
            items=tuple(user["items"]),
        )
        for user in row["users"]
    )
    return ChunkLine(row["chunk"], row["shard"], row["cost"], users)
