"""Resuming after a kill at any moment: which checkpoint is the newest whole one, and how to write whole ones only."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ghm_mmdet.engine.checkpoint import check_resumable, read_checkpoint
from ghm_mmdet.engine.errors import RefusedCheckpointError, UserError, notice


@register_backend("ghm_mmdet_atomic", force=True)
class AtomicLocalBackend(LocalBackend):
    """Writes a file beside its place and moves it there when it is whole, so that no reader ever sees half of it."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        target = Path(filepath)
        beside = target.with_name(f".{target.name}.part")
        super().put(obj, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(target)


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
        if hook.max_keep_ckpts == 1:
            # The hook deletes the old checkpoint before it writes the new one.
            hook.max_keep_ckpts = 2
            runner.logger.info("max_keep_ckpts=1 leaves no whole checkpoint while the next is written: keeping 2.")


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
        notice(f"resume: from {file} ({why}).")
        return str(file), checkpoint
    unusable = f" ({', '.join(skipped)}: not whole)" if skipped else ""
    notice(f"resume: no checkpoint to resume from in {folder.absolute()}{unusable}, starting from scratch.")
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
    steps = {file: int(match[1]) for file, match in matches.items() if match}
    files = sorted(steps, key=lambda file: (file.stat().st_mtime_ns, steps[file]), reverse=True)
    note = work_dir / "last_checkpoint"
    noted = Path(note.read_text().strip()).name if note.is_file() else ""
    last = next((file for file in files if file.name == noted), None)
    if last is not None:
        ahead = [file for file in files[: files.index(last)] if steps[file] > steps[last]]
        files = [*ahead, last, *(file for file in files if file not in (*ahead, last))]
    return folder, files
