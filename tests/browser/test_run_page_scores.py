"""Scores of users on a page: spread, sorted, searched, a part at a time; and items ordered by their score."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from launch.cli.scoring import score_into
from launch.collect.merge import merge
from launch.collect.published import open_published
from launch.collect.reference_texts import known_references
from launch.collect.run_page.write import write_run_page
from launch.collect.scoring.score import Options
from tests.browser.chromium import visit
from tests.collect.builders import make_generations, plan_run, write_results
from tests.models import make_tiny_llama
from tests.scenarios.builders import dialogue_item, turn, user

NUM_USERS = 30


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A scored run of 30 users; the further down, the more of its reference a user's sample has."""
    root = tmp_path_factory.mktemp("scored")
    checkpoint = make_tiny_llama(root / "model", num_layers=1, num_heads=2, num_kv_heads=1)
    users = [
        user(
            f"user-{number:02}",
            dialogue=[
                dialogue_item(turn("BEN", "Well?"), continuation=f"text {number}.0 " + "text " * number)
            ],
        )
        for number in range(NUM_USERS)
    ]
    run = plan_run(root, checkpoint, users)
    write_results(run, make_generations(run))
    published = open_published(merge(run).output_dir)
    score_into(published, known_references(published), Options(processes=1))
    with visit(browser, write_run_page(published.path, run)) as seen:
        yield seen.page
        assert seen.offences("plotly.min.js") == []


def column(page: Page, place: int) -> list[str]:
    return page.locator(f"#user-table tbody td:nth-child({place})").all_inner_texts()


def test_a_table_that_sorts_by_any_score(page: Page) -> None:
    head = page.locator("#user-table th", has_text="chrF++")
    assert head.get_attribute("aria-sort") == "ascending", "the worst first"
    place = page.locator("#user-table th").all_inner_texts().index(head.inner_text()) + 1
    rising = [float(text) for text in column(page, place)]
    assert rising == sorted(rising) and len(rising) == 20 and rising[0] < rising[-1]
    head.get_by_role("button").press("Enter")
    expect(page.locator("#user-table th", has_text="chrF++")).to_have_attribute("aria-sort", "descending")
    falling = [float(text) for text in column(page, place)]
    assert falling == sorted(falling, reverse=True) and falling[0] > rising[0]
    expect(page.locator("#user-table th", has_text="chrF++").get_by_role("button")).to_be_focused()


def test_users_are_found_and_shown_a_part_at_a_time(page: Page) -> None:
    expect(page.locator("#user-range")).to_have_text("1 to 20 of 30")
    page.get_by_role("button", name="Later users").click()
    expect(page.locator("#user-range")).to_have_text("21 to 30 of 30")
    page.get_by_label("User", exact=True).fill("USER-07")
    expect(page.locator("#user-count")).to_have_text("1 of 30 users")
    assert column(page, 1) == ["user-07"]
    page.get_by_label("User", exact=True).fill("")


def test_how_they_are_spread(page: Page) -> None:
    figure = page.locator("[data-chart=users]")
    figure.scroll_into_view_if_needed()
    expect(figure.locator(".plot[data-drawn]")).to_be_attached()
    figure.locator("summary").click()
    expect(figure.locator("tbody tr").first).to_be_attached()
    counts = [int(text) for text in figure.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert sum(counts) == NUM_USERS
    page.get_by_label("Score", exact=True).select_option(label="tokens a sample")
    expect(figure.locator("thead")).to_contain_text("tokens a sample")


def test_items_are_ordered_by_their_score(page: Page) -> None:
    page.get_by_label("Order").select_option(label="lowest chrF++, mean of samples")
    lowest = page.locator("#sample-list .item").first.inner_text()
    page.get_by_label("Order").select_option(label="highest chrF++, mean of samples")
    assert page.locator("#sample-list .item").first.inner_text() != lowest
    assert "chrF++" in lowest
