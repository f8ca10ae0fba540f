"""A user_hash is input: no value of it leaves its directory or takes another user's file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.collect.merge import merge
from launch.collect.user_names import UserNames
from launch.collect.verify import verify_published
from tests.collect.builders import make_generations, make_users, plan_run, read_value, write_results

HOSTILE = [
    *(
        "../../x",
        "/etc/passwd",
        ".",
        "..",
        "a/b",
        "a\\b",
        "a b",
        "q\"'q",
        "line\nbreak",
        "x" * 300,
        "ü",
        "影",
    ),
    *(
        "CON",
        "nul",
        "com1",
        "LPT9",
        "Abc",
        "abc",
        "-rf",
        "$(id)",
        "a.json",
        "user-" + "0" * 32,
        "tab\t",
        "a:b",
    ),
]


@pytest.mark.parametrize("user_hash", ["u1", "5d41402abc4b2a76b9719d911017c592", "A_b-C", "x" * 64])
def test_a_plain_hash_names_its_file(user_hash: str) -> None:
    assert UserNames().name(user_hash) == f"{user_hash}.json"


@given(st.lists(st.text(min_size=1) | st.sampled_from(HOSTILE), unique=True))
def test_names_are_safe_and_never_shared(hashes: list[str]) -> None:
    names = UserNames()
    found = [names.name(user_hash) for user_hash in hashes]
    assert len({name.lower() for name in found}) == len(hashes)
    for name in found:
        assert name.isascii()
        assert Path(name).name == name
        assert len(name) <= 69
        assert name.removesuffix(".json").lower() not in {"con", "nul", "com1", "lpt9"}


def test_hostile_users_are_published_inside_their_directory(tmp_path: Path, checkpoint: Path) -> None:
    users = make_users(len(HOSTILE), 1)
    for user, user_hash in zip(users, HOSTILE, strict=True):
        user["user_hash"] = user_hash
    run = plan_run(tmp_path, checkpoint, users)
    write_results(run, make_generations(run))
    before = {path for path in tmp_path.rglob("*") if "published" not in path.parts}
    directory = merge(run).output_dir
    after = {path for path in tmp_path.rglob("*") if "published" not in path.parts}
    assert {path.relative_to(tmp_path).parts[0] for path in after - before} == {"runs"}
    published = [read_value(path)["user_hash"] for path in (directory / "users").iterdir()]
    assert sorted(published) == sorted(HOSTILE)
    assert verify_published(directory).is_whole
