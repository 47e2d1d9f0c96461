"""Time and memory: python tools/benchmark.py losses, or python tools/benchmark.py step CONFIG CONFIG."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("benchmark")
