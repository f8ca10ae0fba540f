"""A real Slurm for tests: its own munged, slurmctld and several slurmd on this host; root, no systemd.

Source of the recipe: measured on Debian 12 (slurmctld 22.05.8, munge 0.5.15); cluster_conf has the settings.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import psutil

from tests.slurm import accounting
from tests.slurm.cluster_conf import ClusterSpec, munge_socket
from tests.slurm.cluster_files import write_cluster_files
from tests.slurm.daemons import POLL_S, Daemons, search_path
from tests.slurm.processes import end_processes, list_job_processes

NEEDED_COMMANDS = tuple("munged slurmctld slurmd sbatch scancel scontrol setpriv sinfo squeue".split())
ENDED_STATES = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT".split()
)
START_TIMEOUT_S = 60.0
MUNGE_TRIES = 3
IDLE = frozenset({"idle"})
IN_SERVICE = IDLE | {"mix", "alloc", "comp"}


class Row(NamedTuple):
    """One line of squeue: `id` as squeue writes it (``12_3``), `state` in the long form, `reason`."""

    id: str
    state: str
    reason: str


def list_missing(with_accounting: bool = False) -> list[str]:
    """What keeps a private Slurm from running here, in words; empty when nothing does."""
    commands = NEEDED_COMMANDS + (accounting.NEEDED_COMMANDS if with_accounting else ())
    missing = [f"command {name}" for name in commands if shutil.which(name, path=search_path()) is None]
    return missing if os.geteuid() == 0 else ["root", *missing]


class PrivateSlurm:
    """A running private Slurm; several may live side by side. Use it as a context manager.

    Wants list_missing() to be empty. `env` is what a process needs in its environment to be a client of it.
    """

    def __init__(self, spec: ClusterSpec | None = None) -> None:
        self.spec = spec or ClusterSpec()
        self.root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short, for the paths of sockets
        self.conf = self.root / "slurm.conf"
        self.env = {"SLURM_CONF": str(self.conf)}
        self._daemons = Daemons(self.root, self.env, START_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Bring everything up and return when all nodes are idle.

        AssertionError with the daemons' logs when one step of it takes over START_TIMEOUT_S.
        """
        try:
            write_cluster_files(self.spec, self.root)
            self._start_munged()
            if self.spec.accounting:
                accounting.start_accounting(self._daemons, self.root)
            self._daemons.start("slurmctld", "slurmctld", "-D", "-i")
            for node in self.spec.node_names:
                self._start_slurmd(node)
            self._wait_idle(self.spec.node_names)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every process that this cluster started, jobs' ones included, and remove its directory."""
        self._daemons.end_all()
        end_processes(self.conf)
        if self.root.exists():
            shutil.rmtree(self.root)

    def run(self, *argv: str, cwd: Path | None = None, script: str | None = None) -> str:
        """Standard output of a Slurm command; AssertionError with its stderr and the logs when it fails."""
        done = self._run(*argv, cwd=cwd, script=script)
        if done.returncode:
            what = f"{list(argv)}: exit {done.returncode}: {done.stderr.strip()}"
            raise AssertionError(f"{what}\n{self.logs()}")
        return done.stdout

    def try_run(self, *argv: str) -> bool:
        """Whether a Slurm command succeeds."""
        return self._run(*argv).returncode == 0

    def sbatch(self, script: str, *options: str, cwd: Path) -> str:
        """Submit a script's text from cwd; the job id."""
        return self.run("sbatch", "--parsable", *options, cwd=cwd, script=script).strip()

    def scontrol(self, *arguments: str) -> str:
        """Output of scontrol."""
        return self.run("scontrol", *arguments)

    def squeue(self, job_ids: Sequence[str] | str) -> list[Row]:
        """A row for each task of the jobs in the order of their ids, pending and ended tasks too."""
        ids = job_ids if isinstance(job_ids, str) else ",".join(job_ids)
        text = self.run("squeue", "-h", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={ids}")
        rows = [Row(*line.split("|", 2)) for line in text.splitlines()]
        return sorted(rows, key=lambda row: [int(number) for number in row.id.split("_")])

    def wait(self, job_ids: Sequence[str] | str, timeout_s: float) -> list[Row]:
        """The rows once every task has ended; AssertionError with rows and logs after timeout_s."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.squeue(job_ids)
            if all(row.state in ENDED_STATES for row in rows):
                return rows
            if time.monotonic() > deadline:
                raise AssertionError(f"not ended after {timeout_s:g} s: {rows}\n{self.logs()}")
            time.sleep(POLL_S)

    def processes(self, job_id: str) -> list[psutil.Process]:
        """The living processes of a job or of all tasks of an array, batch shells included, zombies not."""
        return list_job_processes(self.conf, job_id)

    def down(self, node: str) -> None:
        """Tell the controller that a node is down: its jobs are requeued, or end as NODE_FAIL."""
        self.scontrol("update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def kill_node(self, node: str) -> None:
        """Let a node die as from a power cut: slurmd and every process of its jobs are killed at once.

        The controller learns it by itself after slurmd_timeout_s, or by down().
        """
        self._daemons.end(f"slurmd.{node}")
        end_processes(self.conf, node)

    def start_node(self, node: str, *, wait_idle: bool = True) -> None:
        """Bring a node back after kill_node(); returns when the controller sees it idle.

        Without wait_idle when it may take jobs: one that waits for it may have begun already.
        """
        wanted = IDLE if wait_idle else IN_SERVICE
        self._start_slurmd(node)
        self._daemons.wait_until(lambda: self._resume(node, wanted), f"node {node} does not come back")
        if wait_idle:
            self._wait_idle([node])

    def logs(self, num_lines: int = 30) -> str:
        """The last lines of every daemon's log, for an assertion's message."""
        return self._daemons.logs(num_lines)

    def _run(
        self, *argv: str, cwd: Path | None = None, script: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What became of a command; one that munged hung up on is given again, for it has asked nothing yet.

        munged hears a client for two seconds. Where cores are short a client may need longer to say its word,
        and its end is SIGPIPE.
        """
        env = self._daemons.environment()
        for _ in range(MUNGE_TRIES):
            done = subprocess.run(
                argv, env=env, cwd=cwd, input=script, capture_output=True, text=True, timeout=60, check=False
            )
            if done.returncode != -signal.SIGPIPE:
                break
        return done

    def _start_munged(self) -> None:
        options = [f"--socket={munge_socket(self.root)}", f"--log-file={self.root}/munged.log"]
        for name in ("key", "seed", "pid"):
            options.append(f"--{name}-file={self.root}/munge.{name}")
        self._daemons.start("munged", "munged", "--foreground", "--force", *options)
        self._daemons.wait_until(munge_socket(self.root).exists, "munged made no socket")

    def _start_slurmd(self, node: str) -> None:
        self._daemons.start(f"slurmd.{node}", "slurmd", "-D", "-N", node)

    def _resume(self, node: str, wanted: frozenset[str]) -> bool:
        """A node that was never down is "resumed" already: scontrol then refuses."""
        self._run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        return self._states([node]).get(node) in wanted

    def _wait_idle(self, nodes: Sequence[str]) -> None:
        idle = dict.fromkeys(nodes, "idle")
        self._daemons.wait_until(lambda: self._states(nodes) == idle, f"not all idle: {', '.join(nodes)}")

    def _states(self, nodes: Sequence[str]) -> dict[str, str]:
        done = self._run("sinfo", "--noheader", "--Node", "--format=%N %t", f"--nodes={','.join(nodes)}")
        return dict(line.split() for line in done.stdout.splitlines())
