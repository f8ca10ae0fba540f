#!/usr/bin/env python3
"""Generates a dataset with vLLM on this machine: `python inference_vllm.py --help`."""

from launch.cli.inference_vllm import main

if __name__ == "__main__":
    main()
