"""`python launch/submit.py --preset production`: the same as `vllm-launch submit`."""

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: the folder above launch/ is what imports start from
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from launch.cli.app import main

if __name__ == "__main__":
    main(["submit", *sys.argv[1:]])
