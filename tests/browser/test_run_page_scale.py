"""A page that is as large as pages become, with 1,000 tasks: it opens and filters within 2 seconds.

docs/run-page.md has the figures of the full size: 100,000 items. Its page is no larger than this one.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.large_run import make_large_run
from benchmarks.run_page import ASK, LIMIT_BYTES, LIMIT_MS, LOADED, QUERIES, write_readings
from launch.collect.manifest import read_published
from launch.collect.merge import merge
from launch.collect.run_page.samples import MAX_BYTES
from launch.collect.run_page.timeline_record import read_timeline, write_timeline
from launch.collect.run_page.write import write_run_page
from launch.rundir.layout import AttemptPaths
from tests.browser.chromium import visit

NUM_ITEMS, NUM_TASKS, TIMES = 2_500, 40, 25


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 40 tasks, each of which stands in the timeline 25 times."""
    run = make_large_run(tmp_path_factory.mktemp("large") / "at", NUM_ITEMS, NUM_TASKS)
    for path in run.tasks.rglob("attempt.json"):
        write_readings(AttemptPaths(path.parent))
    directory = merge(run).output_dir
    write_run_page(directory, run)
    manifest = read_published(directory)
    assert manifest is not None
    timeline = read_timeline(directory, manifest)
    attempts = tuple(
        attempt.model_copy(update={"task": attempt.task + NUM_TASKS * time})
        for time in range(TIMES)
        for attempt in timeline.attempts
    )
    write_timeline(directory, timeline.model_copy(update={"attempts": attempts}))
    return write_run_page(directory, None)


def opened_once(browser: Browser, page_file: Path) -> dict[str, float]:
    """Milliseconds until it is loaded, and until each search is answered."""
    with visit(browser, page_file) as seen:
        took = {"loaded": float(seen.page.evaluate(LOADED))}
        seen.page.locator("[data-chart=phases] .plot[data-drawn]").wait_for()
        for name, query in QUERIES.items():
            took[name] = float(seen.page.evaluate(ASK, query))
        return took


def test_it_opens_and_filters_within_two_seconds(browser: Browser, page_file: Path) -> None:
    """Of six rounds the best: others may use this machine."""
    assert 0.9 * MAX_BYTES < page_file.stat().st_size < LIMIT_BYTES
    rounds: list[dict[str, float]] = []
    for _ in range(6):
        rounds.append(opened_once(browser, page_file))
        best = {name: min(each[name] for each in rounds) for name in rounds[0]}
        if max(best.values()) < LIMIT_MS:
            return
    pytest.fail(f"best of six rounds in ms: {best}")


def test_its_tasks_are_shown_a_part_at_a_time(browser: Browser, page_file: Path) -> None:
    with visit(browser, page_file) as seen:
        page = seen.page
        expect(page.locator("#sample-list > .item")).to_have_count(10)
        assert "of 2,500 items, a fair draw" in page.locator("#samples").inner_text()
        page.locator("[data-chart=tasks]").scroll_into_view_if_needed()
        expect(page.locator("[data-chart=tasks] .plot[data-drawn]")).to_be_attached()
        expect(page.locator("#task-range")).to_have_text("1 to 30 of 1,000")
        page.get_by_role("button", name="Later tasks").click()
        expect(page.locator("#task-range")).to_have_text("31 to 60 of 1,000")
        assert seen.offences("plotly.min.js") == []
