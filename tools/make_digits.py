"""Make the digits data set: python tools/make_digits.py [--out data/digits] [--format coco|voc] [options]."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("digits")
