"""Damage that a run cannot be gone on with: every command says so in one line, and touches nothing."""

import contextlib
import io
import shutil
from pathlib import Path

import pytest

from launch.errors import LaunchError
from launch.rundir.attempts import EngineStart
from launch.rundir.layout import RunPaths
from launch.worker.__main__ import main as task_main
from launch.worker.caution import Caution
from launch.worker.engine_process import work
from tests.cli.commands import Said, vllm_launch
from tests.cli.damages import (
    COMMANDS,
    ZEROS,
    Damage,
    append,
    become_directory,
    chunks,
    copy_of,
    cut,
    drop_key,
    edit_json,
    edit_yaml,
    everything,
    half_done,
    keep,
    sent,
    swap,
)
from tests.cli.test_damage_borne import go_on
from tests.worker.tasks import SilentChannel

pytestmark = pytest.mark.process

ALL_OPEN = ("status", "merge", "verify", "resume", "task")
PLAN = ("merge", "verify", "resume")
COUNTS = ("status", *PLAN, "task")
TASK = ("task",)
EDITED = "it was damaged or edited. Restore it from a copy"
NEWER = (
    "is of format 2; vllm-launch 0.1.0 knows formats up to 1. Use the newer vllm-launch that made the run."
)
CHANGED = "run.yaml: was changed after it was written (name, model, data, prompt, sampling or a digest). Undo"
OTHER = "was edited, or made by another version of vllm-launch than 0.1.0: restore it, or use that one."
COPIED = "its directory was copied here. Move it out of the run."
LINE = "users.jsonl: the line at byte "
CHUNKS = (
    "chunks.jsonl: is not as it was planned (sha256); it was damaged or edited. Nothing that is settled is"
)


def no_yaml(path: Path) -> None:
    path.write_text("run_id: r\nname: [\n}")


DAMAGES = [
    Damage("newer", lambda run: edit_yaml(run.run_yaml, format=2), f"run.yaml: {NEWER}", by=ALL_OPEN),
    Damage("empty", lambda run: cut(run.run_yaml, 0), f"run.yaml: is empty; {EDITED}.", by=ALL_OPEN),
    Damage(
        "zeros",
        lambda run: run.run_yaml.write_bytes(ZEROS),
        "run.yaml: is no YAML (",
        by=ALL_OPEN,
    ),
    Damage(
        "no YAML",
        lambda run: no_yaml(run.run_yaml),
        "run.yaml: is no YAML (line 3: ",
        by=ALL_OPEN,
    ),
    Damage(
        "no text",
        lambda run: run.run_yaml.write_bytes(b"a: \xff"),
        f"run.yaml: is no text; {EDITED}.",
        by=ALL_OPEN,
    ),
    Damage(
        "a list",
        lambda run: run.run_yaml.write_text("- 1"),
        f"run.yaml: holds no record; {EDITED}.",
        by=ALL_OPEN,
    ),
    Damage(
        "unknown field",
        lambda run: edit_yaml(run.run_yaml, colour="red"),
        f"not permitted. It {OTHER}",
        by=ALL_OPEN,
    ),
    Damage(
        "missing field",
        lambda run: drop_key(run.run_yaml, "sampling"),
        "sampling: Field required. It",
        by=ALL_OPEN,
    ),
    Damage("edited", lambda run: edit_yaml(run.run_yaml, sampling__temperature=0.5), CHANGED, by=ALL_OPEN),
    Damage("edited id", lambda run: edit_yaml(run.run_yaml, run_id="other"), CHANGED, by=ALL_OPEN),
    Damage(
        "edited digest",
        lambda run: edit_yaml(run.run_yaml, checkpoint__digest="0"),
        CHANGED,
        by=ALL_OPEN,
    ),
    Damage("edited limit", lambda run: edit_yaml(run.run_yaml, data__limit_items=3), CHANGED, by=ALL_OPEN),
    Damage("sent: newer", lambda run: edit_yaml(sent(run), format=2), f"submission.yaml: {NEWER}"),
    Damage("sent: absent", lambda run: sent(run).unlink(), "submission.yaml: not found; expected a run"),
    Damage("sent: a directory", lambda run: become_directory(sent(run)), f"yaml: is no file; {EDITED}."),
    Damage("sent: empty", lambda run: cut(sent(run), 0), f"submission.yaml: is empty; {EDITED}."),
    Damage("sent: zeros", lambda run: sent(run).write_bytes(ZEROS), "submission.yaml: is no YAML ("),
    Damage("sent: unknown", lambda run: edit_yaml(sent(run), engine__colour="red"), f"permitted. It {OTHER}"),
    Damage("sent: missing", lambda run: drop_key(sent(run), "resources"), "resources: Field required. It"),
    Damage("sent: number", lambda run: edit_yaml(sent(run), submission=4), f"of submission 4: {COPIED}"),
    Damage(
        "sent: run",
        lambda run: edit_yaml(sent(run), run_id="x"),
        f"run x: {COPIED}",
        by=("status", "merge", "verify"),
    ),
    Damage(
        "sent: run",
        lambda run: edit_yaml(sent(run), run_id="x"),
        f"not of run: {COPIED}",
        by=("resume", "task"),
    ),
    Damage(
        "a second, empty submission",
        lambda run: run.submission(2).root.mkdir(),
        "submissions/2 out of the run: what its tasks generated stays.",
        by=tuple(command for command in COMMANDS if command != "task"),
    ),
    Damage(
        "no submissions",
        lambda run: shutil.rmtree(run.submissions),
        "submissions: holds no submission, though tasks of one have run. Restore it from a copy: what they",
        by=(*PLAN, "clean"),
    ),
    Damage(
        "no plan.json",
        lambda run: run.plan_json.unlink(),
        f"plan.json: not found; {EDITED}: `vllm-launch submit --dry-run` with the run's settings and data",
        by=COUNTS,
    ),
    Damage("plan.json: empty", lambda run: cut(run.plan_json, 0), "does not hold the counts of", by=COUNTS),
    Damage(
        "plan.json: type", lambda run: edit_json(run.plan_json, num_items="12"), "does not hold", by=COUNTS
    ),
    Damage(
        "plan.json: counts",
        lambda run: edit_json(run.plan_json, num_items=77),
        f"plan.json: says 77 items, index.jsonl holds 12; {EDITED}",
        by=PLAN,
    ),
    Damage(
        "plan.json: digest",
        lambda run: edit_json(run.plan_json, index_sha256="0" * 64),
        f"index.jsonl: is not as it was planned (sha256); {EDITED}",
        by=PLAN,
    ),
    Damage("index: absent", lambda run: run.index.unlink(), "index.jsonl: not found; it was", by=PLAN),
    Damage("index: cut", lambda run: cut(run.index, 300), "index.jsonl: is not as it was planned", by=PLAN),
    Damage("index: edited", lambda run: swap(run.index, b"user2", b"user9"), "index.jsonl: is not", by=PLAN),
    Damage("index: zeros", lambda run: run.index.write_bytes(ZEROS), "index.jsonl: is not as it", by=PLAN),
    Damage("users: a text", lambda run: swap(run.users, b'"age":23', b'"age":24'), LINE, by=TASK),
    Damage("users: longer", lambda run: swap(run.users, b'"age":23', b'"age":123'), LINE, by=TASK),
    Damage("users: a line less", lambda run: keep(run.users, slice(1, None)), LINE, by=TASK),
    Damage("users: empty", lambda run: cut(run.users, 0), LINE, by=TASK),
    Damage("users: absent", lambda run: run.users.unlink(), f"users.jsonl: not found; {EDITED}", by=TASK),
    Damage("history: absent", lambda run: run.history.unlink(), "history.jsonl: not found; it was", by=TASK),
    Damage("chunks: absent", lambda run: chunks(run).unlink(), "chunks.jsonl: not found; it was", by=TASK),
    Damage("chunks: cut", lambda run: cut(chunks(run), 90), CHUNKS, by=TASK),
    Damage("chunks: a line less", lambda run: keep(chunks(run), slice(-1)), CHUNKS, by=TASK),
    Damage("chunks: twice", lambda run: append(chunks(run), chunks(run).read_bytes()), CHUNKS, by=TASK),
    Damage(
        "merge/ is a file",
        lambda run: run.merge.write_text("mine"),
        "merge: is a file; merges keep their claims in a directory of that name. Move the file away.",
        by=("merge", "verify"),
    ),
]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return half_done(tmp_path_factory.mktemp("half"))


@pytest.mark.process  # runs a task first
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_it_is_said_in_one_line_and_nothing_is_touched(
    half: RunPaths, tmp_path: Path, damage: Damage
) -> None:
    run = copy_of(half, tmp_path)
    damage.do(run)
    before = everything(run.root)
    for command in damage.by or COMMANDS:
        said = say(run, command)
        assert (said.code, len(said.errors)) == (2, 1), f"{command}: {said.err}"
        assert damage.said in said.errors[0], command
    for words in (("list", run.root.parent), ("logs", run.root, "0")):
        said = vllm_launch(*words, cwd=tmp_path)
        assert said.code in (0, 2, 3) and len(said.errors) <= 1, f"{words[0]}: {said.err}"
    after = everything(run.root)
    assert {name: after[name] for name in before} == before
    assert not (tmp_path / "leaderboards").exists()


def say(run: RunPaths, command: str) -> Said:
    """What a command says of a run; a task as far as its engine process would come."""
    if command == "task":
        return say_task(run)
    words = [command, run.root, *(["--dry-run"] if command in ("resume", "clean") else [])]
    return vllm_launch(*words, cwd=run.root.parent)


def say_task(run: RunPaths) -> Said:
    """The supervisor's words where it refuses before anything starts, else those of its engine process."""
    words = [str(run.root), "--submission", "1", "--task", "7"]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = task_main(words)
    if "--task: submission 1 has tasks 0 to 0" not in errors.getvalue():
        return Said(code, "", errors.getvalue())
    run.attempt(1, 0, 9).root.mkdir()
    with pytest.raises(LaunchError) as raised:
        work(run, EngineStart(1, 0, 9, 0, 0), SilentChannel(), {}, Caution())  # type: ignore[arg-type]
    return Said(raised.value.exit_code, "", str(raised.value))


def test_a_new_run_of_the_same_settings_has_the_same_plan(half: RunPaths, tmp_path: Path) -> None:
    """What a message of a damaged plan advises."""
    shutil.rmtree(tmp_path / "again", ignore_errors=True)
    again = half_done(tmp_path / "again")
    assert everything(again.users.parent) == everything(half.users.parent)


def test_another_text_in_the_plan_is_not_published(half: RunPaths, tmp_path: Path) -> None:
    """All is generated; the record that the results belong to is not what it was."""
    run = copy_of(half, tmp_path)
    go_on(run)
    sound = run.users.read_bytes()
    swap(run.users, b'"age":21', b'"age":99')
    said = say(run, "merge")
    assert (said.code, len(said.errors)) == (2, 1) and LINE in said.errors[0]
    assert not (tmp_path / "leaderboards" / "run").exists()
    said = say(run, "verify")
    assert said.code == 3 and "users.jsonl: is not as it was planned (sha256)" in said.errors[0]
    run.users.write_bytes(sound)
    assert (say(run, "verify").code, say(run, "merge").code) == (0, 0)
