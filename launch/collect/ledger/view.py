"""The ledger in a line, for a terminal."""

from collections.abc import Mapping
from typing import Any

MIN_SHARE = 0.005
"""What rounds to 0 % is not shown."""


def ledger_line(ledger: Mapping[str, Any]) -> str | None:
    """GPU hours, what they went into with the largest first, energy and cost; None where there was no GPU."""
    hours, allocated = ledger["gpu_hours"], ledger["allocated_s"]
    if not hours or not allocated:
        return None
    parts = {**ledger["phases"], "unexplained": ledger["unexplained"]}
    shares = sorted(((seconds / allocated, name) for name, seconds in parts.items()), reverse=True)
    shown = [f"{name.replace('_', ' ')} {share:.0%}" for share, name in shares if share >= MIN_SHARE]
    words = [f"{hours:,.2f} GPU-hours: {', '.join(shown)}"]
    if ledger["energy_kwh"] is not None:
        words.append(f"{ledger['energy_kwh']:,.2f} kWh")
    if ledger["cost"] is not None:
        words.append(f"{ledger['cost']['amount']:,.2f} {ledger['cost']['currency']}")
    return "; ".join(words)
