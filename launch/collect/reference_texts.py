"""The true continuations of published items: from the scenario's own field, or from a file.

`compare` takes those of dialogue and movie_review only, for ratings and questionnaire answers are no texts.
The reference and every sample lose the item's `continuation_prefix` when they begin with it, as in the
published leaderboard, because it is part of the prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.collect.metrics.answers import parse_reference
from launch.collect.published import Published
from launch.collect.reference_file import read_reference_file
from launch.collect.referenced_items import SCORED_TYPES, ItemReference, ReferenceSource, UserItems
from launch.errors import InputError
from launch.scenarios.formats.leaderboard import strip_prefix
from launch.scenarios.records import ItemType

SCENARIO = "continuation in the scenario"
REFERENCES_FILE = "references.json"
"""Beside test_leaderboard.json in a scenario whose items come without continuations."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The true continuation of an item, without its prefix."""

    text: str
    prefix: str

    def samples_without_prefix(self, texts: Sequence[str]) -> list[str]:
        """The samples as they are scored."""
        return [strip_prefix(text, self.prefix) for text in texts]


@dataclass(frozen=True, slots=True)
class References:
    """References by key, where they are from, and how many users of a file could not be placed."""

    source: str
    by_key: dict[str, Reference]
    num_unplaced_users: int = 0


@dataclass(slots=True)
class _Counts:
    """What is known of all items when they have passed by once; memory grows with different numbers only."""

    num_items: int = 0
    num_known: int = 0
    num_listed_users: int = 0
    num_unplaced_users: int = 0
    numbers: dict[ItemType, set[float]] = field(default_factory=dict)

    def add(self, user: UserItems) -> None:
        self.num_listed_users += user.is_listed
        self.num_unplaced_users += user.is_unplaced
        self.num_items += len(user.items)
        self.num_known += sum(item.is_known for item in user.items)

    def add_numbers(self, user: UserItems) -> None:
        for item in user.items:
            if item.text and item.item_type not in SCORED_TYPES:
                value = parse_reference(item.text).value
                if isinstance(value, float):
                    self.numbers.setdefault(item.item_type, set()).add(value)


@dataclass(frozen=True, slots=True)
class ItemReferences:
    """Every published item that has a line, in item order: read again each time it is iterated over.

    Memory: one user's items. An iteration raises RunError when the directory is not as it was published, and
    InputError when the file was changed since it was read first.
    """

    _source: ReferenceSource
    _counts: _Counts

    def __iter__(self) -> Iterator[ItemReference]:
        for user in self._source.users():
            yield from user.items

    @property
    def path(self) -> Path | None:
        """Of the file, if it was one."""
        return None if self._source.file is None else self._source.file.path

    @property
    def sha256(self) -> str | None:
        """Of the file, if it was one."""
        return None if self._source.file is None else self._source.file.sha256

    @property
    def num_known(self) -> int:
        """Items with a reference."""
        return self._counts.num_known

    @property
    def are_all_known(self) -> bool:
        """Whether no item is without a reference."""
        return self._counts.num_known == self._counts.num_items

    @property
    def num_unplaced_users(self) -> int:
        """Users of the file whose list cannot be told apart by item."""
        return self._counts.num_unplaced_users

    @property
    def numbers(self) -> Mapping[ItemType, set[float]]:
        """The different numbers among the references of ratings and questionnaires, by type."""
        return self._counts.numbers


def references_of(published: Published) -> References:
    """What the published items hold in `continuation`; empty when the scenario came without."""
    return _texts(ReferenceSource(published))


def references_from(path: Path, published: Published) -> References:
    """Those of a file {user_hash: [continuation, ...]}, each list in the user's item order.

    A list belongs to a user's published items when it has as many; of a user whose items are limited, it
    belongs by place when all of them are in the first collection. Other users are counted as unplaced.
    InputError when the file is not of this shape or has no user of the directory.
    """
    return _texts(ReferenceSource(published, read_reference_file(path)))


def item_references(published: Published, path: Path | None = None) -> ItemReferences:
    """Every item with its reference: of the file, placed as `references_from` says, else of the scenario."""
    source = ReferenceSource(published, None if path is None else read_reference_file(path))
    counts = _counted(source)
    _check_users(source, counts)
    return ItemReferences(source, counts)


def known_references(published: Published, path: Path | None = None) -> ItemReferences:
    """Of the file when one is given; else the items' own, then those of its scenario's references.json.

    The scenario is that of the run, if it is still where it was. InputError for a references.json that has
    none of the users, unless items have their own.
    """
    if path is not None:
        return item_references(published, path)
    own = item_references(published)
    beside = Path(str(published.summary.get("scenario"))) / REFERENCES_FILE
    if own.are_all_known or not beside.is_file():
        return own
    source = ReferenceSource(published, read_reference_file(beside), own_first=True)
    counts = _counted(source)
    if not counts.num_listed_users and own.num_known:
        return own
    _check_users(source, counts)
    return ItemReferences(source, counts)


def _counted(source: ReferenceSource) -> _Counts:
    counts = _Counts()
    for user in source.users():
        counts.add(user)
        counts.add_numbers(user)
    return counts


def _check_users(source: ReferenceSource, counts: _Counts) -> None:
    """InputError for a file that has none of the directory's users."""
    if source.file is not None and not counts.num_listed_users:
        path, directory = source.file.path, source.published.path
        raise InputError(f"{path}: none of its users is in {directory}. Give this dataset's references.")


def _texts(source: ReferenceSource) -> References:
    """Only the items whose reference is a text to score."""
    counts = _Counts()
    by_key: dict[str, Reference] = {}
    for user in source.users():
        counts.add(user)
        for item in user.items:
            if item.item_type in SCORED_TYPES and item.is_known and item.text is not None:
                by_key[item.key] = Reference(item.text, item.prefix)
    _check_users(source, counts)
    name = SCENARIO if source.file is None else str(source.file.path)
    return References(name, by_key, counts.num_unplaced_users)
