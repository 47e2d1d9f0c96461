"""Scenes of handwritten digits: detection data that is made offline and is the same for the same seed.

A scene shows real handwriting (scikit-learn's copy of the UCI digits: 1,797 samples of 8 x 8 pixels, ten classes) at
several scales, slants, stroke widths and contrasts, darker or brighter than a textured background, with some overlap,
among clutter: cut-up digits and long curves, which are negatives. Nothing here needs mmdet or torch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import cv2
import numpy as np
from sklearn.datasets import load_digits

CLASSES = tuple("0123456789")
SPLITS = ("train", "val", "test")
OTHER_DIGITS = ("none", "negatives")

GRID = 8  # side of a handwriting sample, in its own pixels
MAX_OBJECTS = 1000  # of a scene
INK = 0.5  # opacity from which a pixel counts as ink
MAX_BOX_OVERLAP = 0.4  # intersection of two boxes over the smaller one
MAX_HIDDEN_INK = 0.4  # share of an item's ink that others may cover
PLACEMENT_TRIES = 200
JITTERED_IOU = (0.35, 0.75)


class OptionError(ValueError):
    """An option of the data set that cannot be used: which one, what it is, what is expected."""

    def __init__(self, option: str, value: object, expected: str) -> None:
        super().__init__(option, value, expected)
        self.option = option
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.option}: got {self.value}, expected {self.expected}"


@dataclass(frozen=True)
class SceneOptions:
    """What decides the content of the data set. Ranges are inclusive.

    Attributes:
        image_size: Width and height in pixels.
        objects_per_image: Fewest and most digits in a scene.
        clutter_per_image: Fewest and most negatives in a scene; a scene without room for them all has fewer.
        object_size: Nominal glyph height in pixels, drawn log-uniformly: the height of the 8 x 8 sample before slant
            and stroke width change it a little.
        num_classes: The first ``num_classes`` digits are objects.
        other_digits: What the other digits are: absent ("none") or part of the clutter ("negatives").
        mislabelled: Share of the training boxes that carry another class.
        jittered: Share of the training boxes that are moved and scaled to an IoU of 0.35 to 0.75 with the true box.
        missing: Share of the training objects that have no box.
        seed: Same seed and options, same data.

    Raises:
        OptionError: On any value outside what is said above.
    """

    image_size: tuple[int, int] = (160, 160)
    objects_per_image: tuple[int, int] = (3, 7)
    clutter_per_image: tuple[int, int] = (1, 4)
    object_size: tuple[int, int] = (22, 64)
    num_classes: int = 10
    other_digits: str = "none"
    mislabelled: float = 0.0
    jittered: float = 0.0
    missing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        width, height = self.image_size
        if min(width, height) < 32 or max(width, height) > 4096:
            raise OptionError("image_size", f"{width}x{height}", "sides from 32 to 4096")
        for option, least, most in (
            ("objects_per_image", 0, MAX_OBJECTS),
            ("clutter_per_image", 0, MAX_OBJECTS),
            ("object_size", GRID, min(width, height)),
        ):
            low, high = getattr(self, option)
            if not least <= low <= high <= most:
                raise OptionError(option, f"{low} {high}", f"MIN MAX with {least} <= MIN <= MAX <= {most}")
        if self.objects_per_image[1] == 0:
            raise OptionError("objects_per_image", "0 0", "MAX of at least 1")
        if not 1 <= self.num_classes <= len(CLASSES):
            raise OptionError("num_classes", self.num_classes, f"1 to {len(CLASSES)}")
        if self.other_digits not in OTHER_DIGITS:
            raise OptionError("other_digits", self.other_digits, " or ".join(OTHER_DIGITS))
        for option in ("mislabelled", "jittered", "missing"):
            if not 0 <= getattr(self, option) <= 1:
                raise OptionError(option, getattr(self, option), "a share from 0 to 1")
        if self.mislabelled and self.num_classes == 1:
            raise OptionError("mislabelled", self.mislabelled, "0, since there is only one class")
        if self.seed < 0:
            raise OptionError("seed", self.seed, "an integer from 0")


@dataclass(frozen=True)
class DigitObject:
    """One digit: class, box ``(x1, y1, x2, y2)`` in pixels with x2 and y2 exclusive, and its handwriting sample."""

    label: int
    bbox: tuple[int, int, int, int]
    sample: int


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: BGR, uint8, shape (height, width, 3).
        objects: The digits, each with the tight box of its visible ink.
        owners: For each pixel the position in ``objects`` of the digit whose ink is on top there, else -1.
        samples: All handwriting samples used, in objects and in clutter.
    """

    image: np.ndarray
    objects: tuple[DigitObject, ...]
    owners: np.ndarray
    samples: frozenset[int]


@functools.cache
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """The handwriting samples, float32 in [0, 1] of shape (1797, 8, 8), and their classes of shape (1797,)."""
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target


def split_samples(split: str) -> range:
    """The handwriting samples of a split: the first 60 % train, the next 20 % val, the last 20 % test.

    The blocks are contiguous because neighbours in the file are often by the same hand: more than half of the samples
    have their nearest neighbour within 130 places, by chance it would be 14 %. They do not depend on the seed, so
    that no test scene ever shows handwriting that some training set holds.
    """
    count = len(handwriting()[1])
    bounds = [0, count * 6 // 10, count * 8 // 10, count]
    part = SPLITS.index(split)
    return range(bounds[part], bounds[part + 1])


@dataclass
class _Item:
    """Something placed in a scene: opacity in [0, 1], its top left corner, and the class (-1: clutter)."""

    opacity: np.ndarray
    x: int
    y: int
    label: int
    sample: int
    hidden: int = 0

    @property
    def ink(self) -> np.ndarray:
        return self.opacity >= INK

    @property
    def box(self) -> tuple[int, int, int, int]:
        height, width = self.opacity.shape
        return self.x, self.y, self.x + width, self.y + height


def _crop_to_ink(opacity: np.ndarray) -> np.ndarray:
    ink = opacity >= INK
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if rows.size == 0:
        return opacity[:0, :0]
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _draw_digit(sample: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Opacity of one sample drawn at a height, slanted, stretched and with a stroke width of its own."""
    scale = size / GRID
    angle, shear = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.2, 0.2)
    stretch, threshold = rng.uniform(0.85, 1.2), rng.uniform(0.3, 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[stretch, shear], [0, 1]])
    side = int(np.ceil(1.7 * size))
    offset = (side - 1) / 2 - linear @ np.full(2, (GRID - 1) / 2)
    value = cv2.warpAffine(sample, np.column_stack([linear, offset]), (side, side), flags=cv2.INTER_CUBIC)
    # An edge of the sample is one of its own pixels wide, so its slope falls with the scale; this keeps edges sharp.
    return np.clip((value - threshold) * max(1.0, 0.6 * scale) + INK, 0, 1)


def _cut_digit(opacity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A negative made of a digit: one half of it, or its four quarters in another order."""
    opacity = _crop_to_ink(opacity)
    height, width = opacity.shape
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:height, :width]
        kept = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle) > 0
        return opacity * kept
    half_height, half_width = height // 2, width // 2
    quarters = [opacity[y : y + half_height, x : x + half_width] for y in (0, half_height) for x in (0, half_width)]
    # Each order puts no quarter where it was.
    first, second, third, fourth = ((1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0), (1, 3, 0, 2))[rng.integers(4)]
    return np.block([[quarters[first], quarters[second]], [quarters[third], quarters[fourth]]])


def _draw_curve(length: float, rng: np.random.Generator) -> np.ndarray:
    """Opacity of a long thin curve (a quadratic Bezier)."""
    control = rng.uniform(0.05, 0.95, (3, 2)) * length
    t = np.linspace(0, 1, 24)[:, None]
    points = (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]
    canvas = np.zeros((int(length), int(length)), np.uint8)
    thickness = int(rng.integers(1, 4))
    cv2.polylines(canvas, [np.round(points * 8).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, shift=3)
    return canvas.astype(np.float32) / 255


def _overlap(item: _Item, other: _Item) -> tuple[int, int]:
    """Pixels where two boxes overlap, and where the ink of both does."""
    x1, y1 = max(item.x, other.x), max(item.y, other.y)
    x2, y2 = min(item.box[2], other.box[2]), min(item.box[3], other.box[3])
    if x1 >= x2 or y1 >= y2:
        return 0, 0
    both = (
        item.ink[y1 - item.y : y2 - item.y, x1 - item.x : x2 - item.x]
        & other.ink[y1 - other.y : y2 - other.y, x1 - other.x : x2 - other.x]
    )
    return (x2 - x1) * (y2 - y1), int(both.sum())


def _fits(item: _Item, placed: list[_Item]) -> bool:
    """Whether an item may be added; if so, the ink that it shares with others is booked on both sides."""
    shared = []
    for other in placed:
        box_overlap, ink_overlap = _overlap(item, other)
        if box_overlap > MAX_BOX_OVERLAP * min(item.opacity.size, other.opacity.size):
            return False
        if other.hidden + ink_overlap > MAX_HIDDEN_INK * other.ink.sum():
            return False
        shared.append(ink_overlap)
    if sum(shared) > MAX_HIDDEN_INK * item.ink.sum():
        return False
    for other, ink_overlap in zip(placed, shared):
        other.hidden += ink_overlap
    item.hidden = sum(shared)
    return True


def _place(options: SceneOptions, split: str, label: int, placed: list[_Item], rng: np.random.Generator) -> bool:
    """Tries to add one digit of a class, or one piece of clutter (label -1), to what is placed already."""
    images, targets = handwriting()
    samples = np.asarray(split_samples(split))
    width, height = options.image_size
    low, high = np.log(options.object_size)
    for attempt in range(PLACEMENT_TRIES):
        # A crowded scene has room for small items only, so the upper bound falls with the attempts.
        size = np.exp(rng.uniform(low, high + (low - high) * attempt / PLACEMENT_TRIES))
        sample = -1
        if label >= 0:
            sample = int(rng.choice(samples[targets[samples] == label]))
            opacity = _draw_digit(images[sample], size, rng)
        else:
            kinds = ["cut", "cut", "curve"] + ["other"] * (
                3 if options.other_digits == "negatives" and options.num_classes < len(CLASSES) else 0
            )
            kind = kinds[rng.integers(len(kinds))]
            if kind == "curve":
                opacity = _draw_curve(rng.uniform(0.3, 0.9) * min(width, height), rng)
            elif kind == "cut":
                # Half a "1" would be a "1".
                sample = int(rng.choice(samples[targets[samples] != 1]))
                opacity = _cut_digit(_draw_digit(images[sample], size, rng), rng)
            else:
                sample = int(rng.choice(samples[targets[samples] >= options.num_classes]))
                opacity = _draw_digit(images[sample], size, rng)
        opacity = _crop_to_ink(opacity)
        item_height, item_width = opacity.shape
        if opacity.size == 0 or item_width > width or item_height > height:
            continue
        x, y = int(rng.integers(width - item_width + 1)), int(rng.integers(height - item_height + 1))
        item = _Item(opacity, x, y, label, sample)
        if _fits(item, placed):
            placed.append(item)
            return True
    return False


def _background(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A textured background: a tint, and smooth noise at three periods."""
    canvas = np.full((height, width, 3), rng.uniform(70, 185) + rng.uniform(-20, 20, 3), np.float32)
    for period in (64, 24, 8):
        grid = rng.normal(0, rng.uniform(3, 12), (height // period + 2, width // period + 2)).astype(np.float32)
        canvas += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return canvas


def make_scene(options: SceneOptions, split: str, index: int) -> Scene:
    """Draws scene number ``index`` of a split, the same each time and whatever else is drawn.

    Raises:
        OptionError: The scene has no room for its objects.
    """
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index, 0])
    width, height = options.image_size
    placed: list[_Item] = []
    count = int(rng.integers(options.objects_per_image[0], options.objects_per_image[1] + 1))
    for _ in range(count):
        if not _place(options, split, int(rng.integers(options.num_classes)), placed, rng):
            raise OptionError(
                "objects_per_image",
                f"{options.objects_per_image[0]} {options.objects_per_image[1]}",
                f"what fits into {width}x{height} pixels at this object size (image {index} of {split} is full at "
                f"{len(placed)} objects)",
            )
    for _ in range(int(rng.integers(options.clutter_per_image[0], options.clutter_per_image[1] + 1))):
        _place(options, split, -1, placed, rng)

    canvas = _background(width, height, rng)
    owners = np.full((height, width), -1, np.int32)
    for position in rng.permutation(len(placed)):
        item = placed[position]
        x1, y1, x2, y2 = item.box
        patch = canvas[y1:y2, x1:x2]
        contrast = rng.uniform(45, 120) * rng.choice([-1, 1])
        ink_colour = np.clip(patch.mean((0, 1)) + contrast * rng.uniform(0.8, 1.2, 3), 0, 255)
        opacity = item.opacity[..., None]
        patch[:] = patch * (1 - opacity) + ink_colour * opacity
        owners[y1:y2, x1:x2][item.ink] = position if item.label >= 0 else -1
    canvas += rng.normal(0, rng.uniform(2, 8), canvas.shape)

    objects = []
    for position in range(count):
        rows, columns = np.nonzero(owners == position)
        bbox = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        objects.append(DigitObject(placed[position].label, bbox, placed[position].sample))
    samples = frozenset(item.sample for item in placed if item.sample >= 0)
    return Scene(np.clip(canvas, 0, 255).astype(np.uint8), tuple(objects), owners, samples)


def box_iou(box: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes ``(x1, y1, x2, y2)``."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return width * height / (sum(areas) - width * height)


def _jitter(bbox: tuple[int, int, int, int], image_size: tuple[int, int], rng: np.random.Generator) -> tuple:
    width, height = image_size
    corners, size = np.array(bbox, float).reshape(2, 2), np.array([bbox[2] - bbox[0], bbox[3] - bbox[1]])
    while True:
        centre = corners.mean(0) + rng.uniform(-0.35, 0.35, 2) * size
        half = size * np.exp(rng.uniform(-0.4, 0.4, 2)) / 2
        moved = np.clip(np.round([centre - half, centre + half]), 0, (width, height))
        jittered = tuple(int(value) for value in moved.reshape(-1))
        if JITTERED_IOU[0] <= box_iou(jittered, bbox) <= JITTERED_IOU[1]:
            return jittered


def annotate(options: SceneOptions, split: str, index: int, scene: Scene) -> dict[int, DigitObject]:
    """What the annotation file says about a scene, by the object's position in ``scene.objects``.

    In val and test that is the scene's objects. In train the shares of ``options`` are mislabelled, jittered and
    missing, each decided for itself, by numbers that are drawn apart from the scene: sets that differ only in label
    noise show the same images, and a larger share changes the objects of a smaller one and further ones.
    """
    if split != "train":
        return dict(enumerate(scene.objects))
    rng = np.random.default_rng([options.seed, SPLITS.index(split), index, 1])
    chances = rng.random((len(scene.objects), 3))
    steps = rng.random(len(scene.objects))
    seeds = rng.integers(2**32, size=len(scene.objects))
    annotated = {}
    for position, digit in enumerate(scene.objects):
        missing, mislabelled, jittered = chances[position] < (options.missing, options.mislabelled, options.jittered)
        if missing:
            continue
        if mislabelled:
            step = 1 + int(steps[position] * (options.num_classes - 1))
            digit = replace(digit, label=(digit.label + step) % options.num_classes)
        if jittered:
            digit = replace(digit, bbox=_jitter(digit.bbox, options.image_size, np.random.default_rng(seeds[position])))
        annotated[position] = digit
    return annotated
