"""Comparisons of stub runs: equal ones, changed ones, mirrored ones, and what the verdict says of each."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from launch.collect.compare import Options, compare
from launch.collect.compare_view import render
from launch.collect.comparison import Comparison, VerdictKind, as_json
from launch.collect.metrics.bootstrap import MIN_USERS, Estimate
from launch.collect.published import open_published
from launch.collect.reference_texts import references_from, references_of
from launch.collect.schemas import read_schema
from launch.collect.verdict import differing
from launch.errors import CheckpointError, InputError
from launch.scenarios.records import Generation
from tests.collect.builders import make_users
from tests.collect.comparing import NUM_USERS, compared, opened, publish, publish_demo, say

STUBS = "Stub texts, made up, in A and B: this says nothing about a model. "


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """48 items of 24 users; the texts of item n are `text n.0` and `text n.1` with a line break and more."""
    return publish(tmp_path_factory.mktemp("published"), checkpoint)


def check_schema(comparison: Comparison) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(orjson.dumps(as_json(comparison)))
    Draft202012Validator(read_schema("comparison")).validate(value)
    return value


def figures(comparison: Comparison) -> dict[str, tuple[float, float]]:
    return {figure.name: (figure.a, figure.b) for figure in comparison.figures}


@pytest.mark.parametrize("dataset", ["Chameleons", "DMSC"])
def test_a_run_with_itself_is_the_same(tmp_path: Path, checkpoint: Path, dataset: str) -> None:
    directory = publish_demo(tmp_path, checkpoint, dataset, name="a")
    found = compared(directory, directory, Options(num_shown=3))
    assert found.verdict.kind is VerdictKind.SAME_TEXTS and found.matching.is_exact
    assert found.pairs is not None
    assert found.pairs.exact_match == Estimate(1.0, 1.0, 1.0)
    assert found.pairs.chrf == pytest.approx(Estimate(100.0, 100.0, 100.0))
    assert found.pairs.first_difference.num_pairs == 0
    assert {figure.difference for figure in found.figures} == {Estimate(0.0, 0.0, 0.0)}
    assert (found.settings, found.shown, found.verdict.differing) == ((), (), ())
    assert found.references is not None and found.references.num_items > 0
    assert found.distinct_unit == ("characters" if dataset == "DMSC" else "words")
    check_schema(found)


def test_a_changed_text_is_found_and_placed(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    change = say(lambda item, place: f"text {item.number}.{place}\n日", numbers=[7])
    found = compared(published, publish(tmp_path, checkpoint, change), Options(num_shown=5))
    assert found.pairs is not None
    assert (found.pairs.num_pairs, found.pairs.num_equal) == (96, 94)
    assert found.pairs.exact_match.value == pytest.approx(94 / 96)
    assert [(pair.key, pair.sample) for pair in found.shown] == [("u3#0.1", 0), ("u3#0.1", 1)]
    assert found.shown[0].b == "text 7.0\n日"
    place = found.pairs.first_difference
    assert (
        place.unit == "token" and place.first == place.median == place.last == found.shown[0].first_difference
    )
    value = check_schema(found)
    assert value["matching"]["num_items"] == 48 and "keys" not in value["matching"]


def test_positions_in_characters_where_the_checkpoint_is_gone(
    tmp_path: Path, checkpoint: Path, published: Path
) -> None:
    other = publish(
        tmp_path, checkpoint, say(lambda item, place: f"text {item.number}.{place}\n日", numbers=[3])
    )
    a, b = opened(published, other)
    a.summary["model"]["checkpoint"] = str(tmp_path / "gone")
    found = compare(a, b, references_of(a), Options(num_shown=1))
    assert found.pairs is not None
    assert found.pairs.first_difference.unit == "character"
    assert found.pairs.first_difference.first == len("text 3.0\n")
    assert str(tmp_path / "gone") in found.pairs.first_difference.source
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not found"):
        compare(a, b, references_of(a), Options(tokenizer=tmp_path))


def longer(item: Generation) -> Generation:
    """3 more tokens a sample, 4 for every other user; half of the items cut by max_tokens; other words."""
    more = 3 + item.number // 2 % 2
    samples = tuple(
        replace(
            sample,
            text=f"{sample.text} " + "the " * more,
            num_tokens=sample.num_tokens + more,
            finish_reason="length" if item.number % 2 else "stop",
        )
        for sample in item.samples
    )
    return replace(item, samples=samples)


def test_a_longer_run(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    found = compared(published, publish(tmp_path, checkpoint, longer))
    values = figures(found)
    assert values["tokens"] == (3.0, 6.5)
    assert values["length"] == (0.0, 0.5)
    assert values["characters"][1] - values["characters"][0] == pytest.approx(1 + 4 * 3.5)
    tokens = found.figures[0].difference
    assert tokens.value == -3.5 and tokens.low is not None and tokens.high is not None
    assert -4 < tokens.low < -3.5 < tokens.high < -3
    assert found.verdict.kind is VerdictKind.DIFFERS
    assert {"tokens", "length", "distinct_1"} <= set(found.verdict.differing)
    assert found.verdict.text.startswith(f"{STUBS}Differs in ")
    assert "B is longer by 3.50 tokens [3." in found.verdict.text
    assert found.verdict.text.endswith("0 of 96 samples are equal.")


def test_the_mirror_of_a_comparison(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    other = publish(tmp_path, checkpoint, longer, missing=[5, 30])
    one, mirror = compared(published, other), compared(other, published)
    assert one.matching.only_in_a == mirror.matching.only_in_b
    assert one.matching.only_in_b == mirror.matching.only_in_a
    assert one.pairs == mirror.pairs and one.pairs is not None
    assert one.verdict.kind is mirror.verdict.kind and one.verdict.differing == mirror.verdict.differing
    for figure, back in zip(one.figures, mirror.figures, strict=True):
        assert (figure.a, figure.b, figure.num_items) == (back.b, back.a, back.num_items)
        there, here = figure.difference, back.difference
        assert there.low is not None and there.high is not None
        assert here == pytest.approx(Estimate(-there.value, -there.high, -there.low))
    assert "B is longer by 3.5" in one.verdict.text and "B is shorter by 3.5" in mirror.verdict.text
    swapped = [replace(each, a=each.b, b=each.a) for each in mirror.settings]
    assert sorted(swapped, key=lambda each: each.name) == sorted(one.settings, key=lambda each: each.name)


def test_another_order_of_users_and_files_is_the_same(
    tmp_path: Path, checkpoint: Path, published: Path
) -> None:
    texts = {}

    def remember(item: Generation, place: int) -> str:
        return texts.setdefault((item.key, place), f"text {item.key} {place}")

    users = make_users(NUM_USERS, 2)
    one = publish(tmp_path, checkpoint, say(remember), users=users, name="one")
    other = publish(tmp_path, checkpoint, say(remember), users=users[::-1], name="other")
    found = compared(one, other)
    assert found.matching.is_exact and found.verdict.kind is VerdictKind.SAME_TEXTS
    assert found.matching.keys[0] == "u0#0.0"


def test_noise_is_called_noise(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    swap = say(lambda item, place: f"text {item.number}.{1 - place}\n影\u2028")
    found = compared(published, publish(tmp_path, checkpoint, swap))
    assert found.verdict.kind is VerdictKind.SAME_WITHIN_NOISE
    assert found.verdict.text == (
        f"{STUBS}Same within noise: the interval of every difference holds 0. 0 of 96 samples are equal."
    )


def test_too_few_users(tmp_path: Path, checkpoint: Path) -> None:
    users = make_users(MIN_USERS - 1, 2)
    a = publish(tmp_path, checkpoint, users=users, name="a")
    b = publish(tmp_path, checkpoint, longer, users=users, name="b")
    found = compared(a, b)
    assert found.verdict.kind is VerdictKind.TOO_FEW_USERS and found.verdict.differing == ()
    assert f"No verdict: {MIN_USERS - 1} users are too few, {MIN_USERS} are needed" in found.verdict.text
    assert not found.figures[0].difference.holds_zero


def test_one_user_has_no_interval_and_no_star(tmp_path: Path, checkpoint: Path) -> None:
    users = make_users(1, 2)
    a = publish(tmp_path, checkpoint, users=users, name="a")
    b = publish(tmp_path, checkpoint, longer, users=users, name="b")
    found = compared(a, b)
    assert {(each.difference.low, each.difference.high) for each in found.figures} == {(None, None)}
    assert found.figures[0].difference.value and differing(found.figures) == ()
    assert found.pairs is not None and found.pairs.exact_match.low is None
    check_schema(found)
    console = Console(width=80, record=True, file=StringIO())
    console.print(render(found))
    shown = console.export_text()
    assert "no interval" in shown and "no interval *" not in shown


def test_figures_without_interval_are_counted_in_the_verdict(
    tmp_path: Path, checkpoint: Path, published: Path
) -> None:
    """Where one user of 24 has references, their scores have none."""
    swap = say(lambda item, place: f"text {item.number}.{1 - place}\n影\u2028")
    file = tmp_path / "references.json"
    file.write_text('{"u0": ["text 0", "text 1"]}')
    a, b = open_published(published), open_published(publish(tmp_path, checkpoint, swap))
    found = compare(a, b, references_from(file, a))
    without = [each.name for each in found.figures if each.difference.low is None]
    assert without and f"holds 0; {len(without)} have no interval" in found.verdict.text


def test_ablations_are_not_blamed_on_an_engine(tmp_path: Path, checkpoint: Path) -> None:
    a = publish_demo(tmp_path, checkpoint, "Chameleons", name="a")
    settings = {"prompt.ablation_config": "context_only"}
    b = publish_demo(tmp_path, checkpoint, "Chameleons", longer, name="b", settings=settings)
    found = compared(a, b)
    assert found.prompts_differ and found.settings[0].name == "prompt.ablation_config"
    assert found.unpaired is None and found.matching.is_exact
    assert (
        "The prompts differ (prompt.ablation_config), so this compares prompts and not engines:"
        in found.verdict.text
    )


def test_other_prompts_are_noticed_without_a_setting(
    tmp_path: Path, checkpoint: Path, published: Path
) -> None:
    change = lambda item: replace(item, num_prompt_tokens=12) if item.number < 2 else item  # noqa: E731
    found = compared(published, publish(tmp_path, checkpoint, change))
    assert found.num_other_prompts == 2 and found.prompts_differ
    assert "The prompts differ (on 2 items)" in found.verdict.text


def test_greedy_texts_are_paired_whatever_has_no_effect_on_them(tmp_path: Path, checkpoint: Path) -> None:
    def greedy(name: str, **settings: float) -> Path:
        values = {f"sampling.{key}": value for key, value in settings.items()}
        values |= {"sampling.temperature": 0, "sampling.num_samples": 1}
        first = lambda item: replace(item, samples=item.samples[:1])  # noqa: E731
        return publish_demo(tmp_path, checkpoint, "Chameleons", first, name=name, settings=values)

    a = greedy("a")
    found = compared(a, greedy("b", seed=7, top_p=0.5, top_k=3))
    assert found.unpaired is None and found.pairs is not None
    assert {"sampling.seed", "sampling.top_p", "sampling.top_k"} <= {each.name for each in found.settings}
    penalised = compared(a, greedy("c", seed=7, repetition_penalty=1.1))
    assert penalised.unpaired == "sampling.repetition_penalty differ"


def test_sampled_texts_of_another_seed_are_not_paired(tmp_path: Path, checkpoint: Path) -> None:
    a = publish_demo(tmp_path, checkpoint, "Chameleons", name="a")
    b = publish_demo(tmp_path, checkpoint, "Chameleons", name="b", settings={"sampling.seed": 7})
    assert compared(a, b).unpaired == "sampling.seed differ"


def test_another_sampling_is_not_paired(tmp_path: Path, checkpoint: Path) -> None:
    a = publish_demo(tmp_path, checkpoint, "Chameleons", name="a")
    b = publish_demo(tmp_path, checkpoint, "Chameleons", name="b", settings={"sampling.temperature": 0.7})
    found = compared(a, b, Options(num_shown=2))
    assert found.pairs is None and found.unpaired == "sampling.temperature differ"
    assert found.verdict.kind is not VerdictKind.SAME_TEXTS
    assert figures(found)["tokens"] == (3.0, 3.0)
    assert len(found.shown) == 2 and found.shown[0].first_difference is None
    assert any("not paired" in note for note in found.notes)
    check_schema(found)


def test_what_has_samples_on_one_side_only_is_named(
    tmp_path: Path, checkpoint: Path, published: Path
) -> None:
    other = publish(tmp_path, checkpoint, missing=[0, 1, 2], failed=[3])
    found = compared(published, other)
    left = found.matching.only_in_a
    assert (left.num_items, left.num_missing_in_other, left.num_failed_in_other) == (4, 3, 1)
    assert left.first == ("u0#0.0", "u0#0.1", "u1#0.0", "u1#0.1")
    assert found.matching.only_in_b.num_items == 0 and not found.matching.is_exact
    assert found.verdict.kind is VerdictKind.SAME_TEXTS
    assert "Items do not match; of the 44 asked alike in both: same texts" in found.verdict.text
    assert "B is incomplete: 1 items failed, 3 are missing." in found.notes
    both = compared(other, other)
    assert both.matching.is_exact and both.matching.num_without_samples_in_both == 4


def test_another_input_under_the_same_key(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    users = make_users(NUM_USERS, 2)
    users[2]["task"]["task_behavior_collections"][0]["data"][1]["context"][0]["content"] = "Other."
    found = compared(published, publish(tmp_path, checkpoint, users=users))
    assert found.matching.first_other_input == ("u2#0.1",) and not found.matching.is_exact
    assert (found.matching.num_other_input, len(found.matching.keys)) == (1, 47)
    everything = make_users(NUM_USERS, 2)
    for user in everything:
        for item in user["task"]["task_behavior_collections"][0]["data"]:
            item["context"][0]["content"] = "Other."
    found = compared(published, publish(tmp_path / "all", checkpoint, users=everything))
    assert found.verdict.kind is VerdictKind.NOTHING_TO_COMPARE and found.pairs is None
    assert found.figures == () and found.num_scored_items == 0
    check_schema(found)


def test_another_dataset_is_refused(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    other = publish_demo(tmp_path, checkpoint, "DMSC", name="dmsc")
    with pytest.raises(InputError, match="not one item has samples in both"):
        compared(published, other)


def test_a_share_of_the_items_is_scored_and_said(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    other = publish(tmp_path, checkpoint, longer)
    found, again = (compared(published, other, Options(max_items=10)) for _ in range(2))
    assert found == again
    assert found.num_scored_items == 10 and found.references is not None
    assert found.references.num_items == 10
    assert {figure.name: figure.num_items for figure in found.figures}["chrf_mean"] == 10
    assert found.figures[0].num_items == 48 and found.pairs is not None and found.pairs.num_pairs == 96
    assert found.pairs.first_difference.num_pairs == 20
    assert any("10 of 48 items" in note and "--max-items" in note for note in found.notes)


def test_scores_by_hand_and_without_the_prefix(tmp_path: Path, checkpoint: Path) -> None:
    """A says the reference, B says it with the prefix that the prompt had, then half of it in one sample."""
    a = publish_demo(tmp_path, checkpoint, "DMSC", name="a")
    truth = references_of(opened(a, a)[0]).by_key

    def true_text(item: Generation, place: int) -> str:
        reference = truth.get(item.key)
        return "" if reference is None else (reference.prefix if place else "") + reference.text

    true = publish_demo(tmp_path, checkpoint, "DMSC", say(true_text), name="true")
    empty = publish_demo(
        tmp_path,
        checkpoint,
        "DMSC",
        say(lambda item, place: "" if place else true_text(item, 0)),
        name="half",
    )
    found = compared(true, empty)
    values = figures(found)
    assert found.references is not None and found.references.num_items == len(truth) > 5
    assert values["chrf_mean"] == pytest.approx((100, 50))
    assert values["chrf_best"] == pytest.approx((100, 100))
    assert values["bleu_best"] == pytest.approx((100, 100))
    assert values["bleu_mean"] == pytest.approx((100, 50))
    assert values["empty"][1] > values["empty"][0]


HOSTILE = ["\x1b[2J\x1b]0;owned\x07", "\x00", "x" * 1_000_000, "", "\u202e\ud7ff", "<|im_end|>\r\n"]


@pytest.mark.process
def test_hostile_texts(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    change = say(lambda item, place: HOSTILE[item.number], numbers=range(len(HOSTILE)))
    other = publish(tmp_path, checkpoint, change)
    found = compared(published, other, Options(num_shown=100))
    assert len(found.shown) == 12 and found.shown[4].b == HOSTILE[2]
    assert found.pairs is not None and found.pairs.num_clipped == 2
    assert any("2 pairs" in note for note in found.notes)
    check_schema(found)
    same = compared(other, other)
    assert same.pairs is not None and same.pairs.exact_match.value == 1
