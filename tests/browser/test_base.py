"""What all pages have in common: the policy, the theme, the keyboard; and that the fixture sees offences."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from launch.collect import pages
from tests.browser.chromium import PHONE, SCREEN, Visit, visit
from tests.browser.hostile import TEXTS

Opener = Callable[..., Visit]
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base alone, with each hostile text in its title."""
    path = tmp_path_factory.mktemp("base") / "page.html"
    path.write_bytes(pages.render_page("base.html.j2", "Runs " + "".join(TEXTS.values()), {}))
    return path


@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["phone", "screen"])
def test_it_opens_without_an_error_or_a_request(open_page: Opener, plain: Path, size: tuple[int, int]):
    seen = open_page(plain, size)
    assert seen.page.evaluate("window.ran") is None
    assert seen.offences() == []
    assert not seen.is_wider_than_the_screen()


def test_the_theme_follows_the_system_until_it_is_switched(open_page: Opener, plain: Path):
    page = open_page(plain, dark=True).page
    dark = page.evaluate(BACKGROUND)
    button = page.get_by_role("button", name="Theme: system")
    button.press("Enter")
    light = page.evaluate(BACKGROUND)
    assert (dark, light) == ("rgb(16, 19, 23)", "rgb(255, 255, 255)")
    reload_until(page, light)  # what was chosen is kept
    page.get_by_role("button", name="Theme: light").press("Enter")
    assert page.evaluate(BACKGROUND) == dark


def reload_until(page: Page, background: str) -> None:
    """The browser keeps what a page stores in its own time: a reload at once may come before that."""
    until = time.monotonic() + 20
    while True:
        page.reload()
        if (found := page.evaluate(BACKGROUND)) == background or time.monotonic() > until:
            break
        page.wait_for_timeout(200)
    assert found == background


def test_without_scripts_it_is_dark_where_the_system_is(open_page: Opener, plain: Path):
    page = open_page(plain, dark=True, scripts=False).page
    assert "Theme" not in page.locator("body").inner_text()
    assert page.evaluate(BACKGROUND) == "rgb(16, 19, 23)"


def test_the_first_tab_skips_to_the_content(open_page: Opener, plain: Path):
    page = open_page(plain).page
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the content")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_a_script_without_the_nonce_does_not_run(browser: Browser, plain: Path, tmp_path: Path):
    """And the fixture hears of it: were escaping lost, every test of hostile texts would fail."""
    broken = tmp_path / "broken.html"
    added = b"<script>window.ran = 1</script><img src='http://192.0.2.1/x.png' onerror='window.ran = 2'>"
    broken.write_bytes(plain.read_bytes().replace(b"</main>", added + b"</main>"))
    with visit(browser, broken) as seen:
        seen.page.wait_for_timeout(100)
        assert seen.page.evaluate("window.ran") is None
        assert len(seen.offences()) >= 3


def test_the_fixture_hears_requests_dialogs_and_errors(browser: Browser, tmp_path: Path):
    path = tmp_path / "bad.html"
    path.write_text("<script src=beside.js></script><script>alert('hi'); nothing.there</script>")
    with visit(browser, path) as seen:
        said = "\n".join(seen.offences())
    for part in ("beside.js", "hi", "uncaught: nothing is not defined"):
        assert part in said
    assert "beside.js" not in "\n".join(url for url in seen.offences("beside.js") if url.startswith("file"))
