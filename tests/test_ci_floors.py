"""CI's own rules in tests/conftest.py: a run that lost its Slurm or its vLLM is not green."""

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.process

TESTS = """
import pytest

@pytest.mark.slurm
def test_passes():
    pass

@pytest.mark.gpu
def test_needs_a_gpu():
    pytest.skip("no NVIDIA GPU here")

@pytest.mark.xfail
def test_known_to_fail():
    assert 0
"""
SKIPPED = """
import pytest

@pytest.mark.slurm
def test_needs_slurm():
    pytest.skip("slurmctld is missing")
"""
SKIPPED_FILE = """
import pytest
pytest.skip("no Slurm", allow_module_level=True)
"""


def run(pytester: pytest.Pytester, words: tuple[str, ...], floor: int, **files: str) -> pytest.RunResult:
    pytester.makeconftest(
        "from tests.conftest import Floors\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'slurm')\n"
        "    config.addinivalue_line('markers', 'gpu')\n"
        f"    floors = Floors({{'slurm': {floor}}}, getattr(config, 'workeroutput', None))\n"
        "    config.pluginmanager.register(floors)\n"
    )
    pytester.makepyfile(**files)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *words)


@pytest.fixture(params=[(), ("-n", "2")], ids=["alone", "spread"])
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Of pytest's command line: in one process, and spread over two."""
    found: tuple[str, ...] = request.param
    return found


def test_enough_passed_and_only_a_gpu_test_was_skipped(pytester: pytest.Pytester, words: tuple[str, ...]):
    assert run(pytester, words, 1, test_it=TESTS).ret == pytest.ExitCode.OK


def test_too_few_passed(pytester: pytest.Pytester, words: tuple[str, ...]):
    result = run(pytester, words, 2, test_it=TESTS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["slurm: expected at least 2 tests to pass, got 1"])


def test_a_test_and_a_file_were_skipped(pytester: pytest.Pytester, words: tuple[str, ...]):
    result = run(pytester, words, 0, test_it=TESTS, test_other=SKIPPED, test_third=SKIPPED_FILE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["test_third.py: skipped, and only*", "*test_needs_slurm: skipped, and only gpu tests may be"],
    )
