"""Detect objects in images: python tools/predict.py IMAGE_OR_DIR CONFIG CHECKPOINT [--out DIR]."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("predict")
