"""Measure how rare positives are and print the bias to start from: estimate_prior.py CONFIG."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("prior")
