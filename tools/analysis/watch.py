"""Draw how the gradient norms moved while a detector trained: python tools/analysis/watch.py WORK_DIR."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ghm_mmdet.errors import UserError, plain_errors, print_notice


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Draw what ghm_mmdet.GradientNormHook recorded in a training, finished or still running: an "
        "animation (GIF), or a strip of pictures (PNG)."
    )
    parser.add_argument("work_dir", help="folder of the training")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write, .gif for an animation or .png for a strip (default: WORK_DIR/gradient_norms.gif or .png)",
    )
    parser.add_argument("--strip", action="store_true", help="write a strip of pictures instead of an animation")
    return parser.parse_args(arguments)


def watch(args: argparse.Namespace) -> None:
    suffix = ".png" if args.strip else ".gif"
    out = args.out or Path(args.work_dir) / f"gradient_norms{suffix}"
    allowed = [".png"] if args.strip else [".gif", ".png"]
    if out.suffix.lower() not in allowed:
        what = "a strip is a picture" if args.strip else "an animation is a GIF and a strip a PNG"
        raise UserError(f"--out must end in {' or '.join(allowed)} ({what}), got {args.out}.")

    from ghm_mmdet.gradient_norms.log import read_records

    records, cut_off = read_records(args.work_dir)
    if cut_off:
        print_notice(
            f"{cut_off} record{'s' if cut_off > 1 else ''} cut off, as by a kill or while being written: left out."
        )

    from ghm_mmdet.gradient_norms.picture import write_animation, write_strip

    if out.suffix.lower() == ".png":
        write_strip(records, out)
    else:
        from rich.console import Console
        from rich.progress import track

        write_animation(records, out, lambda chosen: track(chosen, "drawing", console=Console(stderr=True)))
    print(f"{len(records)} records, iterations {records[0].iteration:,} to {records[-1].iteration:,}")
    print(f"written: {out}")


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        watch(args)


if __name__ == "__main__":
    main()
