"""Failures of the real vLLM on a CPU, provoked one by one, and what a task does about each."""
