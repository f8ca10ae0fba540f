#!/usr/bin/env python3
"""The Hugging Face baseline: `torchrun --nproc_per_node=N inference_distributed.py --help`."""

from launch.cli.entry import enter

if __name__ == "__main__":
    enter("launch.cli.inference_distributed", "inference_distributed.py")
