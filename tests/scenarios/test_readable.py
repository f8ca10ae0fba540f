"""Profiles as lines."""

from typing import Any

import pytest

from launch.scenarios.readable import readable

OCEAN = {
    "Ocean": {
        "explanation": "",
        "dimensions": {
            "Extraversion": {"score": 65, "description": "talks to give orders"},
            "Openness": {"score": 40, "description": ""},
        },
    }
}


def test_ocean_scores_read_as_name_score_description() -> None:
    assert readable(OCEAN) == (
        "- Ocean:\n  - dimensions:\n    - Extraversion: 65 (talks to give orders)\n    - Openness: 40"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            {"a_b": "x", "none": None, "yes": True, "empty": "", "zero": 0, "blank": "  "},
            "- a b: x\n- zero: 0",
        ),
        (
            {"score": 4.833333333333333, "whole": 4.0, "large": 1e300},
            "- score: 4.83\n- whole: 4\n- large: 1e+300",
        ),
        ({"films": ["Heat", "", "Ran"]}, "- films: Heat, Ran"),
        ({"pets": [{"kind": "cat"}, {"kind": "dog"}]}, "- pets:\n  - kind: cat\n  - kind: dog"),
        ({"list": [], "object": {}, "deep": {"deeper": {"x": None}}}, ""),
        ({"Calm": {"score": None, "description": "quite"}}, "- Calm: quite"),
        ({"odd": {"score": {"x": 1}}}, "- odd:\n  - score:\n    - x: 1"),
        (["a", {"b": 1}, None], "- a\n- b: 1"),
        ("plain {{ text }}", "plain {{ text }}"),
        (None, ""),
        ({}, ""),
    ],
)
def test_values_read_well(value: Any, text: str) -> None:
    assert readable(value) == text


def test_the_order_is_the_record_s() -> None:
    assert readable({"b": 1, "a": 2}) == "- b: 1\n- a: 2"
