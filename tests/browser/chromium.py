"""A headless Chromium that reports what no page of ours may do: log errors, load anything, open dialogs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

PROGRAM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",  # root, as tests in containers are
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
)
TIMEOUT_MS = 60_000
"""How long a test waits for what must come: the other processes of the suite may have every core."""
expect.set_options(timeout=TIMEOUT_MS)
PHONE = (360, 740)
SCREEN = (1280, 900)


FAINT = """
() => {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if (!color.endsWith(", 0)")) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("main *, header *, footer")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = `${element.tagName}.${element.getAttribute("class") ?? ""}`;
    if (ratio < 4.5) found.push(`${name} ${ratio.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
  }
  return found;
}
"""


@dataclass
class Visit:
    """A page that is open, and what it did meanwhile; `requests` without the page itself and `data:`."""

    page: Page
    url: str
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def offences(self, *allowed: str) -> list[str]:
        """What it did that it may not; it may request files whose address ends in one of `allowed`."""
        foreign = [url for url in self.requests if not (allowed and url.endswith(allowed))]
        return [*self.console, *foreign, *self.dialogs]

    def is_wider_than_the_screen(self) -> bool:
        """Whether the page scrolls sideways."""
        root = "document.documentElement"
        return bool(self.page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"))

    def faint_texts(self) -> list[str]:
        """Texts of less than 4.5 to 1 on what lies behind (www.w3.org/TR/WCAG22/#contrast-minimum)."""
        found: list[str] = self.page.evaluate(FAINT)
        return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium with an empty profile of its own."""
    assert PROGRAM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(
    browser: Browser,
    path: Path,
    size: tuple[int, int] = SCREEN,
    *,
    dark: bool = False,
    scripts: bool = True,
    watcher: str = "",
) -> Iterator[Visit]:
    """Opens a file as a person does, from file://, in a window of `size` pixels.

    `watcher` is a script of the test's that runs before any of the page's.
    """
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        locale="en-US",
        timezone_id="UTC",
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    if watcher:
        page.add_init_script(watcher)
    found = Visit(page, path.resolve().as_uri())

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.console.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        url = request.url.partition("#")[0]
        if url != found.url and not url.startswith(("data:", "blob:")):
            found.requests.append(url)

    page.on("console", heard)
    page.on("pageerror", lambda error: found.console.append(f"uncaught: {error}"))
    page.on("request", asked)
    page.on("dialog", lambda dialog: (found.dialogs.append(dialog.message), dialog.dismiss()))
    try:
        page.goto(found.url)
        yield found
    finally:
        context.close()
