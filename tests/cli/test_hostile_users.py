"""A user_hash may be anything: it stays content, and never becomes a path or a word of a shell."""

import json
import shutil
from pathlib import Path

import pytest

from launch.collect.leaderboard.folder import OURS
from launch.rundir.attempts import open_attempt
from launch.rundir.journal import write_json
from launch.rundir.layout import RunPaths
from tests.cli.commands import finish, start, submit_words, succeed
from tests.scenarios import builders

pytestmark = pytest.mark.process

HASHES = [
    *("../../x", "/etc/cron.d/x", "..", "a b", "it's", 'say "hi"', "line\nbreak", "x" * 300, "$(touch x)"),
    *("`touch y`", "; touch z #", "-rf", "%s{{x}}", "影\u2028子", "tab\there", "a\\b", "CON"),
]
SLURM_CLUSTER = "scheduler: slurm\nmax_array_size: 100\nmax_concurrent: 4\n"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A run of hostile users, published; and the same sent to Slurm without sending it."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "scenario").mkdir()
    users = [builders.user(user_hash) for user_hash in HASHES]
    builders.write(root / "scenario" / "test_leaderboard.json", users)
    words = [*submit_words(checkpoint, root / "scenario"), "--limit-items", "null"]
    succeed(*words, "--num-tasks", "2", cwd=root)
    (root / "cluster.yaml").write_text(SLURM_CLUSTER)
    succeed(*words, "--name", "s", "--cluster", "cluster.yaml", "--num-tasks", "4", "--dry-run", cwd=root)
    return root


def test_nothing_is_written_outside(here: Path):
    assert {path.name for path in here.iterdir()} == {"scenario", "cluster.yaml", "outputs", "slurm_logs"}
    assert {path.name for path in (here / "outputs").iterdir()} == {"runs", "leaderboards"}
    assert {path.name for path in (here / "outputs" / "leaderboards").iterdir()} == {"r", *OURS}
    assert not (here.parent / "x.json").exists() and not (here.parent / "x").exists()


def test_file_names_are_safe(here: Path):
    names = sorted(path.name for path in (here / "outputs").rglob("*"))
    assert all(name.isascii() and name.isprintable() and len(name) <= 64 for name in names)
    assert not any(char in name for name in names for char in " '\"$`;\\")
    users = list((here / "outputs" / "leaderboards" / "r" / "users").iterdir())
    assert len(users) == len(HASHES)


def test_the_content_is_whole(here: Path):
    published = here / "outputs" / "leaderboards" / "r"
    asked = json.loads((here / "scenario" / "test_leaderboard.json").read_text())
    filled = json.loads((published / "test_leaderboard.json").read_text())
    assert [user["user_hash"] for user in filled] == HASHES
    for user in filled:
        assert user.pop("stub") is True
        for collection in user["task"]["task_behavior_collections"]:
            for item in collection["data"]:
                assert len(item.pop("continuations")) == 1
    assert filled == asked
    lines = (published / "generations.jsonl").read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["key"].rpartition("#")[0] for line in lines] == HASHES


def test_no_hash_reaches_a_script(here: Path):
    run = RunPaths(here / "outputs" / "runs" / "s")
    scripts = [path.read_text() for path in run.submission(1).root.glob("*.sbatch")]
    assert len(scripts) == 2
    for text in scripts:
        assert not any(user_hash in text for user_hash in HASHES if user_hash not in ("..", "-rf", "CON"))
        assert "touch" not in text


LOOKS = [("status", "r"), ("status", "r", "--all"), ("status", "r", "--json"), ("watch", "r"), ("logs", "r")]
LOOKS += [("logs", "r", "0", "-f"), ("list",), ("list", "--json")]


@pytest.mark.parametrize("words", [*LOOKS, ("verify", "r")])
def test_the_other_commands_stand_it(here: Path, words: tuple[str, ...]):
    said = succeed(*words, cwd=here)
    assert (said.out + said.err).replace("\n", "").isprintable()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_another_encoding(here: Path, encoding: str):
    for words in (("status", "r"), ("list",), ("logs", "r", "0")):
        said = finish(start(*words, cwd=here, PYTHONIOENCODING=encoding))
        assert (said.code, said.err) == (0, ""), said.err


EVIL = "\x1b[31mred\x1b]0;title\x07\u202ertl\x00\x9b2J" + "x" * 1_000_000


def test_what_a_node_left_is_no_command_to_a_terminal(here: Path, tmp_path: Path):
    """Host, message, advice, events, GPU samples and logs of a task that failed, all hostile."""
    shutil.copytree(here / "outputs", tmp_path / "outputs")
    run = RunPaths(tmp_path / "outputs" / "runs" / "s")
    _, paths = open_attempt(run, 1, 0)
    write_json(
        paths.attempt_json,
        {"host": EVIL, "slurm": {"SLURM_ARRAY_JOB_ID": "../../x", "SLURM_ARRAY_TASK_ID": "1"}},
    )
    failure = {"class": EVIL, "message": EVIL, "advice": [EVIL, 3]}
    gpu = {"num_samples": 0, "gpus": [], "sampled_s": None, "total": None, "no_gpu": EVIL}
    write_json(paths.ended, {"code": 1, "reason": EVIL, "failure": failure, "gpu": gpu})
    event = {"time": 1, "event": "ladder", "class": EVIL, "action": EVIL, "setting": EVIL, "to": EVIL}
    idle = {"time": 1, "event": "gpu_idle", "slot": 0, "gpu": EVIL, "idle_s": 60}
    paths.events.write_text(f"{json.dumps(event)}\n{json.dumps(idle)}\n")
    paths.gpu.write_text(json.dumps({"time": 1, "no_gpu": EVIL}) + "\n")
    (paths.root / "0.0.log").write_text(f"{EVIL}\n{EVIL}")
    write_json(run.submission(1).queue, {"number": EVIL})
    for words in LOOKS:
        if words[0] == "watch":  # it would wait for the tasks that have not begun
            continue
        said = succeed(*("s" if word == "r" else word for word in words), cwd=tmp_path)
        shown = (said.out + said.err).replace("\n", "")
        assert shown.isprintable() and len(shown) < 50_000, words


def test_prompts_shows_control_characters(here: Path, checkpoint: Path):
    words = ["prompts", "--preset", "quick_test", "--checkpoint", str(checkpoint), "--show", "20"]
    said = succeed(*words, "--scenario-path", "scenario", "--limit-items", "20", cwd=here)
    assert sum(line.startswith("=== ") for line in said.out.splitlines()) == len(HASHES)
