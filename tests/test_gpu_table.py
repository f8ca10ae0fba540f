"""The table of benchmarks/gpu.sh has every part that was run, whether it measured a speed or not."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu_table import main

ONE = {"output tok/s": 100.0, "samples/min": 10.0, "start_s": 9.0}
TWO = {"tok/s": 190.0, "samples/min": 19.0, "start s": 8.0}


def test_every_part_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = {
        "one-bf16.json": ONE | {"hardware": {"cores": 2}},
        "two-gpu0.json": ONE,
        "two-gpu1.json": ONE,
        "task-cost.json": {"parts": {}},
        "multi-gpu.json": {"parts": {"throughput": TWO, "fused": {"failed": "ended with 1"}}},
        "search/fp8.json": ONE | {"output tok/s": 130.0},
        "search-ragged/defaults.json": ONE | {"output tok/s": 90.0},
        "search/table.json": {"rows": []},
    }
    for folder in ("search", "search-ragged"):
        (tmp_path / folder).mkdir()
    for name, value in records.items():
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "task-cost.exit").write_text("task-cost: exit 0\n")
    (tmp_path / "hf.exit").write_text("hf: exit 137\n")
    main(tmp_path)
    kept = json.loads((tmp_path / "table.json").read_text())
    rows = {row["part"]: row for row in kept["rows"]}
    assert kept["hardware"] == {"cores": 2}
    parts = ["one-bf16", "two-gpu0", "two-gpu1", "task-cost", "multi-gpu throughput", "multi-gpu fused"]
    assert list(rows) == [*parts, "search fp8", "search-ragged defaults", "two together", "hf"]
    assert rows["two together"]["x one engine"] == 2.0
    assert (
        rows["multi-gpu throughput"]["x one engine"] == 1.9 and rows["multi-gpu throughput"]["start s"] == 8.0
    )
    assert rows["search fp8"]["x one engine"] == 1.3
    assert rows["search-ragged defaults"]["x one engine"] == 0.9
    assert (rows["task-cost"]["ended"], rows["hf"]["ended"]) == ("exit 0", "exit 137")
    assert rows["task-cost"]["output tok/s"] is None
    main(tmp_path)  # its own table is no part
    assert capsys.readouterr().out.count("one-bf16") == 2


def test_a_part_of_several_that_left_nothing_has_a_row(tmp_path: Path) -> None:
    (tmp_path / "one-bf16.json").write_text(json.dumps(ONE))
    (tmp_path / "multi-gpu.exit").write_text("multi-gpu: exit 137\n")
    main(tmp_path)
    rows = {row["part"]: row["ended"] for row in json.loads((tmp_path / "table.json").read_text())["rows"]}
    assert rows == {"one-bf16": "", "multi-gpu": "exit 137"}
