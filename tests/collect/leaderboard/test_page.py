"""What the leaderboard's page gives its script to compare two runs by."""

import json
import re
from pathlib import Path

from launch.collect.leaderboard.page import MAX_SETTING, as_page
from launch.collect.leaderboard.write import make_leaderboard
from tests.collect.leaderboard.publications import Publications


def test_long_settings_that_differ_at_their_end_are_not_the_same(
    publications: Publications, tmp_path: Path
) -> None:
    long = "you are kind " * MAX_SETTING
    texts = {"a": f"{long}and brief", "b": f"{long}and witty", "c": f"{long}and brief", "d": "be brief"}
    directories = [
        publications.write(tmp_path / name, summary={"prompt.system_prompt": text})
        for name, text in texts.items()
    ]
    page = as_page(make_leaderboard(directories, tmp_path)).decode()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    place = data["settings"].index("prompt.system_prompt")
    shown = {run["name"]: run["settings"][place] for run in data["runs"]}
    assert shown["a"] == shown["c"] != shown["b"]
    assert shown["a"].startswith("you are kind ") and f"({len(texts['a']):,} characters, " in shown["a"]
    assert len(shown["a"]) < MAX_SETTING + 40
    assert shown["d"] == "be brief"
