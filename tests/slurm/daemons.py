"""The daemons of one private Slurm: starting, waiting until they serve, ending.

Daemons run in the foreground as children, so that each is known and reaped by its pid. They are told to end
when the thread that started them ends, so a killed pytest leaves none: start them from the main thread.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.slurm.processes import kill_all, list_family

POLL_S = 0.1
FOREIGN = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SQUEUE_", "SCANCEL_", "SINFO_")


def search_path() -> str:
    """PATH with the folders of daemons, which a root that came by su or cron may lack."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Daemons:
    """Running daemons by name. They work in root and write what they say to ``<name>.out.log`` there."""

    def __init__(self, root: Path, env: Mapping[str, str], start_timeout_s: float) -> None:
        self.root = root
        self.env = env
        self.start_timeout_s = start_timeout_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """This process's environment without the traces of an enclosing Slurm job, the cluster's, and env."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return {**own, "PATH": search_path(), **self.env, **(env or {})}

    def start(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon in environment(env)."""
        with (self.root / f"{name}.out.log").open("ab") as output:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *argv],
                env=self.environment(env),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, name: str) -> None:
        """Kill a daemon with its children and reap it; also right when it has ended by itself."""
        daemon = self._running.pop(name)
        if daemon.poll() is None:
            kill_all(list_family(psutil.Process(daemon.pid)))
        daemon.wait()

    def end_all(self) -> None:
        """End every daemon, the last started first."""
        for name in reversed(list(self._running)):
            self.end(name)

    def wait_until(self, is_true: Callable[[], bool], what: str) -> None:
        """Return when is_true() is.

        AssertionError with the logs after start_timeout_s or when a daemon has ended.
        """
        deadline = time.monotonic() + self.start_timeout_s
        while not is_true():
            ended = [name for name, daemon in self._running.items() if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                why = f"ended early: {', '.join(ended)}" if ended else f"waited {self.start_timeout_s:g} s"
                raise AssertionError(f"private Slurm: {what} ({why})\n{self.logs()}")
            time.sleep(POLL_S)

    def logs(self, num_lines: int = 30) -> str:
        """The last lines of each daemon's log; of its output only where it has no log yet."""
        parts = []
        for path in sorted(self.root.glob("*.log")):
            log = path.with_name(path.name.replace(".out.log", ".log"))
            if path != log and log.exists():
                continue
            lines = path.read_text(errors="replace").splitlines()[-num_lines:]
            parts.append("\n".join([f"--- {path.name}", *lines]))
        return "\n".join(parts)
