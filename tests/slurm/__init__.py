"""Tests against a real, private Slurm (marker ``slurm``)."""
