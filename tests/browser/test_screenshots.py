"""The pictures of docs are made by a script: here of a run of the stub, which they show as one."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from launch.collect.merge import merge
from scripts import screenshots
from scripts.screenshots import Picture, main, take
from tests.browser.chromium import PROGRAM
from tests.collect.builders import make_generations, plan_run, write_results
from tests.models import make_tiny_llama
from tests.runs import REPOSITORY

NO_CHROMIUM = "the program chromium is missing (make browser-packages, as root)"
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=NO_CHROMIUM)
PICTURES = {
    "leaderboard": screenshots.WIDE,
    "leaderboard-dark": screenshots.WIDE,
    "leaderboard-phone": screenshots.PHONE,
    "leaderboard-compare": screenshots.WIDE,
    "run-page": screenshots.WIDE,
    "run-page-charts": screenshots.WIDE,
    "run-page-samples": screenshots.WIDE,
    "run-page-phone": screenshots.PHONE,
}


def size_of(png: Path) -> tuple[int, int]:
    """Width and height, out of the first chunk (www.w3.org/TR/png)."""
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    return width, height


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged run of the stub below runs/, published in published/."""
    root = tmp_path_factory.mktemp("screenshots")
    run = plan_run(root, make_tiny_llama(root / "model", num_layers=1, num_heads=2, num_kv_heads=1))
    write_results(run, make_generations(run))
    merge(run)
    return root


def test_every_picture_is_made(runs: Path) -> None:
    out = runs / "images"
    words = [runs / "published", "--run", runs / "runs" / "run", "--out", out]
    command = [sys.executable, "-m", "scripts.screenshots", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sizes = {path.stem: size_of(path) for path in out.iterdir()}
    status = sizes.pop("status")
    assert sizes == PICTURES and status[0] > 600
    assert all(10_000 < path.stat().st_size < 400_000 for path in out.iterdir())


def test_a_page_with_an_error_is_not_taken(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>nothing.there</script>")
    with pytest.raises(screenshots.ScreenshotError, match="nothing is not defined"):
        take(browser, Picture("page", page), tmp_path)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), "nothing is published there"),
        (("run",), "its run directory is not here any more; name one with --run"),
    ],
)
def test_what_is_missing_is_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], made: tuple[str, ...], said: str
) -> None:
    for name in made:
        (tmp_path / name).mkdir()
        manifest = (runs / "published" / name / "manifest.json").read_bytes()
        (tmp_path / name / "manifest.json").write_bytes(manifest)
    assert main([str(tmp_path), "--out", str(tmp_path / "images")]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
