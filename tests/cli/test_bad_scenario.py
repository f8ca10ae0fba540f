"""Bad scenarios and datasets: refused by submit with file and line, before anything is written."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import submit_words, succeed
from tests.cli.refusals import refusal
from tests.scenarios import builders

FILE = "HERE/bad/test_leaderboard.json"
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234567\n"


def lines(*users: Any) -> str:
    """A scenario file with a user a line, the first in line 2."""
    return "[\n" + ",\n".join(builders.json.dumps(user) for user in users) + "\n]\n"


BAD_FILES = [
    (
        '[\n {"user_hash": "a",\n  "task": }\n]',
        f"{FILE}:3: user 1 is not JSON: expecting value near '  \"task\": }}\\n]'. Mend the line.",
    ),
    (
        lines(builders.user("a1"))[:-3],
        f"{FILE}:2: the file ends after 1 users, without ]. Copy the whole file.",
    ),
    (
        lines(builders.user("a1"), builders.user("b2"), builders.user("a1")),
        f'{FILE}:4: user 3 (hash "a1"): the user_hash of the user at line 2 again.'
        " Merge the two users into one.",
    ),
    ("[]", f"{FILE}: no users in the list. Check data.scenario_path."),
    ("", f"{FILE}:1: expected a list [...] of users, found an empty file."),
    ('{"users": []}', f"{FILE}:1: expected a list [...] of users, found an object."),
    (
        lines(builders.user("a1"), builders.user("b2", dialogue=[])),
        f'{FILE}:3: user 2 (hash "b2"): no items. Give it data in a collection, or take the user out.',
    ),
    (
        lines(builders.user("a1", dialog=[])),
        f'{FILE}:2: user 1 (hash "a1"): collection 1: unknown item type "dialog". Write \'dialogue\'.',
    ),
    (
        lines(builders.user("a1", haiku=[])),
        f'{FILE}:2: user 1 (hash "a1"): collection 1: unknown item type "haiku". Write one of dialogue,'
        " movie_review, movie_rating, questionnaire.",
    ),
    (
        lines({"task": {}}),
        f"{FILE}:2: user 1: no user_hash. Give each user a unique one.",
    ),
    (
        LFS_POINTER,
        f"{FILE}:1: a Git-LFS pointer, not the data. Run `git lfs pull` where it was cloned.",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_bad_scenario_file(tmp_path: Path, checkpoint: Path, text: str, message: str):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "test_leaderboard.json").write_text(text)
    assert refusal(tmp_path, *submit_words(checkpoint, bad)) == message
    assert refusal(tmp_path, *submit_words(checkpoint, bad), "--dry-run") == message


def test_no_scenario_directory(tmp_path: Path, checkpoint: Path, scenario: Path):
    words = submit_words(checkpoint, Path("nowhere"))
    assert refusal(tmp_path, *words) == (
        "HERE/nowhere: no such scenario directory. Check data.scenario_path."
    )
    words = submit_words(checkpoint, scenario / "test_leaderboard.json")
    assert refusal(tmp_path, *words) == (
        "HERE/scenario/test_leaderboard.json: expected a scenario directory, got a file. Give the directory"
        " it lies in (data.scenario_path)."
    )
    (tmp_path / "bare").mkdir()
    assert refusal(tmp_path, *submit_words(checkpoint, tmp_path / "bare")) == (
        "HERE/bare/test_leaderboard.json: not found; a scenario directory holds it. Check data.scenario_path."
    )


def test_no_history_for_an_ablation_that_needs_it(tmp_path: Path, checkpoint: Path, scenario: Path):
    words = [*submit_words(checkpoint, scenario), "--ablation-config", "history_only"]
    assert refusal(tmp_path, *words) == (
        "HERE/scenario/train.json: not found, and prompt.ablation_config history_only takes history from it."
        " Put it there or choose an ablation without history."
    )


def test_history_without_what_the_user_wrote(tmp_path: Path, checkpoint: Path, scenario: Path):
    entry = builders.dialogue_item(builders.turn("BEN", "Hello."), continuation=None)
    builders.write(scenario / "train.json", [builders.user("a1", dialogue=[entry])])
    words = [*submit_words(checkpoint, scenario), "--ablation-config", "history_only"]
    assert refusal(tmp_path, *words) == (
        'HERE/scenario/train.json:1: user 1 (hash "a1"): collection 1, item 1: no continuation, or none that'
        " is text. History needs what the user wrote: add it or take the item out."
    )


def history_words(checkpoint: Path, scenario: Path, *train: Any) -> list[str]:
    """`submit` of an ablation that takes history from a train.json of `train`."""
    builders.write(scenario / "train.json", list(train))
    return [*submit_words(checkpoint, scenario), "--ablation-config", "history_only"]


NO_HISTORY = [[], [builders.user("z9")], [builders.user("a1", dialogue=[])], [builders.user("a1")]]


@pytest.mark.parametrize("train", NO_HISTORY, ids=["empty", "other users", "no entries", "the test items"])
def test_history_of_none_of_the_users(tmp_path: Path, checkpoint: Path, scenario: Path, train: list[Any]):
    assert refusal(tmp_path, *history_words(checkpoint, scenario, *train)) == (
        "HERE/scenario/train.json: none of the 2 users to generate has history there, and"
        " prompt.ablation_config history_only takes history from it. Put the train.json of these users there"
        " or choose an ablation without history."
    )


def test_users_without_history_are_counted(tmp_path: Path, checkpoint: Path, scenario: Path):
    written = builders.dialogue_item(builders.turn("BEN", "Hi."), continuation="Hi", timestamp="2019-01-01")
    words = history_words(checkpoint, scenario, builders.user("b2", dialogue=[written]))
    said = succeed(*words, "--dry-run", cwd=tmp_path)
    assert "1 of 2 users have no history in train.json" in said.notes
    asked = succeed(*words, "--dry-run", "--name", "x", "--max-history-entries", "0", cwd=tmp_path)
    assert not any("no history" in note for note in asked.notes)


def submit_dataset(checkpoint: Path, *words: str) -> list[str]:
    return ["submit", "--preset", "quick_test", "--engine", "stub", "--checkpoint", str(checkpoint), *words]


def test_an_unknown_dataset(tmp_path: Path, checkpoint: Path):
    assert refusal(tmp_path, *submit_dataset(checkpoint, "--dataset", "Chameleon")) == (
        "--dataset: data.dataset: no dataset named 'Chameleon'. Did you mean Chameleons? Write one of"
        " Chameleons, DMSC, MovieLens, PERSONA-Bench, REALTALK, LovinkDialogue, LovinkQuestionnaire,"
        " RealPersonaChat, or give the scenario's path."
    )


def test_an_unknown_dataset_in_a_preset(tmp_path: Path, checkpoint: Path):
    (tmp_path / "bad.yaml").write_text("data:\n  dataset: DMCS\n")
    said = refusal(tmp_path, *submit_dataset(checkpoint, "--preset", "bad.yaml"))
    assert said.startswith("bad.yaml:2: data.dataset: no dataset named 'DMCS'. Did you mean DMSC? Write one")


def test_a_dataset_that_is_not_there(tmp_path: Path, checkpoint: Path):
    said = refusal(tmp_path, *submit_dataset(checkpoint, "--dataset", "DMSC"))
    assert said.startswith(
        "dataset DMSC: no data root. Give --data-root or the scenario's own path, or set"
        " VLLM_LAUNCH_DATA_ROOT or root in "
    )
    assert said.endswith("configs/datasets.yaml.")
    words = submit_dataset(checkpoint, "--dataset", "DMSC", "--data-root", "data")
    assert refusal(tmp_path, *words) == (
        "dataset DMSC: no directory for it; looked for data/RealSelf/DMSC, data/DMSC, data/MovieReview."
        " Check the data root."
    )
    assert refusal(tmp_path, *submit_dataset(checkpoint)) == (
        "--dataset: not set; expected a dataset's name, or --scenario-path with a directory that holds"
        " test_leaderboard.json. Give one."
    )
    said = refusal(
        tmp_path, *submit_dataset(checkpoint, "--dataset", "DMSC"), VLLM_LAUNCH_DATA_ROOT="~no.one/x"
    )
    assert said == (
        "VLLM_LAUNCH_DATA_ROOT: expected a path, got '~no.one/x'; there is no home directory ~no.one here."
        " Write the whole path."
    )
