"""What every test can use, and what CI asks of a whole run beyond "nothing failed".

With VLLM_LAUNCH_CI=1 a run also fails when a test was skipped, unless it is marked `gpu`, and when fewer
tests marked `slurm` or `engine` passed than tests/floors.json says: a suite that quietly lost its real Slurm
or its real vLLM is not green.
"""

import json
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

from demo.smollm2 import get_default_directory, is_complete

FLOORS = Path(__file__).with_name("floors.json")
HOSTILE_NAME = "a b'c\"d\ne"

# The machines that run this are shared: how long one example takes says nothing.
hypothesis.settings.register_profile("launch", deadline=None)
hypothesis.settings.load_profile("launch")


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


class Floors:
    """Counts what passed and what was skipped, and fails the run when that is not enough."""

    def __init__(self, floors: dict[str, int]) -> None:
        self.floors = floors
        self.passed: Counter[str] = Counter()
        self.skipped: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Count a test by its own marks: keywords also hold the names of its folders."""
        report = yield
        marks = {mark.name for mark in item.iter_markers()}
        if report.when == "call" and report.passed:
            self.passed.update(marks)
        if report.skipped and not hasattr(report, "wasxfail") and "gpu" not in marks:
            self.skipped.append(report.nodeid)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file can be skipped while it is collected."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green run red; a red one keeps its own exit status."""
        if session.exitstatus == pytest.ExitCode.OK and self.complaints():
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
        config.pluginmanager.register(Floors(json.loads(FLOORS.read_text())), "vllm-launch-floors")
