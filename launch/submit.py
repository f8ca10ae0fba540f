"""`python launch/submit.py --preset production`: the same as `vllm-launch submit`."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: the folder above launch/ is what imports start from
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from launch.cli.entry import enter

if __name__ == "__main__":
    enter("launch.cli.app", "vllm-launch", ["submit", *sys.argv[1:]])
