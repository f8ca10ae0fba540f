"""Where two texts first differ: in tokens of a checkpoint's tokenizer, or in characters where there is none.

Tokens are those of the text alone, encoded again; the engine's own ids are not kept, and with the prompt in
front of it a text may begin with another token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from launch.collect.metrics.texts import first_difference
from launch.model.tokenizer import load_tokenizer_file


@dataclass(frozen=True, slots=True)
class FirstDifferences:
    """Over all pairs of samples that differ: how many, and where, from 0; None where none differ."""

    unit: str
    source: str
    num_pairs: int
    first: int | None
    median: float | None
    last: int | None


class Positions:
    """Collects the first differences of pairs, in one unit."""

    def __init__(self, tokenizer: Tokenizer | None, source: str) -> None:
        self.unit = "token" if tokenizer is not None else "character"
        self._source = source
        self._tokenizer = tokenizer
        self._found: list[int] = []

    def add(self, pairs: Sequence[tuple[str, str]]) -> list[int | None]:
        """Takes pairs of texts; where each differs first, None for equal ones.

        Texts that differ and have the same tokens (a tokenizer may normalise) differ behind the last one.
        """
        different = [(a, b) for a, b in pairs if a != b]
        places = iter(self._places(different))
        found = [None if a == b else next(places) for a, b in pairs]
        self._found += [place for place in found if place is not None]
        return found

    def _places(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        units: list[Sequence[object]] = [text for pair in pairs for text in pair]
        if self._tokenizer is not None:
            encoded = self._tokenizer.encode_batch_fast(units, add_special_tokens=False)
            units = [each.ids for each in encoded]
        places = []
        for a, b in zip(units[::2], units[1::2], strict=True):
            place = first_difference(a, b)
            places.append(len(a) if place is None else place)
        return places

    def summarise(self) -> FirstDifferences:
        """Over all that was added."""
        ordered = sorted(self._found)
        if not ordered:
            return FirstDifferences(self.unit, self._source, 0, None, None, None)
        middle = len(ordered) // 2
        median = (ordered[middle] + ordered[-middle - 1]) / 2
        return FirstDifferences(self.unit, self._source, len(ordered), ordered[0], median, ordered[-1])


def open_positions(given: Path | None, checkpoint: str) -> Positions:
    """By the tokenizer of the directory given, else of A's checkpoint where it is here, else by characters.

    CheckpointError when the directory given has no tokenizer.json that can be read.
    """
    if given is None and not (Path(checkpoint) / "tokenizer.json").is_file():
        return Positions(None, f"characters, because no tokenizer.json is in {checkpoint}")
    directory = Path(checkpoint) if given is None else given
    tokenizer = load_tokenizer_file(directory)
    tokenizer.encode_special_tokens = (
        True  # a generated text is text: <|im_end|> in it is read letter by letter
    )
    return Positions(tokenizer, str(directory))
