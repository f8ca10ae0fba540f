"""One run under fire, from submit to its proven publication, with merges killed while it publishes."""

import json
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from tests.chaos.checks import PublicationWatch, check_publication, num_equal_texts, num_missing
from tests.chaos.field import Field
from tests.chaos.kinds import Kind
from tests.chaos.outcomes import Kill, Outcome
from tests.chaos.strikes import strike
from tests.chaos.victims import Fire
from tests.slurm.processes import list_processes

POLL_S = 0.1
QUEUE_POLL_S = 1.0
GONE_S = 15.0
NUM_PUBLISHING = 4


class Campaign:
    """A run, who is to be killed of it, and until when; `wanted` is used up as kills are made."""

    def __init__(
        self, site: Field, name: str, reference: Path, random: Random, wanted: Counter[Kind]
    ) -> None:
        self._site = site
        self._run = site.run(name)
        self._published = site.published(name)
        self._reference = reference
        self._random = random
        self._wanted = wanted
        self._rhythm = site.work.rhythm
        self._fire = Fire(site, self._run, random, self._rhythm.draw(random))
        self._outcome = Outcome(name)

    def run(self, fire_until: float) -> Outcome:
        """Kills until nothing is wanted or that time (monotonic) has come; returns when all is checked."""
        started = time.monotonic()
        self._site.submit(self._outcome.name)
        with PublicationWatch(self._run, self._published) as watch:
            self._measure_merge()
            if self._bring_through(started, fire_until):
                self._kill_publishing_merges()
        self._outcome.violations += watch.problems
        self._outcome.num_publications_seen = watch.num_seen
        self._outcome.duration_s = round(time.monotonic() - started, 1)
        self._check()
        return self._outcome

    def _measure_merge(self) -> None:
        started = time.monotonic()
        code, said = self._site.launch("merge", str(self._run.root))
        if code != 3:
            self._outcome.violations.append(f"merge while items are missing: exit {code}: {said}")
        self._fire.merge_s = time.monotonic() - started

    def _bring_through(self, started: float, fire_until: float) -> bool:
        """Whether it was published in time."""
        strike_at = queue_at = 0.0
        until = fire_until + self._rhythm.finish_s
        while not self._published.exists() or self._site.queue():
            now = time.monotonic()
            if now > until:
                self._outcome.violations.append("was not published in time")
                return False
            self._fire.bring_back_nodes()
            if now >= strike_at and now < fire_until and self._strike(started):
                strike_at = time.monotonic() + self._random.uniform(*self._rhythm.pause_s)
                self._fire.ripe_s = self._rhythm.draw(self._random)
            if now >= queue_at:
                self._fire.look()
                self._go_on()
                queue_at = time.monotonic() + QUEUE_POLL_S
            time.sleep(POLL_S)
        self._fire.bring_back_nodes(all_of_them=True)
        return True

    def _strike(self, started: float) -> bool:
        kinds = [kind for kind in self._wanted if self._wanted[kind] > 0]
        if not kinds or not num_missing(self._run):
            return False
        (kind,) = self._random.choices(kinds, [self._wanted[kind] for kind in kinds])
        at_s = round(time.monotonic() - started, 2)
        self._fire.last = None
        victim = strike(kind, self._fire)
        if victim is None:
            return False
        left = num_missing(self._run)
        phase = self._fire.last.phase if self._fire.last else None
        self._outcome.kills.append(Kill(at_s, kind, victim, left, phase))
        if left:
            self._wanted[kind] -= 1
        return True

    def _go_on(self) -> None:
        """What a user does when the merge jobs did not go on by themselves."""
        if self._site.queue() or self._published.exists():
            return
        self._fire.bring_back_nodes(all_of_them=True)
        if num_missing(self._run):
            code, said = self._site.launch(
                "resume", str(self._run.root), extra=self._site.pace(self._outcome.name)
            )
            self._outcome.num_resumes += 1
        else:
            code, said = self._site.launch("merge", str(self._run.root))
            self._outcome.num_merges_by_hand += 1
        if code:
            self._outcome.violations.append(f"by hand: exit {code}: {said[-500:]}")

    def _kill_publishing_merges(self) -> None:
        """All items are there: merges killed at any moment, alone and in pairs, then one that ends."""
        for number in range(NUM_PUBLISHING):
            self._unpublish(replaced=number % 2 == 1)
            kind = Kind.MERGE if number < NUM_PUBLISHING - 1 else Kind.TWO_MERGES
            if done := strike(kind, self._fire):
                self._outcome.publishing_kills.append(done)
            if kind is Kind.TWO_MERGES and not self._published.exists():
                self._outcome.violations.append(f"two merges at once published nothing: {done}")
            code, said = self._site.launch("merge", str(self._run.root))
            if code:
                self._outcome.violations.append(f"merge after a killed one: exit {code}: {said}")
            self._outcome.violations += self._check_publication()

    def _unpublish(self, *, replaced: bool) -> None:
        """Makes the next merge publish again: in place of nothing, or of what is there."""
        if not replaced:
            self._published.rename(self._site.home / f"{self._published.name}.{time.monotonic_ns()}")
            return
        manifest = self._published / "manifest.json"
        value = {**json.loads(manifest.read_text()), "sources_digest": "of other results"}
        manifest.write_text(json.dumps(value))

    def _check_publication(self) -> list[str]:
        same = self._reference if self._site.work.same_bytes else None
        return check_publication(self._run, self._published, same)

    def _check(self) -> None:
        outcome = self._outcome
        outcome.violations += self._check_publication()
        outcome.num_items = self._site.work.num_items
        outcome.num_equal_texts = num_equal_texts(self._published, self._reference)
        outcome.num_submissions = len(list(self._run.submissions.iterdir()))
        outcome.num_attempts = len(list(self._run.tasks.glob("*/*/*")))
        self._weigh()
        left = self._processes_left()
        if left:
            outcome.violations.append(f"processes outlived their jobs: {left}")

    def _weigh(self) -> None:
        """What the kills cost."""
        outcome, work = self._outcome, self._site.work
        num_kills = sum(kill.kind.hits_a_task for kill in outcome.kills)
        found = work.weigh(work, self._run, self._site.trace(outcome.name), num_kills)
        outcome.num_generated, outcome.num_generated_again = found.num_generated, found.num_again
        outcome.num_allowed_again, outcome.facts = found.num_allowed_again, found.facts
        outcome.violations += found.problems
        if not 0 <= found.num_again <= found.num_allowed_again:
            said = f"{found.num_again} items were generated again, {found.num_allowed_again} may be"
            outcome.violations.append(said)

    def _processes_left(self) -> list[str]:
        until = time.monotonic() + GONE_S
        while left := [*list_processes(self._site.slurm.conf), *self._fire.left()]:
            if time.monotonic() > until:
                return sorted({words for process in left if (words := _words(process))})
            time.sleep(POLL_S)
        return []


def _words(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())[:200]
    return ""
