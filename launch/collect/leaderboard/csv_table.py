"""leaderboard.csv: a line a run, for spreadsheets and data frames.

UTF-8 with a byte order mark, because Excel takes a file without one for the local code page and garbles
Chinese and Japanese names; pandas and LibreOffice read both. CRLF and quotes as in RFC 4180. A text that a
spreadsheet would take for a formula stands behind an apostrophe
(owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from launch.collect.leaderboard.cells import CHOSEN_SETTINGS
from launch.collect.leaderboard.record import Entry, Leaderboard
from launch.collect.pages import shown

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
MAX_CELL = 32_000
"""Excel holds 32,767 characters in a cell."""
_PLAIN = (
    "directory", "run_id", "preset", "published", "model", "checkpoint_digest", "dataset", "scenario_digest",
    "ablation", "language", "engine", "stub", "complete", "num_users", "num_items", "num_done", "num_failed",
    "num_missing", "num_samples_per_item", "total_samples", "inference_time_s", "samples_per_min",
    "output_tokens_per_s",
)  # fmt: skip


def as_csv(leaderboard: Leaderboard) -> bytes:
    """The table: its columns are those that some run has a value in, in a fixed order.

    Of settings, the few that the page shows are always there; of the others, those in which runs differ.
    """
    entries = leaderboard.entries
    settings = dict.fromkeys((*CHOSEN_SETTINGS, *varying_settings(entries)))
    rows = [dict(_cells(leaderboard, entry, tuple(settings))) for entry in entries]
    header = list(dict.fromkeys(name for row in rows for name in row)) or list(_PLAIN)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(map(_cell, header))
    writer.writerows([_cell(row.get(name)) for name in header] for row in rows)
    return out.getvalue().encode("utf-8-sig")


def varying_settings(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The settings in which two entries differ, in the order they are met; absent is a value, too."""
    names = dict.fromkeys(name for entry in entries for name in entry.settings)
    return tuple(
        name for name in names if len({orjson.dumps(entry.settings.get(name)) for entry in entries}) > 1
    )


def _cells(leaderboard: Leaderboard, entry: Entry, settings: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in _PLAIN:
        yield name, getattr(entry, name)
    subset, gpu = entry.subset, entry.gpu
    yield "limited_of_items", None if subset is None else subset.of_items
    yield "is_ranked", entry.board is not None
    board = None if entry.board is None else leaderboard.boards[entry.board]
    yield "references", None if board is None else board.references
    yield from (("gpu_hours", gpu.gpu_hours), ("energy_kwh", gpu.energy_kwh))
    yield "energy_covers", gpu.energy_covers
    yield from (("samples_per_gpu_hour", gpu.samples_per_gpu_hour), ("no_gpu", gpu.no_gpu))
    yield "cost", None if gpu.cost is None else gpu.cost.amount
    yield "currency", None if gpu.cost is None else gpu.cost.currency
    for item_type, of_type in (entry.scores or {}).items():
        for name, score in of_type.scores.items():
            key = f"{item_type}.{name}"
            yield from ((key, score.value), (f"{key}.low", score.low), (f"{key}.high", score.high))
    yield from ((f"rank.{key}", rank) for key, rank in entry.ranks.items())
    yield from ((f"settings.{name}", entry.settings.get(name)) for name in settings)


def _cell(value: Any) -> str:
    """A number, true or false as in JSON, nothing for null; a text printable and harmless, in one cell."""
    if value is None:
        return ""
    if not isinstance(value, str):
        text = orjson.dumps(value).decode()
        return text if isinstance(value, int | float) else _harmless(text)
    return _harmless(value)


def _harmless(text: str) -> str:
    """Also where a spreadsheet divides at semicolons, as it does where the decimal mark is a comma."""
    parts = (f"'{part}" if part.startswith(FORMULA) else part for part in text.split(";"))
    return shown(";".join(parts), MAX_CELL)
