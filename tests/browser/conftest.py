"""A Chromium for each file of tests, and the marker of everything in this folder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import PROGRAM, Visit, open_browser, visit

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder is marked browser."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium with an empty profile.

    Not for the session: while playwright's loop lives, no other test of this process can run one of its own.
    """
    if PROGRAM is None:
        pytest.skip("the program chromium is missing (make browser-packages, as root)")
    with open_browser() as opened:
        yield opened


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a file (see `visit`) until the test ends."""
    with ExitStack() as stack:

        def opened(path: Path, *words: Any, **more: Any) -> Visit:
            return stack.enter_context(visit(browser, path, *words, **more))

        yield opened
