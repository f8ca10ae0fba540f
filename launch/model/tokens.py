"""How many tokens a text has, without a tokenizer for every text: characters per script class x a rate.

The rates come from up to 256 texts of the run, read by the checkpoint's own tokenizer: each token is counted
for the characters it covers, so that the rates add up to exactly the tokens of those texts. Estimates move
work between tasks, never results; exact counts are taken where prompts are made.

Classes are told apart by UTF-8 lead bytes, which a byte table counts at hundreds of MB/s: "kana" so holds
all of U+3040-3FFF (bopomofo, CJK extension A too), "hangul" U+A000-DFFF, "other" Indic, Thai, symbols.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from operator import mul
from pathlib import Path

from tokenizers import Tokenizer

from launch.errors import CheckpointError

MAX_TEXTS = 256
MAX_CHARACTERS = 8192  # of each text; more would only cost time
PRIOR_CHARACTERS = 64  # weight of the default rate of a class: it decides for classes that are hardly seen


class Script(IntEnum):
    """Classes of characters that a tokenizer treats alike."""

    LETTER = 0
    SPACE = 1
    DIGIT = 2
    PUNCTUATION = 3
    ALPHABET = 4
    IDEOGRAPH = 5
    CJK_PUNCTUATION = 6
    KANA = 7
    HANGUL = 8
    OTHER = 9
    EMOJI = 10


NUM_SCRIPTS = len(Script)
NOT_A_LEAD_BYTE = 255
_ASCII_CLASSES = (1, 2, 3, 0)
_ALL_CLASSES = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 5)
_CJK_SYMBOLS = "\u3000".encode()[:2]  # the first two bytes of U+3000-303F, punctuation in the block of kana
_FIRST_KANA = "\u3040"

# Measured with DEFAULTS_SOURCE over the demo scenarios and tests/model/scripts.txt (`tally_scripts`). Its
# vocabulary of 49,152 is English: rates of other scripts are high for models made for them, which makes a
# user of such texts look costlier beside an English one, and nothing else.
DEFAULTS_SOURCE = "SmolLM2-135M-Instruct"
DEFAULT_RATES: Mapping[Script, float] = {
    Script.LETTER: 0.21,
    Script.SPACE: 0.25,
    Script.DIGIT: 1.0,
    Script.PUNCTUATION: 0.91,
    Script.ALPHABET: 0.91,
    Script.IDEOGRAPH: 1.98,
    Script.CJK_PUNCTUATION: 1.02,
    Script.KANA: 1.77,
    Script.HANGUL: 2.61,
    Script.OTHER: 1.5,
    Script.EMOJI: 2.6,
}


def script_of(character: str) -> Script:
    """The class of one character."""
    point = ord(character)
    if 0x3000 <= point < 0x3040:
        return Script.CJK_PUNCTUATION
    return Script(_LEAD_BYTE_SCRIPTS[character.encode("utf-8", "surrogatepass")[0]])


def count_scripts(text: str) -> tuple[int, ...]:
    """Characters of each class, by Script."""
    data = text.encode("utf-8", "surrogatepass")
    scripts = data.translate(_LEAD_BYTE_SCRIPTS, _INSIDE_CHARACTERS)
    counts, left = [0] * NUM_SCRIPTS, len(scripts)
    # The class that is most of a text is what is left: counting takes time by what it finds.
    *rare, frequent = _ASCII_CLASSES if len(data) == left else _ALL_CLASSES
    for script in rare:
        counts[script] = scripts.count(script)
        left -= counts[script]
    counts[frequent] = left
    if counts[Script.KANA]:
        symbols = data.count(_CJK_SYMBOLS)
        counts[Script.KANA] -= symbols
        counts[Script.CJK_PUNCTUATION] += symbols
    return tuple(counts)


def scripts_of(text: str) -> bytes:
    """The class of each character, a byte each; what `script_of` says of them one by one."""
    data = text.encode("utf-8", "surrogatepass")
    scripts = bytearray(data.translate(_LEAD_BYTE_SCRIPTS, _INSIDE_CHARACTERS))
    place = scripts.find(Script.KANA)
    while place >= 0:
        if text[place] < _FIRST_KANA:
            scripts[place] = Script.CJK_PUNCTUATION
        place = scripts.find(Script.KANA, place + 1)
    return bytes(scripts)


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Tokens per character of each class, by Script; `source` says where they come from."""

    rates: tuple[float, ...] = tuple(DEFAULT_RATES[script] for script in Script)
    source: str = f"a table measured with the tokenizer of {DEFAULTS_SOURCE}"

    @classmethod
    def calibrate(cls, tokenizer_json: Path | None, texts: Iterable[str]) -> "TokenRates":
        """Rates of a tokenizer.json over the first 256 of `texts`; the table's without one or without texts.

        CheckpointError when tokenizer.json cannot be read as one.
        """
        if tokenizer_json is None:
            return cls()
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:  # the Rust library raises nothing narrower
            raise CheckpointError(
                f"{tokenizer_json}: not a tokenizer: {error}. Copy the file anew."
            ) from error
        sample = [text[:MAX_CHARACTERS] for text in islice(texts, MAX_TEXTS)]
        if not any(sample):
            return cls()
        return cls(_measure_rates(tokenizer, sample), f"{tokenizer_json.name} over {len(sample)} texts")

    def estimate(self, text: str) -> float:
        """Expected tokens of `text`, special tokens not counted."""
        return sum(map(mul, count_scripts(text), self.rates), 0.0)


def _measure_rates(tokenizer: Tokenizer, texts: list[str]) -> tuple[float, ...]:
    characters, tokens = tally_scripts(tokenizer, texts)
    return tuple(
        (tokens[script] + PRIOR_CHARACTERS * DEFAULT_RATES[script]) / (characters[script] + PRIOR_CHARACTERS)
        for script in Script
    )


def tally_scripts(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[list[int], list[float]]:
    """Characters of each class in `texts`, and the tokens that fall to them.

    A token is shared out evenly over the characters it covers, so the tokens add up to those of the texts.
    """
    characters, tokens = [0] * len(Script), [0.0] * len(Script)
    covered: Counter[bytes] = Counter()  # by the classes that a token covers: few different ones
    for text in texts:
        scripts = scripts_of(text)
        for script in Script:
            characters[script] += scripts.count(script)
        covered.update(scripts[start:stop] for start, stop in _token_spans(tokenizer, text))
    for classes, count in covered.items():
        for place in classes:
            tokens[place] += count / len(classes)
    return characters, tokens


def _token_spans(tokenizer: Tokenizer, text: str) -> Iterator[tuple[int, int]]:
    """The characters that each token covers; a token that covers none stands for the one where it is."""
    for start, stop in tokenizer.encode(text, add_special_tokens=False).offsets:
        if stop > start:
            yield start, stop
        else:
            place = min(start, len(text) - 1)
            yield place, place + 1


def _lead_byte_scripts() -> bytes:
    """Byte -> class of the characters whose UTF-8 begins with it; NOT_A_LEAD_BYTE for bytes inside one."""
    table = bytearray([NOT_A_LEAD_BYTE]) * 256
    for byte in range(0x80):
        character = chr(byte)
        if character.isalpha():
            table[byte] = Script.LETTER
        elif character.isdigit():
            table[byte] = Script.DIGIT
        else:
            table[byte] = Script.SPACE if character.isspace() else Script.PUNCTUATION
    spans = {
        Script.ALPHABET: range(0xC2, 0xE0),  # U+0080-07FF: accents, Greek, Cyrillic, Hebrew, Arabic
        Script.OTHER: range(0xE0, 0xE3),  # U+0800-2FFF
        Script.KANA: range(0xE3, 0xE4),  # U+3000-3FFF
        Script.IDEOGRAPH: range(0xE4, 0xEA),  # U+4000-9FFF
        Script.HANGUL: range(0xEA, 0xEE),  # U+A000-DFFF
        Script.CJK_PUNCTUATION: range(0xEF, 0xF0),  # U+F000-FFFF: full-width forms
        Script.EMOJI: range(0xF0, 0xF5),  # U+10000 and above
    }
    for script, lead_bytes in spans.items():
        for byte in lead_bytes:
            table[byte] = script
    table[0xEE] = Script.OTHER  # private use
    return bytes(table)


_LEAD_BYTE_SCRIPTS = _lead_byte_scripts()
_INSIDE_CHARACTERS = bytes(byte for byte in range(256) if _LEAD_BYTE_SCRIPTS[byte] == NOT_A_LEAD_BYTE)
