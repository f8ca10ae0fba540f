"""HTML pages out of templates/report/: every value escaped, and a policy under which only our scripts run.

Texts in a page are hostile: a model or a scenario wrote them. Three walls stand before each: jinja2 escapes
it; data for scripts are JSON that cannot end its element; and where both fail, the page's
Content-Security-Policy runs only scripts that carry the nonce. That is a digest of the whole page, so a text
in the page cannot hold it, and the same values give the same bytes.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import launch
from launch.config.shipped import shipped
from launch.config.wording import printable

MAX_SHOWN = 300
# What HTML reads inside <script>, and the two that ended a line of JavaScript before 2019.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render_page(template: str, title: str, values: Mapping[str, Any]) -> bytes:
    """The page of a template in templates/report/ as UTF-8, the same bytes for the same values.

    The template has `values`, `title`, `nonce` (for its scripts) and `version`; a name that it uses and that
    is not given is an error. A lone surrogate, which UTF-8 cannot hold,
    becomes a question mark.
    """
    page = _environment().get_template(template)
    given = {**values, "title": shown(title), "version": launch.__version__}
    nonce = hashlib.sha256(_encoded(page.render(given, nonce=""))).hexdigest()[:32]
    return _encoded(page.render(given, nonce=nonce))


def page_json(value: Any) -> Markup:
    """A value as JSON for the inside of `<script type="application/json">`.

    Nothing in it ends the element or opens a comment, whatever the texts are; JSON.parse gives them back as
    they were, NUL and U+2028 included. TypeError for what orjson does not write, such as a lone surrogate.
    """
    text = orjson.dumps(value).decode()
    for character, escape in _ESCAPED.items():  # str.translate takes six times as long on Chinese text
        text = text.replace(character, escape)
    return Markup(text)


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """A name as pages show it: no longer than `limit`, with `\\UXXXXXXXX` for what is not printable.

    A name that turns the line around (U+202E) or is a megabyte long must not speak for others.
    """
    return printable(text if len(text) <= limit else f"{text[: limit - 1]}…")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(shipped("templates", "report")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"page_json": page_json, "shown": shown}
    environment.globals["own_file"] = _own_file
    return environment


def _own_file(name: str) -> Markup:
    """A script or style sheet of templates/report/ as it is, for the inside of its element."""
    return Markup(shipped("templates", "report", name).read_text(encoding="utf-8"))


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")
