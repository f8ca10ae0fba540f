"""Pages escape what is put in, and data for scripts cannot end their element."""

import json
import re

import pytest

from launch.collect.pages import page_json, render_page, shown
from tests.browser.hostile import TEXTS

SMALL = {kind: text for kind, text in TEXTS.items() if kind != "long"}


def test_the_same_values_give_the_same_bytes_and_another_text_another_nonce():
    one, again, other = (render_page("base.html.j2", title, {}) for title in ("a", "a", "b"))
    nonces = [re.findall(rb'nonce[-=]"?([0-9a-f]{32})', page) for page in (one, other)]
    assert one == again
    assert len(set(nonces[0])) == len(set(nonces[1])) == 1 and nonces[0] != nonces[1]


def test_every_text_is_escaped():
    page = render_page("base.html.j2", "".join(SMALL.values()), {}).decode()
    assert page.count("<script") == 1 and page.count("</style") == 1
    assert "<img" not in page and "\x00" not in page and "\u202e" not in page


def test_a_lone_surrogate_does_not_break_a_page():
    assert b"a\\U0000D800" in render_page("base.html.j2", "a\ud800", {})


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_data_come_back_as_they_were_and_cannot_end_their_element(text: str):
    written = page_json({text: [text]})
    assert not set("<>&\u2028\u2029\x00") & set(written)
    assert json.loads(written) == {text: [text]}


def test_a_name_is_shown_short_and_printable():
    assert shown("a\u202eb\n") == "a\\U0000202Eb\\U0000000A"
    assert shown("長" * 1000, 10) == "長" * 9 + "…"
