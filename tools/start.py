"""From a folder of labelled images to a trained detector: python tools/start.py DATA [--train]."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("start")
