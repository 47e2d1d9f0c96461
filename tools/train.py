"""Train a detector: python tools/train.py CONFIG [options]. Several ranks: tools/dist_train.sh CONFIG GPUS."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("train")
