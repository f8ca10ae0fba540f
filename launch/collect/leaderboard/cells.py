"""Cells of the leaderboard's tables: a value to sort by and the text that is shown; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launch.collect.leaderboard.boards import kind_of, score_of
from launch.collect.leaderboard.record import Entry
from launch.collect.pages import shown

UNKNOWN = "–"
MOST = 0.98
"""A share of the GPU-hours from which on energy counts as measured over all of them."""

DTYPES = ("ran.settings.dtype", "model.dtype")
"""As it was and as it was asked for."""
CHOSEN_SETTINGS = {
    **dict.fromkeys(DTYPES, "dtype"),
    "model.quantization": "quantization",
    "engine.tensor_parallel_size": "TP",
    "sampling.temperature": "T",
    "sampling.top_p": "top-p",
    "sampling.max_tokens": "max",
}
"""By which runs of a model are told apart at a glance, and what the page calls them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure; `value` is None where it is not known, and `text` then says why or is a dash."""

    label: str
    value: float | None
    text: str


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """A score; `low`, `at` and `high` are places on the board's span in percent, None without interval."""

    value: float
    text: str
    interval: str
    low: float | None
    at: float | None
    high: float | None


Span = tuple[float, float]


def figure_cells(entry: Entry) -> tuple[Cell, ...]:
    """Samples per minute, GPU-hours, energy."""
    no_gpu = UNKNOWN if entry.gpu.no_gpu is None else "no GPU"
    energy = _figure("Energy, kWh", entry.gpu.energy_kwh, ",.3f", no_gpu)
    if energy.value is not None and (entry.gpu.energy_covers or 0.0) < MOST:
        energy = Cell(energy.label, energy.value, f"≥ {energy.text}")  # the rest was not measured
    return (
        _figure("Samples/min", entry.samples_per_min, ",.0f", UNKNOWN),
        _figure("GPU-hours", entry.gpu.gpu_hours, ",.2f", no_gpu),
        energy,
    )


def cost_cell(entry: Entry) -> Cell:
    """What the GPU-hours cost, for a comparison; without a value, because currencies may differ."""
    cost = entry.gpu.cost
    return Cell("Cost", None, UNKNOWN if cost is None else f"{cost.amount:,.2f} {shown(cost.currency, 20)}")


def _figure(label: str, value: float | None, form: str, unknown: str) -> Cell:
    if value is None:
        return Cell(label, None, unknown)
    text = format(value, form)
    return Cell(label, value, text if value == 0 or float(text.replace(",", "")) else f"{value:.2g}")


def span_of(entries: Sequence[Entry], key: str) -> Span | None:
    """From the lowest to the highest end of any interval; None where there is none."""
    item_type, kind = kind_of(key)
    scores = [score_of(entry, item_type, kind.name) for entry in entries]
    ends = [
        end for score in scores if score is not None for end in (score.low, score.high) if end is not None
    ]
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def score_cell(entry: Entry, key: str, span: Span | None) -> ScoreCell | None:
    """A score with its interval, placed on a span."""
    item_type, kind = kind_of(key)
    score = score_of(entry, item_type, kind.name)
    if score is None:
        return None
    text = f"{score.value:,.{kind.decimals}f}"
    if score.low is None or score.high is None:
        return ScoreCell(score.value, text, "no interval", None, None, None)
    interval = f"{score.low:,.{kind.decimals}f} to {score.high:,.{kind.decimals}f}"
    if span is None:
        return ScoreCell(score.value, text, interval, None, None, None)
    places = [_place(each, span) for each in (score.low, score.value, score.high)]
    return ScoreCell(score.value, text, interval, *places)


def _place(value: float, span: Span) -> float:
    low, high = span
    return round(min(max((value - low) / (high - low), 0.0), 1.0) * 100, 1)


def marks_of(entry: Entry) -> list[tuple[str, str]]:
    """Why an entry is not ranked: a word each, and what it means."""
    marks = []
    if entry.stub:
        marks.append(("stub", "Texts of the stub engine, not of a model."))
    if entry.subset is not None:
        said = f"Limited to {entry.subset.num_items:,} of {entry.subset.of_items:,} items."
        marks.append(("limited", said))
    if not entry.complete:
        lacking = ((entry.num_failed, "failed"), (entry.num_missing, "missing"))
        said = ", ".join(f"{count:,} {what}" for count, what in lacking if count)
        marks.append(("partial", f"Of {entry.num_items:,} items: {said or 'not all done'}."))
    return marks


def chosen_settings(entry: Entry) -> list[str]:
    """The few settings by which runs of a model are told apart at a glance; the rest is in a comparison."""
    found = [f"{name} {shown(str(value), 40)}" for name, value in _told(entry) if value is not None]
    return [f"{entry.engine}", *found, f"n {entry.num_samples_per_item}"]


def _told(entry: Entry) -> Iterator[tuple[str, object]]:
    dtype = entry.settings.get(DTYPES[0]) or entry.settings.get(DTYPES[1])
    yield "dtype", None if dtype == "auto" else dtype
    yield from ((name, entry.settings.get(key)) for key, name in CHOSEN_SETTINGS.items() if key not in DTYPES)
