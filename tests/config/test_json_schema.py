"""The JSON Schemas for editors agree with the code and with what is shipped."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from launch.config import json_schema
from launch.config.json_schema import main, schema_texts
from launch.config.load import load_yaml
from launch.config.presets import list_clusters, list_presets
from launch.config.shipped import shipped

PRESET, CLUSTER = (
    jsonschema.Draft202012Validator(load_yaml(shipped("configs", *parts)).values)
    for parts in (("schema.json",), ("clusters", "schema.json"))
)


def test_the_files_in_the_repository_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", [path for _, _, path in list_presets()], ids=lambda path: path.stem)
def test_shipped_presets_are_valid(path: Path) -> None:
    PRESET.validate(load_yaml(path).values)
    assert path.read_text().startswith("# yaml-language-server: $schema=../schema.json\n")


@pytest.mark.parametrize("path", [path for _, _, path in list_clusters()], ids=lambda path: path.stem)
def test_shipped_clusters_are_valid(path: Path) -> None:
    CLUSTER.validate(load_yaml(path).values)
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize(
    "preset", [{"sampling": {"temprature": 1}}, {"samplin": {}}, {"sampling": {"top_p": 2}}, {"extends": 5}]
)
def test_mistakes_in_a_preset_are_marked(preset: dict[str, Any]) -> None:
    assert not PRESET.is_valid(preset)


@pytest.mark.parametrize("cluster", [{"resources": {}}, {"merge": {"partitio": "x"}}, {"cpus_per_task": "4"}])
def test_mistakes_in_a_cluster_file_are_marked(cluster: dict[str, Any]) -> None:
    assert not CLUSTER.is_valid(cluster)


def test_numbers_where_slurm_wants_text_are_not_marked() -> None:
    assert CLUSTER.is_valid({"time": 90, "mem": 0, "account": 1234})


def test_check_names_what_is_stale_and_writing_mends_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {
        workspace / path.name: text for path, text in schema_texts().items() if "clusters" not in path.parts
    }
    monkeypatch.setattr(json_schema, "schema_texts", lambda: texts)
    assert main(["--check"]) == 3
    assert capsys.readouterr().err == "schema.json: out of date. Run python -m launch.config.json_schema.\n"
    assert main([]) == 0 and main(["--check"]) == 0
    assert main(["--wrong"]) == 2
