"""Test a detector: python tools/test.py CONFIG CHECKPOINT [options]. Several ranks: tools/dist_test.sh."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("test")
