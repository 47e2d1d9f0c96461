"""The optimal bias initialisation."""

from __future__ import annotations

from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ghm_mmdet.prior import find_dense_heads, measure_priors
from ghm_mmdet.registry import HOOKS


@HOOKS.register_module()
class OptimalBiasInitHook(Hook):
    r"""Starts the classification bias where plain cross-entropy is lowest.

    Before training it counts the positives N_p and the samples N_s of each dense head over the training data, and sets
    the bias of its last classification layer to :math:`\log(N_p / (N_s C - N_p))`, see
    :func:`ghm_mmdet.functional.optimal_bias`. Dense heads are a detector's ``bbox_head`` and ``rpn_head``, those it
    has. What counts is what the head gives its ``loss_cls`` in a training step, in batches as in training. Where
    anchors or points alone decide that (RetinaNet, RPN, ATSS, FCOS) no network runs; where predictions do (RTMDet, PAA,
    ...) a copy of the untrained detector does. A soft label counts as a positive. It logs what it measured. A resumed
    run is left alone, and so are weights that come from ``load_from`` or, for the detector or a head, from
    ``init_cfg=dict(type="Pretrained", ...)``.

    The order of the training data, and all random numbers, are those of a run without the hook. All ranks measure
    together and set the same bias.

    Args:
        max_images: look at this many images, evenly spaced over the training data; ``None`` for all of them.
        module: name of the one classification layer to set, such as ``"bbox_head.retina_cls"``, for a head that holds
            it under an unusual name; other heads are then left alone.

    Raises:
        ghm_mmdet.errors.UserError: at the start of training, when a head classifies with a softmax, has no
            classification bias or no positive in the images, or does not give its ``loss_cls`` the output of that
            layer for positives and negatives (FreeAnchor, AutoAssign, YOLOX, YOLOF, TOOD, ...).

    Source: "Is Sampling Heuristics Necessary in Training Deep Object Detectors?" (Chen et al., arXiv:1909.04868).
    """

    def __init__(self, max_images: int | None = 1000, module: str | None = None):
        self.max_images = max_images
        self.module = module

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # The runner has no public word for it: resume=True starts from scratch where there is nothing to resume.
        heads = [] if runner._has_loaded or _is_pretrained(model) else find_dense_heads(model, self.module)
        heads = [dense for dense in heads if not _is_pretrained(dense.head)]
        if not heads:
            runner.logger.info("OptimalBiasInitHook: the weights were resumed or loaded, no bias is set.")
            return
        loader = runner.train_dataloader
        runner.logger.info(f"OptimalBiasInitHook: measuring the prior of {', '.join(map(str, heads))} ...")
        priors = measure_priors(
            model,
            heads,
            loader.dataset,
            max_images=self.max_images,
            batch_size=loader.batch_sampler.batch_size,
            by_aspect_ratio=isinstance(loader.batch_sampler, AspectRatioBatchSampler),
            num_workers=loader.num_workers,
        )
        for dense, prior in zip(heads, priors):
            biases = [conv.bias for conv in dense.convs if conv.bias is not None]
            before = biases[0].mean().item()
            for bias in biases:
                nn.init.constant_(bias, prior.bias)
            runner.logger.info(f"OptimalBiasInitHook: {dense.name}.{dense.layer}: {prior} (was {before:.4f})")


def _is_pretrained(module: nn.Module) -> bool:
    """Whether its own ``init_cfg`` loads it from a file."""
    init_cfg = getattr(module, "init_cfg", None)
    parts = init_cfg if isinstance(init_cfg, (list, tuple)) else (init_cfg,)
    return any(isinstance(part, dict) and part.get("type") == "Pretrained" for part in parts)
