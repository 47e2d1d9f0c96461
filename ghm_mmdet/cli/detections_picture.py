"""A picture of images with their objects beside what a detector found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

PANEL = 640
GAP = 20
LINE = 3
LETTERS = 18
# Okabe and Ito's colours, which colour-blind people can tell apart, dark enough for white letters.
COLOURS = ("#0072b2", "#b34700", "#00795a", "#a3457f", "#7a5c00", "#444444")


@dataclass(frozen=True)
class DrawnBox:
    """left, top, right, bottom in pixels; the number of the class, which gives the colour, and what to write."""

    corners: tuple[float, float, float, float]
    label: int
    text: str


@dataclass(frozen=True)
class Scene:
    """An image with its objects and the detections in it."""

    path: Path
    objects: Sequence[DrawnBox]
    detections: Sequence[DrawnBox]


def draw_coco_detections(
    ann_file: Path, images: Path, detections: Path, out: Path, *, scenes: int, threshold: float
) -> None:
    """Draws images evenly spaced over a COCO file, with the detections that a test wrote with ``--out``.

    Args:
        ann_file: COCO's JSON.
        images: the folder that its file names start from.
        detections: pickle file of the test.
        out: picture to write.
        scenes: how many images.
        threshold: detections of at least this score are drawn.
    """
    import mmengine

    content = json.loads(ann_file.read_text(encoding="utf-8"))
    labels = {category["id"]: number for number, category in enumerate(content["categories"])}
    names = [category["name"] for category in content["categories"]]
    found = {entry["img_id"]: entry["pred_instances"] for entry in mmengine.load(detections)}
    chosen = []
    # mmdet leaves out images that its data set filters.
    tested = [image for image in content["images"] if image["id"] in found]
    for image in tested[:: max(len(tested) // scenes, 1)][:scenes]:
        objects = []
        for entry in content["annotations"]:
            if entry["image_id"] == image["id"]:
                left, top, width, height = entry["bbox"]
                label = labels[entry["category_id"]]
                objects.append(DrawnBox((left, top, left + width, top + height), label, names[label]))
        instances = found[image["id"]]
        detected = [
            DrawnBox(tuple(box), label, f"{names[label]} {score:.2f}")
            for box, label, score in zip(*(instances[key].tolist() for key in ("bboxes", "labels", "scores")))
            if score >= threshold
        ]
        chosen.append(Scene(images / image["file_name"], objects, detected))
    draw_detections(chosen, out)


def draw_detections(scenes: Sequence[Scene], out: Path) -> None:
    """Writes one row for each image: on the left its objects, on the right the detections, each in 640 pixels."""
    rows = [_row(scene) for scene in scenes]
    sheet = Image.new("RGB", (2 * PANEL + 3 * GAP, sum(row.height for row in rows) + GAP), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)


def _row(scene: Scene) -> Image.Image:
    with Image.open(scene.path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    scale = PANEL / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    caption = 2 * LETTERS
    row = Image.new("RGB", (2 * PANEL + 3 * GAP, GAP + caption + image.height), "white")
    pen, font = ImageDraw.Draw(row), ImageFont.load_default(LETTERS)
    titles = (f"{scene.path.name}: labels, {len(scene.objects)}", f"detections, {len(scene.detections)}")
    for number, (title, boxes) in enumerate(zip(titles, (scene.objects, scene.detections))):
        left = GAP + number * (PANEL + GAP)
        pen.text((left, GAP), title, fill="black", font=font)
        panel = image.copy()
        _draw_boxes(panel, boxes, scale)
        row.paste(panel, (left, GAP + caption))
    return row


def _draw_boxes(panel: Image.Image, boxes: Sequence[DrawnBox], scale: float) -> None:
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(LETTERS)
    drawn = [
        (box, [value * scale for value in box.corners], COLOURS[box.label % len(COLOURS)])
        for box in boxes
        if box.corners[0] <= box.corners[2] and box.corners[1] <= box.corners[3]
    ]
    for _, corners, colour in drawn:
        pen.rectangle(corners, outline=colour, width=LINE)
    for box, corners, colour in drawn:
        # Above the box, or inside where the picture ends.
        width = pen.textlength(box.text, font=font)
        left = min(max(corners[0], 0), max(panel.width - width - 4, 0))
        top = corners[1] - LETTERS - 4 if corners[1] >= LETTERS + 4 else max(corners[1], 0)
        pen.rectangle((left, top, left + width + 4, top + LETTERS + 4), fill=colour)
        pen.text((left + 2, top), box.text, fill="white", font=font)
