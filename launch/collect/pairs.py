"""Matches the items of two published directories by key and reads them pair by pair.

A key is `<user_hash>#<collection>.<place>`. An item is compared when both directories have its samples and
its digest is the same in both, that is, when both were asked the same thing. Everything else is counted and
named: an item that only one has samples of (the other does not know it, or it failed or is missing there),
and one whose digest differs: another input under the same key. An item without samples in both is only
counted: there the two agree.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from launch.collect.published import Published, Result, user_of

MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class OneSided:
    """Items that only one of the two has samples of, and why the other has none; the first few by key."""

    num_items: int
    num_failed_in_other: int
    num_missing_in_other: int
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """Which items of two directories are compared, in A's order, and what is left over."""

    keys: tuple[str, ...]
    num_users: int
    only_in_a: OneSided
    only_in_b: OneSided
    num_other_input: int
    first_other_input: tuple[str, ...]
    num_without_samples_in_both: int

    @property
    def is_exact(self) -> bool:
        """Whether nothing is left over on either side."""
        return not (self.only_in_a.num_items or self.only_in_b.num_items or self.num_other_input)

    @property
    def num_common(self) -> int:
        """Items that both have samples of, whatever they were asked."""
        return len(self.keys) + self.num_other_input


@dataclass(frozen=True, slots=True)
class Pair:
    """One item in both directories."""

    key: str
    a: Result
    b: Result

    @property
    def user(self) -> str:
        """The user_hash."""
        return user_of(self.key)


def match(a: Published, b: Published) -> Matching:
    """Matches by key; reads nothing."""
    in_both = [key for key, entry in a.entries.items() if entry.has_samples and _has_samples(b, key)]
    keys = tuple(key for key in in_both if a.entries[key].digest == b.entries[key].digest)
    other = [key for key in in_both if a.entries[key].digest != b.entries[key].digest]
    without = (_without_samples(a), _without_samples(b))
    return Matching(
        keys,
        len({user_of(key) for key in keys}),
        _one_sided(a, b),
        _one_sided(b, a),
        len(other),
        tuple(other[:MAX_NAMED]),
        len(without[0] & without[1]),
    )


def _has_samples(published: Published, key: str) -> bool:
    entry = published.entries.get(key)
    return entry is not None and entry.has_samples


def _without_samples(published: Published) -> set[str]:
    failed = {key for key, entry in published.entries.items() if not entry.has_samples}
    return failed | set(published.manifest.missing_items)


def _one_sided(one: Published, other: Published) -> OneSided:
    only = [key for key, entry in one.entries.items() if entry.has_samples and not _has_samples(other, key)]
    missing = set(other.manifest.missing_items)
    return OneSided(
        num_items=len(only),
        num_failed_in_other=sum(key in other.entries for key in only),
        num_missing_in_other=sum(key in missing for key in only),
        first=tuple(only[:MAX_NAMED]),
    )


def read_pairs(a: Published, b: Published, keys: Iterable[str]) -> Iterator[Pair]:
    """The pairs of these keys in order; one pair in memory."""
    with a.reader() as of_a, b.reader() as of_b:
        for key in keys:
            yield Pair(key, of_a.read(key), of_b.read(key))


def choose_keys(keys: Sequence[str], max_items: int | None) -> frozenset[str]:
    """At most this many keys, always the same ones: those whose blake2b digest is smallest."""
    if max_items is None or len(keys) <= max_items:
        return frozenset(keys)
    return frozenset(nsmallest(max_items, keys, key=_digest))


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
