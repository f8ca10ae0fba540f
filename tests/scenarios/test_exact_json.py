"""What is left to orjson is written as the standard library writes it, with whatever is put into it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.scenarios.exact_json import dump_exactly, load_exactly

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@pytest.mark.process
@given(value=VALUES, text=TEXTS)
def test_read_and_written_as_by_the_standard_library(value: Any, text: str) -> None:
    line = dump_exactly(value)
    read, dump = load_exactly(line)
    assert repr(read) == repr(json.loads(line)), "the type of each number, too"
    filled = {"record": read, "texts": [text, text], "number": 3, "stub": True, text: None}
    assert dump(filled) == dump_exactly(filled)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 1e-7, -2.5e-9, {"a": [{"b": 2**90}]}])
def test_numbers_that_orjson_reads_or_writes_otherwise(value: Any) -> None:
    line = dump_exactly(value)
    assert orjson.dumps(orjson.loads(line)) != line
    read, dump = load_exactly(line)
    assert (read, dump(read)) == (value, line)


def test_deeper_than_orjson_goes() -> None:
    line = b"[" * 600 + b"]" * 600
    read, dump = load_exactly(line)
    assert dump(read) == line


def test_most_is_left_to_orjson() -> None:
    line = dump_exactly({"text": '"影\u2028\x7f\n', "numbers": [1, -0.0, 0.1, 2**63, 1.5e300]})
    assert load_exactly(line)[1] is orjson.dumps
