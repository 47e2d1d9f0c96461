"""Draw how the gradient norms moved while a detector trained: watch.py WORK_DIR."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("watch")
