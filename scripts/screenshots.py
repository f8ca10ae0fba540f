"""Makes docs/images/ from a folder of published runs, as people see them in Debian's Chromium.

`python -m scripts.screenshots [FOLDER] [--run RUN] [--out DIR]`: FOLDER holds published directories (the
newest of `make demo` unless given). Its leaderboard and run pages are made anew; `status` is shown of RUN,
the run that the newest of them came from unless given. Exit codes: 0 made, 2 something is missing, and what.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from launch.collect.leaderboard.folder import directories_in
from launch.collect.leaderboard.record import INDEX
from launch.collect.manifest import RUN_PAGE_FILE, read_published
from tests.browser.chromium import PHONE, PROGRAM, open_browser, visit

ROOT = Path(__file__).resolve().parent.parent
WIDE = (1280, 800)
COLUMNS = 100


class ScreenshotError(Exception):
    """One line that says what is missing and what to do."""


@dataclass(frozen=True)
class Picture:
    """A page in a window of a size, or an element of it alone, after what somebody does with it."""

    name: str
    page: Path
    size: tuple[int, int] = WIDE
    dark: bool = False
    act: Callable[[Page], object] = lambda page: None
    element: str | None = None


def main(words: list[str] | None = None) -> int:
    """Makes the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description="Screenshots of published runs, for docs/images.")
    parser.add_argument("folder", type=Path, nargs="?", help="of published directories")
    parser.add_argument("--run", type=Path, help="the run directory that status is shown of")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    args = parser.parse_args(words)
    try:
        if PROGRAM is None:
            raise ScreenshotError("the program chromium is missing (make browser-packages, as root)")
        folder = (args.folder or newest_demo()).resolve()
        take_all(folder, args.run or run_of(newest_in(folder)), args.out)
    except ScreenshotError as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 2
    return 0


def newest_demo() -> Path:
    """The folder of the newest `make demo`."""
    found = sorted((ROOT / "outputs" / "demo").glob("*/"))
    if not found:
        raise ScreenshotError(
            "no demo was made here: call make demo, or give a folder of published directories"
        )
    return found[-1]


def newest_in(folder: Path) -> Path:
    """The directory that was published last."""
    published = [
        (manifest.published, path) for path in directories_in(folder) if (manifest := read_published(path))
    ]
    if not published:
        raise ScreenshotError(f"{folder}: nothing is published there")
    return max(published)[1]


def run_of(directory: Path) -> Path:
    """The run directory that a published one came from."""
    manifest = read_published(directory)
    assert manifest is not None
    for place in (directory.with_name(f"{directory.name}.run"), ROOT / "outputs" / "runs" / manifest.run_id):
        if place.is_dir():
            return place
    raise ScreenshotError(f"{manifest.run_id}: its run directory is not here any more; name one with --run")


def take_all(folder: Path, run: Path, out: Path) -> None:
    """Makes the pages again, and takes every picture."""
    out.mkdir(parents=True, exist_ok=True)
    vllm_launch("report", str(folder))
    terminal = out / "status.html"
    terminal.write_text(terminal_page(vllm_launch("status", str(run))), encoding="utf-8")
    try:
        with open_browser() as browser:
            for picture in [
                *pictures(folder),
                Picture("status", terminal, (COLUMNS * 10, 600), element="pre"),
            ]:
                take(browser, picture, out)
    finally:
        terminal.unlink()


def pictures(folder: Path) -> Iterator[Picture]:
    """The leaderboard in each of its forms, and the newest run's page."""
    board = folder / INDEX
    yield Picture("leaderboard", board)
    yield Picture("leaderboard-dark", board, dark=True)
    yield Picture("leaderboard-phone", board, PHONE, act=lambda page: scroll_to(page, ".board"))
    yield Picture("leaderboard-compare", board, act=compare_two)
    page = newest_in(folder) / RUN_PAGE_FILE
    if page.is_file():
        yield Picture("run-page", page, act=lambda page: show_charts(page, "body"))
        yield Picture("run-page-charts", page, dark=True, act=lambda page: show_charts(page, "#time"))
        yield Picture("run-page-samples", page, act=lambda page: scroll_to(page, "#samples"))
        yield Picture("run-page-phone", page, PHONE, act=lambda page: show_charts(page, "#lengths"))


def take(browser: Browser, picture: Picture, out: Path) -> None:
    """One picture; a page that reports an error is not shown to anybody."""
    with visit(browser, picture.page, picture.size, dark=picture.dark) as seen:
        picture.act(seen.page)
        seen.page.wait_for_timeout(300)  # charts are drawn when they come into sight
        if seen.console:
            raise ScreenshotError(f"{picture.page}: {seen.console[0]}")
        shown = seen.page.locator(picture.element) if picture.element else seen.page
        shown.screenshot(path=out / f"{picture.name}.png")
    print(f"{out / picture.name}.png")


def scroll_to(page: Page, selector: str) -> None:
    """Puts an element at the top of the window."""
    page.locator(selector).first.evaluate("(element) => element.scrollIntoView()")


def show_charts(page: Page, selector: str) -> None:
    """Puts an element at the top of the window, and waits for every chart in it to be drawn."""
    scroll_to(page, selector)
    for plot in page.locator(".chart:not(.is-off) .plot").all():
        bounds = plot.evaluate("(element) => element.getBoundingClientRect().toJSON()")
        if 0 <= bounds["top"] < page.evaluate("innerHeight"):
            expect(plot).to_have_attribute("data-drawn", "yes")


def compare_two(page: Page) -> None:
    """Lays the first two runs side by side; one alone is ticked and no more."""
    ticks = page.locator(".tick input")
    for place in range(min(2, ticks.count())):
        ticks.nth(place).check()
    button = page.locator("#compare")
    if button.is_enabled():
        button.click()


def vllm_launch(*words: str) -> str:
    """What a command prints on a terminal of COLUMNS, colours and all."""
    code = "import sys; from launch.cli.app import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ScreenshotError(f"vllm-launch {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def terminal_page(text: str) -> str:
    """What a terminal shows, as a page."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(text))
    return console.export_html(theme=MONOKAI, inline_styles=True)


if __name__ == "__main__":
    sys.exit(main())
