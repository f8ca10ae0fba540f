"""The parser of ratings and answers, sentence by sentence in three languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.metrics.answers import (
    AnswerKind,
    Judged,
    Scale,
    choose_scale,
    fold,
    judge_samples,
    parse_number,
    parse_option,
    parse_reference,
)
from launch.scenarios.records import ItemType

STARS = Scale(0.5, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4.5", 4.5),
        ("４", 4),
        ("Rating: 4.5/5", 4.5),
        ("5.0 out of 5", 5),
        ("I'd give it 4 stars. I saw it 3 times.", 4),
        ("★★★★☆", 4),
        ("★★★½", 3.5),
        ("⭐⭐⭐⭐", 4),
        ("4½", 4.5),
        ("1995, so 4.5", 4.5),
        ("4.5 - seen with 3 friends", 4.5),
        ("4\n\nUser: 3", 4),
        ("\n  \n3.0", 3),
        ("这部片子十分好看，4分", 4),
        ("满分5分，我给3.5分", 3.5),
        ("评分：4.0", 4),
        ("四星半", 4.5),
        ("两颗半星", 2.5),
        ("三点五分", 3.5),
        ("3星半", 3.5),
        ("5点満点で4点", 4),
        ("満点5点で4点", 4),
        ("星4つ", 4),
        ("星三つ", 3),
        ("評価は3.5です", 3.5),
        ("★4.0", 4),
        ("★3.8 面白い映画でした", 3.8),
        ("⭐ 4/5", 4),
        ("Rating: ⭐ 4.5/5", 4.5),
        ("评分：★ 4", 4),
        ("5つ星のうち1.0", 1),
        ("4,5 stars", 4.5),
        ("4,5/5", 4.5),
        ("1995，4.5", 4.5),
        ("4，和3个朋友", 4),
        ("看完花了5分钟，给4星", 4),
        ("星期3看的，4分", 4),
        ("给4分。第3次看", 4),
        ("4 stars, 2 hours long", 4),
        ("五分制给四分", 4),
        ("5分制，我给3.5分", 3.5),
        ("五星好评", 5),
        ("给4星期待续集", 4),
        ("给了4分后又看了一遍", 4),
        ("这部片给4分，前半段好", 4),
        ("4分です", 4),
    ],
)
def test_a_rating_is_read(text: str, expected: float) -> None:
    assert parse_number(text, STARS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "four",  # no words
        "8/10",  # another scale
        "4/10",
        "10",
        "0",
        "-3",
        "4-5",
        "2 or 3",
        "5 stars, no, 3 stars",
        "version 2.5.1",
        "90分钟",
        "0/5",
        "0 out of 5 stars",
        "6/5",
        "-1/5",
        "0 stars. 2 hours wasted",
        "★★★★★★★ 3",
        "\x00\u202e",
        "x" * 5_000 + " 4",  # only the beginning is searched
        "看了三分之二就走了",
        "看了3分之2就走了",
        "三分之一",
        "3分の2",
        "百分之五",
        "三分钟热度",
        "三分热度",
        "2分钟就睡着了",
        "五分钟后离场",
        "2分半钟",
        "5分多钟",
        "3分20秒",
        "5分で寝た",
        "3分間",
        "一分钱一分货",
        "一分耕耘一分收获",
        "3分球",
        "八十五分",
        "三四分吧",
        "一星期前看的",
        "两个星期前看的",
        "星期三看的",
        "星期3看的",
        "第2星球",
        "第三星",
        "五星级酒店里看的",
        "3:30看的",
        "晚上3:30看的",
        "三星手机",
        "看了2个小时",
        "2-3 minutes",
        "I saw it 3 times",
        "1,000 words",
        "3,4,5",
    ],
)
def test_what_says_nothing_or_two_things_is_unparsed(text: str) -> None:
    assert parse_number(text, STARS) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("Ｂ", "B"),
        ("**B**", "B"),
        ("B. I agree", "B"),
        ("Answer: C", "C"),
        ("The answer is (A).", "A"),
        ("I choose option C because", "C"),
        ("答案是D", "D"),
        ("我选B", "B"),
        ("回答：Ｃ", "C"),
        ("選択肢はAです", "A"),
        ("「A」", "A"),
        ("A or B", None),
        ("Answer: A, or the answer is B", None),
        ("A lot of things", None),
        ("I agree", None),
        ("The answer is A because", "A"),
        ("The answer is a resounding no", None),
        ("My answer is I agree", None),
        ("Answer: B or C", None),
        ("选择A或B", None),
        ("Answer: B and I think so", "B"),
        ("我同意", None),
        ("", None),
        ("C'est la vie", None),
        ("I'm not sure", None),
        ("Answer: I'm not sure", None),
        ("'C'", "C"),
        ("e.g. no", None),
        ("Answer: e.g. no", None),
        ("B.I agree", "B"),
        ("B.同意", "B"),
        ("Answer: X-rays", None),
        ("我选择了A公司的工作", None),
        ("我选A级", None),
        ("我选择B选项", "B"),
        ("答案是B不同意", "B"),
        ("Option C is wrong, I say D", None),
        ("Option C is wrong, the answer is D", "D"),
        ("Option B isn't right", None),
        ("选项A是错的，答案是B", "B"),
        ("选項Aは違う", None),
        ("不选C", None),
        ("我不会选择C", None),
        ("I would not choose B", None),
        ("Don't pick A", None),
        ("I don't know, choose B", "B"),
        ("选A不后悔", "A"),
        ("选A不错", "A"),
        ("Answer: A & B", None),
        ("Answer: A, B", None),
        ("Answer: B, C is wrong", "B"),
        ("Answer: B, I think so", "B"),
        ("选A、B", None),
        ("A、B", None),
        ("A、同意", "A"),
    ],
)
def test_options(text: str, expected: str | None) -> None:
    assert parse_option(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("4.5", AnswerKind.NUMBER, 4.5),
        ("4.5分", AnswerKind.NUMBER, 4.5),
        ("2. No", AnswerKind.NUMBER, 2.0),
        ("3、不同意", AnswerKind.NUMBER, 3.0),
        ("B", AnswerKind.OPTION, "B"),
        ("b) Yes", AnswerKind.OPTION, "B"),
        ("A lot", AnswerKind.TEXT, "a lot"),
        ("2 cats", AnswerKind.TEXT, "2 cats"),
        (" 是的。", AnswerKind.TEXT, "是的"),
    ],
)
def test_references(text: str, kind: AnswerKind, value: float | str) -> None:
    found = parse_reference(text)
    assert (found.kind, found.value) == (kind, value)


@pytest.mark.parametrize(
    ("item_type", "references", "expected"),
    [
        (ItemType.MOVIE_RATING, ["5.0", "0.5", "good"], Scale(0.5, 5)),
        (ItemType.MOVIE_RATING, ["5.0", "8"], Scale(0, 10)),
        (ItemType.MOVIE_RATING, ["0"], Scale(0, 10)),
        (ItemType.QUESTIONNAIRE, ["1", "4"], Scale(1, 5)),
        (ItemType.QUESTIONNAIRE, ["7"], Scale(1, 7)),
        (ItemType.QUESTIONNAIRE, ["-2", "1990"], Scale(-2, 1990)),
        (ItemType.QUESTIONNAIRE, ["A", "yes"], None),
    ],
)
def test_scales(item_type: ItemType, references: list[str], expected: Scale | None) -> None:
    values = [parse_reference(text).value for text in references]
    assert choose_scale(item_type, [value for value in values if isinstance(value, float)]) == expected


def test_unparsed_is_wrong_by_as_much_as_the_scale_allows() -> None:
    found = judge_samples(["4", "3.5", "?"], parse_reference("4.0"), STARS)
    assert found == [Judged(True, True, 0.0), Judged(False, True, 0.5), Judged(False, False, 3.5)]
    assert judge_samples(["?"], parse_reference("1"), STARS) == [Judged(False, False, 4.0)]


def test_options_and_texts_have_hits_and_no_errors() -> None:
    assert judge_samples(["b", "A.", "?"], parse_reference("B"), None) == [
        Judged(True, True, None),
        Judged(False, True, None),
        Judged(False, False, None),
    ]
    assert judge_samples(["Yes!", "yes\nUser: so", "no", " "], parse_reference("yes"), None) == [
        Judged(True, True, None),
        Judged(True, True, None),
        Judged(False, True, None),
        Judged(False, False, None),
    ]


def test_folding() -> None:
    assert fold("  「Ｙｅｓ,\n  indeed!」 ") == "yes, indeed"
    assert fold("...") == ""


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    number = parse_number(text, STARS)
    assert number is None or STARS.holds(number)
    assert parse_option(text) is None or len(str(parse_option(text))) == 1
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize("text", ["4" * 1_000_000, "★" * 1_000_000, " " * 1_000_000, "4/" * 500_000])
def test_a_megabyte_takes_no_time(text: str) -> None:
    assert parse_number(text, STARS) is None
    assert parse_option(text) is None
