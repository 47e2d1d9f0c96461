"""Draw how the gradient norms moved while a detector trained.

Takes what ghm_mmdet.GradientNormHook recorded in a training, finished or still running, and writes an animation (GIF),
or a strip of pictures (PNG).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ghm_mmdet.errors import UserError, print_notice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work_dir", help="folder of the training")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write, .gif for an animation or .png for a strip (default: WORK_DIR/gradient_norms.gif or .png)",
    )
    parser.add_argument("--strip", action="store_true", help="write a strip of pictures instead of an animation")


def run(args: argparse.Namespace) -> None:
    suffix = ".png" if args.strip else ".gif"
    out = args.out or Path(args.work_dir) / f"gradient_norms{suffix}"
    allowed = [".png"] if args.strip else [".gif", ".png"]
    if out.suffix.lower() not in allowed:
        what = "a strip is a picture" if args.strip else "an animation is a GIF and a strip a PNG"
        raise UserError(f"--out must end in {' or '.join(allowed)} ({what}), got {args.out}.")

    from ghm_mmdet.gradient_norms.log import read_records

    records, cut_off = read_records(args.work_dir)
    if cut_off:
        plural = "s" if cut_off > 1 else ""
        print_notice(f"{cut_off} record{plural} cut off, as by a kill or while being written: left out.")

    from ghm_mmdet.cli.progress import track
    from ghm_mmdet.gradient_norms.picture import write_animation, write_strip

    if out.suffix.lower() == ".png":
        write_strip(records, out)
    else:
        write_animation(records, out, lambda chosen: track(chosen, "drawing"))
    print(f"{len(records)} records, iterations {records[0].iteration:,} to {records[-1].iteration:,}")
    print(f"written: {out}")
