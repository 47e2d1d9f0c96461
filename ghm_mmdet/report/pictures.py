"""Images and parts of them as data: addresses, so that the page needs no other file."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import mmcv
import numpy as np

from ghm_mmdet.errors import UserError

LARGEST_SIDE = 640
JPEG_QUALITY = 85
CROP_SIDE = 200
# A crop shows this many times the box, and at least this part of the image's shorter side.
CONTEXT = 2.0
LEAST_PART = 0.25


@dataclass
class Picture:
    """An image, or a part of one, to be shown at any size.

    view: x, y, width, height of what it shows, in the pixels of the whole image, as boxes are.
    """

    href: str
    view: tuple[float, float, float, float]


def read_image(path: str) -> np.ndarray:
    try:
        image = mmcv.imread(path)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"cannot decode the image {path}\nReplace the file or take it out of the annotations.")
    return image


def whole(image: np.ndarray) -> Picture:
    height, width = image.shape[:2]
    return Picture(_encode(image, LARGEST_SIDE), (0, 0, width, height))


def around(image: np.ndarray, box: list[float]) -> Picture:
    """A square part of the image around a box (x, y, width, height), as far as the image goes."""
    height, width = image.shape[:2]
    side = min(max(CONTEXT * max(box[2:]), LEAST_PART * min(width, height)), max(width, height))
    middle_x, middle_y = box[0] + box[2] / 2, box[1] + box[3] / 2
    left, right = _within(middle_x - side / 2, side, width)
    top, bottom = _within(middle_y - side / 2, side, height)
    part = image[top:bottom, left:right]
    return Picture(_encode(part, CROP_SIDE), (left, top, right - left, bottom - top))


def _within(start: float, length: float, end: int) -> tuple[int, int]:
    first = int(max(0, min(start, end - length)))
    return first, max(first + 1, min(end, round(first + length)))


def _encode(image: np.ndarray, largest: int) -> str:
    scale = largest / max(image.shape[:2])
    if scale < 1:
        image = mmcv.imrescale(image, scale, interpolation="area")
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
