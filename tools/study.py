"""Run a study, or report on all: python tools/study.py configs/studies/NAME.py, or --report."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("study")
