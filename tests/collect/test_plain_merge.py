"""The merge that was made fast publishes what the plain one does, byte for byte, and finds the same wrong."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.collect.manifest import read_published
from launch.collect.merge import merge
from launch.collect.verify_run import verify_run
from launch.config.schema import UserFiles
from launch.rundir.layout import RunPaths
from launch.scenarios.records import Failure, Generation, Sample
from tests.collect.builders import NUM_SAMPLES, change_publish, make_generations, plan_run, write_results
from tests.collect.plain_merge import publish_plainly, sha256
from tests.scenarios.builders import dialogue_item, turn, user

ALL_MAY_LACK = {"allow_missing": True, "max_failed_items": 99}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**63, 2**64, -(2**90), 1e22]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def odd_user(draw: Any, number: int) -> dict[str, Any]:
    """A record with whatever JSON holds where nobody looks at it."""
    items = [
        dialogue_item(
            turn("BEN", draw(TEXTS) or "Hello."),
            extra=draw(VALUES),
            **draw(st.sampled_from([{}, {"continuation_prefix": "so"}, {"continuations": ["old"]}])),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    record = user(f"{draw(st.sampled_from(['u', 'ü', 'a/b ', 'CON']))}{number}", dialogue=items)
    record["user"]["profile"]["extra"] = draw(VALUES)
    return record | draw(st.sampled_from([{}, {"generated_samples": 1, "stub": 2}]))


def odd_generation(draw: Any, planned: Generation) -> Generation:
    """The generation of an item: any text, or a failure."""
    values = {name: getattr(planned, name) for name in planned.__slots__}
    if draw(st.integers(0, 5)) == 0:
        return Generation(**values | {"samples": (), "failure": Failure(draw(TEXTS), draw(TEXTS))})
    samples = tuple(
        Sample(draw(st.sampled_from(["", "so "])) + draw(TEXTS), draw(st.sampled_from(["stop", "length"])), 3)
        for _ in range(NUM_SAMPLES)
    )
    return Generation(**values | {"samples": samples})


def damage(draw: Any, path: Path) -> None:
    """Another byte somewhere, or a torn end, or neither."""
    data = bytearray(path.read_bytes())
    kind = draw(st.sampled_from(["whole", "flipped", "torn"]))
    if kind == "flipped" and data:
        data[draw(st.integers(0, len(data) - 1))] ^= 1
    path.write_bytes(data[: draw(st.integers(0, len(data)))] if kind == "torn" else data)


def published_bytes(run: RunPaths) -> dict[str, bytes]:
    """The same files of what was published; those of an archive as if they lay beside it."""
    directory = merge(run).output_dir
    names = ["generations.jsonl", "provenance.jsonl", "test_leaderboard.json"]
    found = {name: (directory / name).read_bytes() for name in names}
    found |= {f"users/{path.name}": path.read_bytes() for path in directory.glob("users/*")}
    if (directory / "users.zip").exists():
        with zipfile.ZipFile(directory / "users.zip") as archive:
            found |= {name: archive.read(name) for name in archive.namelist()}
    return found


@pytest.mark.process
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_is_in_records_texts_and_files(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("odd")
    users = [odd_user(data.draw, number) for number in range(data.draw(st.integers(1, 3)))]
    form = data.draw(st.sampled_from(["files", "archive"]))
    run = plan_run(root, checkpoint, users, publish={**ALL_MAY_LACK, "user_files": form})
    planned = make_generations(run)
    for task in range(data.draw(st.integers(0, 3))):
        order = data.draw(st.permutations([odd_generation(data.draw, each) for each in planned]))
        start = write_results(run, order[: data.draw(st.integers(0, len(order)))], task=task % 2)
        damage(data.draw, start.paths(run).results)
        if data.draw(st.booleans()):
            start.paths(run).commits.write_bytes(b"")
    expected = publish_plainly(run)
    assert published_bytes(run) == expected
    generations = expected["generations.jsonl"]
    manifest = read_published(merge(run).output_dir)
    assert manifest is not None
    assert manifest.files["generations.jsonl"].sha256 == sha256(generations)
    assert not [problem for problem in verify_run(run).problems if "published" in problem]


def test_many_users_items_and_attempts(tmp_path: Path, checkpoint: Path) -> None:
    """Sizes that the property test has no time for: lines of one item in several attempts, many users."""
    users = [
        user(f"u{number}", dialogue=[dialogue_item(turn("BEN", f"Hello {place}.")) for place in range(7)])
        for number in range(60)
    ]
    run = plan_run(tmp_path, checkpoint, users, data={"limit_items": 400})
    everything = make_generations(run, failed=range(0, 400, 31))
    for part in range(5):
        write_results(run, everything[part::4][::-1], task=part % 2)
    write_results(run, make_generations(run, says="other")[:30])
    expected = None
    for form in (UserFiles.FILES, UserFiles.ARCHIVE):
        change_publish(run, **ALL_MAY_LACK, user_files=form)
        expected = expected or publish_plainly(run)
        assert published_bytes(run) == expected
