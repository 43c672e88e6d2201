"""Ratios of times against named peers, measured in one process: `python -m benchmarks.NAME` prints a table."""
