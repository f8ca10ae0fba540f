"""The quick look at a result line agrees with the slow one, which says in words what is wrong."""

import zlib
from typing import Any

import orjson
import pytest

from launch.collect.buckets import Line
from launch.collect.verify import LineCheck
from launch.rundir.results import result_line
from launch.scenarios.records import Cuts, Failure, Generation, Sample, item_seed

KEY, DIGEST, SETTINGS = "u#0.1", "d" * 32, "e" * 32
SEED = item_seed(7, KEY)
CHECK = LineCheck(SETTINGS, 7, 2)
SAMPLES = (Sample("one", "stop", 1), Sample("", "length", 2, reasoning="so"))
ODD: tuple[Any, ...] = (None, True, 1, SEED + 0.0, "", "stop", KEY, [], [1], {}, {"text": "a"})


def make_row(failure: Failure | None = None) -> dict[str, Any]:
    samples = SAMPLES if failure is None else ()
    row: dict[str, Any] = orjson.loads(
        result_line(Generation(3, KEY, DIGEST, SEED, 9, Cuts(), samples, failure), SETTINGS)
    )
    return row


def odd_rows() -> list[Any]:
    """Whole values, then lines with a field less, a field too many, or another value in a field."""
    rows: list[Any] = [*ODD, [make_row()], make_row(Failure("too_long", "It is.")), make_row()]
    for name in (*make_row(), "failure", "unknown"):
        rows.append({field: value for field, value in make_row().items() if field != name})
        rows += [make_row() | {name: odd} for odd in ODD]
    for name in ("text", "finish_reason", "tokens", "reasoning"):
        for odd in (*ODD, ...):
            row = make_row()
            row["samples"][1][name] = odd
            if odd is ...:
                del row["samples"][1][name]
            rows.append(row)
    for samples in (SAMPLES[:1], [*SAMPLES, SAMPLES[0]], [None, None], ["ab", "cd"], {"a": 1, "b": 2}):
        rows.append(make_row() | {"samples": samples})
    return [orjson.loads(orjson.dumps(row)) for row in rows]


@pytest.mark.parametrize("row", odd_rows(), ids=repr)
def test_what_the_quick_look_lets_pass_stands_every_check(row: Any) -> None:
    data = orjson.dumps(row)
    found = CHECK.check(Line(3, False, 0, 0, zlib.crc32(data), None, data), KEY, DIGEST)
    slow = CHECK._wrong(row, KEY, DIGEST)
    assert found == (slow or row)
    assert not (slow and CHECK._is_usual(row, KEY, DIGEST))


def test_lines_as_they_are_written_are_usual() -> None:
    assert CHECK._is_usual(make_row(), KEY, DIGEST)
    assert not CHECK._is_usual(make_row(), "u#0.2", DIGEST)
    assert not CHECK._is_usual(make_row(), KEY, "c" * 32)
