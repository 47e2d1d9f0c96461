"""GHM-C in thin copies of mmdet's detectors; see harness.py for what 'works' means."""

from __future__ import annotations

import pytest
from zoo.families import FAMILIES
from zoo.harness import try_family

WORK = ("retinanet", "rtmdet", "yolox", "gfl", "faster_rcnn")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_ghm_c_works(name):
    """Its limit has cross-entropy's gradients, the head's own division included."""
    assert str(try_family(FAMILIES[name])) == "works"
