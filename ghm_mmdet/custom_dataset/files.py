"""The files of a folder by kind, and which image a label belongs to."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ghm_mmdet.errors import UserError, other_than_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
READ_SUFFIXES = (*IMAGE_SUFFIXES, ".xml", ".json", ".txt", ".yaml", ".yml", ".names")
# How folders and files call a split, as a word of the name: train2017, instances_val, Valid, images/test.
SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass
class Files:
    """All files below a root, by what their names end in; folders that begin with a dot are passed over."""

    root: Path
    images: list[Path] = field(default_factory=list)
    xml: list[Path] = field(default_factory=list)
    json: list[Path] = field(default_factory=list)
    txt: list[Path] = field(default_factory=list)
    yaml: list[Path] = field(default_factory=list)
    names: list[Path] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_stem, self._by_name = _by(self.images, "stem"), _by(self.images, "name")

    def images_of_stem(self, stem: str) -> list[Path]:
        return _of(self._by_stem, stem)

    def images_of_name(self, name: str) -> list[Path]:
        return _of(self._by_name, name)


def _by(images: list[Path], part: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        found[getattr(image, part)].append(image)
        found[f"/{getattr(image, part).casefold()}"].append(image)
    return found


def _of(images: dict[str, list[Path]], name: str) -> list[Path]:
    """As it is written, else with small and capital letters alike: cameras write .JPG, and some tools .jpg for it."""
    return images.get(name) or images.get(f"/{name.casefold()}", [])


def list_files(root: Path) -> Files:
    """
    Raises:
        UserError: the root is no folder, or there is no file in it.
    """
    if not root.is_dir():
        if root.exists():
            raise UserError(f"a file, not a folder: {root}\nUnpack an archive first, and name the folder.")
        raise UserError(f"folder not found: {root}")
    by_suffix: dict[str, list[Path]] = defaultdict(list)
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_raise):
        # A link may lead back to a folder above it.
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else sorted(name for name in subfolders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(folder, name)
                other = other_than_file(path) if path.suffix.lower() in READ_SUFFIXES else ""
                if other:
                    raise UserError(f"not a file but {other}: {path}\nTake it away.")
                by_suffix[path.suffix.lower()].append(path)
    if not by_suffix:
        raise UserError(f"the folder is empty: {root}\nName the folder that holds the images and their labels.")
    return Files(
        root,
        images=[path for suffix in IMAGE_SUFFIXES for path in by_suffix[suffix]],
        xml=by_suffix[".xml"],
        json=by_suffix[".json"],
        txt=by_suffix[".txt"],
        yaml=by_suffix[".yaml"] + by_suffix[".yml"],
        names=by_suffix[".names"],
        other=[path for suffix in sorted(by_suffix) if suffix not in READ_SUFFIXES for path in by_suffix[suffix]],
    )


def _raise(error: OSError) -> None:
    raise UserError(f"cannot read {error.filename}: {error.strerror}") from error


def read_bytes(path: Path) -> bytes:
    """
    Raises:
        UserError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}\nMake it readable, or take it away.") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without the mark that some editors put at its start.

    Raises:
        UserError: the file cannot be read.
    """
    return [line.strip() for line in read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()]


@cache
def split_in_name(path: Path, root: Path) -> str | None:
    """The split that a path below the root names, its last part first: ``train/_annotations.coco.json`` is train."""
    for part in reversed(path.relative_to(root).parts if path.is_relative_to(root) else path.parts):
        words = re.findall(r"[a-z]+", Path(part).stem.lower())
        found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
        if len(found) == 1:
            return found.pop()
    return None


def nearest(candidates: Iterable[Path], label: Path) -> Path | None:
    """The candidate that shares most folders with the label; None without candidates.

    Raises:
        UserError: two are equally near.
    """
    ranked = sorted((-len(os.path.commonpath([path, label])), path) for path in candidates)
    if not ranked:
        return None
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        raise UserError(
            f"two images may belong to the label {label}: {ranked[0][1]} and {ranked[1][1]}\n"
            "Keep each label beside its image, or give the images names of their own."
        )
    return ranked[0][1]


def require_images(missing: list[str], labels: int, what: str) -> None:
    """Raises UserError when labels have no image; `missing` says which, `what` names the labels."""
    if missing:
        raise UserError(
            f"{len(missing):,} of {labels:,} {what} have no image in the folder, the first is {missing[0]}\n"
            "Put the images beside the labels, or take these labels away."
        )
