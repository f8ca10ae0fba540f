"""A published directory that was changed: verify and compare name it, a merge never makes it worse."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from launch.collect.merge import merge
from launch.rundir.layout import RunPaths
from tests.cli.commands import vllm_launch
from tests.cli.damages import become_directory, copy_of, cut, edit_json, everything, half_done, swap
from tests.cli.test_damage_borne import go_on
from tests.local_submit import digests

pytestmark = pytest.mark.process  # runs tasks first

AGAIN = "it was changed after publishing. Publish it again with `vllm-launch merge RUN`."
MOVE = "Move the directory away."


@dataclass(frozen=True)
class Change:
    """What is done to a published directory; what verify and compare say, and what a merge does then.

    `refused` is what a merge says that does not publish; None: it makes the directory as it was.
    """

    name: str
    do: Callable[[Path], object]
    verified: str
    compared: str
    refused: str | None = None


def forge_manifest(out: Path, **files: str) -> None:
    """Names more files in the manifest, with the digest of nothing."""
    value = orjson.loads((out / "manifest.json").read_bytes())
    empty = {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0, "lines": 0}
    value["files"] |= dict.fromkeys(files.values(), empty)
    (out / "manifest.json").write_bytes(orjson.dumps(value))


CHANGES = [
    Change(
        "no manifest",
        lambda out: (out / "manifest.json").unlink(),
        "no run here; looked for run.yaml",
        "no manifest.json of vllm-launch here.",
        refused="holds files that vllm-launch did not publish; nothing was touched.",
    ),
    Change(
        "an empty manifest",
        lambda out: cut(out / "manifest.json", 0),
        f"manifest.json: no JSON; it was changed after publishing. {MOVE}",
        f"manifest.json: no JSON; it was changed after publishing. {MOVE}",
        refused=f"manifest.json: no JSON; it was changed after publishing. {MOVE}",
    ),
    Change(
        "a newer manifest",
        lambda out: edit_json(out / "manifest.json", format="vllm-launch/2", more=1),
        "is of format vllm-launch/2; vllm-launch 0.1.0 knows vllm-launch/1. Use the vllm-launch that",
        "is of format vllm-launch/2;",
        refused="is of format vllm-launch/2;",
    ),
    Change(
        "a manifest of another form",
        lambda out: edit_json(out / "manifest.json", num_items="12"),
        "num_items: Input should be a valid integer; it was changed after publishing, or is another",
        "num_items: Input should be",
        refused="num_items: Input should be",
    ),
    Change(
        "a manifest without files",
        lambda out: edit_json(out / "manifest.json", files={}),
        "generations.jsonl: is not in manifest.json, where it always stands",
        f"(and 7 more); {AGAIN}",
        refused="holds generations.jsonl and 7 more, which vllm-launch did not publish; nothing was touched.",
    ),
    Change(
        "a manifest that names a directory",
        lambda out: forge_manifest(out, name="users"),
        "users: is a directory",
        f"users: is a directory; {AGAIN}",
    ),
    Change(
        "a manifest that names what is not there",
        lambda out: forge_manifest(out, name="users/user0.json/x"),
        "users/user0.json/x: is missing",
        f"users/user0.json/x: is missing; {AGAIN}",
    ),
    Change(
        "other bytes",
        lambda out: swap(out / "generations.jsonl", b'"samples"', b'"sampleZ"'),
        "generations.jsonl: has other bytes than were published (sha256)",
        f"generations.jsonl: has other bytes than were published (sha256); {AGAIN}",
        refused="generations.jsonl changed after publishing; nothing was touched. Move what you changed away",
    ),
    Change(
        "a file less",
        lambda out: (out / "users" / "user1.json").unlink(),
        "users/user1.json: is missing",
        f"users/user1.json: is missing; {AGAIN}",
    ),
    Change(
        "a directory for a file",
        lambda out: become_directory(out / "generations.jsonl"),
        "generations.jsonl: is a directory",
        f"generations.jsonl: is a directory; {AGAIN}",
    ),
    Change(
        "an empty summary",
        lambda out: cut(out / "inference_summary.json", 0),
        "inference_summary.json: has 0 bytes, published were ",
        AGAIN,
    ),
    Change(
        "a file more",
        lambda out: (out / "users" / "scores.csv").write_text("mine"),
        "users/scores.csv: is not in manifest.json",
        f"users/scores.csv: is not in manifest.json; {AGAIN}",
        refused="holds users/scores.csv, which vllm-launch did not publish; nothing was touched. Move it",
    ),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    run = half_done(tmp_path_factory.mktemp("whole"))
    go_on(run)
    return run


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_is_named_and_a_merge_mends_it_or_touches_nothing(
    whole: RunPaths, tmp_path: Path, change: Change
) -> None:
    run = copy_of(whole, tmp_path)
    out = merge(run).output_dir
    expected = digests(out)
    change.do(out)
    before = everything(out)
    verified = vllm_launch("verify", out, cwd=tmp_path)
    assert change.verified in verified.errors[0] and verified.code in (2, 3)
    compared = vllm_launch("compare", out, out, cwd=tmp_path)
    assert (compared.code, len(compared.errors)) == (2, 1) and change.compared in compared.errors[0]
    assert vllm_launch("clean", run.root, cwd=tmp_path).code in (2, 3)
    merged = vllm_launch("merge", run.root, cwd=tmp_path)
    if change.refused is None:
        assert (merged.code, digests(out)) == (0, expected), merged.err
        assert vllm_launch("verify", out, cwd=tmp_path).code == 0
    else:
        assert (merged.code, len(merged.errors)) == (2, 1) and change.refused in merged.errors[0]
        assert everything(out) == before
