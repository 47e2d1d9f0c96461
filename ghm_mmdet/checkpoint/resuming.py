"""Resuming after a kill at any moment: which checkpoint is the newest whole one, and how to write whole ones only."""

from __future__ import annotations

import math
import os
import re
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed

from ghm_mmdet.checkpoint.safe_loading import ANEW, check_resumable, read_checkpoint
from ghm_mmdet.errors import RefusedCheckpointError, UserError, print_notice


@register_backend("ghm_mmdet_atomic", force=True)
class AtomicLocalBackend(LocalBackend):
    """Writes a file beside its place and moves it there when it is whole, so that no reader ever sees half of it.

    A file that is removed stays until the next one is whole: mmengine removes the old checkpoint before it writes the
    new one, and would be left with none by a kill or a full disk in between.
    """

    _outdated: ClassVar[set[Path]] = set()

    def put(self, obj: bytes, filepath: str | Path) -> None:
        target = Path(filepath)
        beside = target.with_name(f".{target.name}.part")
        try:
            super().put(obj, beside)
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.replace(target)
        except OSError as error:
            raise UserError(
                f"cannot write the checkpoint {target.absolute()} ({error.strerror})\n"
                "The older checkpoints are whole. Mend the cause, then go on from the newest with --resume."
            ) from error
        finally:
            beside.unlink(missing_ok=True)
        for path in self._outdated - {target}:
            path.unlink(missing_ok=True)
        self._outdated.clear()

    def remove(self, filepath: str | Path) -> None:
        self._outdated.add(Path(filepath))


def protect_checkpoints(runner: Runner) -> None:
    """Makes the runner's checkpoint hook survive a kill while it writes.

    Changes the hook and not the config, so that the config in the work_dir stays one for mmdet's own tools.
    """
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook):
            continue
        remote = "://" in str(hook.out_dir or "")
        if not remote and hook.backend_args is None and hook.file_client_args is None:
            hook.backend_args = {"backend": "ghm_mmdet_atomic"}


class RepeatableEpochHook(Hook):
    """Makes what is random in an epoch depend on the seed and the epoch alone, and not on what was run before it.

    A resumed process has not drawn the random numbers of the epochs that it skips. So every epoch but the first, which
    is that of mmengine, begins with a seed of its own, in this process and in new data-loading workers.
    """

    # Apart from the seeds of neighbouring workers, which mmengine numbers one by one.
    STRIDE = 1_000_003

    def before_train(self, runner: Runner) -> None:
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        length = len(runner.train_dataloader)
        if not length:
            raise UserError(
                f"no iteration to train: {len(runner.train_dataloader.dataset)} images make no whole batch for "
                f"{runner.world_size} ranks.\nTake a smaller train_dataloader.batch_size, or drop_last=False."
            )
        if runner.iter != runner.epoch * length:
            runner.logger.warning(
                f"The checkpoint was written at iteration {runner.iter}, which is not the end of an epoch (of {length} "
                f"iterations): epoch {runner.epoch + 1} begins anew, with the weights and the lr of that iteration."
            )

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 0 or not isinstance(runner.train_loop, EpochBasedTrainLoop):
            return
        seed = (runner.seed + self.STRIDE * runner.epoch) % 2**31
        set_random_seed(seed)
        loader = runner.train_dataloader
        if isinstance(loader.worker_init_fn, partial) and "seed" in loader.worker_init_fn.keywords:
            loader.worker_init_fn = partial(loader.worker_init_fn, seed=seed)
            # Persistent workers take no new seed: this starts others.
            loader._iterator = None


def check_optimizer_resumes(optim_wrapper: OptimWrapper, checkpoint: dict, path: str) -> None:
    """Raises UserError when the optimizer cannot go on with the checkpoint's; loads it otherwise.

    torch takes over the groups of the file as they are, so that those of another optimizer fail in the first step only.
    """
    own = [set(group) for group in optim_wrapper.optimizer.param_groups]
    try:
        optim_wrapper.load_state_dict(dict(checkpoint["optimizer"]))
        found = optim_wrapper.optimizer.param_groups
        lacking = sorted(set.union(*(names - set(group) for names, group in zip(own, found))))
        reason = f"it has no {', '.join(lacking)}" if lacking else ""
        if not all(isinstance(group.get("lr"), (int, float)) and math.isfinite(group["lr"]) for group in found):
            reason = "its lr is no finite number"
        for parameter, state in optim_wrapper.optimizer.state.items():
            for name in {"momentum_buffer", "exp_avg", "exp_avg_sq"} & set(state):
                if state[name] is not None and state[name].shape != parameter.shape:
                    reason = f"a {name} has the shape {tuple(state[name].shape)}, its weight {tuple(parameter.shape)}"
                elif state[name] is not None and not state[name].isfinite().all():
                    reason = f"a {name} is not finite"
    except Exception as error:
        # torch and mmengine raise about every class there is.
        reason = f"{type(error).__name__}: {error}"
    if reason:
        raise UserError(
            f"the optimizer of {path} does not fit the one that optim_wrapper describes: {reason}\n"
            f"Resume with the config it was trained with. {ANEW}"
        )


def say_whose_schedule(schedulers: list[tuple[dict, Any]], checkpoint: dict) -> None:
    """Says what of param_scheduler does not count, since mmengine goes on with what the checkpoint holds.

    Args:
        schedulers: entries of the config, and what is built of them.
        checkpoint: one that can be resumed.
    """
    states = checkpoint.get("param_schedulers", [])
    if not isinstance(states, list):
        return
    for index, ((entry, scheduler), state) in enumerate(zip(schedulers, states)):
        own = scheduler.state_dict()
        described = entry.keys() & own.keys() - {"last_step"}
        differ = sorted(key for key in described if key not in state or own[key] != state[key])
        # Where convert_to_iter_based is set, mmengine has made iterations of the epochs.
        if differ and own["by_epoch"] == state.get("by_epoch"):
            print_notice(f"resume: param_scheduler.{index} is another than the checkpoint's: {', '.join(differ)}.")
    if len(schedulers) != len(states):
        print_notice(
            f"resume: param_scheduler has {len(schedulers)} schedulers, the checkpoint {len(states)}: "
            "the lr will be that of neither."
        )


def check_iterations(cfg: Config, checkpoint: dict | None) -> None:
    """Raises UserError when the training would end before its first iteration."""
    by_epoch = "max_epochs" in cfg.train_cfg
    key, unit = ("max_epochs", "epoch") if by_epoch else ("max_iters", "iter")
    most = cfg.train_cfg.get(key)
    if most is None:
        # A loop with a rule of its own.
        return
    if not isinstance(most, int) or most < 1:
        raise UserError(f"no iteration to train: train_cfg.{key} is {most!r}, not a whole number of at least 1.")
    interval = cfg.train_cfg.get("val_interval", 1)
    if not isinstance(interval, int) or interval < 1:
        raise UserError(f"train_cfg.val_interval is {interval!r}, not a whole number of at least 1.")
    if checkpoint is not None and cfg.get("resume"):
        _refuse_other_loop(cfg, checkpoint, by_epoch)
    done = checkpoint["meta"][unit] if checkpoint is not None and cfg.get("resume") else 0
    if done >= most:
        raise UserError(
            f"no iteration to train: {cfg.load_from} is at {unit} {done}, and train_cfg.{key} is {most}.\n"
            f"Train further with --cfg-options train_cfg.{key}=N, N above {done}; or test what is there."
        )


def _refuse_other_loop(cfg: Config, checkpoint: dict, by_epoch: bool) -> None:
    """Raises UserError when one training counts epochs and the other iterations: lr and place would be wrong."""
    of_run = re.search(r"^train_cfg = dict\((.*?)^(?=[^\s)])", f"{checkpoint['meta'].get('cfg')}\n#", re.M | re.S)
    counted = re.findall(r"\bmax_(epochs|iters)=\d", of_run[1] if of_run else "")
    if counted and ("epochs" in counted) != by_epoch:
        raise UserError(
            f"{cfg.load_from} is of a training that counts {counted[0]}, and train_cfg has "
            f"{'max_epochs' if by_epoch else 'max_iters'}: neither its schedule nor its place in the data fits.\n"
            "Resume with the config it was trained with. " + ANEW
        )


def newest_whole_checkpoint(cfg: Config) -> tuple[str, dict] | None:
    """Finds the checkpoint that an automatic resume continues from, and says in one line which and why.

    A kill can leave the last file cut off and mmengine's note `last_checkpoint` empty, stale or pointing at that file.
    So the files themselves are tried, newest first.

    Returns:
        Path and content, or None when there is nothing to resume.

    Raises:
        RefusedCheckpointError: a candidate asks for more than data.
    """
    folder, files = checkpoint_files(cfg)
    skipped = []
    for file in files:
        try:
            checkpoint = read_checkpoint(str(file))
            check_resumable(checkpoint, str(file))
        except RefusedCheckpointError:
            raise
        except UserError:
            skipped.append(file.name)
            continue
        why = f"newest whole checkpoint; not whole: {', '.join(skipped)}" if skipped else "newest checkpoint"
        print_notice(f"resume: from {file} ({why}).")
        return str(file), checkpoint
    unusable = f" ({', '.join(skipped)}: not whole)" if skipped else ""
    print_notice(f"resume: no checkpoint to resume from in {folder.absolute()}{unusable}, starting from scratch.")
    return None


def checkpoint_files(cfg: Config) -> tuple[Path, list[Path]]:
    """The folder of a run's checkpoints, and those of its own that are in it, whole or not, the newest first.

    A work_dir may also hold files of an earlier, longer run: of those mmengine's note `last_checkpoint` decides, unless
    a file is both newer and further than the one it names.
    """
    work_dir = Path(cfg.work_dir)
    hook = cfg.get("default_hooks", {}).get("checkpoint") or {}
    folder = Path(hook["out_dir"]) / work_dir.name if hook.get("out_dir") else work_dir
    template = hook.get("filename_tmpl") or r"(?:epoch|iter)_{}.pth"
    pattern = re.compile(template.replace(".pth", r"\.pth").replace("{}", r"(\d+)"))
    matches = {file: pattern.fullmatch(file.name) for file in folder.glob("*.pth")} if folder.is_dir() else {}
    steps = {file: int(match[1]) for file, match in matches.items() if match and file.is_file()}
    files = sorted(steps, key=lambda file: (file.stat().st_mtime_ns, steps[file]), reverse=True)
    note = work_dir / "last_checkpoint"
    noted = Path(note.read_text(errors="replace").strip()).name if note.is_file() else ""
    last = next((file for file in files if file.name == noted), None)
    if last is not None:
        ahead = [file for file in files[: files.index(last)] if steps[file] > steps[last]]
        files = [*ahead, last, *(file for file in files if file not in (*ahead, last))]
    return folder, files
