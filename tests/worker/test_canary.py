"""The canary: what the first items look like."""

from launch.config.schema import CanaryAction, CanaryConfig
from launch.scenarios.records import Cuts, Failure, Generation, Sample
from launch.worker.canary import Canary, Finding, describe


def item(*texts: str, reason: str = "stop", cut: int = 0, failed: bool = False) -> Generation:
    samples = tuple(Sample(text, reason, 3) for text in texts)
    failure = Failure("too_long", "m") if failed else None
    return Generation(0, "k", "d", 1, 5, Cuts(context=cut), () if failed else samples, failure)


def judge(*items: Generation, **limits: float | None) -> list[str]:
    canary = Canary(CanaryConfig(num_items=len([each for each in items if each.failure is None]), **limits))
    found = [canary.take(each) for each in items]
    assert not any(found[:-1])
    assert canary.take(item("", "", "")) == ()  # judged once
    return [finding.name for finding in found[-1]]


def test_texts_that_are_as_they_should_be() -> None:
    assert judge(item("a", "b"), item("c", "d", reason="length"), item("e", "f", cut=2), item("g", "h")) == []


def test_each_rate_has_its_own_limit() -> None:
    assert judge(item("", " "), item("a", "b")) == ["max_empty_rate"]
    assert judge(item("a", reason="length"), item("b", reason="length")) == ["max_cut_rate"]
    assert judge(*[item("same", "same") for _ in range(10)]) == ["max_duplicate_rate"]
    assert judge(item("a", cut=1), item("b", cut=4), item("c")) == ["max_trimmed_rate"]


def test_a_rate_at_its_limit_passes_and_null_is_no_limit() -> None:
    assert judge(item("", "a", "b", "c", "d")) == []
    assert judge(item(""), max_empty_rate=None) == []


def test_failed_items_are_not_judged() -> None:
    assert judge(item(failed=True), item("a"), item("b")) == []


def test_none_judges_nothing() -> None:
    canary = Canary(CanaryConfig(action=CanaryAction.NONE, num_items=1))
    assert canary.take(item("")) == ()


def test_a_finding_in_words() -> None:
    finding = Finding("max_empty_rate", 0.5, 0.2, "samples are empty")
    assert describe((finding,), 200) == (
        "of the first 200 items 50% of samples are empty (canary.max_empty_rate allows 20%)"
    )
