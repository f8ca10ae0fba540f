"""What engines generated for nothing: lines that stand no check, or of which another of the item counts."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from launch.collect.ledger.phases import Phase
from launch.collect.ledger.spans import Span
from launch.rundir.journal import read_journal
from launch.rundir.layout import EnginePaths
from launch.rundir.results import COMMIT_FIELDS, Committed, committed_items


def repeated_s(
    paths: EnginePaths, not_counted: Collection[int], spans: Sequence[Span], clock_ahead_s: float
) -> dict[Phase, float]:
    """Seconds of an engine start that brought such lines, by the phase of `spans` out of which they come.

    Between two commits an engine has worked on what the second one names: of that time lines have the part
    that is theirs of its output tokens, counted by the engine. `not_counted` are their offsets.
    """
    seconds = {Phase.GENERATING: 0.0, Phase.DRAINING: 0.0}
    working = [span for span in spans if span.phase in seconds]
    before = min((span.begin for span in working), default=0.0)
    for time, share in _shares(paths, not_counted):
        now = time - clock_ahead_s
        for span in working:
            seconds[span.phase] += share * max(0.0, min(now, span.end) - max(before, span.begin))
        before = max(before, now)
    return seconds


def _shares(paths: EnginePaths, not_counted: Collection[int]) -> Iterator[tuple[float, float]]:
    """Time and part of the tokens, of every commit."""
    for line in read_journal(paths.commits, **COMMIT_FIELDS):
        items = list(committed_items(line))
        total = _tokens(items)
        wasted = _tokens(item for item in items if item.offset in not_counted)
        yield float(line["time"]), wasted / total if total else 0.0


def _tokens(items: Iterable[Committed]) -> int:
    """Output tokens; an item that failed has none, and counts as one."""
    return sum(max(1, item.num_output_tokens) for item in items)
