"""Sees to it that the first items of a run are judged while it runs, and that all its engines heed it.

A thread in every engine process looks for canary.json, which costs one stat, and ends when it is there. When
its engine has done its share of `canary.num_items` it counts the commits of the whole run; the one that finds
enough reads those result lines and judges. No engine waits for that, and what is judged is durable. Files
that cannot be read now end no engine and keep none from its start: the judgement waits for them, or does
without.
"""

import math
import threading
import time
from collections.abc import Callable

from launch.config.schema import CanaryAction, CanaryConfig
from launch.errors import LaunchError, StorageError
from launch.rundir.attempts import EngineStart
from launch.rundir.canary import CanaryRecord, keep_canary, read_canary
from launch.rundir.first_items import FirstItems, find_first, read_rows
from launch.rundir.layout import RunPaths
from launch.rundir.plan import load_counts
from launch.worker.canary import judge

MAX_LOOKS_PER_S = 16
"""By all engines of a run together: a shared file system answers each time."""
MAX_SHARES = 16
"""Of hundreds of engines each would have done its share at once, and would read the commits of all others."""
CLOSE_TIMEOUT_S = 5.0


class CanaryError(LaunchError):
    """The first items are such that going on would waste the rest: the user's to look at."""


def refuse_stopped(run: RunPaths, submission: int) -> None:
    """CanaryError when the canary has stopped a submission: no engine is started for it any more.

    StorageError where that cannot be read now.
    """
    record = read_canary(run)
    if record is not None and record.stops_submission(submission):
        raise _error(run, record)


def _error(run: RunPaths, record: CanaryRecord) -> CanaryError:
    return CanaryError(
        f"{record.sentence}. The run is stopped. Look at `vllm-launch prompts` and at results.jsonl; if it is"
        f" as it should be, `vllm-launch resume {run.root}` goes on and judges no more."
    )


class CanaryWatch:
    """The canary of a run as one engine start sees it; `num_engines` may run at a time.

    `num_done` says how many items this start has made durable; `tell` is called with what was found, in the
    one engine whose judgement counts, and once with what first kept this one from looking.
    """

    def __init__(
        self,
        run: RunPaths,
        at: EngineStart,
        config: CanaryConfig,
        num_engines: int,
        num_done: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._run = run
        self._at = at
        self._config = config
        self._num_engines = num_engines
        self._num_done = num_done
        self._tell = tell
        self._pause_s = max(1.0, num_engines / MAX_LOOKS_PER_S)
        self._count_when_done = 0 if at.submission > 1 else self._share(config.num_items, num_engines)
        self._record: CanaryRecord | None = None
        self._error: BaseException | None = None
        self._has_told_trouble = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="canary", daemon=True)

    def start(self) -> None:
        """Looks from time to time in a thread of its own, unless nothing is to be judged."""
        if self._config.action is not CanaryAction.NONE:
            self._thread.start()

    def check(self) -> None:
        """CanaryError when the submission is stopped; RunError when the plan is damaged; what is a bug."""
        if self._error is not None:
            raise self._error
        if self._record is not None and self._record.stops_submission(self._at.submission):
            raise _error(self._run, self._record)

    def look(self) -> bool:
        """Looks once, judges when it is time for that; whether the run is judged."""
        self._record = read_canary(self._run)
        if self._record is None and self._num_done() >= self._count_when_done:
            self._record = self._judge()
        return self._record is not None

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _watch(self) -> None:
        try:
            while not self._has_judged() and not self._closed.wait(self._pause_s):
                pass
        except BaseException as error:  # noqa: BLE001  handed to the main thread by check
            self._error = error

    def _has_judged(self) -> bool:
        """Looks; a disk in trouble is told of, and the next look may fare better."""
        try:
            return self.look()
        except (OSError, StorageError) as error:
            self._tell_trouble(error)
            return False

    def _tell_trouble(self, error: Exception) -> None:
        if not self._has_told_trouble:
            self._has_told_trouble = True
            self._tell(f"the first items are judged later, or without what cannot be read now: {error}")

    def _judge(self) -> CanaryRecord | None:
        """The judgement, when the run has settled enough for it; else sets when to count again."""
        first = find_first(self._run, self._config.num_items)
        if first.unread:
            self._tell_trouble(first.unread[0])
        missing = self._config.num_items - len(first.places)
        if missing > 0:
            self._wait_for(missing, first)
            return None
        record = judge_first(self._run, first, self._config, self._at.submission, _name(self._at))
        if not self._has_enough(record, first):
            self._wait_for(self._config.num_items, first)
            return None
        kept = keep_canary(self._run, record)
        if kept is record and record.found:
            self._tell(record.sentence)
        return kept

    def _has_enough(self, record: CanaryRecord, first: FirstItems) -> bool:
        """Whether all first lines were read, or half of them when so much has come since that the others are
        lost for good: what a node sees late is there by then.
        """
        wanted = self._config.num_items
        is_late = first.num_settled < 2 * wanted
        return record.num_items >= (wanted if is_late else wanted / 2)

    def _wait_for(self, num_items: int, first: FirstItems) -> None:
        """Counts again when this engine has done its share of so many more."""
        share = self._share(num_items, first.num_engines or self._num_engines)
        self._count_when_done = self._num_done() + share

    def _share(self, num_items: int, num_engines: int) -> int:
        """What one of the engines does of so many items, at least one."""
        return math.ceil(num_items / max(1, min(num_engines, MAX_SHARES)))


def judge_first(
    run: RunPaths, first: FirstItems, config: CanaryConfig, submission: int, judged_by: str
) -> CanaryRecord:
    """The judgement on these items; it stops a submission only while items are left that could be spared."""
    judgement = judge(read_rows(run, first.places), config)
    has_more = first.num_settled < load_counts(run).num_items
    return CanaryRecord(
        submission=submission,
        num_items=judgement.num_items,
        rates=judgement.rates,
        found=judgement.found,
        stops=bool(judgement.found) and config.action is CanaryAction.STOP and has_more,
        judged_by=judged_by,
        time=round(time.time(), 3),
    )


def _name(at: EngineStart) -> str:
    return f"submission {at.submission}, task {at.task}, attempt {at.attempt}, slot {at.slot}"
