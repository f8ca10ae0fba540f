"""Tests of launch/slurm that need no Slurm; those that do are in tests/slurm/."""
