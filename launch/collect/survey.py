"""What the commits of a run say, for one look or for many: what is settled, by whom, and what lately."""

from collections import Counter, defaultdict

from launch.collect.pace import WINDOW_S
from launch.collect.task_status import TaskName
from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.rundir.progress import Settled, SettledReader, read_damaged

CLOCKS_WITHIN_S = 3600.0
"""Nodes' clocks may be wrong by this much: commits that are older by their node's clock are not looked at."""
LIVE_TAIL_S = 10.0
"""A writer commits what it wrote within two seconds; an older tail is what a killed one left."""
KEPT_S = WINDOW_S + CLOCKS_WITHIN_S


class Survey:
    """The commits of a run as far as they were read; `recent` are times and tokens by task of the newest.

    Begun anew where a merge has found lines damaged, and with each submission.
    """

    def __init__(self, run: RunPaths) -> None:
        self._run = run
        self._begun: tuple[int, dict[EngineStart, set[int]]] | None = None

    def read_on(self, newest: int, now: float) -> None:
        """Takes what came since; `now` is the file system's."""
        damaged = read_damaged(self._run)
        if self._begun != (newest, damaged):
            self._begin(newest, damaged)
        since = now - KEPT_S
        for task, items in self.recent.items():
            self.recent[task] = [item for item in items if item[0] > since]
        for start, item in self._reader.read_on(now - LIVE_TAIL_S):
            self.settled.add(item)
            seen = self._seen[start.submission]
            if not seen[item.number]:  # what was generated twice counts once
                seen[item.number] = 1
                self.by_task[start.submission, start.task] += 1
            if start.submission == newest and item.time is not None and item.time > since:
                self.recent[start.task].append((item.time, item.num_output_tokens))

    def _begin(self, newest: int, damaged: dict[EngineStart, set[int]]) -> None:
        num_items = load_counts(self._run).num_items
        self._begun, self.newest = (newest, damaged), newest
        self._reader = SettledReader(self._run, damaged)
        self._seen: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(num_items))
        self.settled = Settled(bytearray(num_items))
        self.by_task: Counter[TaskName] = Counter()
        self.recent: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
