"""The shell text of every accepted job passes shellcheck."""

import shutil
import subprocess
from pathlib import Path

import pytest

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.sbatch"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is missing (apt-get install shellcheck)")
    done = subprocess.run([program, "--color=never", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
