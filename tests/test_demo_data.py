"""The demo scenarios have the shape demo/scenarios/README.md claims (plain json, none of our code)."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

SCENARIOS = Path(__file__).resolve().parents[1] / "demo" / "scenarios"
DATASETS = ("Chameleons", "DMSC")
SCALAR_TYPES = ("movie_rating", "questionnaire")  # answers such as "4.0" or "2", free to recur anywhere
OCEAN = ["Openness", "Conscientiousness", "Extraversion", "Agreeableness", "Neuroticism"]
Record = dict[str, Any]


def load(dataset: str, name: str) -> Any:
    return json.loads((SCENARIOS / dataset / f"{name}.json").read_text(encoding="utf-8"))


def items(user: Record) -> list[tuple[str, Record]]:
    """(type, item) of a user, in file order."""
    return [(c["type"], item) for c in user["task"]["task_behavior_collections"] for item in c["data"]]


def dialogues(users: list[Record]) -> Iterator[tuple[str, list[str], Record]]:
    """(target user's name, sources of the context's turns, item) of every dialogue item."""
    for user in users:
        for kind, item in items(user):
            if kind == "dialogue":
                yield user["user"]["profile"]["name"], [turn["source"] for turn in item["context"]], item


def by_type(users: list[Record]) -> Counter[str]:
    return Counter(kind for user in users for kind, _ in items(user))


def users_with(users: list[Record], kind: str) -> int:
    return sum(any(k == kind for k, _ in items(user)) for user in users)


@pytest.fixture(params=DATASETS)
def dataset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chameleons() -> list[Record]:
    users: list[Record] = load("Chameleons", "test_leaderboard")
    return users


@pytest.fixture
def dmsc() -> list[Record]:
    users: list[Record] = load("DMSC", "test_leaderboard")
    return users


def test_users_are_the_same_in_all_three_files(dataset: str) -> None:
    test, train = load(dataset, "test_leaderboard"), load(dataset, "train")
    hashes = [user["user_hash"] for user in test]
    assert len(set(hashes)) == len(hashes)
    assert all(re.fullmatch(r"[0-9a-f]{32}", h) for h in hashes)
    assert [(u["user_hash"], u["user"]) for u in train] == [(u["user_hash"], u["user"]) for u in test]
    assert list(load(dataset, "references")) == hashes


@pytest.mark.parametrize("name", ["test_leaderboard", "train"])
def test_records_have_the_keys_of_the_format(dataset: str, name: str) -> None:
    for user in load(dataset, name):
        assert set(user) == {"user_hash", "user", "task"}
        assert set(user["user"]) == {"profile", "personality"}
        assert user["user"]["profile"]["name"] and user["user"]["profile"]["gender"]
        assert set(user["user"]["personality"]) == {"structured", "unstructured"}
        assert set(user["task"]) == {"description", "task_behavior_collections"}
        assert user["task"]["description"]
        for collection in user["task"]["task_behavior_collections"]:
            assert set(collection) == {"type", "type_desc", "data"}
            assert collection["type_desc"] and collection["data"]
        for _, item in items(user):
            assert {"context", "timestamp"} <= set(item) <= {
                "context", "timestamp", "continuation", "continuation_prefix",
            }  # fmt: skip
            for turn in item["context"]:
                assert set(turn) == {"source", "content", "timestamp"}
                assert turn["content"] == turn["content"].strip() != ""


def test_ocean_scores_are_complete_where_present(dataset: str) -> None:
    without = 0
    for user in load(dataset, "test_leaderboard"):
        structured = user["user"]["personality"]["structured"]
        if not structured:
            without += 1
            continue
        ocean = structured["Ocean"]
        assert ocean["explanation"]
        assert list(ocean["dimensions"]) == OCEAN
        for dimension in ocean["dimensions"].values():
            assert 0 <= dimension["score"] <= 100
            assert dimension["description"]
    assert without == {"Chameleons": 0, "DMSC": 3}[dataset]


def test_references_align_with_the_items(dataset: str) -> None:
    references = load(dataset, "references")
    carrying = 0
    test = load(dataset, "test_leaderboard")
    for user in test:
        truths = references[user["user_hash"]]
        assert len(truths) == len(items(user))
        assert all(truths)
        given = [item.get("continuation") for _, item in items(user)]
        assert given == truths or not any(given), "a user carries all its continuations or none"
        carrying += given == truths
    assert 0.4 <= carrying / len(test) <= 0.6


def test_history_is_complete_and_earlier(dataset: str) -> None:
    for past, user in zip(load(dataset, "train"), load(dataset, "test_leaderboard"), strict=True):
        assert len(items(past)) >= 2
        assert all(item["continuation"] for _, item in items(past))
        last = max(datetime.fromisoformat(item["timestamp"]) for _, item in items(past))
        first = min(datetime.fromisoformat(item["timestamp"]) for _, item in items(user))
        assert last < first, user["user"]["profile"]["name"]


def test_turns_are_in_order_of_time(dataset: str) -> None:
    for name in ("train", "test_leaderboard"):
        for user in load(dataset, name):
            for _, item in items(user):
                times = [datetime.fromisoformat(t["timestamp"]) for t in [*item["context"], item]]
                assert times == sorted(set(times))


def test_no_answer_stands_in_its_own_context_or_in_the_history(dataset: str) -> None:
    references = load(dataset, "references")
    for past, user in zip(load(dataset, "train"), load(dataset, "test_leaderboard"), strict=True):
        history = json.dumps(past, ensure_ascii=False)
        for (kind, item), truth in zip(items(user), references[user["user_hash"]], strict=True):
            if kind not in SCALAR_TYPES:
                assert json.dumps(truth, ensure_ascii=False)[1:-1] not in history
                assert all(truth not in turn["content"] for turn in item["context"])


def test_files_are_readable_as_diffs(dataset: str) -> None:
    for name in ("train", "test_leaderboard", "references"):
        text = (SCENARIOS / dataset / f"{name}.json").read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"


def test_chameleons_counts(chameleons: list[Record]) -> None:
    counts = [len(items(user)) for user in chameleons]
    assert len(chameleons) == 18
    assert min(counts) == 1 and max(counts) == 12 and len(set(counts)) >= 6
    assert by_type(chameleons) == {"dialogue": 82, "questionnaire": 10}
    for name in ("test_leaderboard", "train"):
        assert users_with(load("Chameleons", name), "questionnaire") >= 4
    assert all(user["user"]["profile"]["movie"] for user in chameleons)


def test_half_of_the_dialogues_begin_with_the_target_user(chameleons: list[Record]) -> None:
    begins = [sources[0] == name for name, sources, _ in dialogues(chameleons)]
    assert 0.45 <= sum(begins) / len(begins) <= 0.55


def test_dialogues_vary_as_real_ones_do(chameleons: list[Record]) -> None:
    all_items = list(dialogues(chameleons))
    doubled = [any(a == b for a, b in pairwise(s)) for _, s, _ in all_items]
    assert 3 <= sum(doubled) < len(all_items) / 2, "mostly alternating, some with two turns in a row"
    assert sum(len(set(s)) >= 3 for _, s, _ in all_items) >= 5
    assert 3 <= sum(s[-1] == name for name, s, _ in all_items) <= 10
    assert sum(len(s) > 15 for _, s, _ in all_items) >= 2, "max_context_turns has something to cut"
    longest = max(len(turn["content"]) for _, _, item in all_items for turn in item["context"])
    assert longest > 300, "max_chars_per_turn has something to cut"


@pytest.mark.parametrize("name", ["test_leaderboard", "train"])
def test_questionnaires_offer_the_answer_given(name: str) -> None:
    references = load("Chameleons", "references")
    for user in load("Chameleons", name):
        found = [item.get("continuation") for _, item in items(user)]
        answers = found if name == "train" else references[user["user_hash"]]
        for (kind, item), answer in zip(items(user), answers, strict=True):
            if kind == "questionnaire":
                (turn,) = item["context"]
                assert turn["source"] == "questionnaire"
                assert re.search(rf"^{re.escape(answer)}\. ", turn["content"], re.MULTILINE)


def test_questions_differ_between_history_and_test(chameleons: list[Record]) -> None:
    for past, user in zip(load("Chameleons", "train"), chameleons, strict=True):
        asked = [
            {item["context"][0]["content"] for kind, item in items(u) if kind == "questionnaire"}
            for u in (past, user)
        ]
        assert asked[0].isdisjoint(asked[1])


def test_dmsc_counts(dmsc: list[Record]) -> None:
    assert len(dmsc) == 14
    assert by_type(dmsc) == {"movie_review": 26, "movie_rating": 15}
    assert all(1 <= sum(kind == "movie_review" for kind, _ in items(user)) <= 3 for user in dmsc)
    assert users_with(dmsc, "movie_rating") >= 6


def test_dmsc_names_the_film_in_the_prefix_only(dmsc: list[Record]) -> None:
    films: list[set[str]] = []
    for users in (dmsc, load("DMSC", "train")):
        every = [item for user in users for _, item in items(user)]
        assert all(item["context"] == [] for item in every)
        assert all(re.fullmatch(r"\S+: ", item["continuation_prefix"]) for item in every)
        films.append({item["continuation_prefix"] for item in every})
    assert len(films[0]) == 3
    assert films[0].isdisjoint(films[1]), "history is about other films"


def test_dmsc_comments_are_chinese_and_ratings_are_stars(dmsc: list[Record]) -> None:
    references = load("DMSC", "references")
    for user in dmsc:
        for (kind, item), truth in zip(items(user), references[user["user_hash"]], strict=True):
            if kind == "movie_rating":
                assert re.fullmatch(r"[0-5]\.[05]", truth) and 0.5 <= float(truth) <= 5.0
            else:
                assert re.search(r"[\u4e00-\u9fff]", truth)
                assert not truth.startswith(item["continuation_prefix"].rstrip(": "))
