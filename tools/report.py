"""Compare trained runs on one HTML page: python tools/report.py WORK_DIR... [--out report.html]."""

from ghm_mmdet.__main__ import run_command

if __name__ == "__main__":
    run_command("report")
