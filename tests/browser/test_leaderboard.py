"""index.html as people use it: sorted, filtered, compared; whole without a script; safe with any text."""

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from launch.collect.leaderboard.record import INDEX
from launch.collect.leaderboard.write import write_leaderboard
from tests.browser.chromium import PHONE, SCREEN, Visit
from tests.browser.hostile import TEXTS
from tests.collect.leaderboard.publications import LEDGER, Publications, publish_one

Opener = Callable[..., Visit]
CHRF, MAE = "dialogue.chrf_mean", "movie_rating.mae_mean"
MAX_OPEN_S = 2.0


@pytest.fixture(scope="module")
def publications(tmp_path_factory: pytest.TempPathFactory) -> Publications:
    return Publications(publish_one(tmp_path_factory.mktemp("publications")))


@pytest.fixture(scope="module")
def board(publications: Publications, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three full runs of one scenario, one of another, and a partial, a limited and a stub run."""
    folder = tmp_path_factory.mktemp("board")
    for name, chrf, mae, rate in (
        ("one", 20.0, 0.9, 9.0),
        ("two", 30.0, 1.5, 100.0),
        ("three", 25.0, 0.5, None),
    ):
        publications.write(
            folder / name,
            scores={CHRF: chrf, MAE: mae},
            summary={
                "checkpoint_hub_id": f"org/model-{name}",
                "throughput_samples_per_sec": rate,
                "sampling_params.temperature": chrf / 100,
                "ledger": {
                    "one": LEDGER | {"energy_covers": 0.5},
                    "two": LEDGER,
                    "three": {"no_gpu": "no NVIDIA driver"},
                }[name],
            },
        )
    (folder / "one" / "run.html").write_text("<title>Run one</title>")
    publications.write(folder / "other", summary={"dataset": "映画"}, manifest={"scenario_digest": "f" * 64})
    best = {CHRF: 99.0}
    subset = {"num_users": 1, "num_items": 4, "of_users": 9, "of_items": 400}
    publications.write(folder / "stub", scores=best, engine="stub")
    publications.write(folder / "limited", scores=best, manifest={"subset": subset})
    lacking = {"complete": False, "num_done": 3, "num_missing": 1}
    publications.write(folder / "partial", scores=best, manifest=lacking)
    (folder / "notes").mkdir()
    write_leaderboard(folder)
    return folder / INDEX


@pytest.fixture(scope="module")
def hostile(publications: Publications, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every hostile text in every place of a run that a page may show."""
    folder = tmp_path_factory.mktemp("hostile")
    for place, text in enumerate(TEXTS.values()):
        name = text.replace("/", "|").replace("\x00", "")[:40]
        directory = publications.write(
            folder / f"{name}{place}",
            summary={
                "dataset": text,
                "checkpoint_hub_id": text,
                "ablation_config": text,
                "preset": text,
                "prompt.system_prompt": text,
                "prompt.chat_template_kwargs": {text: text},
                "ledger": {"no_gpu": text},
            },
            manifest={"published": text, "scenario_digest": text[:200]},
            scores={CHRF: float(place)},
        )
        (directory / "run.html").touch()
        (folder / f"left out {name}").mkdir()
    publications.write(folder / "javascript:alert(1)", engine="stub", summary={"checkpoint_hub_id": "a"})
    damaged = publications.write(folder / "damaged", summary={"checkpoint_hub_id": TEXTS["script"]})
    (damaged / "scores.json").write_text(TEXTS["script"])
    write_leaderboard(folder)
    return folder / INDEX


def names_in(table: Locator) -> list[str]:
    return table.locator("tbody tr:visible th .soft").all_inner_texts()


def table_of(page: Page, heading: str) -> Locator:
    """Rendered wherever it stands: the innerText of what content-visibility leaves out is empty."""
    section = page.locator("section.board", has=page.get_by_role("heading", name=heading)).first
    section.evaluate("(section) => { section.style.contentVisibility = 'visible' }")
    return section.locator("table").first


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["phone", "screen"])
def test_no_text_runs_loads_or_breaks_anything(
    open_page: Opener, hostile: Path, size: tuple[int, int], scripts: bool
):
    seen = open_page(hostile, size, scripts=scripts)
    assert seen.offences() == []
    assert not seen.is_wider_than_the_screen()
    if scripts:
        seen.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        seen.page.locator(".tick input").nth(0).check()
        seen.page.locator(".tick input").nth(5).check()
        seen.page.get_by_role("button", name="Compare").click()
        expect(seen.page.get_by_role("dialog")).to_contain_text("prompt.system_prompt")
        seen.page.wait_for_timeout(100)
        assert seen.page.evaluate("window.ran") is None
        assert seen.page.title() == "Leaderboard"
    assert seen.offences() == []


def test_a_link_leads_to_the_page_of_its_run_alone(open_page: Opener, hostile: Path):
    links = open_page(hostile).page.locator("main a")
    assert links.count() == len(TEXTS)
    for place in range(links.count()):
        address = links.nth(place).evaluate("(link) => link.href")
        assert address.startswith(hostile.parent.as_uri()) and address.endswith("/run.html")
        assert Path(links.nth(place).evaluate("(link) => decodeURIComponent(link.pathname)")).is_file()


def test_it_is_a_whole_table_without_scripts(open_page: Opener, board: Path):
    seen = open_page(board, scripts=False)
    page = seen.page
    table = table_of(page, "Chameleons")
    assert names_in(table) == ["two", "three", "one"]
    row = table.locator("tbody tr").first.inner_text().replace("\n", " ")
    for part in (
        "1",
        "org/model-two",
        "30.00",
        "27.00 to 33.00",
        "6,000",
        "1.50",
        "0.900",
        "4 of 4",
        "T 0.3",
    ):
        assert part in row
    assert not page.locator("form, .tick, #theme").first.is_visible()
    page.get_by_role("link", name="one").click()
    expect(page).to_have_title("Run one")


def test_only_full_runs_of_one_scenario_are_ranked(open_page: Opener, board: Path):
    page = open_page(board).page
    section = page.locator("section.board", has=page.get_by_role("heading", name="Chameleons"))
    assert table_of(page, "Chameleons").locator("tbody .rank").all_inner_texts() == ["1", "2", "3"]
    expect(section).to_contain_text(
        "3 of 3 runs ranked by dialogue · chrF++, mean of samples, higher is better"
    )
    expect(section).to_contain_text("only among complete runs of this scenario with these references")
    apart = table_of(page, "Not ranked: partial, limited and stub runs")
    assert sorted(names_in(apart)) == ["limited", "partial", "stub"]
    assert apart.locator(".rank").count() == 0
    for mark, means in (
        ("stub", "Texts of the stub engine"),
        ("limited", "Limited to 4 of 400 items."),
        ("partial", "Of 4 items: 1 missing."),
    ):
        expect(apart.locator("tr", has_text=mark).last).to_contain_text(means)
    expect(page.locator("details.note")).to_contain_text("1 directory is left out")


def test_no_gpu_is_said_and_is_no_zero(open_page: Opener, board: Path):
    row = table_of(open_page(board).page, "Chameleons").locator("tr", has_text="model-three")
    assert [
        row.locator(f"[data-label='{label}']").inner_text() for label in ("GPU-hours", "Energy, kWh")
    ] == [
        "no GPU",
        "no GPU",
    ]


def test_energy_that_was_measured_in_part_is_a_lower_bound(open_page: Opener, board: Path):
    table = table_of(open_page(board).page, "Chameleons")
    cells = [
        table.locator("tr", has_text=f"model-{name}").locator("[data-label='Energy, kWh']")
        for name in ("one", "two")
    ]
    assert [cell.inner_text() for cell in cells] == ["≥ 0.900", "0.900"]


def test_every_column_sorts_by_the_keyboard_and_says_so(open_page: Opener, board: Path):
    page = open_page(board).page
    table = table_of(page, "Chameleons")
    heads = table.get_by_role("columnheader").filter(has=page.get_by_role("button"))
    assert heads.count() >= 10
    for place in range(heads.count()):
        heads.nth(place).get_by_role("button").press("Enter")
        first = heads.nth(place).get_attribute("aria-sort")
        heads.nth(place).get_by_role("button").press("Space")
        assert {first, heads.nth(place).get_attribute("aria-sort")} == {"ascending", "descending"}
        assert table.locator("[aria-sort]").count() == 1
    rate = table.get_by_role("columnheader", name="Samples/min")
    for order, names in (("descending", ["two", "one", "three"]), ("ascending", ["one", "two", "three"])):
        rate.get_by_role("button").press("Enter")
        assert (rate.get_attribute("aria-sort"), names_in(table)) == (order, names), "what is unknown is last"
    mae = table.get_by_role("columnheader", name="movie rating MAE")
    mae.get_by_role("button").press("Enter")
    assert names_in(table) == ["three", "one", "two"], "the best is first, which is the lowest"


def test_ranking_by_another_score(open_page: Opener, board: Path):
    page = open_page(board).page
    section = page.locator("section.board", has=page.get_by_role("heading", name="Chameleons"))
    table = section.locator("table")
    section.get_by_label("Rank by").select_option(MAE)
    assert (names_in(table), table.locator(".rank").all_inner_texts()) == (
        ["three", "one", "two"],
        ["1", "2", "3"],
    )
    expect(section).to_contain_text(
        "3 of 3 runs ranked by movie rating · MAE, mean of samples, lower is better"
    )
    assert not table.locator("th.extra").is_visible()
    section.get_by_label("Rank by").select_option("dialogue.rouge_l_mean")
    assert table.locator(".rank").all_inner_texts() == ["1", "1", "1"]
    expect(table.locator("th.extra")).to_contain_text("ROUGE-L")
    assert table.locator("td.extra").first.inner_text().split() == ["0.00", "no", "interval"], "one user"


def test_search_and_choices_narrow_what_is_shown(open_page: Opener, board: Path):
    page = open_page(board).page
    page.get_by_label("Search").fill("model-TWO")
    assert names_in(page.locator("table")) == ["two"]
    expect(page.locator("#count")).to_have_text("1 of 7 runs")
    assert page.locator("section.board:visible").count() == 1
    page.get_by_label("Search").fill("profile T 0.25")
    assert names_in(page.locator("table")) == ["three"]
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.locator("#count")).to_have_text("7 of 7 runs")
    page.locator(".filters").get_by_label("Dataset").select_option(label="映画")
    assert names_in(page.locator("table")) == ["other"]
    page.locator(".filters").get_by_label("Model").select_option(label="org/model-one")
    assert names_in(page.locator("table")) == []


def test_two_runs_side_by_side_by_the_keyboard(open_page: Opener, board: Path):
    page = open_page(board).page
    page.get_by_label("Compare one").press("Space")
    expect(page.locator("#chosen")).to_have_text("Tick one more run to compare.")
    expect(page.get_by_role("button", name="Compare")).to_be_disabled()
    page.get_by_label("Compare two").press("Space")
    expect(page.get_by_label("Compare three")).to_be_disabled()
    page.get_by_role("button", name="Compare").press("Enter")
    dialog = page.get_by_role("dialog", name="Side by side")
    text = re.sub(r"\s+", " ", dialog.inner_text())
    for part in (
        "sampling.temperature 0.3 0.2",
        "dialogue · chrF++, mean of samples 30.00 (27.00 to 33.00) 20.00 (18.00 to 22.00)"
        " −10.00, A better; intervals apart",
        "movie rating · MAE, mean of samples 1.5000 (1.3500 to 1.6500) 0.9000 (0.8100 to 0.9900)"
        " −0.6000, B better; intervals apart",
        "dialogue · ROUGE-L, mean of samples 0.00 (no interval) 0.00 (no interval) the same",
        "Samples/min 6,000 540 −91.0 %",
        "Cost 3.00 EUR 3.00 EUR –",
    ):
        assert part in text
    assert "sampling.top_p" not in text, "only settings that differ"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Untick").press("Enter")
    expect(page.locator("#tray")).to_be_hidden()


def test_scores_of_other_items_are_not_subtracted(open_page: Opener, board: Path):
    page = open_page(board).page
    page.get_by_label("Compare one").check()
    page.get_by_label("Compare limited").check()
    page.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("B is not ranked: limited.")
    line = dialog.get_by_role("row", name="dialogue · chrF++, mean of samples")
    expect(line).to_contain_text("not comparable: other items, references or ways")


def test_eight_scores_and_every_figure_fit_beside_each_other(open_page: Opener, board: Path):
    """In a window of 1280 pixels nothing has to be scrolled sideways, in either kind of table."""
    page = open_page(board, SCREEN).page
    boxes = page.locator(".board .scroll")
    widths = boxes.evaluate_all("(all) => all.map((box) => [box.scrollWidth, box.clientWidth])")
    assert len(widths) == 3 and all(content <= room for content, room in widths), widths
    table = table_of(page, "Chameleons")
    heads = [" ".join(text.split()) for text in table.locator("thead th:visible").all_text_contents()]
    figures = ["Samples/min", "GPU-hours", "Energy, kWh", "Items done", "Published"]
    assert heads[1:-8] == ["Rank", "Run", "Ablation", *figures] and len(heads) == 17
    assert table.locator(".run .settings").first.inner_text().split()[:3] == ["vllm", "TP", "1"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_every_figure_has_its_name(open_page: Opener, board: Path, dark: bool):
    seen = open_page(board, PHONE, dark=dark)
    assert seen.offences() == [] and not seen.is_wider_than_the_screen()
    section = seen.page.locator("section.board").first
    section.get_by_label("Sort by").select_option(label="Samples/min, ascending")
    assert names_in(section.locator("table")) == ["one", "two", "three"]
    cells = section.locator("tbody tr").first.locator("td:visible:not(.tick)")
    for place in range(cells.count()):
        shown = cells.nth(place).evaluate("(cell) => getComputedStyle(cell, '::before').content")
        assert shown not in ("none", '""')


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(open_page: Opener, board: Path, dark: bool):
    """4.5 to 1 (www.w3.org/TR/WCAG22/#contrast-minimum)."""
    assert open_page(board, dark=dark).faint_texts() == []


@pytest.fixture(scope="module")
def many(publications: Publications, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 published runs over ten datasets and twenty models."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(500):
        dataset = f"dataset-{number % 10}"
        publications.write(
            folder / f"run-{number:03}",
            scores={CHRF: 10 + number % 37, MAE: 1 + number % 7},
            summary={
                "dataset": dataset,
                "checkpoint_hub_id": f"org/model-{number % 20}",
                "sampling_params.seed": number,
            },
            manifest={"scenario_digest": hashlib.sha256(dataset.encode()).hexdigest()},
        )
    write_leaderboard(folder)
    return folder / INDEX


def test_500_runs_open_and_filter_within_two_seconds(open_page: Opener, many: Path):
    """The best of six: the cores of this machine may be another's meanwhile."""
    opened_s, filtered_s = [], []
    for _ in range(6):
        opened, filtered = open_and_filter(open_page(many))
        opened_s.append(opened)
        filtered_s.append(filtered)
        if min(opened_s) < MAX_OPEN_S and min(filtered_s) < MAX_OPEN_S:
            return
    pytest.fail(f"opened in {opened_s} s, filtered in {filtered_s} s")


def open_and_filter(seen: Visit) -> tuple[float, float]:
    """Seconds until the page was ready, by its own clock, and until one run of 500 was found."""
    count = seen.page.locator("#count")
    expect(count).to_have_text("500 of 500 runs")
    opened_ms = seen.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    began = time.monotonic()
    seen.page.get_by_label("Search").fill("run-123")
    expect(count).to_have_text("1 of 500 runs")
    filtered_s = time.monotonic() - began
    assert seen.offences() == []
    return opened_ms / 1000, filtered_s
