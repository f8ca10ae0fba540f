"""A run's page in Chromium: hostile texts, search in three languages, charts, themes, keyboard, copies."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from launch.collect.run_page.write import write_run_page
from tests.browser.chromium import PHONE, SCREEN, Visit, visit
from tests.browser.hostile import TEXTS
from tests.browser.rich_run import publish_rich_run
from tests.models import make_tiny_llama

Opener = Callable[..., Visit]
PLOTLY = "plotly.min.js"
RESET = """
const form = document.getElementById("sample-controls");
form.reset(); form.requestSubmit();
const filter = document.getElementById("task-filter");
filter.value = "all"; filter.dispatchEvent(new Event("change"));
"""
CHARTS = ("phases", "tasks", "throughput", "utilization", "memory", "prompt_tokens", "output_tokens")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory, with the page."""
    root = tmp_path_factory.mktemp("rich")
    checkpoint = make_tiny_llama(root / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    run, directory = publish_rich_run(root, checkpoint)
    write_run_page(directory, run)
    return directory


@pytest.fixture(scope="module")
def page_file(published: Path) -> Path:
    return published / "run.html"


@pytest.fixture(scope="module")
def opened(browser: Browser, page_file: Path) -> Iterator[Page]:
    """One window for all tests that only look."""
    with visit(browser, page_file) as seen:
        yield seen.page


@pytest.fixture
def page(opened: Page) -> Page:
    """The same with every control as at first."""
    opened.evaluate(RESET)
    return opened


def draw_all(page: Page) -> None:
    """Scrolls to every chart until it is drawn."""
    for name in CHARTS:
        figure = page.locator(f"[data-chart={name}]")
        figure.scroll_into_view_if_needed()
        expect(figure.locator(".plot[data-drawn]")).to_be_attached()


def shown_items(page: Page) -> Locator:
    return page.locator("#sample-list > .item")


def search(page: Page, text: str, where: str = "everything") -> None:
    """Types it and waits for the answer."""
    page.get_by_label("in", exact=True).select_option(label=where)
    page.get_by_label("Search").fill(text)
    page.get_by_label("Search").press("Enter")


@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["phone", "screen"])
def test_nothing_hostile_runs_and_nothing_leaves_the_page(
    open_page: Opener, page_file: Path, size: tuple[int, int]
):
    """Every chart drawn, every item shown: no script of a text, no error, no request but for plotly."""
    seen = open_page(page_file, size)
    draw_all(seen.page)
    expect(shown_items(seen.page)).to_have_count(10)
    while seen.page.locator("#sample-next").is_enabled():
        seen.page.locator("#sample-next").click()
        assert not seen.is_wider_than_the_screen()
    seen.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert not seen.is_wider_than_the_screen()
    assert seen.page.evaluate("window.ran") is None
    assert seen.offences(PLOTLY) == []
    assert [url.rpartition("/")[2] for url in seen.requests] == [PLOTLY]
    assert seen.page.locator("img, iframe, object, embed, base, link").count() == 0
    assert seen.page.locator("a[href]:not([href^='#'])").count() == 0


def test_texts_are_shown_as_they_are_and_what_turns_them_by_name(page: Page):
    search(page, "png.exe", "samples")
    expect(shown_items(page)).to_have_count(0)
    search(page, "gnp.exe", "prompt")
    card = shown_items(page)
    expect(card).to_have_count(1)
    said = card.locator(".turn dd").inner_text()
    assert said == "abcRLOgnp.exeLRIRLI right to left"
    assert not re.search("[\u202e\u2066\u2067]", page.locator("body").inner_text())
    search(page, "bell", "prompt")
    assert shown_items(page).locator(".turn dd").inner_text() == "nul␀ bell␇ escape␛[31m linesLSPS end"
    search(page, "window.ran = 'script'")
    assert TEXTS["script"] in shown_items(page).first.inner_text()


def test_a_text_of_a_megabyte_is_clipped_and_says_where_the_rest_is(page: Page):
    search(page, "長い長い")
    expect(shown_items(page)).to_have_count(1)
    assert re.search(r"\[…[\d,]+ more characters\]", shown_items(page).inner_text())
    assert "everything is in generations.jsonl" in page.locator("#samples").inner_text()


SEARCHES = [
    ("结局很美", "samples", ["阿明"]),
    ("结局 再看", "samples", ["阿明"]),
    ("データ", "samples", ["花子"]),
    ("ﾃﾞｰﾀ", "samples", ["花子"]),
    ("ＳＴＲＡＳＳＥ", "samples", ["ADA"]),
    ("straße NOT", "everything", ["ADA"]),
    ("天気　今日", "reference", ["花子"]),
    ("user-en", "prompt", ["ADA", "ADA", "ADA"]),
    ("nowhere to be found", "everything", []),
]


def test_an_item_has_the_command_that_shows_its_whole_prompt(page: Page):
    """But for one whose key is clipped or cannot be copied."""
    whole = 0
    for card in shown_items(page).all():
        key = card.locator(".item-head .mono").inner_text()
        said = [shlex.split(each) for each in card.locator("code.command").all_inner_texts()]
        is_whole = key.startswith("user-")
        assert said == ([["vllm-launch", "prompts", "run", "--item", key]] if is_whole else [])
        whole += is_whole
    assert 0 < whole < shown_items(page).count()
    first = shown_items(page).first.locator("code.command")
    first.click()
    assert page.evaluate("getSelection().toString()") == first.inner_text()


def test_search_is_by_characters_and_widths_and_cases_are_alike(page: Page):
    for query, where, names in SEARCHES:
        search(page, query, where)
        expect(page.locator("#sample-count")).to_have_text(f"{len(names)} of 22 items")
        assert shown_items(page).locator(".who").all_inner_texts() == names, query
        if where == "samples":
            marked = shown_items(page).locator(".given").first.locator("mark").all_inner_texts()
            assert marked, f"{query} is marked"


def test_texts_have_their_language(page: Page):
    found = page.locator("#sample-list .given > li:not(.reference) div.text")
    languages = {
        text: found.nth(place).get_attribute("lang") for place, text in enumerate(found.all_inner_texts())
    }
    assert languages["今日はいい天気ですね。ﾃﾞｰﾀを見ました。"] == "ja"
    assert languages["这部电影的结局很美，我会再看一遍。"] == "zh"
    assert languages["The ending was slow but beautiful."] == "en"
    assert found.first.evaluate("each => getComputedStyle(each).unicodeBidi") == "isolate"


def test_filters_and_orders(page: Page):
    page.get_by_label("Type").select_option(label="movie rating")
    expect(shown_items(page)).to_have_count(3)
    page.get_by_label("Type").select_option(label="any")
    page.get_by_label("Ended").select_option(label="failed or missing")
    expect(shown_items(page)).to_have_count(2)
    said = page.locator("#sample-list").inner_text()
    assert "failed: too_long" in said and "missing: it was never generated." in said
    page.get_by_label("Ended").select_option(label="length")
    expect(page.locator("#sample-count")).to_have_text("20 of 22 items")


def test_earlier_turns_can_be_shown(page: Page):
    card = shown_items(page).first
    expect(card.locator(".turn")).to_have_count(4)
    card.get_by_role("button", name="3 earlier turns").press("Enter")
    said = card.locator(".turn dd").all_inner_texts()
    assert [text[-1] for text in said] == list("0123456")


def test_each_chart_has_its_table(page: Page):
    for name in CHARTS:
        figure = page.locator(f"[data-chart={name}]")
        if not figure.locator("details[open]").count():
            figure.locator("summary").press("Enter")
        expect(figure.locator("tbody tr").first).to_be_attached()
        label = figure.locator(".plot").get_attribute("aria-labelledby")
        assert page.locator(f"#{label}").inner_text(), name
    tasks = page.locator("[data-chart=tasks] tbody").inner_text()
    assert "generating" in tasks and "node0<b>" in tasks
    rows = page.locator("[data-chart=output_tokens] tbody tr").all_inner_texts()
    assert rows[0].split() == ["12", "20", "0"]


def test_the_tasks_that_had_failures_can_be_shown_alone(page: Page):
    figure = page.locator("[data-chart=tasks]")
    figure.locator("details").evaluate("each => { each.open = true }")
    expect(figure.locator("tbody")).to_contain_text("task 0")
    page.get_by_label("Show").select_option(label="tasks with a failure or several attempts")
    said = figure.locator("tbody").inner_text()
    assert "task 0" not in said and "task 1" in said and "task 2" in said


def test_what_is_not_whole_is_said_on_the_head(page: Page):
    assert page.locator(".page-head .tag").all_inner_texts() == ["stub", "partial"]
    notes = " ".join(page.locator("main > .note").all_inner_texts())
    assert "20 of 22 items have samples; 1 failed, 1 are missing." in notes
    failures = page.locator("#failures").inner_text()
    assert TEXTS["image"] in failures and "max_num_seqs 8 -> 4" in failures


def test_a_copy_without_what_lies_beside_it_says_so_in_one_line_each(
    open_page: Opener, published: Path, tmp_path: Path
):
    """The directory alone, without plotly above it and without the timeline."""
    copied = tmp_path / "copied"
    shutil.copytree(published, copied)
    (copied / "timeline.json").unlink()
    write_run_page(copied, None)
    (tmp_path / PLOTLY).unlink()
    seen = open_page(copied / "run.html")
    figure = seen.page.locator("[data-chart=throughput]")
    figure.scroll_into_view_if_needed()
    expect(figure.locator(".why")).to_contain_text("plotly.min.js is not where this page looks for it")
    expect(seen.page.locator("#time > .note")).to_have_text(
        "No timeline of tasks: timeline.json is not in this directory."
    )
    figure.locator("summary").click()
    expect(figure.locator("tbody tr").first).to_be_attached()
    assert seen.page.evaluate("window.ran") is None


def test_the_themes_reach_the_charts(open_page: Opener, page_file: Path):
    page = open_page(page_file, dark=True).page
    draw_all(page)
    ink = "getComputedStyle(document.querySelector('[data-chart=memory] .legendtext')).fill"
    dark = page.evaluate(ink)
    page.locator("#theme").click()
    page.wait_for_function(f"{ink} !== '{dark}'")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(open_page: Opener, page_file: Path, dark: bool):
    seen = open_page(page_file, dark=dark)
    draw_all(seen.page)
    seen.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert seen.faint_texts() == []


def test_it_goes_by_keyboard(open_page: Opener, page_file: Path):
    page = open_page(page_file).page
    page.locator(".sections a[href='#samples']").press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("Heat")
    expect(page.locator("#sample-count")).to_have_text("3 of 22 items")
    for control in page.locator("main :is(a, button, input, select, summary)").all():
        assert control.get_attribute("tabindex") in (None, "0")


def test_without_scripts_the_figures_are_there(open_page: Opener, page_file: Path):
    page = open_page(page_file, scripts=False).page
    said = page.locator("main").inner_text()
    assert "Charts and samples need JavaScript" in said
    assert "20 of 22" in said and "max_num_seqs 8 -> 4" in said
    expect(page.locator("#sample-controls")).to_be_hidden()
