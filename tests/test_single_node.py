"""The single-node commands as one types them in the repository's root, with the stub unless it is said."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from launch.rundir.layout import RunPaths
from tests.cli.commands import Said, finish, own_names, vllm_launch
from tests.local_submit import Command, digests, num_settled
from tests.models import make_tiny_llama
from tests.runs import REPOSITORY, SCENARIOS
from tests.worker.tasks import wait_until

pytestmark = pytest.mark.process

NUM_ITEMS = 92  # of the scenario
DEFAULTS = {
    "engine": {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.9, "max_model_len": 8192},
    "sampling": {
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 50,
        "max_tokens": 512,
        "seed": 42,
        "num_samples": 5,
    },
    "prompt": {"max_context_turns": 15, "max_chars_per_turn": 300},
    "model": {"quantization": None, "engine": "auto"},
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "inference_distributed.py"]
SLOW = {"VLLM_LAUNCH_STUB_SECONDS_PER_ITEM": "0.2"}


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with a checkpoint, and a place for results."""

    home: Path
    checkpoint: Path

    def words(self, output: str, *more: str, engine: str = "stub") -> list[str]:
        """The required flags, as the issue writes them, and more."""
        return [
            *("--checkpoint_dir", str(self.checkpoint), "--dataset", "Chameleons"),
            *("--ablation_config", "profile_and_context", "--output_dir", str(self.home / output)),
            *("--scenario_path", str(SCENARIOS / "Chameleons"), "--engine", engine, *more),
        ]

    def start(
        self, program: Sequence[str], words: Sequence[str], **environment: str
    ) -> subprocess.Popen[str]:
        """Starts a command in the repository's root, in a session of its own."""
        kept = {name: value for name, value in os.environ.items() if name not in own_names()}
        return subprocess.Popen(
            [*program, *words],
            cwd=REPOSITORY,
            env={**kept, "CUDA_VISIBLE_DEVICES": "", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def vllm(self, *words: str, **environment: str) -> Said:
        """`python inference_vllm.py WORDS`, to its end."""
        return finish(self.start([sys.executable, "inference_vllm.py"], words, **environment), 240)

    def distributed(self, *words: str, **environment: str) -> Said:
        """`torchrun --nproc_per_node=2 inference_distributed.py WORDS`, to its end."""
        return finish(self.start(TORCHRUN, words, **environment), 240)

    def run(self, output: str) -> RunPaths:
        """The run beside an output directory."""
        return RunPaths(self.home / f"{output}.run")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    home = tmp_path_factory.mktemp("node")
    return Node(home, make_tiny_llama(home / "model"))


@pytest.fixture(scope="module")
def whole(node: Node) -> dict[str, str]:
    """Digests of what one undisturbed call publishes."""
    said = node.vllm(*node.words("whole"))
    assert said.code == 0, said.err
    return digests(node.home / "whole")


def test_the_run_lies_beside_what_is_published(node: Node, whole: dict[str, str]):
    assert {path.name for path in node.home.iterdir()} >= {"whole", "whole.run"}
    assert (node.run("whole").logs / "task-0.log").is_file()
    summary = json.loads((node.home / "whole" / "inference_summary.json").read_text())
    assert (summary["num_samples_per_item"], summary["num_data_items_filled"]) == (5, NUM_ITEMS)


def test_the_last_line_has_the_three_figures(node: Node):
    # The stub's two items may else take less than the millisecond that journals count, and have no rate.
    last = node.vllm(*node.words("figures", "--limit_items", "2"), **SLOW).out.splitlines()[-1]
    assert last.startswith("figures     10 samples in ") and last.endswith(" samples/min, engine stub")


def test_the_defaults_and_what_comes_before_them(node: Node):
    def shown(*words: str) -> dict[str, dict[str, object]]:
        said = node.vllm(*node.words("unused", *words, "--print-config", engine="auto"))
        return yaml.safe_load(said.out)

    config = shown()
    for section, values in DEFAULTS.items():
        assert {name: config[section][name] for name in values} == values
    assert shown("--preset", "quick_test")["sampling"]["max_tokens"] == 32
    assert shown("--preset", "quick_test", "--max-tokens", "7")["sampling"]["max_tokens"] == 7
    assert shown("--tensor-parallel-size", "8")["resources"]["gpus_per_task"] in (None, 8)
    assert not (node.home / "unused.run").exists()


def test_called_again_there_is_nothing_to_do(node: Node, whole: dict[str, str]):
    said = node.vllm(*node.words("whole"))
    assert said.code == 0
    assert f"{NUM_ITEMS} of {NUM_ITEMS} items are done" in said.out and "nothing new since" in said.out
    assert digests(node.home / "whole") == whole


def test_called_again_it_may_publish_otherwise_and_keeps_what_is_not_said(node: Node):
    words = node.words("form", "--limit_items", "2")
    assert node.vllm(*words).code == 0
    assert "publish  " not in node.vllm(*words, "--dry_run", "--user_files", "none").out
    for more in (["--user_files", "archive"], []):
        said = node.vllm(*words, *more)
        assert said.code == 0, said.err
        assert ("user_files archive: kept for later merges" in said.out) == bool(more)
        assert (node.home / "form" / "users.zip").is_file() and not (node.home / "form" / "users").exists()


def test_what_a_merge_kept_holds_for_what_is_generated_later(node: Node):
    words = node.words("kept", "--limit_items", "2")
    assert node.vllm(*words, "--dry_run").code == 0
    early = vllm_launch("merge", node.run("kept").root, "--user-files", "archive", cwd=node.home)
    assert early.code == 3 and "user_files archive: kept for later merges" in early.out
    assert node.vllm(*words).code == 0
    assert (node.home / "kept" / "users.zip").is_file() and not (node.home / "kept" / "users").exists()


@pytest.mark.parametrize("program", [[sys.executable, "inference_vllm.py"], TORCHRUN])
def test_interrupted_and_called_again_it_continues(node: Node, whole: dict[str, str], program: list[str]):
    output = "stopped-by-" + Path(program[-1]).stem
    command = Command(node.start(program, node.words(output), **SLOW))
    wait_until(lambda: num_settled(node.run(output)) > 0, "a commit", timeout_s=60)
    command.look()
    os.kill(command.process.pid, signal.SIGINT)
    _, _, errors = command.finish(15)
    assert 0 < (kept := num_settled(node.run(output))) < NUM_ITEMS
    assert f"{NUM_ITEMS - kept} of {NUM_ITEMS} items are missing" in errors
    assert command.left() == []
    assert not (node.home / output).exists()
    said = finish(node.start(program, node.words(output)), 60)
    assert said.code == 0, said.err
    assert f"{kept} of {NUM_ITEMS} items are done" in said.out
    assert digests(node.home / output) == whole


def test_another_identity_is_refused_and_no_resume_sets_the_old_run_aside(node: Node):
    words = node.words("identity", "--limit_items", "2")
    assert node.vllm(*words).code == 0
    said = node.vllm(*words, "--top_p", "0.5")
    assert said.code == 2
    assert said.errors[-1] == (
        f"inference_vllm.py: {node.run('identity').root}: was made with sampling.top_p 0.9, asked for 0.5."
        " Choose another --output_dir, or say --no-resume to begin anew."
    )
    said = node.vllm(*words, "--temperature", "0")  # which also makes one sample of five
    assert (
        "made with sampling.num_samples 5 and sampling.temperature 1.0, asked for 1 and 0.0."
        in said.errors[-1]
    )
    said = node.vllm(*words, "--top_p", "0.5", "--no-resume")
    assert said.code == 0, said.err
    (aside,) = node.home.glob("identity.run.old-*")
    assert (aside / "run.yaml").is_file() and f"the earlier run is kept in {aside}" in "".join(said.notes)
    summary = json.loads((node.home / "identity" / "inference_summary.json").read_text())
    assert summary["sampling_params"]["top_p"] == 0.5


def test_published_results_whose_run_is_gone_are_not_replaced(node: Node):
    words = node.words("gone", "--limit_items", "2")
    assert node.vllm(*words).code == 0
    node.run("gone").root.rename(node.home / "moved")
    said = node.vllm(*words)
    assert said.code == 2 and "is gone. Choose another --output_dir, or say --no-resume" in said.errors[-1]
    assert node.vllm(*words, "--no-resume").code == 0


def test_two_ranks_publish_what_one_process_does(node: Node, whole: dict[str, str]):
    said = node.distributed(*node.words("ranks"))
    assert said.code == 0, said.err
    assert "2 tasks, as asked for" in said.row("tasks")
    assert digests(node.home / "ranks") == whole
    tasks = sorted(path.name for path in (node.run("ranks").tasks / "1").iterdir())
    assert tasks == ["0", "1"]


def test_one_plain_process_is_enough(node: Node, whole: dict[str, str]):
    said = finish(node.start([sys.executable, "inference_distributed.py"], node.words("plain")), 60)
    assert said.code == 0, said.err
    assert digests(node.home / "plain") == whole


@pytest.mark.engine
def test_transformers_on_two_ranks_over_gloo(node: Node):
    words = node.words("hf", "--limit_items", "6", "--max_tokens", "8", "--dtype", "float32", engine="auto")
    said = node.distributed(*words, "--num_samples", "2", "--max_model_len", "2048")
    assert said.code == 0, said.err
    summary = json.loads((node.home / "hf" / "inference_summary.json").read_text())
    assert (summary["engine"], summary["total_samples"]) == ("transformers", 12)


def test_a_killed_torchrun_leaves_no_process(node: Node):
    command = Command(node.start(TORCHRUN, node.words("orphaned"), **SLOW))
    wait_until(lambda: num_settled(node.run("orphaned")) > 0, "a commit", timeout_s=60)
    command.look()
    assert len(command.below) >= 7, "torchrun, two ranks, two supervisors and two engine processes"
    command.process.kill()
    command.process.communicate()
    wait_until(lambda: command.left() == [], "no process left", timeout_s=20)


@pytest.mark.engine
@pytest.mark.timeout(400)
def test_ctrl_c_in_real_vllm_leaves_a_resumable_state_and_no_process(node: Node, smollm2: Path):
    here = Node(node.home, smollm2)
    words = here.words(
        "real", "--dtype", "float32", "--num_samples", "1", "--max_tokens", "32", engine="vllm"
    )
    words += ["--max_model_len", "2048", "--max_num_seqs", "4", "--enforce_eager", "true"]
    words += ["--limit_items", "16"]
    command = Command(here.start([sys.executable, "inference_vllm.py"], words))
    wait_until(lambda: num_settled(here.run("real")) > 0, "a commit", timeout_s=200)
    command.look()
    assert len(command.below) >= 5, "two of ours, the engine process, vLLM's core and worker"
    os.killpg(command.process.pid, signal.SIGINT)
    pressed = time.monotonic()
    _, _, errors = command.finish(15)
    psutil.wait_procs(command.left(), timeout=max(0.0, 15 - (time.monotonic() - pressed)))
    assert command.left() == []
    kept = num_settled(here.run("real"))
    assert f"{16 - kept} of 16 items are missing" in errors
    # In one process, which starts faster: this one is not interrupted.
    alone = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    said = finish(here.start([sys.executable, "inference_vllm.py"], words, **alone), 200)
    assert said.code == 0, said.err
    assert f"{kept} of 16 items are done" in said.out and "16 of 16 items done" in said.row("published")


BAD = [
    (["--output_dir", "bad"], "--checkpoint_dir, --dataset and --ablation_config: not given. Write them."),
    (["--set", "resources.scheduler=slurm"], "this command runs on this machine. For Slurm use"),
    (["--temperature", "0", "--num_samples", "2"], "greedy samples would be copies"),
    (["--checkpoint_dir", "/nowhere"], "/nowhere: there is no such directory"),
    (["--no_such_flag", "1"], "no flag --no-such-flag"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
@pytest.mark.parametrize("program", ["inference_vllm.py", "inference_distributed.py"])
def test_bad_input_is_one_line(node: Node, program: str, words: list[str], message: str):
    given = words if words[1] == "bad" else [*node.words("bad"), *words]
    said = finish(node.start([sys.executable, program], given), 60)
    assert said.code == 2
    assert len(said.errors) == 1 and said.errors[0].startswith(f"{program}: ") and message in said.errors[0]
    assert not node.run("bad").root.exists()


@pytest.mark.parametrize("words", [["--output_dir", "/proc/x"], ["--no_such_flag", "1"]])
def test_under_torchrun_a_line_is_said_once_and_stands_in_its_report_again(node: Node, words: list[str]):
    said = node.distributed(*node.words("bad"), *words)
    assert said.code != 0, "torchrun's own: 1"
    (line,) = [line for line in said.errors if line.startswith("inference_distributed.py: ")]
    assert f"  traceback : {line}\n" in said.err.partition("Root Cause")[2]


def test_help_under_torchrun_is_said_once_and_ends(node: Node):
    said = node.distributed("--help")
    assert said.code == 0, said.err
    assert said.out.count("Usage: inference_distributed.py") == 1


BAR = re.compile(r"generating, 1 of 1 tasks running \S+ +(\d+)/90 items, (\d+) tokens/s (\d:\d\d:\d\d)")


def test_a_terminal_shows_a_bar_with_rate_and_time_left(node: Node):
    screen, terminal = pty.openpty()
    program = [sys.executable, "inference_vllm.py", *node.words("bar", "--limit_items", "90")]
    kept = {name: value for name, value in os.environ.items() if name not in own_names()}
    kept |= {**SLOW, "CUDA_VISIBLE_DEVICES": "", "TERM": "xterm", "COLUMNS": "140"}
    process = subprocess.Popen(program, cwd=REPOSITORY, env=kept, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the last who wrote there has ended
        while part := os.read(screen, 4096):
            shown += part
    os.close(screen)
    assert process.wait(60) == 0
    bars = BAR.findall(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()))
    assert any(0 < int(done) < 90 and int(rate) > 0 for done, rate, _ in bars), shown[-500:]


def test_a_dataset_without_a_place_is_looked_up(node: Node):
    words = ["--checkpoint_dir", str(node.checkpoint), "--ablation_config", "profile_only"]
    words += ["--output_dir", str(node.home / "bad")]
    said = node.vllm(*words, "--dataset", "Chamelion")
    assert said.code == 2 and "no dataset named 'Chamelion'. Did you mean Chameleons?" in said.errors[0]
    said = node.vllm(*words, "--dataset", "chameleons", "--data_root", str(SCENARIOS), "--engine", "stub")
    assert said.code == 0, said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tensor_parallel_size", "2"], "a model of transformers runs on one GPU"),
        (["--num_tasks", "2"], "torchrun's --nproc_per_node"),
        (["--engine", "vllm"], "runs transformers, got vllm. Use inference_vllm.py"),
    ],
)
def test_what_the_baseline_does_not_have(node: Node, words: list[str], message: str):
    said = finish(node.start([sys.executable, "inference_distributed.py"], [*node.words("bad"), *words]), 60)
    assert said.code == 2 and message in said.errors[0]


def test_more_processes_than_gpus_are_refused(node: Node):
    words = node.words("bad", engine="stub")
    said = node.distributed(*words, CUDA_VISIBLE_DEVICES="0")
    assert said.code != 0
    assert "1 GPUs are visible (0), and each process wants one. Write --nproc_per_node=1." in said.err


def test_idle_gpus_are_said(node: Node):
    said = node.vllm(*node.words("idle", "--limit_items", "1"), CUDA_VISIBLE_DEVICES="0,1,2,3")
    assert "1 of 4 visible GPUs will be used; --num_tasks 4 uses all" in said.notes
    assert said.code == 0, said.err


# The helper script


def script(node: Node, *words: str, **environment: str) -> Said:
    """`bash inference_with_vllm.sh WORDS`."""
    places = {"PYTHON": sys.executable, "LOG_DIR": str(node.home / "logs")}
    return finish(node.start(["bash", "inference_with_vllm.sh"], words, **places, **environment), 60)


def test_the_script_makes_one_call_with_a_log(node: Node, whole: dict[str, str]):
    call = ["first", str(node.checkpoint), "Chameleons", "profile_and_context", str(node.home / "scripted")]
    more = ["--engine", "stub", "--scenario_path", str(SCENARIOS / "Chameleons")]
    said = script(node, *call, "1", "5", *more)
    assert said.code == 0, said.out + said.err
    assert f"published   {node.home / 'scripted'}: " in (node.home / "logs" / "first.log").read_text()
    assert digests(node.home / "scripted") == whole


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["a", "b"], {}, "usage: run_vllm_inference TASK CHECKPOINT DATASET ABLATION OUTPUT"),
        (["t", "/nowhere", "D", "A", "out"], {}, "/nowhere: no such checkpoint directory"),
        (["t", "/", "D", "A", "out", "two"], {}, "TP: expected a number of GPUs, got 'two'"),
        (["t", "/", "D", "A", "out", "2"], {"CUDA_VISIBLE_DEVICES": "0"}, "tensor parallel 2 needs 2"),
        (["t", "/", "D", "A", "out"], {"PYTHON": "/bin/false"}, "vLLM is not installed for /bin/false"),
        (["a/b", "/", "D", "A", "out"], {}, "TASK: expected a name for the log file, got 'a/b'"),
        (["t", "/", "D", "A", "out"], {"LOG_DIR": "/proc/logs"}, "/proc/logs: cannot write logs there. Set"),
    ],
)
def test_the_script_refuses(node: Node, words: list[str], environment: dict[str, str], message: str):
    places = {"PYTHON": sys.executable, "LOG_DIR": str(node.home / "logs"), **environment}
    said = finish(node.start(["bash", "inference_with_vllm.sh"], words, **places), 60)
    assert said.code == 2 and message in said.err


def test_the_script_hands_on_a_failure(node: Node):
    said = script(node, "f", str(node.checkpoint), "Nothing", "profile_only", str(node.home / "x"))
    assert said.code == 2 and "no dataset named 'Nothing'" in said.out


def test_the_script_passes_shellcheck():
    done = subprocess.run(
        ["shellcheck", "inference_with_vllm.sh"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
