"""Shows a comparison at 80 columns: what differs in how the two were made, the figures, pairs, the verdict.

Everything that comes from data is made printable first: control characters are shown and not obeyed.
"""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from launch.collect.comparison import Comparison, PairFigures, ShownPair, Side
from launch.collect.figures import KINDS
from launch.collect.metrics.bootstrap import Estimate
from launch.collect.pairs import OneSided
from launch.config.wording import interval, printable

MAX_SETTINGS_SHOWN = 30
MAX_TEXT_SHOWN = 2_000
MAX_VALUE_SHOWN = 60
_LINE_BREAK, _WIDE_SPACE = "\n", "\u3000"  # as safe as a space, and common in Japanese


def render(comparison: Comparison) -> RenderableType:
    """All parts in the order they are needed; the verdict last, where a terminal stands still."""
    parts: list[RenderableType] = [_sides(comparison), _settings(comparison), *_leftovers(comparison)]
    if comparison.matching.keys:
        parts.append(_figures(comparison))
        parts += [Text(line) for line in _pair_lines(comparison)]
    for number, pair in enumerate(comparison.shown, start=1):
        parts.append(_pair(number, pair))
    parts += [Text(f"note: {shown(note)}") for note in comparison.notes]
    parts.append(Text(f"verdict: {shown(comparison.verdict.text)}", style="bold"))
    return Group(*parts)


def shown(text: str) -> str:
    """A text for a terminal: line breaks are kept, everything else that is not printable is spelled out."""
    lines = text.split(_LINE_BREAK)
    return _LINE_BREAK.join(_WIDE_SPACE.join(map(printable, line.split(_WIDE_SPACE))) for line in lines)


def _sides(comparison: Comparison) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        table.add_row(Text(name, style="bold"), Text(f"{shown(side.path)}: {_said(side)}"))
    matching = comparison.matching
    table.add_row("", f"{len(matching.keys):,} items of {matching.num_users:,} users asked alike in both")
    return table


def _said(side: Side) -> str:
    parts = [f"{side.num_items:,} items x {side.num_samples_per_item}", f"engine {side.engine}"]
    if side.stub:
        parts.append("STUB, made-up texts")
    if side.subset is not None:
        parts.append(f"LIMITED to {side.subset['num_items']:,} of {side.subset['of_items']:,} items")
    if not side.complete:
        parts.append("INCOMPLETE")
    return ", ".join(parts)


def _settings(comparison: Comparison) -> RenderableType:
    settings = comparison.settings
    if not settings:
        return Text("No setting differs.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="settings that differ", title_justify="left")
    for name in ("setting", "A", "B"):
        table.add_column(name, overflow="fold")
    for each in settings[:MAX_SETTINGS_SHOWN]:
        table.add_row(*(Text(cell) for cell in (shown(each.name), _value(each.a), _value(each.b))))
    if len(settings) > MAX_SETTINGS_SHOWN:
        table.caption = f"and {len(settings) - MAX_SETTINGS_SHOWN} more; --json shows all"
    return table


def _value(value: Any) -> str:
    text = shown("-" if value is None else str(value))
    return text if len(text) <= MAX_VALUE_SHOWN else f"{text[: MAX_VALUE_SHOWN - 1]}…"


def _leftovers(comparison: Comparison) -> Iterator[Text]:
    matching = comparison.matching
    for name, other, side in (("A", "B", matching.only_in_a), ("B", "A", matching.only_in_b)):
        if side.num_items:
            yield Text(
                f"{side.num_items:,} items have samples only in {name}{_why(side, other)}:"
                f" {_named(side.first)}"
            )
    if matching.num_other_input:
        names = _named(matching.first_other_input)
        yield Text(f"{matching.num_other_input:,} items have another input in B than in A: {names}")


def _why(side: OneSided, other: str) -> str:
    failed, missing = side.num_failed_in_other, side.num_missing_in_other
    return f" ({failed:,} failed and {missing:,} are missing in {other})" if failed or missing else ""


def _named(keys: tuple[str, ...]) -> str:
    return ", ".join(map(shown, keys))


def _figures(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("mean over items")
    for name in ("A", "B", "A - B", "95 %"):
        table.add_column(name, justify="right")
    by_name = {kind.name: kind for kind in KINDS}
    for figure in comparison.figures:
        kind = by_name[figure.name]
        values = (figure.a, figure.b, figure.difference.value)
        cells = [f"{value:,.{kind.decimals}f}" for value in values]
        mark = "" if figure.difference.holds_zero else " *"
        table.add_row(kind.label, *cells, f"{_interval(figure.difference, kind.decimals)}{mark}")
    table.caption = (
        f"* the interval does not hold 0; {comparison.intervals.num_users:,} users resampled"
        f" {comparison.intervals.num_resamples:,} times; distinct-n over {comparison.distinct_unit}"
    )
    return table


def _interval(value: Estimate, decimals: int) -> str:
    return interval(value.low, value.high, decimals)


def _pair_lines(comparison: Comparison) -> Iterator[str]:
    if comparison.pairs is not None:
        yield from _of_pairs(comparison.pairs)
    if comparison.references is not None:
        used = comparison.references
        yield f"references: {used.num_items:,} items, from {shown(used.source)}"
        yield from (f"  {name}: {signature}" for name, signature in used.signatures.items())


def _of_pairs(pairs: PairFigures) -> Iterator[str]:
    exact, where = pairs.exact_match, pairs.first_difference
    yield (
        f"exact match: {100 * exact.value:.2f} % of {pairs.num_pairs:,} samples"
        f" (95 %: {_interval(_percent(exact), 2)})"
    )
    if pairs.chrf is not None:
        yield f"chrF of B against A: {pairs.chrf.value:.2f} (95 %: {_interval(pairs.chrf, 2)})"
        yield f"  {pairs.chrf_signature}"
    if where.num_pairs:
        yield (
            f"first difference: {where.unit} {where.first} to {where.last}, median {where.median:g}, in"
            f" {where.num_pairs:,} pairs that differ"
        )
        yield f"  counted from 0 by {shown(where.source)}"


def _percent(value: Estimate) -> Estimate:
    low, high = (None if each is None else 100 * each for each in (value.low, value.high))
    return Estimate(100 * value.value, low, high)


def _pair(number: int, pair: ShownPair) -> Text:
    place = "" if pair.first_difference is None else f", first difference at {pair.first_difference}"
    head = f"=== {number}. {shown(pair.key)}, sample {pair.sample}{place}"
    return Text("\n".join((head, "--- A", _clipped(pair.a), "--- B", _clipped(pair.b), "")))


def _clipped(text: str) -> str:
    if len(text) <= MAX_TEXT_SHOWN:
        return shown(text)
    left_out = len(text) - MAX_TEXT_SHOWN
    return f"{shown(text[:MAX_TEXT_SHOWN])}… ({left_out:,} more characters; --json shows all)"
