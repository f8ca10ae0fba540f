"""Figures over texts: pure functions that know no files, runs or commands."""
