"""docs/pitfalls.md names tests and pages that exist: each says where a pitfall is shown."""

import re
from pathlib import Path

from tests.guide.test_guide import anchors
from tests.runs import REPOSITORY

PAGE = REPOSITORY / "docs" / "pitfalls.md"
PITFALL = re.compile(r"^- \*\*.*?\*\*.*?(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)


def test_every_test_that_is_named_is_there_once():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 30
    files = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")]
    found = [name for text in files for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)]
    assert {name: found.count(name) for name in named} == dict.fromkeys(named, 1)


def test_every_link_leads_somewhere():
    for name, place in re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", PAGE.read_text(encoding="utf-8")):
        there: Path = PAGE.parent / name
        assert there.exists(), name
        assert not place or place in anchors(there), place


def test_every_pitfall_is_shown_somewhere():
    pitfalls = [found.group() for found in PITFALL.finditer(PAGE.read_text(encoding="utf-8"))]
    assert len(pitfalls) > 30
    unshown = [each for each in pitfalls if "`test_" not in each and "](" not in each]
    assert [each.splitlines()[0] for each in unshown] == []
