"""Which turns go in: the newest, clipped, the question always."""

import pytest

from launch.config.schema import Ablation, PromptConfig
from launch.scenarios.records import ItemType
from launch.scenarios.turns import choose_turns, clip, target_name
from tests.scenarios.builders import dialogue_item, turn, user

CONTEXT = PromptConfig(ablation_config=Ablation.CONTEXT_ONLY)


@pytest.mark.parametrize(
    ("text", "limit", "expected"), [("abcd", 4, "abcd"), ("abcde", 4, "abc…"), ("ab", 1, "…"), ("", 1, "")]
)
def test_clip_never_exceeds_its_limit(text: str, limit: int, expected: str) -> None:
    assert clip(text, limit) == expected


def test_the_newest_turns_stay_in_order() -> None:
    item = dialogue_item(*(turn("BEN", str(number)) for number in range(20)))
    for limit in (0, 1, 15, 40):
        prompt = PromptConfig(max_context_turns=limit)
        _, spoken = choose_turns(ItemType.DIALOGUE, item, None, prompt)
        assert [t.content for t in spoken] == [str(number) for number in range(20)][20 - min(limit, 20) :]


def test_long_turns_are_clipped_and_say_so() -> None:
    item = dialogue_item(turn("BEN", "x" * 300), turn("BEN", "y" * 301))
    _, spoken = choose_turns(ItemType.DIALOGUE, item, None, CONTEXT)
    assert [(len(t.content), t.is_clipped) for t in spoken] == [(300, False), (300, True)]


def test_the_target_user_is_known_by_name_or_as_user() -> None:
    item = dialogue_item(turn("ADA", "1"), turn("user", "2"), turn("Ada", "3"), turn("", "4"))
    _, spoken = choose_turns(ItemType.DIALOGUE, item, "ADA", CONTEXT)
    assert [t.is_target for t in spoken] == [True, True, False, False]
    _, unnamed = choose_turns(ItemType.DIALOGUE, item, None, CONTEXT)
    assert [t.is_target for t in unnamed] == [False, True, False, False]


def test_a_record_without_name_or_profile_has_no_target_name() -> None:
    assert target_name(user()) == "ADA"
    assert target_name(user(name=None)) is None
    assert target_name({"user_hash": "a"}) is None
    assert target_name({"user": {"profile": {"name": ""}}}) is None


def test_the_question_is_whole_and_there_in_every_ablation() -> None:
    question = "q" * 1000
    item = dialogue_item(turn("BEN", "hi"), turn("questionnaire", question))
    for ablation in Ablation:
        prompt = PromptConfig(ablation_config=ablation, max_context_turns=0)
        asked, spoken = choose_turns(ItemType.QUESTIONNAIRE, item, None, prompt)
        assert [t.content for t in asked] == [question]
        assert spoken == ()
    _, spoken = choose_turns(ItemType.QUESTIONNAIRE, item, None, CONTEXT)
    assert [t.content for t in spoken] == ["hi"]


def test_context_stays_out_where_the_ablation_says_so() -> None:
    item = dialogue_item(turn("BEN", "hi"))
    for ablation in Ablation:
        _, spoken = choose_turns(ItemType.DIALOGUE, item, None, PromptConfig(ablation_config=ablation))
        assert bool(spoken) == ablation.uses_context
