"""`vllm-launch score` as it is typed, and the scores that merge makes once it has published."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from launch.collect.schemas import read_schema
from tests.cli.commands import submit_words, succeed, vllm_launch
from tests.cli.refusals import refusal
from tests.collect.builders import change_publish, make_generations, make_users, plan_run, write_results
from tests.collect.comparing import publish, publish_demo, say
from tests.scenarios.builders import dialogue_item, turn, user

pytestmark = pytest.mark.process


def test_the_table_at_80_columns(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish_demo(tmp_path, checkpoint, "DMSC", name="demo", settings={"data.limit_items": 30})
    out = succeed("score", directory, cwd=tmp_path, COLUMNS="80").out
    lines = [line for line in out.splitlines() if str(tmp_path) not in line]  # a path is as long as it is
    assert max(map(len, lines)) <= 80 and "\x1b" not in out
    flat = " ".join(out.split())
    assert "STUB, made-up texts, LIMITED to 30 of 41 items" in flat
    for label in ("BLEU, all samples", "chrF++, best of n (oracle)", "unparsed (counted as wrong)"):
        assert label in flat
    assert "movie_rating: " in flat and "scale 0.5 to 5" in flat and "tok:zh" in flat
    assert succeed("verify", directory, cwd=tmp_path).out.startswith(f"{directory}: ")


def test_json_is_what_is_written(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint)
    value = json.loads(succeed("score", directory, "--json", "--processes", "1", cwd=tmp_path).out)
    Draft202012Validator(read_schema("scores")).validate(value)
    assert value == json.loads((directory / "scores.json").read_text())


def test_hostile_keys_paths_and_texts(hostile_dir: Path, checkpoint: Path) -> None:
    users = make_users(3, 1)
    for each in users:
        each["user_hash"] = f"\x1b[31m{each['user_hash']}\n#[b]"
    texts = ["\x00\u202e\x1b[2J", "x" * 1_000_000]
    directory = publish(hostile_dir, checkpoint, say(lambda item, place: texts[place]), users=users)
    said = succeed("score", directory, cwd=hostile_dir, COLUMNS="200")
    assert all(char.isprintable() or char == "\n" for char in said.out)
    assert "3 samples are scored by their first 20,000 characters." in said.out
    lines = (directory / "item_scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [f"{each['user_hash']}#0.0" for each in users]


def test_verify_names_scores_of_other_results(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint)
    succeed("score", directory, cwd=tmp_path)
    (directory / "item_scores.jsonl").write_text("{}\n")
    said = vllm_launch("verify", directory, cwd=tmp_path)
    assert said.code == 3 and "item_scores.jsonl: has other bytes than scores.json says" in said.err


def test_what_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    directory = publish(tmp_path, checkpoint)
    said = refusal(tmp_path, "score", directory, "--references", "none.json")
    assert said.startswith('none.json: not found; expected {"user_hash": [')
    (tmp_path / "empty").mkdir()
    assert "no manifest.json of vllm-launch" in refusal(tmp_path, "score", "empty")


def test_merge_publishes_and_then_scores(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint, make_users(3, 2))
    write_results(run, [say(lambda item, place: "the true answer")(each) for each in make_generations(run)])
    said = succeed("merge", run.root, cwd=tmp_path)
    # three words have no four neighbours, so their BLEU is 0
    assert said.row("scores") == "dialogue: BLEU 0.00, chrF++ 100.00 (scores.json)"
    directory = tmp_path / "published" / "run"
    before = (directory / "scores.json").read_bytes()
    again = succeed("merge", run.root, cwd=tmp_path)
    assert "nothing new since" in again.out and again.row("scores") == said.row("scores")
    assert (directory / "scores.json").read_bytes() == before
    (directory / "scores.json").write_text("{")
    succeed("merge", run.root, cwd=tmp_path)
    assert (directory / "scores.json").read_bytes() == before, "damaged scores are made again"


READINGS = """
import sys
from pathlib import Path
from launch.cli.app import main

def count(event, args):
    if event == "open" and Path(str(args[0])).parent.name == "users" and args[1] == "r":
        print("read again", file=sys.stderr)

sys.addaudithook(count)
main()
"""


def test_what_a_merge_has_just_written_or_proved_is_not_read_for_that_again(
    tmp_path: Path, checkpoint: Path
) -> None:
    """Files of users are read for their digests alone: not when they are new, once when they are there."""
    run = plan_run(tmp_path, checkpoint, make_users(3, 2))
    write_results(run, make_generations(run, says="the true answer"))
    for num_readings in (0, 3):
        words = [sys.executable, "-c", READINGS, "merge", str(run.root)]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "\nscores " in said.stdout and "\npage " in said.stdout
        assert said.stderr.count("read again") == num_readings, said.stderr


def test_merge_scores_against_the_file_that_the_run_was_given(tmp_path: Path, checkpoint: Path) -> None:
    users = [user("a1", dialogue=[dialogue_item(turn("BEN", "Hello."), continuation=None)])]
    run = plan_run(tmp_path, checkpoint, users)
    write_results(run, make_generations(run, says="said"))
    assert "scores      " not in succeed("merge", run.root, cwd=tmp_path).out, "nothing to score against"
    file = tmp_path / "references.json"
    file.write_text('{"a1": ["said 0.0 and more"]}')
    change_publish(run, references=file)
    said = succeed("merge", run.root, cwd=tmp_path)
    assert "nothing new since" in said.out, "references are no reason to publish again"
    assert said.row("scores").startswith("dialogue: BLEU ")
    file.write_text('{"a1": ["said 0.0 and other"]}')
    assert succeed("merge", run.root, cwd=tmp_path).row("scores") != said.row("scores")


@pytest.mark.parametrize("references", ["no JSON", '{"zz": ["text"]}', None])
def test_publishing_does_not_fail_where_scoring_does(
    tmp_path: Path, checkpoint: Path, references: str | None
) -> None:
    run = plan_run(tmp_path, checkpoint)
    write_results(run, make_generations(run))
    file = tmp_path / "references.json"
    if references is not None:
        file.write_text(references)
    change_publish(run, references=file)
    said = succeed("merge", run.root, cwd=tmp_path)
    assert said.row("published").endswith("12 of 12 items done; texts of the stub engine, not of a model")
    assert any(note.startswith(f"no scores: {file}") for note in said.notes)
    assert not (tmp_path / "published" / "run" / "scores.json").exists()


def test_a_bug_in_scoring_is_shown_and_fails_nothing(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("launch.cli.scoring.score", broken)
    run = plan_run(tmp_path, checkpoint)
    write_results(run, make_generations(run))
    said = succeed("merge", run.root, cwd=tmp_path)
    assert "ZeroDivisionError: a bug" in said.err
    assert "no scores, for the reason above; the results are published." in said.notes


@pytest.mark.parametrize("text", [None, "[]"])
def test_submit_looks_at_the_references_before_anything_runs(
    tmp_path: Path, checkpoint: Path, text: str | None
) -> None:
    plan_run(tmp_path, checkpoint)
    file = tmp_path / "mine.json"
    if text is not None:
        file.write_text(text)
    words = ["submit", "--preset", "quick_test", "--checkpoint", checkpoint, "--engine", "stub", "--dry-run"]
    words += ["--scenario-path", tmp_path / "scenario-run", "--references", "mine.json"]
    said = refusal(tmp_path, *words)
    assert said.startswith("HERE/mine.json: ") and 'expected {"user_hash": ["true' in said
    file.write_text('{"u0": ["one", "two", "three"]}')
    succeed(*words, cwd=tmp_path)


def test_a_run_stands_for_where_it_is_published(tmp_path: Path, checkpoint: Path) -> None:
    """By its directory and its id, as for `verify`; for `compare` as well."""
    succeed(*submit_words(checkpoint), "--limit-items", "3", "--output-dir", "results", cwd=tmp_path)
    directory = tmp_path / "results"
    value = json.loads(succeed("score", "r", "--json", cwd=tmp_path).out)
    assert value == json.loads((directory / "scores.json").read_text())
    assert f"{directory}: " in succeed("score", "outputs/runs/r", cwd=tmp_path, COLUMNS="300").out
    succeed("compare", "r", "results", cwd=tmp_path)
    directory.rename(tmp_path / "elsewhere")
    for words in (("score", "r"), ("compare", "elsewhere", "r")):
        assert refusal(tmp_path, *words) == (
            "HERE/outputs/runs/r: is not published in HERE/results. Publish it with `vllm-launch merge`."
        )
    succeed("compare", "elsewhere", "elsewhere", cwd=tmp_path)
