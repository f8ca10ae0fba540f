"""The canary: what the first items look like."""

from typing import Any

from launch.config.schema import CanaryConfig
from launch.worker.canary import Judgement, judge


def item(*texts: str, reason: str = "stop", cut: int = 0) -> dict[str, Any]:
    samples = [{"text": text, "finish_reason": reason, "tokens": 3} for text in texts]
    return {"cuts": {"history": 0, "context": cut, "clipped_turns": 0}, "samples": samples}


def judged(*items: dict[str, Any], **limits: float | None) -> Judgement:
    return judge(items, CanaryConfig.model_validate(limits))


def over(*items: dict[str, Any], **limits: float | None) -> list[str]:
    found = judged(*items, **limits).found
    return [said.partition("(canary.")[2].partition(" ")[0] for said in found]


def test_texts_that_are_as_they_should_be() -> None:
    assert over(item("a", "b"), item("c", "d", reason="length"), item("e", "f", cut=2), item("g", "h")) == []


def test_each_rate_has_its_own_limit() -> None:
    assert over(item("", " "), item("a", "b")) == ["max_empty_rate"]
    assert over(item("a", reason="length"), item("b", reason="length")) == ["max_cut_rate"]
    assert over(*[item("same", "same") for _ in range(10)]) == ["max_duplicate_rate"]
    assert over(item("a", cut=1), item("b", cut=4), item("c")) == ["max_trimmed_rate"]


def test_a_rate_at_its_limit_passes_and_null_is_no_limit() -> None:
    assert over(item("", "a", "b", "c", "d")) == []
    assert over(item(""), max_empty_rate=None) == []


def test_failed_items_are_not_judged() -> None:
    failed = {"cuts": {"history": 9, "context": 0}, "failure": {"class": "too_long", "message": "m"}}
    assert judged(failed, item("a"), item("b")).num_items == 2
    assert judged(failed) == Judgement(0, dict.fromkeys(judged().rates, 0.0), ())


def test_a_finding_in_words() -> None:
    (found,) = judged(item("", "a")).found
    assert found == "50% of samples are empty (canary.max_empty_rate allows 20%)"
