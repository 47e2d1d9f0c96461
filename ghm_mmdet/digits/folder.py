"""A folder of digit scenes: made as a whole or not at all, recognised when it is there, never overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from ghm_mmdet.digits.annotation_formats import FORMATS, COCOFormat, VOCFormat
from ghm_mmdet.digits.scenes import OptionError, SceneOptions, annotate, make_scene

MANIFEST = "digits.json"
GENERATOR = "ghm_mmdet digits"
VERSION = 1  # to be raised with any change that alters the files
JPEG_QUALITY = 95


class FolderError(Exception):
    """A folder that holds something else than the data that is to be made."""


@dataclass(frozen=True)
class DigitsFolder:
    """What is to be in a folder.

    Attributes:
        path: The folder.
        format: "coco" or "voc".
        num_images: Number of images of train, val and test.
        options: The options of the scenes.

    Raises:
        OptionError: On a format or a number of images that cannot be.
    """

    path: Path
    format: str
    num_images: dict[str, int]
    options: SceneOptions

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise OptionError("format", self.format, " or ".join(FORMATS))
        for split, count in self.num_images.items():
            if not 0 <= count < 1_000_000:
                raise OptionError(f"num_{split}", count, "0 to 999999 images")
        if not any(self.num_images.values()):
            raise OptionError("num_train", 0, "at least one image in train, val or test")

    @property
    def manifest(self) -> dict:
        """What decides the files, as JSON reads it back."""
        numbers = {f"num_{split}": count for split, count in self.num_images.items()}
        content = {"made_by": GENERATOR, "version": VERSION, "format": self.format, **numbers, **asdict(self.options)}
        return json.loads(json.dumps(content))

    def is_made(self) -> bool:
        """Whether the folder holds exactly this data; False when there is no folder or an empty one.

        Raises:
            FolderError: It holds anything else.
        """
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise FolderError(f"{self.path} is a file: choose another folder with --out")
        if not any(self.path.iterdir()):
            return False
        try:
            found = json.loads((self.path / MANIFEST).read_text())
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("made_by") != GENERATOR:
            raise FolderError(f"{self.path} holds something else than digits: choose another folder with --out")
        recorded, manifest = found.pop("sha256", None), self.manifest
        differing = [key for key in {**manifest, **found} if found.get(key) != manifest.get(key)]
        if differing:
            changes = ", ".join(f"{key} {found.get(key)}, not {manifest.get(key)}" for key in differing)
            raise FolderError(f"{self.path} holds other digits ({changes}): delete it or choose another --out")
        if recorded != checksum(self.path):
            raise FolderError(f"{self.path} has changed since it was made: delete it or choose another --out")
        return True

    def make(self, workers: int, on_scene: Callable[[str], None]) -> None:
        """Makes the data beside the folder and moves it there when it is whole.

        The files depend neither on ``workers`` nor on the order in which the scenes get done.

        Args:
            workers: Number of processes, at least 1.
            on_scene: Called with the split for each scene that is done.

        Raises:
            OptionError: A scene has no room for its objects, or ``workers`` is below 1.
            OSError: The folder cannot be written.
        """
        if workers < 1:
            raise OptionError("workers", workers, "at least 1 process")
        target = self.path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            self._write(beside, workers, on_scene)
            (beside / MANIFEST).write_text(json.dumps(self.manifest | {"sha256": checksum(beside)}, indent=2) + "\n")
            beside.chmod(0o777 & ~_umask())
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise

    def _write(self, root: Path, workers: int, on_scene: Callable[[str], None]) -> None:
        splits = [split for split, count in self.num_images.items() if count]
        writer = FORMATS[self.format](root, self.options, splits)
        for folder in writer.folders:
            (root / folder).mkdir(parents=True)
        with ProcessPoolExecutor(workers, initializer=_start_worker) as pool:
            for split in splits:
                images: list[Any] = []
                for image in pool.map(partial(_write_scene, writer, split), range(self.num_images[split]), chunksize=8):
                    images.append(image)
                    on_scene(split)
                writer.write_split(split, images)


def _start_worker() -> None:
    cv2.setNumThreads(0)
    # The main process alone handles an interrupt, and removes what has been written.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _write_scene(writer: COCOFormat | VOCFormat, split: str, index: int) -> list[dict] | str:
    scene = make_scene(writer.options, split, index)
    encoded = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    writer.image_path(split, index).write_bytes(encoded.tobytes())
    return writer.write_image(split, index, annotate(writer.options, split, index, scene))


def checksum(folder: Path) -> str:
    """SHA-256 over the names and the content of all files but the manifest."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST):
        total.update(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}\n".encode()
        )
    return total.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
