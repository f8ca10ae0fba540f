"""Every published file is as its JSON Schema says, and the schemas refuse what is wrong."""

import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator, ValidationError

from launch.collect.json_schema import MODELS, path_of, schema_text
from launch.collect.manifest import Manifest
from launch.collect.merge import merge
from launch.collect.schemas import NAMES, read_schema
from launch.config.schema import UserFiles
from launch.rundir.layout import RunPaths
from launch.rundir.records import load_submission
from tests.collect.builders import (
    change_publish,
    make_generations,
    make_users,
    plan_run,
    read_lines,
    read_value,
    write_events,
    write_results,
)
from tests.scenarios.builders import one_of_each_type


def check(name: str, value: Any) -> None:
    Draft202012Validator(read_schema(name)).validate(value)


def check_directory(directory: Path) -> None:
    """Validates every published file but pages, in archives too; a name that no schema knows is an error."""
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix != ".html"):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    assert member.startswith("users/")
                    check("user", orjson.loads(archive.read(member)))
            continue
        name = "user" if path.parent.name == "users" else path.stem
        for value in read_lines(path) if path.suffix == ".jsonl" else [read_value(path)]:
            check(name, value)


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(read_schema(name))


@pytest.mark.parametrize("name", MODELS)
def test_a_schema_of_a_model_is_as_the_model_says(name: str) -> None:
    assert path_of(name).read_text() == schema_text(name), "run `make schema`"


def test_a_complete_run(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint, [one_of_each_type()])
    start = write_results(run, make_generations(run))
    write_events(run, start, [(100.0, "phase", {"slot": 0, "start": 0, "phase": "generating"})])
    check_directory(merge(run).output_dir)


def test_a_limited_run_with_failed_and_missing_items(tmp_path: Path, checkpoint: Path) -> None:
    run = plan_run(tmp_path, checkpoint, make_users(5, 3), data={"limit_items": 8})
    write_results(run, make_generations(run, failed=[0, 3])[:6])
    change_publish(run, allow_missing=True, max_failed_items=2, user_files=UserFiles.ARCHIVE)
    result = merge(run)
    assert (result.manifest.num_failed, result.manifest.num_missing) == (2, 2)
    check_directory(result.output_dir)
    missing = list(result.manifest.missing_items)
    for name in ("generations.jsonl", "provenance.jsonl"):
        lines = read_lines(result.output_dir / name)
        assert len(lines) == 8, "a line for every item, whatever became of it"
        assert [line["key"] for line in lines if "missing" in line] == missing


def test_the_manifests_schema_has_its_fields() -> None:
    assert set(read_schema("manifest")["properties"]) == set(Manifest.model_fields)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("generations", ["samples", 0, "finish_reason"], "abort"),
        ("generations", ["samples"], []),
        ("generations", ["failure"], {"class": "x", "message": "y"}),
        ("generations", ["missing"], True),
        ("provenance", ["missing"], True),
        ("provenance", ["submission"], 0),
        ("test_leaderboard", [0, "task", "task_behavior_collections", 0, "data", 0, "continuations"], []),
        ("test_leaderboard", [0, "task", "task_behavior_collections", 0, "data", 0, "missing"], True),
        ("user", ["generated_samples", 0, "continuations"], "text"),
        ("inference_summary", ["total_samples"], None),
        ("inference_summary", ["other"], 1),
        ("manifest", ["files", "generations.jsonl", "sha256"], "0"),
    ],
)
def test_what_is_wrong_is_refused(run: RunPaths, name: str, path: list[Any], value: Any) -> None:
    write_results(run, make_generations(run))
    directory = merge(run).output_dir
    files = {"user": "users/u0.json", "generations": "generations.jsonl", "provenance": "provenance.jsonl"}
    file = directory / files.get(name, f"{name}.json")
    published = read_lines(file)[0] if file.suffix == ".jsonl" else read_value(file)
    place = published
    for step in path[:-1]:
        place = place[step]
    check(name, published)
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        check(name, published)


def test_the_summary_names_what_the_newest_submission_asked_for(run: RunPaths) -> None:
    write_results(run, make_generations(run))
    summary = read_value(merge(run).output_dir / "inference_summary.json")
    assert summary["tensor_parallel_size"] == load_submission(run, 1).engine.tensor_parallel_size
