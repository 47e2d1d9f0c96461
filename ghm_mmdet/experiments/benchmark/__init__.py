"""Measurements of time and memory: what `tools/benchmark.py` runs."""
