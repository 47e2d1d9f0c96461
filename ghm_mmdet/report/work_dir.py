"""What a training left in its work_dir: the dumped config, the newest whole checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ghm_mmdet.checkpoint.resuming import checkpoint_files
from ghm_mmdet.checkpoint.safe_loading import read_checkpoint
from ghm_mmdet.config import load_config, require_parts
from ghm_mmdet.errors import IncompleteCheckpointError, UserError, print_notice


@dataclass
class WorkDir:
    """A trained run.

    cfg: the config that mmengine dumped, with the changes of the command line.
    checkpoint_path, checkpoint: the newest file that is whole, and its content.
    """

    path: Path
    cfg: Config
    checkpoint_path: Path
    checkpoint: dict

    @property
    def step(self) -> str:
        """How far the checkpoint is, as far as its name tells: "epoch 14"."""
        return self.checkpoint_path.stem.replace("_", " ")


def open_work_dir(folder: str, options: list[str], phase: str) -> WorkDir:
    """Finds config and checkpoint.

    Raises:
        UserError: the folder, its config, a whole checkpoint, or the data of the phase in the config is missing.
        RefusedCheckpointError: the newest checkpoint asks for more than data.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"work_dir not found: {path.absolute()}")
    configs = sorted(filter(Path.is_file, path.glob("*.py")), key=lambda file: file.stat().st_mtime_ns)
    if not configs:
        raise UserError(f"no config NAME.py in {path.absolute()}\nA training dumps its config there; is it a work_dir?")
    if len(configs) > 1:
        print_notice(
            f"{path}: holds {', '.join(file.name for file in configs)}; the newest, {configs[-1].name}, is used."
        )
    cfg = load_config(str(configs[-1]), options, work_dir=str(path), launcher="none")
    require_parts(cfg, "model", f"{phase}_dataloader")
    checkpoint_path, checkpoint = _newest_whole(cfg)
    return WorkDir(path, cfg, checkpoint_path, checkpoint)


def _newest_whole(cfg: Config) -> tuple[Path, dict]:
    folder, files = checkpoint_files(cfg)
    torn = []
    for file in files:
        try:
            checkpoint = read_checkpoint(str(file))
        except IncompleteCheckpointError:
            torn.append(file.name)
            continue
        if torn:
            print_notice(f"{folder}: {', '.join(torn)} not whole (cut off); {file.name} is used.")
        return file, checkpoint
    if torn:
        raise UserError(
            f"no whole checkpoint in {folder.absolute()}: {', '.join(torn)} cut off, or not written by torch.save"
        )
    raise UserError(f"no checkpoint in {folder.absolute()}\nTrain first, or name the folder that holds epoch_N.pth.")
