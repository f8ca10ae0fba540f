"""Datasets are found by name or alias below the data root."""

from pathlib import Path

import pytest

from launch.config import datasets
from launch.config.datasets import dataset_language, dataset_name, find_dataset, list_datasets
from launch.config.schema import Language
from launch.config.shipped import shipped_root
from launch.errors import ConfigError, InputError

from .conftest import Write

LANGUAGES = {
    "Chameleons": "en",
    "DMSC": "zh",
    "MovieLens": "en",
    "PERSONA-Bench": "en",
    "REALTALK": "en",
    "LovinkDialogue": "zh",
    "LovinkQuestionnaire": "zh",
    "RealPersonaChat": "ja",
}
REAL = ("Chameleons", "DMSC", "MovieLens", "PERSONA-Bench", "REALTALK")


@pytest.fixture
def own_table(write: Write, monkeypatch: pytest.MonkeyPatch) -> Write:
    """configs/datasets.yaml of one's own: write("datasets.yaml", ...)."""
    monkeypatch.setattr(datasets, "shipped", lambda *parts: Path.cwd() / parts[-1])
    return write


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_eight_datasets(workspace: Path, name: str) -> None:
    folder = workspace / ("RealSelf" if name in REAL else "IdealSelf") / name
    folder.mkdir(parents=True)
    found = find_dataset(name, workspace)
    assert (found.name, found.language, found.scenario_path) == (name, Language(LANGUAGES[name]), folder)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("MovieReview", "DMSC"),
        ("PERSONA_Bench", "PERSONA-Bench"),
        ("persona bench", "PERSONA-Bench"),
        ("dmsc", "DMSC"),
    ],
)
def test_aliases_and_capitals(workspace: Path, alias: str, name: str) -> None:
    (workspace / name).mkdir()
    assert find_dataset(alias, workspace).name == dataset_name(alias) == name


def test_the_list_and_languages_by_name() -> None:
    assert {row.name: row.language for row in list_datasets()} == LANGUAGES
    assert dataset_language("moviereview") is Language.CHINESE and dataset_language("mine") is None


def test_a_folder_may_have_the_alias_for_its_name(workspace: Path) -> None:
    (workspace / "MovieReview").mkdir()
    assert find_dataset("DMSC", workspace).scenario_path == workspace / "MovieReview"


@pytest.mark.parametrize("name", ["Chameleons", "DMSC"])
def test_the_demo_scenarios_are_found_by_name(workspace: Path, name: str) -> None:
    root = shipped_root() / "demo" / "scenarios"
    assert (find_dataset(name, root).scenario_path / "test_leaderboard.json").is_file()


def test_root_from_argument_environment_and_file(own_table: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    own_table("datasets.yaml", "root: in_file\ndatasets:\n  A: {folder: A, language: en}\n")
    for root in ("argument", "environment", "in_file"):
        Path(root, "A").mkdir(parents=True)
    assert find_dataset("A").scenario_path == Path("in_file/A")
    monkeypatch.setenv("VLLM_LAUNCH_DATA_ROOT", "environment")
    assert find_dataset("A").scenario_path == Path("environment/A")
    assert find_dataset("A", Path("argument")).scenario_path == Path("argument/A")


def test_no_root(own_table: Write) -> None:
    own_table("datasets.yaml", "root: null\ndatasets:\n  A: {folder: A, language: en}\n")
    with pytest.raises(InputError) as caught:
        find_dataset("A")
    assert str(caught.value) == (
        "dataset A: no data root. Give --data-root or the scenario's own path, or set VLLM_LAUNCH_DATA_ROOT"
        " or root in"
        " datasets.yaml."
    )


def test_no_directory(workspace: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_dataset("MovieReview", Path("d"))
    assert str(caught.value) == (
        "dataset DMSC: no directory for it; looked for d/RealSelf/DMSC, d/DMSC, d/MovieReview. Check the"
        " data root."
    )


def test_unknown_name(workspace: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_dataset("MovieReviews", workspace)
    assert str(caught.value) == (
        "no dataset named 'MovieReviews'. Did you mean MovieReview? Write one of Chameleons, DMSC, MovieLens,"
        " PERSONA-Bench, REALTALK, LovinkDialogue, LovinkQuestionnaire, RealPersonaChat, or give the"
        " scenario's path."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("datasets: []\n", "datasets.yaml:1: datasets: expected rows by name, got []. Add rows."),
        (
            "root: 5\ndatasets: {A: {folder: A, language: en}}\n",
            "datasets.yaml:1: root: expected a path, got 5. Write a path.",
        ),
        (
            "datasets:\n  A:\n    folder: A\n    language: fr\n",
            "datasets.yaml:4: datasets.A.language: expected en, zh or ja, got 'fr'. Write one of these.",
        ),
        (
            "datasets:\n  A:\n    folder: A\n    lang: en\n    language: en\n",
            "datasets.yaml:4: datasets.A.lang: unknown key. Did you mean language?",
        ),
        ("datasets:\n  A:\n    folder: A\n", "datasets.yaml:2: datasets.A.language: missing. Write it."),
        (
            "datasets:\n  A: B\n",
            "datasets.yaml:2: datasets.A: expected keys with values, got 'B'. Write key: value.",
        ),
        ("dataset: {}\n", "datasets.yaml:1: dataset: unknown key. Write one of description, root, datasets."),
        (
            "datasets:\n  A: {folder: A, language: en}\n  B: {folder: B, language: en, aliases: [a]}\n",
            "datasets.yaml:3: datasets.B: 'a' already names A. Write another name.",
        ),
    ],
)
def test_each_mistake_in_the_table(own_table: Write, text: str, expected: str) -> None:
    own_table("datasets.yaml", text)
    with pytest.raises(ConfigError) as caught:
        find_dataset("A")
    assert str(caught.value) == expected
