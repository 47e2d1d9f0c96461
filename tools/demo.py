"""Train and test a detector with GHM on a CPU: python tools/demo.py, or make demo, which sets up .venv first."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("demo")
