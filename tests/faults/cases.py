"""Every case, by name."""

from tests.faults.running import RUNNING
from tests.faults.starts import STARTS

CASES = {case.name: case for case in (*STARTS, *RUNNING)}
