"""leaderboard.csv as a spreadsheet and a data frame read it."""

import csv
import io
from pathlib import Path

import pytest

from launch.collect.leaderboard.cells import CHOSEN_SETTINGS
from launch.collect.leaderboard.csv_table import as_csv, varying_settings
from launch.collect.leaderboard.write import make_leaderboard
from tests.collect.leaderboard.publications import Publications


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_a_line_a_run_with_scores_ranks_and_what_differs(publications: Publications, tmp_path: Path) -> None:
    one = publications.write(tmp_path / "a", scores={"dialogue.chrf_mean": 20.0})
    two = publications.write(tmp_path / "b", summary={"sampling_params.temperature": 0.25, "dataset": "映画"})
    rows = rows_of(as_csv(make_leaderboard([one, two], tmp_path)))
    assert [row["directory"] for row in rows] == ["a", "b"]
    assert [rows[0][f"dialogue.chrf_mean{end}"] for end in ("", ".low", ".high")] == ["20.0", "18.0", "22.0"]
    assert (rows[0]["rank.dialogue.chrf_mean"], rows[0]["complete"], rows[0]["is_ranked"]) == (
        "1",
        "true",
        "true",
    )
    assert [row["settings.sampling.temperature"] for row in rows] == ["1.0", "0.25"]
    assert "settings.prompt.system_prompt" not in rows[0], "of others only what differs"
    assert (rows[1]["dataset"], rows[1]["gpu_hours"], rows[1]["cost"]) == ("映画", "1.5", "3.0")


def test_the_settings_that_the_page_shows_are_always_columns(
    publications: Publications, tmp_path: Path
) -> None:
    directories = [publications.write(tmp_path / name) for name in ("a", "b")]
    for some in ([], directories[:1], directories):
        for row in rows_of(as_csv(make_leaderboard(some, tmp_path))):
            assert [name for name in row if name.startswith("settings.")] == [
                f"settings.{name}" for name in CHOSEN_SETTINGS
            ]
            assert row["settings.sampling.temperature"] == "1.0"
            assert row["settings.sampling.max_tokens"] == "16"
            assert row["settings.engine.tensor_parallel_size"] == "1"


def test_excel_and_others_find_utf8_and_one_line_a_run(publications: Publications, tmp_path: Path) -> None:
    directory = publications.write(tmp_path / "a", summary={"dataset": 'a "quoted", \r\n name\x00'})
    data = as_csv(make_leaderboard([directory], tmp_path))
    assert data.startswith(b"\xef\xbb\xbfdirectory,") and data.count(b"\r\n") == data.count(b"\n") == 2
    assert rows_of(data)[0]["dataset"] == 'a "quoted", \\U0000000D\\U0000000A name\\U00000000'


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_is_a_formula(publications: Publications, tmp_path: Path, begin: str) -> None:
    text = f"{begin}cmd|' /C calc'!A0"
    directory = publications.write(
        tmp_path / f"{begin}run",
        summary={"dataset": text, "checkpoint_hub_id": text, "ablation_config": text, "preset": text},
    )
    other = publications.write(tmp_path / "other")
    data = as_csv(make_leaderboard([directory, other], tmp_path)).decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(data, newline="")) for cell in row]
    assert any(cell.startswith("'") for cell in cells)
    for cell in cells:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")), cell


def test_nor_is_one_where_cells_end_at_a_semicolon(publications: Publications, tmp_path: Path) -> None:
    directories = [
        publications.write(tmp_path / name, summary={"dataset": f"a;=1+1;-2;b{name}"}) for name in "xy"
    ]
    data = as_csv(make_leaderboard(directories, tmp_path)).decode("utf-8-sig")
    assert "a;'=1+1;'-2;bx" in data
    cells = [cell for row in csv.reader(io.StringIO(data, newline=""), delimiter=";") for cell in row]
    assert len(cells) > 8 and not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_a_megabyte_in_a_name_is_cut(publications: Publications, tmp_path: Path) -> None:
    directory = publications.write(tmp_path / "a", summary={"dataset": "x" * 1_000_000})
    assert len(rows_of(as_csv(make_leaderboard([directory], tmp_path)))[0]["dataset"]) == 32_000


def test_no_runs_are_a_header(tmp_path: Path) -> None:
    assert as_csv(make_leaderboard([], tmp_path)).startswith(b"\xef\xbb\xbfdirectory,run_id,")
    assert varying_settings([]) == ()
