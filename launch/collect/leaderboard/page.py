"""index.html: what stands in leaderboard.json, as a table per board that is whole without a script.

Scripts sort, filter, rank by another score and lay two runs side by side; their data lie in the page as JSON.
Names are shown by `shown`; a link is always a relative path with its special characters quoted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from launch.collect.leaderboard.boards import kind_of, score_of, way_of
from launch.collect.leaderboard.cells import (
    ScoreCell,
    chosen_settings,
    cost_cell,
    figure_cells,
    marks_of,
    score_cell,
    span_of,
)
from launch.collect.leaderboard.csv_table import varying_settings
from launch.collect.leaderboard.record import Board, Entry, Leaderboard
from launch.collect.pages import render_page, shown
from launch.collect.scoring.kinds import KIND_OF, KINDS

TITLE = "Leaderboard"
MAX_SETTING = 200


def as_page(leaderboard: Leaderboard) -> bytes:
    """The page, the same bytes for the same leaderboard."""
    numbers = {entry.directory: number for number, entry in enumerate(leaderboard.entries)}
    boards = [_board(leaderboard, number, numbers) for number in range(len(leaderboard.boards))]
    apart = [_row(each, numbers) for each in leaderboard.entries if each.board is None]
    values = {
        "leaderboard": leaderboard,
        "boards": boards,
        "apart": apart,
        "totals": _totals(leaderboard.entries),
        "choices": _choices(leaderboard.entries),
        "data": _data(leaderboard, boards),
    }
    return render_page("leaderboard.html.j2", TITLE, values)


def _board(leaderboard: Leaderboard, number: int, numbers: dict[str, int]) -> dict[str, Any]:
    board = leaderboard.boards[number]
    entries = [each for each in leaderboard.entries if each.board == number]
    first = board.rankings[0].key if board.rankings else None
    columns = [each.key for each in board.rankings if kind_of(each.key)[1].is_main]
    if first is not None:
        last = len(entries) + 1
        entries.sort(key=lambda entry: (entry.ranks.get(first, last), entry.directory))
    spans = {key: span_of(entries, key) for key in columns}
    return {
        "number": number,
        "board": board,
        "references": _references(board),
        "first": first,
        "rankings": [{"key": each.key, "label": label_of(each.key), "each": each} for each in board.rankings],
        "columns": [
            dict(zip(("of", "short"), short_label_of(key), strict=True)) | {"key": key} for key in columns
        ],
        "rows": [
            _row(entry, numbers)
            | {
                "rank": entry.ranks.get(first or ""),
                "scores": [score_cell(entry, key, spans[key]) for key in columns],
            }
            for entry in entries
        ],
    }


def _row(entry: Entry, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "entry": entry,
        "number": numbers[entry.directory],
        "link": None if entry.page is None else link_to(entry.page),
        "settings": chosen_settings(entry),
        "marks": marks_of(entry),
        "figures": figure_cells(entry),
        "date": shown(entry.published[:10]),
        "main_scores": [_named_score(entry, key) for key in _main_keys(entry)],
    }


def _named_score(entry: Entry, key: str) -> tuple[str, ScoreCell | None]:
    return " ".join(short_label_of(key)), score_cell(entry, key, None)


def _main_keys(entry: Entry) -> Iterator[str]:
    for item_type, of_type in (entry.scores or {}).items():
        yield from (
            f"{item_type}.{kind.name}" for kind in KINDS if kind.is_main and kind.name in of_type.scores
        )


def label_of(key: str) -> str:
    """`<type>.<score>` in words."""
    item_type, kind = kind_of(key)
    return f"{shown(item_type, 40).replace('_', ' ')} · {kind.label}"


def short_label_of(key: str) -> tuple[str, str]:
    """The type and a main score as the head of a column has them; what is left out stands in `label_of`."""
    item_type, kind = kind_of(key)
    return shown(item_type, 40).replace("_", " "), kind.label.partition(",")[0]


def link_to(path: str) -> str:
    """A relative address: a directory may be named `javascript:x`, `#`, `?` or `//host`."""
    return f"./{quote(path)}"


def _references(board: Board) -> str:
    if board.references == "none":
        return "without references"
    if board.references == "scenario":
        return "references of the scenario"
    return f"references of a file ({board.references[:8]})"


def _totals(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """What all runs together are, a figure and its name each."""
    hours = [each.gpu.gpu_hours for each in entries if each.gpu.gpu_hours is not None]
    energy = [each.gpu.energy_kwh for each in entries if each.gpu.energy_kwh is not None]
    found = [
        _counted(len(entries), "run"),
        _counted(len({each.dataset for each in entries}), "dataset"),
        _counted(len({each.model for each in entries}), "model"),
        _counted(sum(each.total_samples for each in entries), "sample"),
    ]
    for what, values in (("GPU-hours", hours), ("kWh", energy)):
        if values:
            of = _counted(len(values), "run")
            found.append((f"{sum(values):,.2f}", f"{what} of {of[0]} {of[1]}"))
    return found


def _counted(count: int, what: str) -> tuple[str, str]:
    """The count and the word for it."""
    return f"{count:,}", what if count == 1 else f"{what}s"


def _choices(entries: Sequence[Entry]) -> list[tuple[str, str, list[tuple[int, str]]]]:
    """The filters: label, name, and each value as a number with how it is shown."""
    return [
        (label, name, list(enumerate(shown(each, 80) for each in _values(entries, name))))
        for label, name in (("Dataset", "dataset"), ("Model", "model"), ("Ablation", "ablation"))
    ]


def _values(entries: Sequence[Entry], name: str) -> list[str]:
    return sorted({getattr(entry, name) for entry in entries})


def _data(leaderboard: Leaderboard, boards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the script needs beside the table: every score, and the settings in which runs differ."""
    entries = leaderboard.entries
    names = varying_settings(entries)
    ways: dict[str, int] = {}
    choices = {name: _values(entries, name) for _, name, _ in _choices(entries)}
    return {
        "labels": {
            key: {"label": label_of(key), "decimals": kind_of(key)[1].decimals, "better": _better(key)}
            for key in dict.fromkeys(key for entry in entries for key in _keys(entry))
        },
        "settings": names,
        "columns": [[column["key"] for column in board["columns"]] for board in boards],
        "runs": [
            {
                "name": shown(entry.directory, 80),
                "model": shown(entry.model, 80),
                "choice": [values.index(getattr(entry, name)) for name, values in choices.items()],
                "board": entry.board,
                "marks": [mark for mark, _ in marks_of(entry)],
                "figures": [
                    [each.label, each.value, each.text] for each in (*figure_cells(entry), cost_cell(entry))
                ],
                "settings": [_setting(entry.settings.get(name)) for name in names],
                "ranks": entry.ranks,
                "scores": {key: _score(entry, key, ways) for key in _keys(entry)},
            }
            for entry in entries
        ],
    }


def _keys(entry: Entry) -> Iterator[str]:
    """Every score of an entry that this version knows."""
    for item_type, of_type in (entry.scores or {}).items():
        yield from (f"{item_type}.{name}" for name in of_type.scores if name in KIND_OF)


def _better(key: str) -> str | None:
    better = kind_of(key)[1].better
    return None if better is None else better.value


def _score(entry: Entry, key: str, ways: dict[str, int]) -> list[Any]:
    """Value, low, high, items, and a number that is the same where two scores may be compared.

    That is: of the same items and references, computed alike, and an oracle's over as many samples. Which
    items a partial run lacks is its own.
    """
    item_type, kind = kind_of(key)
    score = score_of(entry, item_type, kind.name)
    assert score is not None
    used, subset = entry.references, entry.subset
    way = [
        entry.scenario_digest,
        None if subset is None else subset.model_dump(),
        None if entry.complete else entry.directory,
        None if used is None else used.sha256,
        entry.num_samples_per_item if kind.is_oracle else None,
        *way_of(entry, item_type, kind.name),
    ]
    number = ways.setdefault(orjson.dumps(way).decode(), len(ways))
    return [score.value, score.low, score.high, score.num_items, number]


def _setting(value: Any) -> str:
    """A setting as it is shown; equal texts are equal settings, also where one is cut."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if len(text) <= MAX_SETTING:
        return shown(text, MAX_SETTING)
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{shown(text, MAX_SETTING)} ({len(text):,} characters, {digest})"
