"""The parser of ratings and questionnaire answers: what number, option or text a sample says, or nothing.

docs/scores.md has the rules in words. A sample that says nothing, two different things, or a number outside
the scale is unparsed. Unparsed counts as wrong: it is no hit, and its error is the largest that the scale
allows for this reference. Nothing is guessed from a sample's tone.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from launch.scenarios.records import ItemType

MAX_CHARS = 2_000  # an answer stands at the beginning; the rest of a megabyte is not searched


class AnswerKind(StrEnum):
    """What a reference is, and so what a sample is searched for."""

    NUMBER = "number"
    OPTION = "option"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Scale:
    """The numbers that count as answers, both ends included."""

    low: float
    high: float

    def holds(self, number: float) -> bool:
        """Whether a number is on the scale."""
        return self.low <= number <= self.high

    def largest_error(self, truth: float) -> float:
        """How far off an answer on the scale can be."""
        return max(truth - self.low, self.high - truth)


@dataclass(frozen=True, slots=True)
class Truth:
    """A reference as an answer: `value` is a float, an option's letter or a folded text, by its kind."""

    kind: AnswerKind
    value: float | str


SCALES = {
    ItemType.MOVIE_RATING: (Scale(0.5, 5), Scale(0, 10), Scale(0, 100)),
    ItemType.QUESTIONNAIRE: (Scale(1, 5), Scale(1, 7), Scale(0, 10), Scale(0, 100)),
}

_DIGITS = r"(?<![\d.])(?<!\d,)-?\d+(?:\.\d+)?(?![.,]?\d)"
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d{1,2}),(\d{1,2})(?![.,]?\d)")
_HAN = "零一二两三四五六七八九"
_HAN_VALUE = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2}
_STARS = re.compile(r"(?![★⭐]\ufe0f?\s*:?\s*\d)((?:[★⭐]\ufe0f?\s?)+)(?:☆\s?)*(\.5)?")
_OF = re.compile(rf"({_DIGITS})\s*(?:/|out of)\s*({_DIGITS})", re.IGNORECASE)
_TOP = re.compile(
    rf"(?:满分|満点)\s*(?:是|为|は|が)?\s*{_DIGITS}\s*(?:分|点)?|{_DIGITS}\s*(?:点|つ星)?\s*満点|{_DIGITS}\s*つ星のうち"
)
# Numbers of something else, which are taken out before anything is read: minutes, hours, weekdays, parts of a
# whole (三分之一), ordinals, and what begins like a unit of ratings (一分货, 星球). 五分制 names the top.
_HAN_COUNT = rf"(?<![{_HAN}十百千])[{_HAN}十百千几数]+"
_COUNT = rf"(?:{_DIGITS}(?:[-–~到至]{_DIGITS})?|{_HAN_COUNT})"
_NOT_POINTS = (
    rf"分(?:[之の]\s*{_COUNT}?|[钟鐘钱錢货貨秒球裤褲糖饱飽熟醉像米贝間後前]|[半多来][钟鐘]"
    r"|耕耘|收获|收穫|热度|天下|で(?!す)|ほど|[くぐ]らい|\s*\d+\s*秒)"
)
_NOT_STARS = (
    r"(?:颗|顆)?星(?:期(?!待)|[球座系辰光际際空探]|[级級](?:酒店|饭店|宾馆|大厨)|红旗|上将|手机|电子)"
)
_TIMES = (
    r"(?:个|個)?半?(?:小时|小時|钟头|鐘頭|星期(?!待)|月)|[点點][钟鐘]|時間|週間|[天周週次遍年月日回]"
    r"|[\s-]?(?:seconds?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|times)\b"
)
_NO_RATING = re.compile(
    rf"第\s*{_COUNT}|(?:星期|礼拜|禮拜|周|週)\s*{_COUNT}|(?<!\d)\d{{1,2}}[:点點時时]\d\d(?!\d)分?"
    rf"|{_COUNT}\s*(?:{_NOT_POINTS}|{_NOT_STARS}|[分星点]制|{_TIMES})",
    re.IGNORECASE,
)
_UNIT = r"(?:颗|顆|个|個)?(?:半)?\s*(?:stars?\b|points?\b|星|分|点|つ星|つ)"
_MARKED = (
    re.compile(rf"({_DIGITS})[\s-]*{_UNIT}(半)?", re.IGNORECASE),
    re.compile(
        rf"(?:rating|score|stars?|评分|打分|評価|評点|星)\s*(?:is|of|是|为|は|:)?\s*({_DIGITS})(半)?", re.I
    ),
)
_HAN_DECIMAL = re.compile(rf"(?<![{_HAN}十百千])([{_HAN}])点([{_HAN}])(?:分|星)")
_HAN_MARKED = re.compile(
    rf"(?<![{_HAN}十百千点])([{_HAN}])(?:颗|顆|个|個)?(半)?(?:星|分|つ星)(半)?|星([{_HAN}])つ(半)?"
)
_LEADING = re.compile(rf"[\s\"'“”「『(\[*]*({_DIGITS})\s*(?:$|[.,;:!)\]\"'”」』。、*]|[-–—]\s)", re.MULTILINE)
_BARE = re.compile(_DIGITS)
_NUMBER_REFERENCE = re.compile(rf"\s*({_DIGITS})\s*(?:stars?|points?|星|分|点)?\s*(?:[.:、)].*)?", re.DOTALL)
_OPTION_REFERENCE = re.compile(r"\s*[(\[]?([A-Za-z])(?:[.:、)\]].*|\s*)", re.DOTALL)
# Neither "C'est" and "I'm", nor "e.g." and "X-ray".
_NO_WORD = r"(?![A-Za-z]|['’-][A-Za-z]|\.[A-Za-z]\.|(?-i:\.[a-z]\b))"
_OPTION_ALONE = re.compile(
    rf"[\s\"'“”「『*]*[(\[]?([A-Za-z]){_NO_WORD}(?!\s*、\s*[A-Z]\s*(?:$|[、。]))"
    r"(?:\s*[.:、)\]*」』\"'”]|\s*$)"
)
# Nor the article and the pronoun ("a resounding no", "I agree"), nor the name of something (A公司).
_NAMED = (
    "公司|企业|会社|集团|大学|学校|小姐|女士|先生|同学|老师|さん|くん|ちゃん|套餐|计划|罩杯"
    "|[级級班组組队隊股座栋楼型区區市城国國省君社店轮輪站]"
)
_LETTER = rf"([A-Z]){_NO_WORD}(?!\s*(?:{_NAMED}))(?!(?-i:(?<=[aI])\s+[a-z]))"
_OPTION_SAID = re.compile(
    r"(?:answer|choice|option|choose|select|pick|答案|选项|选择|选|選択肢|選択|選ぶ|回答|答え)"
    rf"\s*(?:is|are|option|是|为|は|:|，|,|了)*\s*[(\[\"'“「]?{_LETTER}"
    rf"(?:\s*(?:or|and|/|&|,|、|或|和|か|と)\s*[(\[]?{_LETTER})?",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bcannot|不|没|沒|没有|沒有|未)\s*(?:会|想|能|要|the|an?|my|would)?\s*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[)\]\"'”」]?\s*(?:(?:is|was|are|were|seems|looks)\s+(?:not|wrong|incorrect|false)\b"
    r"|(?:is|was|are)n['’]t\b|(?:是|就是)?[错錯]|不(?:对|對|是|行|正确|正確|好|选|選)"
    r"|(?:は|では|じゃ)(?:ない|なく|違|ありません))",
    re.IGNORECASE,
)


def choose_scale(item_type: ItemType, numbers: Collection[float]) -> Scale | None:
    """The smallest customary scale that holds all numbers among the references of a type; None without any.

    Numbers that no customary scale holds make their own, from the least to the greatest.
    """
    if not numbers:
        return None
    for scale in SCALES[item_type]:
        if all(map(scale.holds, numbers)):
            return scale
    return Scale(min(numbers), max(numbers))


def parse_reference(text: str) -> Truth:
    """What a reference is: a number, alone or before a mark (`2. No`); an option's letter; else a text."""
    folded = unicodedata.normalize("NFKC", text)
    if number := _NUMBER_REFERENCE.fullmatch(folded):
        return Truth(AnswerKind.NUMBER, float(number[1]))
    if option := _OPTION_REFERENCE.fullmatch(folded):
        return Truth(AnswerKind.OPTION, option[1].upper())
    return Truth(AnswerKind.TEXT, fold(text))


def parse_number(text: str, scale: Scale) -> float | None:
    """The one number on the scale that a sample says; None when it says none, or several.

    Searched in the first line that is not blank, then in the whole beginning of the text.
    """
    # A comma of full width stands between two numbers, and never inside one.
    text = unicodedata.normalize("NFKC", text[:MAX_CHARS].replace("½", ".5").replace("，", ", "))
    text = _DECIMAL_COMMA.sub(r"\1.\2", text)
    for part in _parts(text):
        numbers = _numbers(_NO_RATING.sub(" ", _TOP.sub(" ", part)), scale)
        if numbers is not None:
            return numbers[0] if len(numbers) == 1 else None
    return None


def _parts(text: str) -> list[str]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return [first, text]


def _numbers(text: str, scale: Scale) -> list[float] | None:
    """The different numbers on the scale of the clearest kind that the text has; None where it has none.

    Stars, a/b, marked as a rating, leading, any. No number for an a/b whose b is not the top of the scale,
    such as 8/10 where 5 is the most: that is another scale. Nor where one of the first three kinds is there
    and off the scale, such as 0/5 where 0.5 is the least; a year at the beginning says nothing.
    """
    pairs = [(float(number), float(top)) for number, top in _OF.findall(text)]
    if any(top != scale.high for _, top in pairs):
        return []
    for said in (_stars(text), [number for number, _ in pairs], _marked(text)):
        if said:
            return _on_scale(said, scale)
    return _on_scale(_leading(text), scale) or _on_scale(_bare(text), scale) or None


def _on_scale(numbers: Iterable[float], scale: Scale) -> list[float]:
    """The different ones of them that are on the scale."""
    return list(dict.fromkeys(number for number in numbers if scale.holds(number)))


def _stars(text: str) -> list[float]:
    return [
        sum(char in "★⭐" for char in match[1]) + (0.5 if match[2] else 0) for match in _STARS.finditer(text)
    ]


def _marked(text: str) -> list[float]:
    found = [
        float(match[1]) + (0.5 if "半" in match[0] else 0)
        for pattern in _MARKED
        for match in pattern.finditer(text)
    ]
    found += [_HAN_VALUE[a] + _HAN_VALUE[b] / 10 for a, b in _HAN_DECIMAL.findall(text)]
    rest = _HAN_DECIMAL.sub(" ", text)
    for match in _HAN_MARKED.finditer(rest):
        found.append(_HAN_VALUE[match[1] or match[4]] + (0.5 if "半" in match[0] else 0))
    return found


def _leading(text: str) -> list[float]:
    match = _LEADING.match(text)
    return [float(match[1])] if match else []


def _bare(text: str) -> list[float]:
    return [float(number) for number in _BARE.findall(text)]


def parse_option(text: str) -> str | None:
    """The letter of the one option that a sample names; None when it names none, or several."""
    text = unicodedata.normalize("NFKC", text[:MAX_CHARS])
    for part in _parts(text):
        alone = _OPTION_ALONE.match(part)
        if alone:
            return alone[1].upper()
        said = set(_options_said(part))
        if said:
            return said.pop() if len(said) == 1 else None
    return None


def _options_said(text: str) -> Iterator[str]:
    """The letters behind a word such as answer, without those that are denied (`not B`, `C is wrong`)."""
    for match in _OPTION_SAID.finditer(text):
        if _DENIED_BEFORE.search(text[max(0, match.start() - 20) : match.start()]):
            continue
        for group in (1, 2):
            if match[group] and not _DENIED_AFTER.match(text, match.end(group)):
                yield match[group].upper()


def fold(text: str) -> str:
    """A text as texts are compared: NFKC, lower case, single spaces, no marks at either end."""
    folded = " ".join(unicodedata.normalize("NFKC", text[:MAX_CHARS]).casefold().split())
    kept = [place for place, char in enumerate(folded) if char.isalnum()]
    return folded[kept[0] : kept[-1] + 1] if kept else ""


@dataclass(frozen=True, slots=True)
class Judged:
    """One sample against its reference; `error` only where the reference is a number."""

    is_hit: bool
    is_parsed: bool
    error: float | None


def judge_samples(samples: Sequence[str], truth: Truth, scale: Scale | None) -> list[Judged]:
    """Every sample of an item against its reference, unparsed ones as wrong."""
    return [_judge(text, truth, scale) for text in samples]


def _judge(text: str, truth: Truth, scale: Scale | None) -> Judged:
    if isinstance(truth.value, float):
        assert scale is not None
        number = parse_number(text, scale)
        if number is None:
            return Judged(False, False, scale.largest_error(truth.value))
        return Judged(number == truth.value, True, abs(number - truth.value))
    if truth.kind is AnswerKind.OPTION:
        option = parse_option(text)
        return Judged(option == truth.value, option is not None, None)
    first = next((line for line in text.splitlines() if line.strip()), "")
    said = fold(text)
    return Judged(truth.value in (said, fold(first)) and bool(said), bool(said), None)
