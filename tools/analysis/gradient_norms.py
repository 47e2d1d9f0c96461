"""Draw the gradient norms of a trained detector: gradient_norms.py CONFIG CHECKPOINT."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("gradients")
