"""Estimates of tokens: classes of characters, calibrated rates, and how far off they are."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from launch.errors import CheckpointError
from launch.model.tokens import (
    DEFAULT_RATES,
    MAX_CHARACTERS,
    Script,
    TokenRates,
    count_scripts,
    script_of,
    scripts_of,
    tally_scripts,
)
from tests.models import make_tiny_llama

SENTENCES = Path(__file__).with_name("scripts.txt").read_text(encoding="utf-8").splitlines()
SCENARIOS = Path(__file__).parents[2] / "demo" / "scenarios"


def texts_of(value: Any) -> Iterator[str]:
    """What people wrote in a scenario."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key in {
                "content",
                "continuation",
                "continuation_prefix",
                "description",
                "explanation",
                "unstructured",
            }:
                yield inner
            elif not isinstance(inner, str):
                yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)


def demo_texts() -> list[str]:
    """English and Chinese texts of the demo scenarios."""
    return [
        text
        for path in sorted(SCENARIOS.glob("*/t*.json"))  # test_leaderboard.json and train.json
        for text in texts_of(json.loads(path.read_text(encoding="utf-8")))
    ]


def mixed_texts() -> list[str]:
    """The demo's texts with sentences of many scripts in between, shuffled."""
    texts = demo_texts()
    texts += SENTENCES * (len(texts) // (4 * len(SENTENCES)))
    random.Random(7).shuffle(texts)
    return texts


def num_tokens(tokenizer: Tokenizer, texts: list[str]) -> int:
    return sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)


@pytest.fixture(scope="module")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer of 640 tokens: as far from the default rates as one gets."""
    return make_tiny_llama(tmp_path_factory.mktemp("tokens") / "tiny") / "tokenizer.json"


@pytest.mark.parametrize(
    ("character", "script"),
    [
        ("a", Script.LETTER),
        ("\n", Script.SPACE),
        ("7", Script.DIGIT),
        ("_", Script.PUNCTUATION),
        ("\x00", Script.PUNCTUATION),
        ("é", Script.ALPHABET),
        ("я", Script.ALPHABET),
        ("雨", Script.IDEOGRAPH),
        ("。", Script.CJK_PUNCTUATION),
        ("！", Script.CJK_PUNCTUATION),
        ("の", Script.KANA),
        ("ミ", Script.KANA),
        ("한", Script.HANGUL),
        ("न", Script.OTHER),
        ("“", Script.OTHER),
        ("🎬", Script.EMOJI),
    ],
)
def test_classes(character: str, script: Script) -> None:
    assert script_of(character) is script


@given(st.text())
def test_counting_bytes_is_counting_characters(text: str) -> None:
    one_by_one = [script_of(character) for character in text]
    assert count_scripts(text) == tuple(one_by_one.count(script) for script in Script)
    assert list(scripts_of(text)) == one_by_one


def test_surrogates_are_counted_too() -> None:
    assert sum(count_scripts("a\ud800b\udfff")) == 4


@given(texts=st.lists(st.text(), max_size=5))
def test_every_token_is_counted_for_some_class(tiny_tokenizer: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_tokenizer))
    _, tokens = tally_scripts(tokenizer, texts)
    assert sum(tokens) == pytest.approx(num_tokens(tokenizer, texts))


def test_tallying_by_kinds_of_tokens_is_tallying_token_by_token(tiny_tokenizer: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_tokenizer))
    characters, tokens = [0] * len(Script), [0.0] * len(Script)
    for text in SENTENCES:
        for character in text:
            characters[script_of(character)] += 1
        for start, stop in tokenizer.encode(text, add_special_tokens=False).offsets:
            covered = text[start:stop] or text[min(start, len(text) - 1)]
            for character in covered:
                tokens[script_of(character)] += 1 / len(covered)
    fast_characters, fast_tokens = tally_scripts(tokenizer, SENTENCES)
    assert fast_characters == characters and fast_tokens == pytest.approx(tokens)


def test_calibrated_rates_are_within_ten_percent_on_held_out_text(tiny_tokenizer: Path) -> None:
    check_held_out(tiny_tokenizer)


def test_smollm2_is_within_ten_percent_on_held_out_text(smollm2: Path) -> None:
    check_held_out(smollm2 / "tokenizer.json")


def check_held_out(tokenizer_json: Path) -> None:
    """Forty mixed texts at a time, about what a user has, none of them seen in calibration."""
    texts = mixed_texts()
    seen, held_out = texts[:256], texts[256:]
    rates = TokenRates.calibrate(tokenizer_json, seen)
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    assert rates.source == "tokenizer.json over 256 texts"
    estimated = sum(map(rates.estimate, held_out))
    assert estimated == pytest.approx(num_tokens(tokenizer, held_out), rel=0.05)
    groups = [held_out[start : start + 40] for start in range(0, len(held_out) - 40, 40)]
    assert len(groups) > 5
    for group in groups:
        assert sum(map(rates.estimate, group)) == pytest.approx(num_tokens(tokenizer, group), rel=0.10)


def test_the_default_rates_are_those_of_smollm2(smollm2: Path) -> None:
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    characters, tokens = tally_scripts(tokenizer, demo_texts() + SENTENCES)
    for script in Script:
        assert characters[script] >= 10, script
        assert DEFAULT_RATES[script] == pytest.approx(tokens[script] / characters[script], rel=0.05), script


def test_without_a_tokenizer_or_texts_the_table_is_used(tiny_tokenizer: Path) -> None:
    table = TokenRates()
    assert table.source == "a table measured with the tokenizer of SmolLM2-135M-Instruct"
    assert TokenRates.calibrate(None, ["some text"]) == table
    assert TokenRates.calibrate(tiny_tokenizer, []) == TokenRates.calibrate(tiny_tokenizer, ["", ""]) == table
    assert table.estimate("") == 0
    assert table.estimate("雨 a1") == pytest.approx(1.98 + 0.25 + 0.21 + 1.0)


def test_a_script_that_no_text_had_keeps_its_default_rate(tiny_tokenizer: Path) -> None:
    rates = TokenRates.calibrate(tiny_tokenizer, ["only latin letters here"] * 50)
    assert rates.rates[Script.HANGUL] == DEFAULT_RATES[Script.HANGUL]
    assert rates.rates[Script.LETTER] > 2 * DEFAULT_RATES[Script.LETTER]


def test_only_the_first_256_texts_and_their_beginnings_are_read(tiny_tokenizer: Path) -> None:
    def texts() -> Iterator[str]:
        yield from ["word " * 20] * 255
        yield "y" * (50 * MAX_CHARACTERS)
        raise AssertionError("a 257th text was asked for")

    assert TokenRates.calibrate(tiny_tokenizer, texts()).source == "tokenizer.json over 256 texts"


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    damaged = tmp_path / "tokenizer.json"
    damaged.write_text("{")
    with pytest.raises(CheckpointError) as caught:
        TokenRates.calibrate(damaged, ["text"])
    assert str(caught.value).startswith(f"{damaged}: not a tokenizer: ")
    assert str(caught.value).endswith("Copy the file anew.") and "\n" not in str(caught.value)
