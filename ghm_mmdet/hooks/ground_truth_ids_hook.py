"""Ground truth that pycocotools evaluates rightly whatever its ids are."""

from __future__ import annotations

from mmdet.evaluation import CocoMetric
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ghm_mmdet.registry import HOOKS


@HOOKS.register_module()
class GroundTruthIdsHook(Hook):
    """Numbers the ground truth of mmdet's ``CocoMetric`` anew, in memory, before it is used.

    pycocotools takes the annotation id 0 for 'no match', fails on ids that are texts and where ``iscrowd`` is missing,
    and sorts category ids, where mmdet names the rows of its table in the file's order. The annotations get the ids 1,
    2, ... in the file's order, and so do categories that are not in ascending order; categories keep their ids where
    results are written into a file. The training and test tools add this hook.
    """

    def before_val(self, runner: Runner) -> None:
        number_ground_truth(runner.val_evaluator)

    def before_test(self, runner: Runner) -> None:
        number_ground_truth(runner.test_evaluator)


def number_ground_truth(evaluator: Evaluator) -> None:
    """Changes the ids of the evaluator's ground truth in place."""
    for metric in evaluator.metrics:
        truth = getattr(metric, "_coco_api", None)
        # After the first evaluation the metric has the category ids; before it they may change.
        if not isinstance(metric, CocoMetric) or truth is None or metric.cat_ids is not None:
            continue
        categories = [category["id"] for category in truth.dataset["categories"]]
        ascending = not any(isinstance(name, str) for name in categories) and categories == sorted(categories)
        numbers = {name: name for name in categories}
        if not ascending and metric.outfile_prefix is None:
            numbers = {name: number for number, name in enumerate(categories, start=1)}
        for category in truth.dataset["categories"]:
            category["id"] = numbers[category["id"]]
        for number, entry in enumerate(truth.dataset.get("annotations", ()), start=1):
            entry.update(id=number, iscrowd=int(entry.get("iscrowd") or 0))
            entry["category_id"] = numbers.get(entry["category_id"], entry["category_id"])
        truth.createIndex()
        # mmdet's names of pycocotools' attributes.
        truth.img_ann_map, truth.cat_img_map = truth.imgToAnns, truth.catToImgs
