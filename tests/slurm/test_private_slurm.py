"""The private Slurm is a real one: what the launcher's own tests rely on, seen to hold."""

import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster_conf import ClusterSpec
from tests.slurm.private_slurm import PrivateSlurm, Row

WAIT_S = 60.0
POLL_S = 0.1


def bash(text: str) -> str:
    """A batch script."""
    return "#!/bin/bash\n" + textwrap.dedent(text)


def wait_for(is_true: Callable[[], object], slurm: PrivateSlurm, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, slurm.logs()
        time.sleep(POLL_S)


def words(path: Path) -> list[str]:
    """What a job wrote so far."""
    return path.read_text().split() if path.exists() else []


def ended(*task_ids: str) -> list[Row]:
    return [Row(task_id, "COMPLETED", "None") for task_id in task_ids]


def test_nodes_are_idle_and_have_gpus(slurm: PrivateSlurm) -> None:
    nodes = slurm.run("sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%N %t %G").splitlines()
    assert nodes == [f"n{number} idle gpu:2" for number in range(1, 5)]


def test_tasks_side_by_side_have_their_own_gpu(slurm: PrivateSlurm, tmp_path: Path) -> None:
    """Two tasks at a time (%2), which meet on the two GPUs of one node, each alone on its own."""
    script = bash("""
        echo "start $SLURM_ARRAY_TASK_ID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >> order
        sleep 1
        echo "end $SLURM_ARRAY_TASK_ID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" >> order
    """)
    job = slurm.sbatch(script, "--array=0-3%2", "--gres=gpu:1", "--nodelist=n1", cwd=tmp_path)
    assert slurm.wait(job, WAIT_S) == ended(*(f"{job}_{task}" for task in range(4)))
    running: dict[str, str] = {}
    most = 0
    for line in (tmp_path / "order").read_text().splitlines():
        event, task, node, gpu = line.split()
        if event == "end":
            assert running.pop(task) == gpu
            continue
        assert node == "n1" and gpu in {"0", "1"} - set(running.values())
        running[task] = gpu
        most = max(most, len(running))
    assert most == 2


def test_requeue_from_inside_comes_back_in_seconds(slurm: PrivateSlurm, tmp_path: Path) -> None:
    """Slurm's own delay is 120 s; cred_expire makes it 6 s."""
    script = bash("""
        echo "life${SLURM_RESTART_COUNT:-0}" >> lives
        [[ -n $SLURM_RESTART_COUNT ]] && exit 0
        scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
        exit 75
    """)
    job = slurm.sbatch(script, "--array=0", cwd=tmp_path)
    start = time.monotonic()
    wait_for(lambda: words(tmp_path / "lives") == ["life0", "life1"], slurm)
    assert time.monotonic() - start > 3, "the delay of a requeue is part of what tests have to survive"
    assert slurm.wait(job, WAIT_S) == ended(f"{job}_0")


def test_scancel_signals_every_process_of_the_job_and_leaves_none(
    slurm: PrivateSlurm, tmp_path: Path
) -> None:
    """The shell, a child, and a child in a session of its own are told TERM, then killed after KillWait."""
    script = bash("""
        trap 'echo shell >> got' TERM
        for name in child session; do
            run=$([[ $name == session ]] && echo setsid)
            $run bash -c "trap 'echo $name >> got' TERM; echo $name >> up; while :; do sleep 0.1; done" &
        done
        while :; do sleep 0.1; done
    """)
    job = slurm.sbatch(script, "--array=0", cwd=tmp_path)
    wait_for(lambda: len(words(tmp_path / "up")) == 2, slurm)
    assert len(slurm.processes(job)) >= 3
    slurm.run("scancel", job)
    assert [row.state for row in slurm.wait(job, WAIT_S)] == ["CANCELLED"]
    assert sorted(words(tmp_path / "got")) == ["child", "session", "shell"]
    wait_for(lambda: not slurm.processes(job), slurm, timeout_s=10)


@pytest.mark.parametrize("how", ["--batch", "--full", None])
def test_who_gets_a_signal_of_scancel(slurm: PrivateSlurm, tmp_path: Path, how: str | None) -> None:
    """--batch: the batch shell alone; --full: its children too; without either: steps, and there are none."""
    script = bash("""
        trap 'echo shell >> got' USR2
        bash -c 'trap "echo child >> got" USR2; echo >> ready; while [[ ! -e stop ]]; do sleep 0.1; done' &
        child=$!
        echo >> ready
        while kill -0 $child 2>/dev/null; do wait $child; done
    """)
    job = slurm.sbatch(script, "--array=0", "--signal=B:USR2@60", cwd=tmp_path)
    ready = tmp_path / "ready"
    wait_for(lambda: ready.exists() and len(ready.read_text()) == 2, slurm)
    slurm.run("scancel", "--signal=USR2", *([how] if how else []), job)
    expected = {"--batch": ["shell"], "--full": ["child", "shell"], None: []}[how]
    wait_for(lambda: sorted(words(tmp_path / "got")) == expected, slurm)
    time.sleep(0.5)
    (tmp_path / "stop").touch()
    assert slurm.wait(job, WAIT_S) == ended(f"{job}_0")
    assert sorted(words(tmp_path / "got")) == expected


def test_job_in_a_directory_with_a_hostile_name(slurm: PrivateSlurm, tmp_path: Path) -> None:
    directory = tmp_path / 'it\'s a "run" $HOME'
    directory.mkdir()
    script = bash(f'[[ $PWD == {shlex.quote(str(directory))} ]] && echo "in $PWD"')
    job = slurm.sbatch(script, "--array=0", "--output=%A_%a.log", cwd=directory)
    assert slurm.wait(job, WAIT_S) == ended(f"{job}_0")
    assert (directory / f"{job}_0.log").read_text() == f"in {directory}\n"


def test_dead_node(slurm: PrivateSlurm, tmp_path: Path) -> None:
    """Nothing of the node's jobs survives; the task starts again elsewhere; the node comes back."""
    script = bash("""
        echo "$SLURMD_NODENAME" >> nodes
        [[ -n $SLURM_RESTART_COUNT ]] || sleep 1000
    """)
    job = slurm.sbatch(script, "--array=0", cwd=tmp_path)
    wait_for(lambda: words(tmp_path / "nodes"), slurm)
    (node,) = words(tmp_path / "nodes")
    slurm.kill_node(node)
    assert slurm.processes(job) == []
    slurm.down(node)
    try:
        assert slurm.wait(job, WAIT_S) == ended(f"{job}_0")
    finally:
        slurm.start_node(node)
    first, second = words(tmp_path / "nodes")
    assert first == node != second


def test_a_failing_command_shows_its_words_and_the_logs(slurm: PrivateSlurm, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"invalid partition specified: nowhere(?s:.*)--- slurmctld.log"):
        slurm.sbatch(bash("true"), "--partition=nowhere", cwd=tmp_path)


def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(slurm: PrivateSlurm) -> None:
    cluster = PrivateSlurm(ClusterSpec(num_nodes=1, extra_conf={"NoSuchKey": "1"}))
    with pytest.raises(AssertionError, match="unrecognized key: NoSuchKey"):
        cluster.start()
    assert_nothing_left(cluster.root)


def test_close_ends_what_jobs_left_behind(slurm: PrivateSlurm, tmp_path: Path) -> None:
    """Beside another cluster; one process has left its job's tree, one still belongs to a running job."""
    with PrivateSlurm(ClusterSpec(num_nodes=1, extra_conf={"KillWait": "60"})) as cluster:
        script = bash("(setsid sleep 1001 &); echo >> up; [[ $SLURM_ARRAY_TASK_ID == 0 ]] || sleep 1002")
        job = cluster.sbatch(script, "--array=0-1", cwd=tmp_path)
        wait_for(lambda: (tmp_path / "up").exists() and cluster.squeue(job)[0].state == "COMPLETED", cluster)
        wait_for(lambda: len(sleepers(cluster.processes(job))) == 3, cluster)
        processes = cluster.processes(job)
    assert not [process for process in processes if process.is_running() and process.status() != "zombie"]
    assert_nothing_left(cluster.root)
    assert slurm.run("sinfo", "--noheader", "--format=%t", "--partition=gpu") == "idle\n"


def test_no_daemon_outlives_a_killed_owner(slurm: PrivateSlurm) -> None:
    code = """
        import time
        from tests.slurm.cluster_conf import ClusterSpec
        from tests.slurm.private_slurm import PrivateSlurm
        with PrivateSlurm(ClusterSpec(num_nodes=1)) as cluster:
            print(cluster.root, flush=True)
            time.sleep(100)
    """
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        root = Path(owner.stdout.readline().strip())
        owner.kill()
    wait_for(lambda: not users_of(root), slurm)
    shutil.rmtree(root)


def test_sacct_answers_with_slurmdbd(slurm_with_slurmdbd: PrivateSlurm, tmp_path: Path) -> None:
    slurm = slurm_with_slurmdbd
    job = slurm.sbatch(bash("exit $SLURM_ARRAY_TASK_ID"), "--array=0-1", "--gres=gpu:1", cwd=tmp_path)
    slurm.wait(job, WAIT_S)
    argv = ["sacct", "-nPX", f"--jobs={job}", "--format=JobID,State,ExitCode,AllocTRES"]
    tres = "billing=1,cpu=1,gres/gpu=1,mem=1G,node=1"
    rows = [f"{job}_0|COMPLETED|0:0|{tres}", f"{job}_1|FAILED|1:0|{tres}"]
    wait_for(lambda: sorted(slurm.run(*argv).splitlines()) == rows, slurm)


def test_sacct_refuses_without_slurmdbd(slurm: PrivateSlurm) -> None:
    with pytest.raises(AssertionError, match="exit 1: Slurm accounting storage is disabled"):
        slurm.run("sacct")


def sleepers(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.name() == "sleep"]


def users_of(root: Path) -> list[psutil.Process]:
    """Living processes that name a cluster's directory in their arguments or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            texts = [*process.cmdline(), process.environ().get("SLURM_CONF", "")]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(root) in text for text in texts):
            found.append(process)
    return found


def assert_nothing_left(root: Path) -> None:
    assert not root.exists()
    assert users_of(root) == []
