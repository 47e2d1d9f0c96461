"""What can be wrong with data: one table for the tools, their messages and the docs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

SHOWN = 3


class Kind(Enum):
    """A thing that is looked for: whether it stops a training, its name, and what to do about it."""

    PATH = True, "file or folder not found", "Set the entry of the config, or the environment variable that it names."
    ANNOTATION_FILE = True, "annotation file that cannot be read", "Copy, convert or download it again."
    CLASSES = True, "class names that are no list of different texts", "Write them as a list: classes=('a', 'b')."
    CANNOT_LOAD = True, "the data set cannot be loaded", ""
    NOT_AN_OBJECT = True, "entries that are no objects", ""
    WRONG_FIELD = (
        True,
        "entries with a missing or wrong field",
        "Boxes are four finite numbers, area is a number, iscrowd and ignore are 0 or 1, width and height above 0, ids "
        "numbers up to 2**53 or texts, names texts.",
    )
    ANNOTATION_ID_TWICE = True, "annotation ids used twice", "Number the annotations anew."
    IMAGE_ID_TWICE = True, "image ids used twice", "Number the images anew, and image_id with them."
    CATEGORY_ID_TWICE = True, "category ids used twice", ""
    CATEGORY_NAME_TWICE = True, "category names used twice", "Give both one id."
    CATEGORY_UNKNOWN = True, "unknown category ids, not among the file's categories", ""
    NO_KNOWN_CLASS = (
        True,
        "none of the config's classes is among the file's categories",
        "Set metainfo.classes of this data set to the file's names.",
    )
    MIXED_IDS = True, "image ids that are texts and numbers in one file (evaluation mixes them up)", "Use one kind."
    XML_MISSING = (
        True,
        "annotation files not found",
        "Add them, or take the names out of the list, which has one to a line, without folder, ending and class flag.",
    )
    XML_BROKEN = True, "annotation files that are not whole XML, or whose size or objects cannot be read", ""
    IMAGE_MISSING = (
        True,
        "image not found",
        "Set data_prefix of this data set to the folder of the images, or take them out of the annotations.",
    )
    IMAGE_EMPTY = True, "image file is empty", "Replace the files or take them out of the annotations."
    IMAGE_BROKEN = True, "cannot decode the image", "Replace the files or take them out of the annotations."
    PIPELINE = True, "images that the pipeline cannot take", ""
    NO_AREA = (
        True,
        "boxes without an area reach the detector (their regression targets are infinite)",
        "Mend them, or drop them: dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1)) after Resize in the pipeline.",
    )
    NO_IMAGE = True, "no image is left", ""
    NO_OBJECT = True, "no object is left to learn from", ""
    NO_BATCH = True, "no batch of training data", "Use a smaller batch_size, or drop_last=False."
    CLASS_ORDER = (
        True,
        "labels that stand for other classes than in the other data",
        "List the classes, and the categories of COCO files, in one order everywhere.",
    )
    EVALUATOR = True, "evaluation that would fail", ""
    HEAD_CLASSES = True, "classes of data and model", ""
    MODEL = True, "losses that a training step would use otherwise than the config says", ""

    LABEL_NAMES = (
        False,
        "labels in the order of the file's categories, not of the config's classes, so that names are mixed up",
        "List the classes as the file does.",
    )
    UNSEEN_CLASS = False, "classes without an object, or with another spelling in the data", "Compare the spelling."
    OTHER_CLASS = False, "objects of classes that the config does not name (not learned from)", "Compare the spelling."
    UNKNOWN_IMAGE = False, "annotations of an unknown image (not learned from)", ""
    IMAGE_TWICE = False, "images listed twice (in COCO's format each has a part of the objects)", ""
    IGNORE_FIELD = False, "annotations with an ignore field (not learned from, but counted in evaluation)", ""
    AREA_FIELD = False, "boxes with an area field of 0 or less (not learned from)", "Recompute area."
    ZERO_SIZE = False, "boxes of zero or negative size", ""
    SUBPIXEL = False, "boxes smaller than a pixel (fractions of 1 instead of pixels?)", "Boxes are in pixels."
    OUTSIDE = False, "boxes outside the image", ""
    BORDER = False, "boxes beyond the border of the image", ""
    CORNERS = (
        False,
        "boxes that look like x1, y1, x2, y2, where COCO has x, y, width, height",
        "Write the width, x2 - x1, and the height, y2 - y1, in place of x2 and y2.",
    )
    CENTRES = (
        False,
        "boxes that look like centre x, centre y, width, height, where COCO has the upper left corner",
        "Write x - width / 2 in place of x, and y - height / 2 in place of y.",
    )
    BOX_TWICE = False, "boxes given twice", ""
    BELOW_MIN_SIZE = False, "boxes smaller than filter_cfg.bbox_min_size (not learned from)", "Take bbox_min_size out."
    IMAGE_FILTERED = False, "images that filter_cfg.min_size leaves out", "Lower min_size."
    UNACCOUNTED = False, "objects that the data set leaves out for a reason of its own", ""
    IMAGE_SIZE = False, "image sizes that differ from the annotated ones", "Look whether the boxes fit."
    ORIENTATION = (
        False,
        "images that EXIF turns or mirrors (boxes must be those of the turned image)",
        "Else load them with color_type='color_ignore_orientation'.",
    )
    CUT_OFF = False, "image files that are cut off or damaged (the decoder fills in what lacks)", "Replace them."
    OTHER_TRUTH = (
        False,
        "images whose objects the evaluator's file has otherwise than the data set",
        "Set the evaluator's ann_file to the annotation file of the data set.",
    )
    NOT_TESTED = (
        False,
        "images of the evaluator's file that the data set does not give, so that their objects count as missed",
        "Give both the same images.",
    )
    NOTHING_EVALUATED = False, "evaluation data without an object", ""
    MODEL_NOTE = False, "losses to look at", ""

    def __init__(self, breaks: bool, text: str, advice: str) -> None:
        self.breaks = breaks
        self.text = text
        self.advice = advice


@dataclass
class Finding:
    """How often one kind was seen, the first places, and what to do in this case."""

    count: int = 0
    places: list[str] = field(default_factory=list)
    advice: str = ""


class Findings:
    """What was found, by kind."""

    def __init__(self) -> None:
        self.by_kind: dict[Kind, Finding] = {}

    def add(self, kind: Kind, place: str, advice: str = "") -> None:
        finding = self.by_kind.setdefault(kind, Finding(advice=advice or kind.advice))
        finding.count += 1
        if len(finding.places) < SHOWN:
            finding.places.append(printable(place, 500))

    @property
    def breaking(self) -> dict[Kind, Finding]:
        return {kind: finding for kind, finding in self.by_kind.items() if kind.breaks}

    @property
    def suspicious(self) -> dict[Kind, Finding]:
        return {kind: finding for kind, finding in self.by_kind.items() if not kind.breaks}

    def __str__(self) -> str:
        lines = []
        for title, found in (("breaks training", self.breaking), ("suspicious", self.suspicious)):
            for kind, finding in found.items():
                lines.append(f"  {title}: {kind.text}: {finding.count:,}")
                lines += [f"    {place}" for place in finding.places]
                if finding.count > len(finding.places):
                    lines.append(f"    and {finding.count - len(finding.places):,} more")
        return "\n".join(lines)


def table() -> str:
    """The kinds as Markdown, for docs/checks.md."""
    lines = []
    for title, breaks in (("stops a training or a test", True), ("is said, and the run goes on", False)):
        lines += [f"| This {title} | What to do |", "| --- | --- |"]
        lines += [f"| {kind.text} | {kind.advice} |" for kind in Kind if kind.breaks == breaks]
        lines.append("")
    return "\n".join(lines)


def printable(text: str, most: int) -> str:
    """Without line breaks, escapes and lone surrogates, all of which names in a file may hold."""
    text = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
