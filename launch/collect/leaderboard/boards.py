"""Who may be ranked beside whom, and how: pure.

A board has the full runs of one scenario file with one set of references. Within it a score ranks the runs
whose scores were computed alike (its signature and the answers' scale); equal values have the same rank, and
the next one counts them (1, 2, 2, 4). Partial, limited and stub runs are on no board, and no score that only
describes texts, or takes the best of n, ranks anybody.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from launch.collect.leaderboard.record import Board, Entry, Ranking
from launch.collect.scoring.kinds import KIND_OF, KINDS, Better, ScoreKind
from launch.collect.scoring.record import Score, TypeScores

BoardKey = tuple[str, str, str]
_SIGNATURES = {"bleu": "bleu", "bleu_mean": "bleu_of_a_sample", "chrf_mean": "chrf"}
_SIGNATURES |= {"embedding_mean": "embedding", "bertscore_mean": "bertscore"}


def with_boards(entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], tuple[Board, ...]]:
    """The entries with their boards and ranks, and the boards, in order of dataset, digest and references."""
    grouped: dict[BoardKey, list[Entry]] = {}
    for entry in entries:
        if entry.is_full:
            grouped.setdefault(_key_of(entry), []).append(entry)
    placed = {entry.directory: entry for entry in entries}
    boards = []
    for number, key in enumerate(sorted(grouped)):
        members = grouped[key]
        ranks, rankings = _rank(members)
        for each in members:
            where = {"board": number, "ranks": ranks[each.directory]}
            placed[each.directory] = each.model_copy(update=where)
        boards.append(_board(key, members, rankings))
    return tuple(placed.values()), tuple(boards)


def _key_of(entry: Entry) -> BoardKey:
    used = entry.references
    references = "none" if used is None else used.sha256 or used.source
    return entry.dataset, entry.scenario_digest, references


def _board(key: BoardKey, members: Sequence[Entry], rankings: Iterable[Ranking]) -> Board:
    dataset, scenario_digest, references = key
    return Board(
        dataset=dataset,
        scenario_digest=scenario_digest,
        references=references,
        num_users=members[0].num_users,
        num_items=members[0].num_items,
        directories=tuple(each.directory for each in members),
        rankings=tuple(rankings),
    )


def _rank(members: Sequence[Entry]) -> tuple[dict[str, dict[str, int]], list[Ranking]]:
    """Ranks by directory and key, and the rankings: main scores first."""
    ranks: dict[str, dict[str, int]] = {each.directory: {} for each in members}
    rankings = []
    for item_type, kind in _ranked_by(members):
        alike = _computed_alike(members, item_type, kind)
        key = f"{item_type}.{kind.name}"
        assert kind.better is not None
        best_first = sorted(_cost(value, kind) for value in alike.values())
        for directory, value in alike.items():
            ranks[directory][key] = 1 + bisect_left(best_first, _cost(value, kind))
        rankings.append(Ranking(key=key, better=kind.better.value, num_ranked=len(alike)))
    return ranks, rankings


def _ranked_by(members: Sequence[Entry]) -> Iterator[tuple[str, ScoreKind]]:
    """Every score that some member has and that judges: per type the main one nearest to a text first."""
    types = dict.fromkeys(name for each in members for name in each.scores or ())
    for is_main in (True, False):
        for item_type in types:
            for kind in sorted(KINDS, key=lambda kind: kind.name != "chrf_mean"):
                has = any(score_of(each, item_type, kind.name) for each in members)
                if kind.better is not None and kind.is_main is is_main and has:
                    yield item_type, kind


def _computed_alike(members: Sequence[Entry], item_type: str, kind: ScoreKind) -> dict[str, float]:
    """The values of those that were computed as most were; the first way, of two as frequent."""
    found: dict[str, tuple[object, float]] = {}
    for each in members:
        score = score_of(each, item_type, kind.name)
        if score is not None:
            found[each.directory] = (way_of(each, item_type, kind.name), score.value)
    ((usual, _),) = Counter(way for way, _ in found.values()).most_common(1)
    return {directory: value for directory, (way, value) in found.items() if way == usual}


def way_of(entry: Entry, item_type: str, name: str) -> tuple[str | None, tuple[float, float] | None]:
    """How a score was computed: its signature, where it has one, and the scale of a type's answers."""
    of_type: TypeScores | None = (entry.scores or {}).get(item_type)
    return entry.signatures.get(_SIGNATURES.get(name, "")), None if of_type is None else of_type.scale


def score_of(entry: Entry, item_type: str, name: str) -> Score | None:
    """A score of an entry, None where it has none."""
    of_type = (entry.scores or {}).get(item_type)
    return None if of_type is None else of_type.scores.get(name)


def _cost(value: float, kind: ScoreKind) -> float:
    """The lower the better."""
    return -value if kind.better is Better.HIGHER else value


def kind_of(key: str) -> tuple[str, ScoreKind]:
    """The item type and the score of `<type>.<score>`."""
    item_type, _, name = key.rpartition(".")
    return item_type, KIND_OF[name]
