#!/usr/bin/env python3
"""The Hugging Face baseline: `torchrun --nproc_per_node=N inference_distributed.py --help`."""

from launch.cli.inference_distributed import main

if __name__ == "__main__":
    main()
