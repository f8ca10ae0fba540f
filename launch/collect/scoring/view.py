"""Shows scores at 80 columns, a table for each item type."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from launch.collect.scoring.kinds import KINDS, ScoreKind
from launch.collect.scoring.record import ScoresRecord, TypeScores
from launch.config.wording import interval, printable


def render(record: ScoresRecord, name: str) -> RenderableType:
    """What was scored, a table for each type, how it was computed, and what to know of it."""
    parts: list[RenderableType] = [Text(f"{printable(name)}: {said_of(record)}")]
    parts += [_table(item_type, each) for item_type, each in record.types.items()]
    parts += [Text(f"{each}: {signature}") for each, signature in record.signatures.items()]
    parts += [Text(f"note: {note}") for note in record.notes]
    return Group(*parts)


def said_of(record: ScoresRecord) -> str:
    """Items, and every mark that the results have."""
    said = f"{record.num_done:,} items x {record.num_samples_per_item}, language {record.language.value}"
    if record.stub:
        said += ", STUB, made-up texts"
    if record.subset is not None:
        said += f", LIMITED to {record.subset.num_items:,} of {record.subset.of_items:,} items"
    return said + ("" if record.complete else ", INCOMPLETE")


def headline(record: ScoresRecord) -> str:
    """The main scores of every type in one line, and of answers the share that was unparsed."""
    types = []
    for item_type, each in record.types.items():
        main = [_said(kind, each) for kind in KINDS if kind.is_main and kind.name in each.scores]
        if main:
            types.append(f"{item_type}: {', '.join(main)}")
    return "; ".join(types)


def _said(kind: ScoreKind, each: TypeScores) -> str:
    said = f"{kind.label.partition(',')[0]} {each.scores[kind.name].value:.{kind.decimals}f}"
    unparsed = each.scores.get("unparsed")
    if unparsed is None or kind.name != "accuracy_mean":
        return said
    return f"{said} ({100 * unparsed.value:.3g} % unparsed)"


def _table(item_type: str, each: TypeScores) -> Table:
    title = f"{item_type}: {each.num_items:,} items of {each.num_users:,} users"
    if each.scale is not None:
        title += f", scale {each.scale[0]:g} to {each.scale[1]:g}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("mean over items")
    for name in ("value", "95 %", "items"):
        table.add_column(name, justify="right")
    for kind in KINDS:
        found = each.scores.get(kind.name)
        if found is not None:
            cells = (f"{found.value:,.{kind.decimals}f}", interval(found.low, found.high, kind.decimals))
            table.add_row(kind.label, *cells, f"{found.num_items:,}")
    return table
