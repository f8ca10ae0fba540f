"""What every test can use, and what CI asks of a whole run beyond "nothing failed".

With VLLM_LAUNCH_CI=1 a run also fails when a test was skipped, unless it is marked `gpu`, and when fewer
tests marked `slurm`, `engine` or `browser` passed than tests/floors.json says: a suite that quietly lost its
real Slurm, its real vLLM or its real browser is not green.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from demo.smollm2 import get_default_directory, is_complete

MARKS, SKIPPED_FILES = "marks", "skipped_files"
FLOORS = Path(__file__).with_name("floors.json")
HOSTILE_NAME = "a b'c\"d\ne"

# Processes that run side by side share the cores: threads of theirs that wait for each other spin, and a test
# with a real engine took ten times as long.
if num_workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(num_workers))))

# What vLLM finds out about a class of models, in a process that imports all of it, is the same for all tests;
# with scratch folders of their own each would ask again. tests/worker/startup is about just that.
os.environ.setdefault("VLLM_CACHE_ROOT", str(get_default_directory().with_name("vllm-of-tests")))

# In the background of a script SIGINT is ignored, and so it would be by all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Views ask Slurm by another process, whose start may take seconds where the cores are busy.
os.environ.setdefault("VLLM_LAUNCH_QUEUE_WAIT_S", "60")

# The machines that run this are shared: how long one example takes says nothing.
hypothesis.settings.register_profile("launch", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=20)  # `make test-fast`: a fifth
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)  # the same examples in every run
hypothesis.settings.load_profile("ci" if os.environ.get("VLLM_LAUNCH_CI") else "launch")


@pytest.fixture
def hostile_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory whose name has a space, both quotes and a newline."""
    directory = tmp_path_factory.mktemp("hostile") / HOSTILE_NAME
    directory.mkdir()
    return directory


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The checkpoint directory of SmolLM2-135M-Instruct, made by `make test`."""
    directory = get_default_directory()
    if not is_complete(directory):
        pytest.skip(f"the small model is not at {directory}: run python demo/smollm2.py")
    return directory


@pytest.fixture(scope="module")
def vllm_in_one_process() -> Iterator[None]:
    """vLLM with its core and worker in the engine process, by vLLM's own setting.

    It is imported once, not three times, which is most of a start on a CPU. For tests of what is computed;
    how its processes live and die is for those of the engine, of failures, of single machines and of Slurm.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that no process ends long after the others.

    Those with a real engine keep a core busy, those with a private Slurm or with process trees of the stub
    mostly wait. Each kind is spread evenly over the order, so that at all times some work and some wait.
    """
    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    kinds: dict[str, list[Path]] = {kind: [] for kind in ("slurm", "engine", "process")}
    for path, names in marks.items():
        if kind := next((each for each in kinds if each in names), None):
            kinds[kind].append(path)
    place = {
        path: (number + 0.5) / len(paths) for paths in kinds.values() for number, path in enumerate(paths)
    }
    items.sort(key=lambda item: place.get(item.path, 1.0))


class Floors:
    """Counts what passed and what was skipped, and fails the run when that is not enough.

    With pytest-xdist the tests run in workers and their reports come to the controller, which judges. A file
    that is skipped while it is collected is no test there: the worker names it at its end.
    """

    def __init__(self, floors: dict[str, int], worker_output: dict[str, Any] | None = None) -> None:
        self.floors = floors
        self.passed: Counter[str] = Counter()
        self.skipped: list[str] = []
        self._worker_output = worker_output

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Notes the test's own marks: its keywords also hold the names of its folders."""
        report = yield
        report.user_properties.append((MARKS, sorted({mark.name for mark in item.iter_markers()})))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test by its marks."""
        marks = dict(report.user_properties)[MARKS]
        if report.when == "call" and report.passed:
            self.passed.update(marks)
        if report.skipped and not hasattr(report, "wasxfail") and "gpu" not in marks:
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file can be skipped while it is collected."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended; each has collected every file."""
        files = getattr(node, "workeroutput", {}).get(SKIPPED_FILES, ())
        self.skipped += [name for name in files if name not in self.skipped]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green run red; a red one keeps its own exit status."""
        if self._worker_output is not None:
            self._worker_output[SKIPPED_FILES] = [name for name in self.skipped if "::" not in name]
        elif session.exitstatus == pytest.ExitCode.OK and self.complaints():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why."""
        if complaints := self.complaints():
            terminalreporter.section("VLLM_LAUNCH_CI", red=True)
            for line in complaints:
                terminalreporter.line(line)

    def complaints(self) -> list[str]:
        """A line for each thing that CI does not accept."""
        lines = [f"{nodeid}: skipped, and only gpu tests may be" for nodeid in self.skipped]
        for mark, floor in self.floors.items():
            if self.passed[mark] < floor:
                lines.append(f"{mark}: expected at least {floor} tests to pass, got {self.passed[mark]}")
        return lines


def pytest_configure(config: pytest.Config) -> None:
    """Ask more of the run where CI asks for it."""
    if os.environ.get("VLLM_LAUNCH_CI") == "1":
        floors = Floors(json.loads(FLOORS.read_text()), getattr(config, "workeroutput", None))
        config.pluginmanager.register(floors, "vllm-launch-floors")
