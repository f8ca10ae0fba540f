"""The results of a run while they are read: all lines into buckets, then user by user with every check."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from launch.collect.buckets import Buckets
from launch.collect.merge_claim import MergeClaim
from launch.collect.outcomes import Findings, Outcome, read_outcomes
from launch.collect.summary import Sources
from launch.collect.tally import Tally
from launch.collect.verify import line_check
from launch.rundir.identity import settings_digest
from launch.rundir.journal import size_of
from launch.rundir.plan import IndexEntry, KeyIndex, load_counts, read_index
from launch.rundir.storage_errors import storage_errors


class Results:
    """The results of a run while they are read: by commits first, then line by line."""

    def __init__(self, sources: Sources, buckets: Buckets, claim: MergeClaim) -> None:
        self.sources = sources
        self.tally = Tally()
        self.findings = Findings()
        self._buckets = buckets
        self._claim = claim

    def tally_by_commits(self) -> Tally:
        """Cuts all lines into buckets; what would be missing if every line stood its checks."""
        run, starts = self.sources.run, self.sources.starts
        seen = bytearray(load_counts(run).num_items)
        used = 0
        for item in self._buckets.fill(run, starts, KeyIndex(run), settings_digest(self.sources.record)):
            seen[item.number] = 1
            used += item.length
            self._claim.beat()
        size = sum(size_of(start.paths(run).results) for start in starts)
        self.findings.add_unused(max(0, size - used))
        tally = Tally()
        if 0 not in seen:
            tally.num_items = len(seen)
            return tally
        for entry in read_index(run):
            for place, key in enumerate(entry.keys):
                number = entry.first_item + place
                tally.num_items += 1
                if not seen[number]:
                    tally.missing.append(number)
                    tally.missing_keys.append(key)
        return tally

    def users(self) -> Iterator[tuple[IndexEntry, list[Outcome]]]:
        """Every user in input order with what became of its items; tally and findings grow on the way."""
        index, starts = read_index(self.sources.run), self.sources.starts
        check = line_check(self.sources.record)
        for entry, outcomes in read_outcomes(index, self._buckets, starts, check, self.findings):
            self._claim.beat()
            self.tally.add_user(outcomes)
            yield entry, outcomes


@contextmanager
def open_results(sources: Sources, claim: MergeClaim) -> Iterator[Results]:
    """The results of a run, in scratch files that are removed at the end."""
    size = sum(size_of(start.paths(sources.run).results) for start in sources.starts)
    with storage_errors(claim.scratch):
        claim.scratch.mkdir()
    try:
        yield Results(sources, Buckets(claim.scratch, load_counts(sources.run).num_items, size), claim)
    finally:
        shutil.rmtree(claim.scratch, ignore_errors=True)
