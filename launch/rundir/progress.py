"""What of a run is settled: from commits and the tails behind them; no committed result is opened."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from launch.rundir.attempts import EngineStart, list_engine_starts
from launch.rundir.identity import settings_digest
from launch.rundir.journal import read_journal
from launch.rundir.layout import RunPaths
from launch.rundir.plan import KeyIndex, load_counts
from launch.rundir.records import load_run
from launch.rundir.results import Committed, Reached, recover

MISSING, FAILED, DONE = 0, 1, 2
_START = ("submission", "task", "attempt", "slot", "start")


@dataclass(slots=True)
class Settled:
    """The state of every item by number, and the tokens of the settled ones."""

    states: bytearray
    num_prompt_tokens: int = 0
    num_output_tokens: int = 0

    @property
    def num_items(self) -> int:
        """Items of the run."""
        return len(self.states)

    @property
    def num_done(self) -> int:
        """Items with samples."""
        return self.states.count(DONE)

    @property
    def num_failed(self) -> int:
        """Items that failed for good."""
        return self.states.count(FAILED)

    @property
    def num_missing(self) -> int:
        """Items neither done nor failed."""
        return self.states.count(MISSING)

    def add(self, item: Committed) -> None:
        """Takes a settled item; done beats failed, the first of two alike counts."""
        state = FAILED if item.failed else DONE
        if state > self.states[item.number]:
            if self.states[item.number] == MISSING:
                self.num_prompt_tokens += item.num_prompt_tokens
            self.num_output_tokens += item.num_output_tokens
            self.states[item.number] = state

    def missing(self, *, retry_failed: bool = False) -> list[int]:
        """Numbers of the items that a next submission generates."""
        limit = FAILED if retry_failed else MISSING
        return [number for number, state in enumerate(self.states) if state <= limit]


def survey_settled(run: RunPaths) -> Settled:
    """Reads every commit of a run."""
    settled = Settled(bytearray(load_counts(run).num_items))
    for _, item in settled_items(run):
        settled.add(item)
    return settled


def settled_items(run: RunPaths) -> Iterator[tuple[EngineStart, Committed]]:
    """Every settled item of a run and who settled it, without the lines that a merge found damaged."""
    return SettledReader(run, read_damaged(run)).read_on()


class SettledReader:
    """The same for one who looks again and again: what was committed before a look is not read in the next.

    `damaged` are the offsets of lines that do not count, as of when it was made.
    """

    def __init__(self, run: RunPaths, damaged: Mapping[EngineStart, set[int]]) -> None:
        self._run, self._damaged = run, damaged
        self._settings, self._keys = settings_digest(load_run(run)), KeyIndex(run)
        self._reached: defaultdict[EngineStart, Reached] = defaultdict(Reached)

    def read_on(self, tails_until: float = math.inf) -> Iterator[tuple[EngineStart, Committed]]:
        """What was settled since; what no commit names is told each time. To be taken whole.

        `tails_until` is that of `recover`: without tails the index, of which a large run has 100 MB, is not
        read.
        """
        for start in list_engine_starts(self._run):
            offsets = self._damaged.get(start, ())
            reached = self._reached[start]
            for item in recover(self._run, start, self._keys, self._settings, tails_until, reached):
                if item.offset not in offsets:
                    yield start, item


def read_damaged(run: RunPaths) -> dict[EngineStart, set[int]]:
    """The offsets of the lines that a merge found damaged."""
    damaged: defaultdict[EngineStart, set[int]] = defaultdict(set)
    for row in read_journal(run.damaged, **dict.fromkeys((*_START, "offset"), int)):
        damaged[EngineStart(*(row[name] for name in _START))].add(row["offset"])
    return dict(damaged)


def settled_by(run: RunPaths, starts: list[EngineStart], keys: KeyIndex, settings: str) -> set[int]:
    """Numbers of the items that these engine starts settled."""
    return {item.number for start in starts for item in recover(run, start, keys, settings)}
