"""Look for mistakes in a config's data before training: python tools/check_dataset.py CONFIG."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("check")
