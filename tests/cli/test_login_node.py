"""Commands of a login node: fast, and without torch, vllm, transformers, pynvml or a Slurm."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Said, finish, start, submit_words, succeed
from tests.runs import REPOSITORY, SCENARIOS

pytestmark = pytest.mark.process
BLOCKED = ("torch", "vllm", "transformers", "pynvml")
# Python runs a module of this name at start. The packages can be looked for, and not be imported.
SITECUSTOMIZE = f"""
import importlib.machinery
import sys

class Refusing:
    def create_module(self, spec):
        return None

    def exec_module(self, module):
        raise RuntimeError(f"a login node imported {{module.__name__}}")

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {BLOCKED}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = Refusing()
        return spec

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For PYTHONPATH: the heavy imports fail with it; and for PATH: it has no commands of Slurm."""
    directory = tmp_path_factory.mktemp("blocked")
    (directory / "sitecustomize.py").write_text(SITECUSTOMIZE)
    bash = shutil.which("bash")
    assert bash is not None
    (directory / "bash").symlink_to(bash)  # all there is on the PATH
    return str(directory)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A published run `r`, and a run `d` that was only planned."""
    root = tmp_path_factory.mktemp("login")
    # In a process of its own: cancel ends the process that submitted.
    assert finish(start(*submit_words(checkpoint), "--limit-items", "3", cwd=root)).code == 0
    succeed(*submit_words(checkpoint, name="d"), "--limit-items", "3", "--dry-run", cwd=root)
    return root


def test_the_block_works(blocked: str):
    found = "import importlib.util; assert importlib.util.find_spec('pynvml')"
    environment = {"PYTHONPATH": blocked}
    subprocess.run([sys.executable, "-c", found], env=environment, check=True)
    words = [sys.executable, "-c", "import pynvml"]
    done = subprocess.run(words, env=environment, check=False, capture_output=True)
    assert b"a login node imported pynvml" in done.stderr


def words_of(checkpoint: Path) -> dict[str, list[str]]:
    """The commands that are tried, by name."""
    submit = submit_words(checkpoint, name="planned")
    prompts = ["prompts", "--preset", "quick_test", "--checkpoint", str(checkpoint), "--show", "2"]
    check = ["check-model", str(checkpoint), "--gpu", "h100", "--preset", "quick_test"]
    published = "outputs/leaderboards/r"
    on_slurm = [*submit_words(checkpoint, name="slurm"), "--cluster", "slurm", "--num-tasks", "3"]
    return {
        "print_config": [*submit, "--print-config"],
        "vllm": [*submit, "--engine", "vllm", "--dry-run"],
        "auto": [*submit_words(checkpoint, name="auto"), "--engine", "auto", "--dry-run"],
        "slurm": [*on_slurm, "--dry-run"],
        "prompts": [*prompts, "--scenario-path", str(SCENARIOS / "DMSC")],
        "presets": ["presets"],
        "status": ["status", "r"],
        "status_json": ["status", "r", "--json"],
        "watch": ["watch", "r"],
        "logs": ["logs", "r", "0", "-n", "100"],
        "list": ["list"],
        "resume": ["resume", "d", "--dry-run"],
        "resume_slurm": ["resume", "slurm"],
        "status_slurm": ["status", "slurm"],
        "resume_here": ["resume", "slurm", "--cluster", "none", "--dry-run"],
        "cancel": ["cancel", "r"],
        "merge": ["merge", "r"],
        "verify": ["verify", "outputs/leaderboards/r"],
        "verify_run": ["verify", "r"],
        "check_model": check,
        "compare": ["compare", published, published],
        "clean": ["clean", "r"],  # the last one: it removes what the others look at
    }


# One process for all commands: that they start one by one is shown elsewhere.
RUN_ALL = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from tests.cli.commands import vllm_launch
commands = json.load(sys.stdin)
said = {name: asdict(vllm_launch(*words, cwd=Path.cwd())) for name, words in commands.items()}
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers(blocked: str, here: Path, checkpoint: Path) -> dict[str, Said]:
    """What every command says where the heavy imports fail and Slurm's commands are not there."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(words_of(checkpoint)),
        cwd=here,
        env={"PATH": blocked, "PYTHONPATH": os.pathsep.join([blocked, str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: Said(**said) for name, said in json.loads(done.stdout).items()}


EXPECTED = {
    "print_config": "engine: stub  # --engine",
    "vllm": "dry run: nothing was started",
    "slurm": "dry run: nothing was sent",
    "prompts": "=== 2. ",
    "presets": "  quick_test ",
    "status": "Published, complete: ",
    "status_json": '"num_missing": 0',
    "watch": "3 of 3 items done; tasks: 1 ended",
    "logs": "ended code=0 reason=",
    "list": "published, stub, limited",
    "resume": "dry run: nothing was started",
    "status_slurm": "Not published: nothing was sent yet; `vllm-launch resume ",
    "resume_here": "dry run: nothing was started",
    "cancel": "nothing of this run is queued or running",
    "merge": "3 of 3 items done",
    "verify": "files as published",
    "verify_run": "3 items, every line sound",
    "auto": "dry run: nothing was started",
    "check_model": "LlamaForCausalLM",
    "compare": "exact match: 100.00 %",
    "clean": "published and checked: ",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_commands_without_heavy_imports(answers: dict[str, Said], name: str):
    assert answers[name].code == 0, answers[name].err
    assert EXPECTED[name] in answers[name].out


def test_a_dry_run_for_slurm_needs_no_slurm(answers: dict[str, Said]):
    said = answers["slurm"]
    assert said.row("tasks") == "3 tasks, as asked for"
    assert "--- tasks-0.sbatch, sent by: sbatch " in said.out
    assert "--- merge.sbatch, sent by: sbatch " in said.out
    assert "#SBATCH --gres=gpu:1" in said.out
    assert answers["resume_slurm"].code == 2
    assert answers["resume_slurm"].errors == [
        "vllm-launch: sbatch: not found; this machine has no Slurm commands. Use --cluster none, or log in to"
        " a submit host."
    ]


@pytest.mark.parametrize(
    ("command", "shown", "limit_s"), [("submit", "--num-samples VALUE", 0.6), ("status", "--json", 1.0)]
)
def test_help_is_fast(blocked: str, here: Path, command: str, shown: str, limit_s: float):
    took = []
    for _ in range(3):
        before = cpu_of_children_s()
        said = finish(start(command, "--help", cwd=here, PYTHONPATH=blocked, PATH=blocked))
        took.append(cpu_of_children_s() - before)
        assert said.code == 0 and shown in said.out
    assert min(took) < limit_s


def cpu_of_children_s() -> float:
    """CPU seconds of all children that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
