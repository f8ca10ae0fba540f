"""Scores of published directories: by hand, over processes, of failed, missing and limited items."""

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from launch.cli.scoring import score_into
from launch.collect.leaderboard.write import write_leaderboard
from launch.collect.manifest import ITEM_SCORES_FILE, MANIFEST, SCORES_FILE, SCORES_SCRATCH
from launch.collect.merge import merge
from launch.collect.metrics.bootstrap import NUM_RESAMPLES, SEED
from launch.collect.published import open_published
from launch.collect.reference_texts import known_references
from launch.collect.run_page.write import write_run_page
from launch.collect.schemas import read_schema
from launch.collect.scoring import pool
from launch.collect.scoring.pool import MAX_PROCESSES, num_processes
from launch.collect.scoring.record import ScoresRecord, read_scores, scores_problems
from launch.collect.scoring.score import Options, rules_of
from launch.collect.scoring.values import ItemScorer
from launch.collect.scoring.view import headline, render
from launch.collect.verify import verify_published
from launch.errors import InputError, RunError
from launch.scenarios.records import Generation
from launch.worker.engines.shield import list_children
from tests.collect.builders import (
    make_generations,
    make_users,
    plan_run,
    read_lines,
    read_value,
    write_results,
)
from tests.collect.comparing import publish, publish_demo, say
from tests.runs import SCENARIOS
from tests.scenarios.builders import SAMPLES, dialogue_item, one_of_each_type, turn, user

pytestmark = pytest.mark.process

ALONE = Options(processes=1)
Text = Callable[[Generation, int], str]


def scored(directory: Path, references: Path | None = None, options: Options = ALONE) -> ScoresRecord:
    published = open_published(directory)
    return score_into(published, known_references(published, references), options)


def ratings(**answers: list[str]) -> list[dict[str, Any]]:
    return [
        user(name, movie_rating=[{"context": [], "continuation": each} for each in each_user])
        for name, each_user in answers.items()
    ]


def test_ratings_by_hand(tmp_path: Path, checkpoint: Path) -> None:
    users = ratings(a=["4.0", "2.0"], b=["5.0"])
    texts = [["4", "3"], ["2.0/5", "good"], ["5 stars", "★★★★"]]
    directory = publish(tmp_path, checkpoint, say(lambda item, place: texts[item.number][place]), users=users)
    found = scored(directory).types["movie_rating"]
    values = {name: score.value for name, score in found.scores.items()}
    assert (found.num_users, found.num_items, found.num_references, found.scale) == (2, 3, 3, (0.5, 5))
    assert values["accuracy_mean"] == 0.5 and values["accuracy_best"] == 1
    assert values["mae_mean"] == pytest.approx((0.5 + 3 / 2 + 0.5) / 3, abs=1e-6)
    assert values["rmse_mean"] == pytest.approx(
        (((0 + 1) / 2 + (0 + 9) / 2 + (0 + 1) / 2) / 3) ** 0.5, abs=1e-6
    )
    assert (values["mae_best"], values["rmse_best"]) == (0, 0)
    assert values["unparsed"] == pytest.approx(1 / 6, abs=1e-6)
    assert {name for name, score in found.scores.items() if score.oracle} == {
        "accuracy_best",
        "mae_best",
        "rmse_best",
    }


def test_intervals_are_of_users_drawn_whole(tmp_path: Path, checkpoint: Path) -> None:
    users = ratings(a=["4.0", "2.0"], b=["5.0"], c=["1.0"])
    directory = publish(tmp_path, checkpoint, say(lambda item, place: "3"), users=users)
    found = scored(directory).types["movie_rating"].scores
    errors = [[1.0, 1.0], [2.0], [2.0]]
    random = np.random.default_rng(SEED)
    roots, means = [], []
    for _ in range(NUM_RESAMPLES):
        drawn = [error for place in random.integers(0, 3, 3) for error in errors[place]]
        means.append(np.mean(drawn))
        roots.append(np.sqrt(np.mean(np.square(drawn))))
    for name, values in (("mae_mean", means), ("rmse_mean", roots)):
        low, high = np.quantile(values, [0.025, 0.975])
        assert (found[name].low, found[name].high) == (
            pytest.approx(low, abs=1e-6),
            pytest.approx(high, abs=1e-6),
        )


def test_one_user_has_no_interval(tmp_path: Path, checkpoint: Path) -> None:
    """Nor a score of which one user alone has a value; the page, the table and the schema bear it."""
    users = [
        *ratings(a=["4.0", "2.0"]),
        *(user(name, dialogue=[dialogue_item(turn("BEN", "Hi."), continuation="Yes.")]) for name in "bc"),
    ]
    directory = publish(tmp_path, checkpoint, say(lambda item, place: "3"), users=users)
    record = scored(directory)
    rating, dialogue = (record.types[name] for name in ("movie_rating", "dialogue"))
    assert {(score.low, score.high) for score in rating.scores.values()} == {(None, None)}
    assert dialogue.scores["tokens"].low is not None
    assert "One user alone has movie_rating: no interval can be told." in record.notes
    assert "Fewer than 20 users have dialogue: their intervals are too narrow." in record.notes
    Draft202012Validator(read_schema("scores")).validate(read_value(directory / SCORES_FILE))
    console = Console(width=80, record=True, file=StringIO())
    console.print(render(record, "run"))
    assert "no interval" in console.export_text()
    assert b"no interval" in write_run_page(directory, None).read_bytes()
    (board,) = (each.scores for each in write_leaderboard(directory.parent).entries)
    assert board is not None and board["movie_rating"].scores["mae_mean"].low is None
    value = json.loads((directory.parent / "leaderboard.json").read_text())
    Draft202012Validator(read_schema("leaderboard")).validate(value)
    header, row = csv.reader((directory.parent / "leaderboard.csv").read_text("utf-8-sig").splitlines())
    found = dict(zip(header, row, strict=True))
    assert found["movie_rating.mae_mean"] and found["movie_rating.mae_mean.low"] == ""


def test_the_line_of_a_merge_says_how_much_was_unparsed(tmp_path: Path, checkpoint: Path) -> None:
    texts = ["4", "well"]
    users = ratings(a=["4.0", "4.0"], b=["4.0"])
    directory = publish(tmp_path, checkpoint, say(lambda item, place: texts[place]), users=users)
    assert headline(scored(directory)) == "movie_rating: accuracy 0.5000 (50 % unparsed), MAE 1.7500"


@pytest.mark.parametrize(
    ("language", "text", "reference", "shares"),
    [
        ("en", "the old dog bit the man", "the old dog bit a man", (5 / 6, 3 / 5, 2 / 4, 1 / 3)),
        ("zh", "我爱小猫和狗", "我爱小猫和鱼", (5 / 6, 4 / 5, 3 / 4, 2 / 3)),
    ],
)
def test_texts_by_hand(
    tmp_path: Path, checkpoint: Path, language: str, text: str, reference: str, shares: tuple[float, ...]
) -> None:
    """`shares` of the sample's n-grams that the reference has; of six words or characters five are common."""
    directory = publish_texts(tmp_path, checkpoint, lambda item, place: text, reference, language)
    found = scored(directory).types["dialogue"].scores
    expected = 100 * float(np.prod(shares)) ** 0.25
    for name in ("bleu", "bleu_mean", "bleu_best"):
        assert found[name].value == pytest.approx(expected, abs=1e-4)
    assert found["rouge_l_mean"].value == pytest.approx(100 * 5 / 6, abs=1e-4)
    assert found["length_ratio"].value == 1
    assert (found["duplicate"].value, found["self_bleu"].value) == (0.5, 100)
    assert found["bleu"].low == found["bleu"].high == found["bleu"].value, "all users are alike"


def publish_texts(
    root: Path, checkpoint: Path, text: Text, reference: str | None, language: str, num_users: int = 3
) -> Path:
    """Users with an item each, all with the same reference."""
    users = [
        user(f"u{number}", dialogue=[dialogue_item(turn("BEN", "Hello."), continuation=reference)])
        for number in range(num_users)
    ]
    run = plan_run(root, checkpoint, users, prompt={"language": language})
    write_results(run, [say(text)(each) for each in make_generations(run)])
    return merge(run).output_dir


def test_the_bleu_of_all_is_of_all_samples_together(tmp_path: Path, checkpoint: Path) -> None:
    import sacrebleu

    def text(item: Generation, place: int) -> str:
        return " ".join("the old dog bit a man twice".split()[place : 4 + item.number + place])

    directory = publish_texts(tmp_path, checkpoint, text, "the old dog bit the man", "en")
    samples = [
        sample["text"] for line in read_lines(directory / "generations.jsonl") for sample in line["samples"]
    ]
    expected = sacrebleu.corpus_bleu(samples, [["the old dog bit the man"] * len(samples)])
    found = scored(directory)
    assert found.types["dialogue"].scores["bleu"].value == pytest.approx(expected.score, abs=1e-6)
    assert found.signatures["bleu"].startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|")


@pytest.mark.parametrize("dataset", ["Chameleons", "DMSC"])
def test_files_are_as_their_schemas_say(tmp_path: Path, checkpoint: Path, dataset: str) -> None:
    directory = publish_demo(tmp_path, checkpoint, dataset, name="demo")
    record = scored(directory)
    value = read_value(directory / SCORES_FILE)
    Draft202012Validator(read_schema("scores")).validate(value)
    lines = read_lines(directory / ITEM_SCORES_FILE)
    for line in lines:
        Draft202012Validator(read_schema("item_scores")).validate(line)
    assert [line["key"] for line in lines] == list(open_published(directory).entries)
    assert set(read_schema("scores")["properties"]) == {*ScoresRecord.model_fields, "digest"}
    assert record == read_scores(directory, open_published(directory).manifest)
    assert "A stub run: its texts are made up and say nothing about a model." in record.notes
    assert record.references is not None and record.references.num_items == record.num_items, (
        "what the items lack the scenario's references.json has"
    )


@pytest.mark.parametrize("most_given_out", [1, pool.CHUNKS_AHEAD])
def test_the_same_bytes_over_any_number_of_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path, most_given_out: int
) -> None:
    """Also in small chunks of which few are given out, so that fast processes wait for slow ones."""
    monkeypatch.setattr(pool, "CHUNK_ITEMS", 3)
    monkeypatch.setattr(pool, "CHUNKS_AHEAD", most_given_out)
    directory = publish_demo(tmp_path, checkpoint, "Chameleons", name="demo")
    found = []
    for processes in (1, 2, 3, 1):
        scored(directory, options=Options(processes=processes))
        found.append([(directory / name).read_bytes() for name in (SCORES_FILE, ITEM_SCORES_FILE)])
    assert found[0] == found[1] == found[2] == found[3]


@pytest.mark.parametrize("is_writing", [True, False])
def test_a_scoring_process_that_is_killed_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path, is_writing: bool
) -> None:
    """One of two, in the middle of an answer that is larger than what a pipe holds, too."""
    monkeypatch.setattr(pool, "CHUNK_ITEMS", 4_000 if is_writing else 64)
    directory = publish(tmp_path, checkpoint, users=make_users(400, 40))  # four large chunks: both have one
    others = scoring_processes()  # engines that other tests share, say
    killed: list[psutil.Process] = []

    def kill(done: int, of: int) -> None:
        if killed:
            return
        killed.append((scoring_processes() - others).pop())
        if is_writing:
            wait_until_idle(killed[0])
        killed[0].kill()

    with pytest.raises(RunError, match="a scoring process was killed"):
        scored(directory, options=Options(processes=2, tell=kill))
    assert not (directory / SCORES_FILE).exists() and not list(directory.glob(f"{SCORES_SCRATCH}*"))
    assert scoring_processes() == others


def scoring_processes() -> set[psutil.Process]:
    return {child for child in list_children() if "spawn_main" in " ".join(child.cmdline())}


def wait_until_idle(process: psutil.Process) -> None:
    before = None
    while before != (before := process.cpu_times()[:2]):
        time.sleep(0.5)


def test_what_goes_wrong_in_a_scoring_process_is_raised_here(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish_demo(tmp_path, checkpoint, "Chameleons", name="demo")
    published = open_published(directory)
    entry = next(iter(published.entries.values()))
    wrong = [(next(iter(known_references(published))), replace(entry, offset=entry.offset + 1))]
    rules = rules_of(published, known_references(published), ALONE)
    for processes in (1, 2):
        with pytest.raises(RunError, match=r"generations\.jsonl: was changed while it was read"):
            list(pool.score_chunks(directory, ItemScorer(rules), wrong, processes))


@pytest.mark.parametrize(
    ("num_items", "wanted", "asked", "expected"),
    [
        (10, None, None, 1),
        (10, 3, None, 3),
        (5_000, None, "1", 1),
        (5_000, None, "64", None),
        (5_000, None, "", None),
    ],
)
def test_how_many_processes(
    monkeypatch: pytest.MonkeyPatch,
    num_items: int,
    wanted: int | None,
    asked: str | None,
    expected: int | None,
) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if asked is not None:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    cores = min(MAX_PROCESSES, len(os.sched_getaffinity(0)))
    assert num_processes(num_items, wanted) == (expected or cores)


def test_another_run_of_the_same_results_has_the_same_bytes(tmp_path: Path, checkpoint: Path) -> None:
    found = []
    for name in ("one", "other"):
        directory = publish_demo(tmp_path / name, checkpoint, "DMSC", name=name)
        scored(directory)
        found.append((directory / SCORES_FILE).read_bytes())
    assert found[0] == found[1]


def test_failed_and_missing_items_are_in_no_score_and_marked(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint, missing=[1], failed=[2, 3])
    record = scored(directory)
    assert (record.complete, record.num_failed, record.num_missing, record.num_done) == (False, 2, 1, 45)
    assert record.types["dialogue"].num_items == len(read_lines(directory / ITEM_SCORES_FILE)) == 45
    assert any(note.startswith("Incomplete: 2 items failed and 1 are missing") for note in record.notes)


def test_nothing_generated_at_all(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint, users=[user("a1")], failed=[0])
    record = scored(directory)
    assert (record.types, record.references, record.num_failed) == ({}, None, 1)
    assert headline(record) == ""


def test_a_limited_run_is_marked(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish_demo(
        tmp_path, checkpoint, "Chameleons", name="demo", settings={"data.limit_items": 30}
    )
    record = scored(directory)
    assert record.subset is not None and record.subset.num_items == record.num_done == 30
    assert "Limited to 30 of 92 items." in record.notes


def test_a_file_goes_before_the_scenario(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint, say(lambda item, place: "abc"), users=[user("a1"), user("b2")])
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"a1": ["abc"]}))
    record = scored(directory, file)
    assert record.references is not None and record.references.source == "file"
    assert record.types["dialogue"].scores["chrf_mean"].value == 100
    assert record.types["dialogue"].num_references == 1
    assert "1 items with samples have no reference." in record.notes


def test_without_references_only_variety_is_known(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish_texts(tmp_path, checkpoint, lambda item, place: "a b", None, "en")
    record = scored(directory)
    assert record.references is None and "chrf_mean" not in record.types["dialogue"].scores
    assert record.types["dialogue"].scores["self_bleu"].value == pytest.approx(100)
    assert any(note.startswith("No references") for note in record.notes)


def test_a_references_json_of_others_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish_texts(tmp_path, checkpoint, lambda item, place: "a b", None, "en")
    (tmp_path / "scenario-run" / "references.json").write_text('{"zz": ["text"]}')
    with pytest.raises(InputError, match="none of its users is in"):
        scored(directory)


def test_scores_are_no_foreign_files(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint)
    scored(directory)
    (directory / f"{SCORES_SCRATCH}node1.17").write_text("left by a kill")
    manifest = open_published(directory).manifest
    assert verify_published(directory).is_whole and scores_problems(directory, manifest) == []
    assert SCORES_FILE not in read_value(directory / MANIFEST)["files"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: (path / ITEM_SCORES_FILE).unlink(), "item_scores.jsonl: is missing"),
        (lambda path: (path / ITEM_SCORES_FILE).write_text("{}\n"), "has other bytes than scores.json says"),
        (lambda path: (path / SCORES_FILE).unlink(), "item_scores.jsonl: there is no scores.json to it"),
        (lambda path: (path / SCORES_FILE).write_text("{"), "scores.json: was changed after it was written"),
        (lambda path: (path / SCORES_FILE).write_text("[]"), "scores.json: was changed after it was written"),
        (lambda path: replace_in(path / SCORES_FILE, '"stub": true', '"stub": false'), "was changed after"),
    ],
)
def test_damaged_scores_are_named(
    tmp_path: Path, checkpoint: Path, damage: Callable[[Path], object], said: str
) -> None:
    directory = publish(tmp_path, checkpoint, users=[user("a1")])
    scored(directory)
    damage(directory)
    (problem,) = scores_problems(directory, open_published(directory).manifest)
    assert said in problem
    scored(directory)
    assert scores_problems(directory, open_published(directory).manifest) == []


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_scores_of_earlier_results_count_as_none(tmp_path: Path, checkpoint: Path) -> None:
    one = publish(tmp_path, checkpoint, users=[user("a1")], name="one")
    two = publish(tmp_path, checkpoint, say(lambda item, place: "other"), users=[user("a1")], name="two")
    scored(one)
    for name in (SCORES_FILE, ITEM_SCORES_FILE):
        (two / name).write_bytes((one / name).read_bytes())
    manifest = open_published(two).manifest
    assert read_scores(two, manifest) is None
    assert scores_problems(two, manifest)[0].startswith("scores.json: is of other results")


def test_a_directory_published_again_meanwhile_keeps_no_old_scores(tmp_path: Path, checkpoint: Path) -> None:
    one = publish(tmp_path, checkpoint, users=[user("a1")], name="one")
    two = publish(tmp_path, checkpoint, say(lambda item, place: "other"), users=[user("a1")], name="two")
    published = open_published(one)
    references = known_references(published)

    def replaced(done: int, of: int) -> None:
        (one / MANIFEST).write_bytes((two / MANIFEST).read_bytes())

    with pytest.raises(RunError, match="was published again while it was scored"):
        score_into(published, references, Options(processes=1, tell=replaced))
    assert not (one / SCORES_FILE).exists() and not list(one.glob(f"{SCORES_SCRATCH}*"))


def test_what_would_take_too_long_is_given_up(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.collect.scoring.score.FORECAST_AFTER_S", 0.0)
    directory = publish(tmp_path, checkpoint)
    with pytest.raises(RunError, match="scoring would take"):
        scored(directory, options=Options(processes=1, max_s=0.0))
    assert not list(directory.glob(f"*{SCORES_FILE}*")) and not list(directory.glob(f"{SCORES_SCRATCH}*"))


def test_an_item_of_each_type(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint, say(lambda item, place: "4.5"), users=[one_of_each_type()])
    record = scored(directory)
    assert list(record.types) == ["dialogue", "movie_review", "movie_rating", "questionnaire"]
    assert record.types["movie_rating"].scores["accuracy_mean"].value == 1
    assert record.types["questionnaire"].answer_kinds == {"number": 1}
    assert "movie_rating: accuracy 1.0000 (0 % unparsed), MAE 0.0000" in headline(record)


if present := [path for path in SAMPLES if path.is_dir()]:  # no part of the repository

    def test_the_real_sample(tmp_path: Path, checkpoint: Path) -> None:
        """Japanese dialogue with its references.json, each told back: every score is the best there is."""
        sample = present[0]
        truth = json.loads((sample / "references.json").read_text())

        def text(item: Generation, place: int) -> str:
            hash_, _, where = item.key.partition("#")
            return truth[hash_][int(where.partition(".")[2])]

        users = json.loads((sample / "test_leaderboard.json").read_text())
        run = plan_run(tmp_path, checkpoint, users, prompt={"language": "ja"}, max_model_len=8192)
        write_results(run, [say(text)(each) for each in make_generations(run)])
        record = scored(merge(run).output_dir, sample / "references.json")
        found = record.types["dialogue"]
        assert (found.num_users, found.num_items, found.num_references) == (24, 72, 72)
        for name in ("bleu", "chrf_mean", "rouge_l_mean", "bleu_best"):
            assert found.scores[name].value == pytest.approx(100)
        assert found.scores["length_ratio"].value == 1


def test_the_demos_scenarios_have_references_json() -> None:
    assert all((SCENARIOS / name / "references.json").is_file() for name in ("Chameleons", "DMSC"))
