"""`vllm-launch compare` as it is typed: what it says, its exit codes, and what it refuses."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from launch.collect.schemas import read_schema
from tests.cli.commands import succeed, vllm_launch
from tests.cli.refusals import refusal
from tests.collect.builders import make_users
from tests.collect.comparing import publish, publish_demo, say

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    return publish(tmp_path_factory.mktemp("published"), checkpoint)


def test_the_table_at_80_columns(tmp_path: Path, published: Path) -> None:
    out = succeed("compare", published, published, cwd=tmp_path, COLUMNS="80").out
    assert "No setting differs." in out and "exact match: 100.00 % of 96 samples" in out
    flat = " ".join(out.split())  # where a line breaks depends on how long the path is
    assert "48 items x 2" in flat and "made-up texts" in flat
    assert "tokens a sample" in out and "chrF1|nrefs:1" in out and "BLEU|nrefs:1" in out
    assert "verdict: Stub texts, made up, in A and B" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_json_is_as_its_schema_says(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    text = "\x1b[2J\x9b2J\u202e"  # U+009B begins an escape sequence by itself
    other = publish(tmp_path, checkpoint, say(lambda item, place: text))
    other = other.rename(other.with_name(os.fsdecode(b"no \xff utf-8")))
    words = ["compare", published, other, "--json", "--show", "2", "--max-items", "0"]
    out = succeed(*words, cwd=tmp_path).out
    assert out.replace("\n", "").isprintable()
    value = json.loads(out)
    assert value["b"]["path"] == str(other)
    Draft202012Validator(read_schema("comparison")).validate(value)
    assert value["num_scored_items"] == 48 and value["pairs"]["exact_match"]["value"] == 0
    assert [pair["b"] for pair in value["shown"]] == [text] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J\x1b]0;x\x07", "\\U0000001B[2J\\U0000001B]0;x\\U00000007"),
        ("a\x00b", "a\\U00000000b"),
        ("\r\x9b31m\u202e", "\\U0000000D\\U0000009B31m\\U0000202E"),
        ("[red]not markup[/red]", "[red]not markup[/red]"),
        ("全角\u3000空白", "全角\u3000空白"),
    ],
)
def test_texts_are_shown_and_not_obeyed(
    tmp_path: Path, checkpoint: Path, published: Path, text: str, expected: str
) -> None:
    other = publish(tmp_path, checkpoint, say(lambda item, place: text, numbers=[4]))
    out = succeed("compare", published, other, "--show", "1", cwd=tmp_path, COLUMNS="80").out
    assert f"--- B\n{expected}" in out
    assert out.splitlines() == out.split("\n")[:-1], "no line break but ours"
    assert all(char.isprintable() or char in "\n\u3000" for char in out)


def test_a_megabyte_on_one_line_is_cut_on_the_screen(
    tmp_path: Path, checkpoint: Path, published: Path
) -> None:
    other = publish(tmp_path, checkpoint, say(lambda item, place: "x" * 1_000_000, numbers=[4]))
    out = succeed("compare", published, other, "--show", "1", cwd=tmp_path, COLUMNS="80").out
    assert len(out) < 10_000 and "998,000 more" in out


def test_hostile_keys_and_paths(hostile_dir: Path, checkpoint: Path) -> None:
    users = make_users(3, 1)
    for user in users:
        user["user_hash"] = f"\x1b[31m{user['user_hash']}\n#[b]"
    a = publish(hostile_dir, checkpoint, users=users, name="a")
    b = publish(hostile_dir, checkpoint, users=users, name="b", missing=[1])
    said = vllm_launch("compare", a, b, cwd=hostile_dir, COLUMNS="200")
    assert said.code == 3 and "\x1b" not in said.out
    assert "1 items have samples only in A (0 failed and 1 are missing in B): \\U0000001B[31mu1" in said.out


def test_items_that_do_not_match_are_exit_3(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    users = make_users(24, 2)
    users[3]["task"]["task_behavior_collections"][0]["data"][0]["context"][0]["content"] = "Other."
    other = publish(tmp_path, checkpoint, users=users, failed=[10])
    said = vllm_launch("compare", published, other, cwd=tmp_path, COLUMNS="200")
    assert said.code == 3 and said.err == ""
    assert "1 items have samples only in A (1 failed and 0 are missing in B): u5#0.0" in said.out
    assert "1 items have another input in B than in A: u3#0.0" in said.out
    assert "B, INCOMPLETE" not in said.out and "INCOMPLETE" in said.out
    value = json.loads(vllm_launch("compare", published, other, "--json", cwd=tmp_path).out)
    assert value["matching"]["is_exact"] is False


def test_a_limited_run_is_marked(tmp_path: Path, checkpoint: Path) -> None:
    whole = publish_demo(tmp_path, checkpoint, "DMSC", name="whole")
    part = publish_demo(tmp_path, checkpoint, "DMSC", name="part", settings={"data.limit_items": 7})
    said = vllm_launch("compare", whole, part, cwd=tmp_path, COLUMNS="200")
    assert said.code == 3
    assert "LIMITED to 7 of 41 items" in said.out and "note: B is limited to 7 of 41 items." in said.out
    assert "34 items have samples only in A" in said.out
    assert vllm_launch("compare", part, part, cwd=tmp_path).code == 0


def test_references_and_tokenizer_of_ones_own(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    file = tmp_path / "references.json"
    file.write_text(json.dumps({"u0": ["text", "text"]}))
    words = ["compare", published, published, "--references", file, "--tokenizer", checkpoint, "--json"]
    value = json.loads(succeed(*words, cwd=tmp_path).out)
    assert value["references"]["num_items"] == 2 and value["references"]["source"] == str(file)
    assert value["pairs"]["first_difference"]["source"] == str(checkpoint)


def test_what_is_no_published_directory(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    assert refusal(tmp_path, "compare", published, tmp_path) == (
        "HERE: no manifest.json of vllm-launch here. Give a published directory or a run."
    )
    assert "no manifest.json" in refusal(tmp_path, "compare", tmp_path / "gone", published)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").touch()
    assert refusal(tmp_path, "compare", tmp_path / "run", published) == (
        "HERE/run: was never submitted to the end. Remove it and submit anew."
    )
    assert "not found; expected" in refusal(
        tmp_path, "compare", published, published, "--references", tmp_path / "gone"
    )
    assert "tokenizer.json: not found" in refusal(
        tmp_path, "compare", published, published, "--tokenizer", tmp_path
    )


def test_a_tokenizer_that_is_none(tmp_path: Path, published: Path) -> None:
    file = tmp_path / "tokenizer.json"
    words = ("compare", published, published, "--tokenizer", tmp_path)
    file.write_text("{")
    assert refusal(tmp_path, *words).startswith("HERE/tokenizer.json: not a tokenizer (EOF while parsing")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2104556\n")
    assert "this is a Git-LFS pointer of 2.1 MB" in refusal(tmp_path, *words)


def test_a_damaged_one_and_another_dataset(tmp_path: Path, checkpoint: Path, published: Path) -> None:
    other = publish(tmp_path, checkpoint, lambda item: replace(item, num_prompt_tokens=12))
    with (other / "generations.jsonl").open("ab") as handle:
        handle.write(b"\n")
    assert "generations.jsonl: has " in refusal(tmp_path, "compare", published, other)
    demo = publish_demo(tmp_path, checkpoint, "DMSC", name="dmsc")
    assert "not one item has samples in both" in refusal(tmp_path, "compare", published, demo)
