#!/usr/bin/env python3
"""Generates a dataset with vLLM on this machine: `python inference_vllm.py --help`."""

from launch.cli.entry import enter

if __name__ == "__main__":
    enter("launch.cli.inference_vllm", "inference_vllm.py")
