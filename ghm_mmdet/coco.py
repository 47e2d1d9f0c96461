"""pycocotools without its prints."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Standard output is the process's: two threads that redirect it would leave it in the other's hands.
_redirecting = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what is printed meanwhile: pycocotools tells how long each of its steps takes."""
    with _redirecting, contextlib.redirect_stdout(io.StringIO()):
        yield


def evaluate_boxes(truth: COCO, found: COCO) -> COCOeval:
    """COCO's evaluation of boxes over all images and classes of the truth: matched, accumulated and summarized."""
    evaluation = COCOeval(truth, found, "bbox")
    with quiet():
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
