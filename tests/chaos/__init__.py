"""Runs under fire on a real private Slurm: random kills while work is unfinished, and nothing may be lost."""
