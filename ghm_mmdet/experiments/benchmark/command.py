"""Time and memory of the losses, or of whole training steps: interleaved runs, medians and quartiles, on CPU or GPU."""

from __future__ import annotations

import argparse
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ghm_mmdet.cli.arguments import add_cfg_options, positive_int
from ghm_mmdet.errors import UserError, require_file

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress


def share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be in (0, 1], got {text}")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    losses = commands.add_parser("losses", help="forward and backward of each loss")
    losses.add_argument(
        "--elements",
        nargs="+",
        type=positive_int,
        default=[100_000, 1_000_000, 8_000_000, 16_000_000],
        help="anchors x classes (default: 1e5 1e6 8e6 1.6e7)",
    )
    losses.add_argument(
        "--bins", nargs="+", type=positive_int, default=[30, 10, 100, 300], help="the first for all sizes"
    )
    losses.add_argument(
        "--dtypes",
        nargs="+",
        choices=["float32", "bfloat16", "float16"],
        default=["float32"],
        help="of the predictions",
    )
    losses.add_argument("--classes", type=positive_int, default=80)
    losses.add_argument("--positives", type=share, default=0.005, help="share of positive anchors (default: 0.005)")
    losses.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="on a CPU: cpu is processor time, for a busy machine, with --threads 1 (default: wall)",
    )
    step = commands.add_parser("step", help="whole training iterations, as a ratio to the first config")
    step.add_argument("configs", nargs="+", metavar="CONFIG")
    step.add_argument("--batches", type=positive_int, default=4, help="batches to cycle through (default: 4)")
    add_cfg_options(step, "change entries of every config")
    for command in (losses, step):
        command.add_argument("--rounds", type=positive_int, default=9, help="timed runs of each (default: 9)")
        command.add_argument("--threads", type=positive_int, help="CPU threads (default: what torch chooses)")
        command.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
        command.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"), help="folder for JSON and plot")


def run(args: argparse.Namespace) -> None:
    for config in getattr(args, "configs", []):
        require_file(config, "config")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out must be a folder: {args.out.absolute()}")

    if args.command == "step" or find_spec("mmdet"):
        from ghm_mmdet.cli.environment import check_stack

        check_stack()

    import torch
    from rich.console import Console
    from rich.progress import Progress

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; leave the option out to run on the CPU.")
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if args.threads:
        torch.set_num_threads(args.threads)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        (benchmark_losses if args.command == "losses" else benchmark_steps)(args, device, progress)


def benchmark_losses(args: argparse.Namespace, device: torch.device, progress: Progress) -> None:
    from ghm_mmdet.experiments.benchmark import losses, tables

    rows: list[losses.Row] = []
    cases = losses.cases(args.elements, args.bins, args.classes, args.dtypes)
    facts = tables.machine(device) | {"clock": "device" if device.type == "cuda" else args.clock}
    for case in cases:
        task = progress.add_task(f"{case.samples:,} x {case.channels}, {case.bins} bins", total=None)
        rows += losses.measure(case, args.rounds, args.positives, device, partial(progress.advance, task), args.clock)
        progress.remove_task(task)
    tables.write_json(args.out / "losses.json", rows, facts)
    tables.plot_losses(args.out / "losses.png", rows, facts)
    tables.print_losses(rows, facts)
    tables.print_growths(rows)
    print(f"GHMC, first call in a new process: {losses.first_call_seconds(device):.3f} s")
    print(f"written: {args.out / 'losses.json'}, {args.out / 'losses.png'}")


def benchmark_steps(args: argparse.Namespace, device: torch.device, progress: Progress) -> None:
    from ghm_mmdet.config import load_config, require_parts
    from ghm_mmdet.data_check.preflight import check_data, enter_default_scope
    from ghm_mmdet.experiments.benchmark import step, tables

    steps = {}
    for config in args.configs:
        cfg = load_config(config, args.cfg_options, work_dir=None, launcher="none")
        require_parts(cfg, "model", "train_dataloader", "optim_wrapper")
        enter_default_scope(cfg)
        check_data(cfg, ("train",))
        steps[config] = step.training_step(cfg, args.batches, device)
    task = progress.add_task("training iterations", total=len(steps) * (args.rounds + 1))
    rows = step.measure_steps(steps, args.rounds, device, lambda: progress.advance(task))
    facts = tables.machine(device)
    tables.write_json(args.out / "step.json", rows, facts)
    tables.print_steps(rows, facts)
    print(f"written: {args.out / 'step.json'}")
