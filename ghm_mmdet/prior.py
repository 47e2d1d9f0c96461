"""How rare are positives? Counted over training data in what a head gives its classification loss."""

from __future__ import annotations

import copy
import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.models.dense_heads import AnchorHead, ATSSHead, FCOSHead, RPNHead
from mmdet.models.utils import unpack_gt_instances
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_reduce, get_dist_info
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Sampler

from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import optimal_bias

HEADS = ("bbox_head", "rpn_head")
WITHOUT_MEASURING = "Write a fixed bias_prob into the head's init_cfg instead."
# Heads of these give their losses the same samples whatever they predict.
BY_PRIORS_ALONE = (AnchorHead, RPNHead, ATSSHead, FCOSHead)


@dataclass(frozen=True)
class DenseHead:
    """A dense head of a detector and the layers that hold its classification bias.

    name: of the head in the detector.
    layer: name of the layers in the head.
    """

    name: str
    head: Any
    layer: str
    convs: tuple[nn.Conv2d, ...]

    def __str__(self) -> str:
        return f"{self.name} ({type(self.head).__name__})"

    @property
    def assigns_by_priors(self) -> bool:
        """Whether anchors or points alone decide which samples are positive, so that no network has to run."""
        head = type(self.head)
        of_mmdet = [base for base in head.__mro__ if not base.__module__.startswith("ghm_mmdet.")]
        owner = next((base for base in of_mmdet if "loss_by_feat" in vars(base)), None)
        targets = next((base for base in of_mmdet if "get_targets" in vars(base)), None)
        # OHEM in the head chooses by what is predicted.
        return owner in BY_PRIORS_ALONE and targets in BY_PRIORS_ALONE and not hasattr(head, "hard_anchors")


@dataclass(frozen=True)
class Prior:
    """What was measured, summed over all ranks.

    images: how many images were looked at, of ``total_images``.
    num_pos: N_p, the positives.
    num_samples: N_s, positives and negatives together.
    num_classes: C, the logits per sample.
    bias: :func:`ghm_mmdet.functional.optimal_bias` of these.
    """

    images: int
    total_images: int
    num_pos: int
    num_samples: int
    num_classes: int
    bias: float

    @property
    def probability(self) -> float:
        """The prior p' = N_p / (N_s C), the sigmoid of the bias."""
        return self.num_pos / (self.num_samples * self.num_classes)

    def __str__(self) -> str:
        return (
            f"Np = {self.num_pos:,} positives of Ns = {self.num_samples:,} samples in {self.images:,} of "
            f"{self.total_images:,} images, C = {self.num_classes}: p' = {self.probability:.3e}, bias = {self.bias:.4f}"
        )


def find_dense_heads(model: nn.Module, module: str | None = None) -> list[DenseHead]:
    """Finds the dense heads of a detector and their classification layers.

    The layer is the one convolution, or list of one convolution per level, that a head holds under a name with ``cls``
    in it and that has as many channels as the head has logits at a place: retina_cls, rpn_cls, conv_cls, atss_cls, ...

    Args:
        model: the detector; its ``bbox_head`` and ``rpn_head`` are looked at, those it has.
        module: name of the layer in the detector, such as ``"bbox_head.retina_cls"``, instead; no other head is then
            looked at.

    Raises:
        UserError: there is no such head, or a head cannot start from a prior; it names the head.
    """
    names = HEADS if module is None else (module.partition(".")[0],)
    heads = {name: getattr(model, name) for name in names if isinstance(getattr(model, name, None), nn.Module)}
    if not heads:
        raise UserError(f"{type(model).__name__} has no {' and no '.join(names)} to measure a prior for.")
    return [_dense_head(name, head, module) for name, head in heads.items()]


def _dense_head(name: str, head: Any, module: str | None) -> DenseHead:
    who = f"{name} ({type(head).__name__})"
    loss = getattr(head, "loss_cls", None)
    softmax = loss is None or getattr(loss, "use_sigmoid", None) is False
    if getattr(head, "use_sigmoid_cls", None) is False and softmax:
        raise UserError(
            f"{who} classifies with a softmax, and the optimal bias is one of a sigmoid.\n"
            f"Use a loss_cls with use_sigmoid=True, or leave the bias of {name} alone."
        )
    if not all(hasattr(head, attribute) for attribute in ("num_base_priors", "cls_out_channels", "loss_cls")):
        raise UserError(
            f"{who} is no dense head that classifies anchors or points in a convolution of its own, so no prior can be "
            "measured for it."
        )
    if getattr(loss, "use_sigmoid", None) is not True or getattr(loss, "activated", False):
        raise UserError(
            f"the loss_cls of {who}, {type(loss).__name__}, does not take the logits of a sigmoid for each class, so "
            f"its optimal bias is not known.\n{WITHOUT_MEASURING}"
        )
    if module is None:
        layers = {layer: child for layer, child in head.named_children() if "cls" in layer and _convs(child, head)}
        if len(layers) != 1:
            found = f"{len(layers)} layers that may be" if layers else "no layer that is"
            raise UserError(
                f"{who} has {found} its last classification convolution"
                f"{': ' + ', '.join(layers) if layers else ''}.\nName it: module='{name}.<name of the layer>'."
            )
        ((layer, child),) = layers.items()
    else:
        layer = module.partition(".")[2]
        try:
            child = head.get_submodule(layer)
        except AttributeError as error:
            raise UserError(f"module={module!r}: {who} has no layer {layer!r}.") from error
        if not layer or not _convs(child, head):
            raise UserError(
                f"module={module!r} is no convolution with the {_channels(head)} channels that {who} needs to classify."
            )
    convs = _convs(child, head)
    if any(conv.bias is None for conv in convs):
        raise UserError(f"{who}: its classification layer {layer} has no bias to set.\nBuild it with bias=True.")
    return DenseHead(name, head, layer, convs)


def _channels(head: Any) -> int:
    return head.num_base_priors * head.cls_out_channels


def _convs(module: nn.Module, head: Any) -> tuple[nn.Conv2d, ...]:
    """The convolution, or those of a list, when they have as many channels as the head has logits; else nothing."""
    children = list(module) if isinstance(module, nn.ModuleList) else [module]
    convs = tuple(child for child in children if isinstance(child, nn.Conv2d) and child.out_channels == _channels(head))
    return convs if len(convs) == len(children) else ()


@dataclass
class _Count:
    """What a head's ``loss_cls`` was called with.

    logits: their sum and the sum of their sizes.
    """

    num_pos: int = 0
    num_elements: int = 0
    num_calls: int = 0
    logits: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    def add(self, pred: Tensor, target: Tensor | tuple, weight: Tensor | None) -> None:
        # Of pairs of labels and scores the labels say what is positive.
        labels = target[0] if isinstance(target, (tuple, list)) else target
        if labels.dim() < pred.dim():
            classes = torch.arange(pred.shape[-1], device=pred.device)
            positive = labels.reshape(-1, 1) == classes
        else:
            positive = labels.reshape(pred.shape) > 0
        valid = torch.ones_like(positive)
        if weight is not None:
            valid &= weight.reshape(len(pred), -1) > 0
        self.num_pos += int((positive & valid).count_nonzero())
        self.num_elements += int(valid.count_nonzero())
        self.num_calls += 1


def sizes_of(values: Tensor) -> Tensor:
    """The sum of the values and that of their sizes, float64, shape (2,)."""
    values = values.detach().double()
    return torch.stack([values.sum(), values.abs().sum()]).cpu()


@contextmanager
def _counted(head: Any, *, compute: bool) -> Iterator[_Count]:
    """Counts the calls of ``head.loss_cls``, which returns 0 unless it is to ``compute``.

    A call that asks for the loss of each element scores them, and does not train.
    """
    loss, count = head.loss_cls, _Count()
    forward = loss.forward
    signature = inspect.signature(forward)

    def counting(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        pred, target = list(given.values())[:2]
        if (given.get("reduction_override") or getattr(loss, "reduction", None)) != "none":
            count.add(pred, target, given.get("weight", given.get("label_weight")))
            if compute:
                count.logits += sizes_of(pred)
        return forward(*args, **kwargs) if compute else pred.new_zeros(())

    loss.forward = counting
    try:
        yield count
    finally:
        del loss.forward


def count_samples(dense: DenseHead, data_samples: list) -> tuple[int, int]:
    """Positives and samples that a head's loss would see for a batch, ignored ones left out; no network runs.

    Args:
        dense: the head, one that assigns by priors.
        data_samples: as they come out of the detector's data preprocessor, which writes the padded shapes into them.

    Returns:
        The number of positives, and that of positives and negatives together.
    """
    head = dense.head
    instances, ignored, metas = unpack_gt_instances(data_samples)
    # A region proposal head knows one class; its detector sets the labels to 0 as well.
    for instance in instances if head.num_classes == 1 else ():
        instance.labels = torch.zeros_like(instance.labels)
    height, width = metas[0]["batch_input_shape"]
    device = next(head.parameters()).device
    # What is predicted has no effect: 0 everywhere. Strides are (x, y); every level of a feature pyramid rounds up.
    maps = [
        [
            torch.zeros(len(metas), channels, math.ceil(height / y), math.ceil(width / x), device=device)
            for x, y in head.prior_generator.strides
        ]
        for channels in (_channels(head), head.num_base_priors * head.bbox_coder.encode_size, head.num_base_priors)
    ]
    # A head that passes its arguments on, as with density_scope, does not name them.
    methods = [vars(cls)["loss_by_feat"] for cls in type(head).__mro__ if "loss_by_feat" in vars(cls)]
    named = [list(inspect.signature(method).parameters) for method in methods]
    given = next(names for names in named if "batch_gt_instances" in names).index("batch_gt_instances") - 1
    with _counted(head, compute=False) as count:
        try:
            head.loss_by_feat(*maps[:given], instances, metas, ignored)
        except ValueError as error:
            raise UserError(f"{dense}: {error}") from error
    return count.num_pos, count.num_elements // head.cls_out_channels


def copy_to_step(model: Any) -> Any:
    """A copy of a detector that can take a training step by itself, on any device and without other ranks."""
    model = revert_sync_batchnorm(copy.deepcopy(model))
    # A distillation's train() returns None.
    model.train()
    model.data_preprocessor.batch_augments = None
    for module in model.modules():
        if hasattr(module, "sync"):
            module.sync = False
    # TOOD's head wants to know it.
    hub = MessageHub.get_current_instance()
    hub.update_info("epoch", hub.get_info("epoch", 0))
    return model


class _TrainingStep:
    """A copy of a detector that computes its losses, to see what a head gives ``loss_cls`` in a training step."""

    def __init__(self, model: nn.Module):
        self.model = copy_to_step(model)

    def count_samples(self, dense: DenseHead, batch: dict) -> tuple[int, int]:
        """Positives and samples of a batch as the data loader gives it; see the function of the same name.

        Raises:
            UserError: what ``loss_cls`` is given does not tell what the head trains on.
        """
        head = getattr(self.model, dense.name)
        outputs: list[Tensor] = []
        hooks = {
            conv.register_forward_hook(lambda module, inputs, output: outputs.append(sizes_of(output)))
            for conv in set(_convs(head.get_submodule(dense.layer), head))
        }
        try:
            with _counted(head, compute=True) as count:
                self.model(**self.model.data_preprocessor(batch, training=True), mode="loss")
        except Exception as error:
            # Training would raise it too, but later and without saying for what the step was taken.
            raise UserError(f"{dense}: no training step to count its positives in: {error!r}") from error
        finally:
            for hook in hooks:
                hook.remove()
        if not count.num_calls:
            reason = "weighs the elements of its classification loss itself, or does without loss_cls"
        elif not torch.allclose(
            torch.stack(outputs).sum(0), count.logits, rtol=1e-3, atol=1e-3 * float(count.logits[1])
        ):
            reason = f"gives its loss_cls something else than the output of {dense.layer}"
        else:
            return count.num_pos, count.num_elements // head.cls_out_channels
        raise UserError(f"{dense} {reason}, so its optimal bias is not known.\n{WITHOUT_MEASURING}")


def measure_priors(
    model: Any,
    heads: list[DenseHead],
    dataset: Any,
    *,
    max_images: int | None = None,
    batch_size: int = 1,
    by_aspect_ratio: bool = False,
    num_workers: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Prior]:
    """Counts the positives of each head over the training data.

    Images go through the data set's pipeline and the detector's data preprocessor, in batches as in training, since an
    image that is padded to the size of others has more places, and without the preprocessor's batch augmentations. No
    network runs for heads that assign by anchors or points alone; for others a copy of the untrained detector does.
    Under distributed training every rank looks at its share and all get the same result. The random state of the
    process, the detector and the data set are as before afterwards.

    Args:
        model: the detector.
        heads: what to measure for, from :func:`find_dense_heads`.
        dataset: of the training data.
        max_images: look at this many images, evenly spaced over the data set; ``None`` for all.
        batch_size: images in a batch.
        by_aspect_ratio: whether images higher than wide have batches of their own, as by AspectRatioBatchSampler.
        num_workers: processes that load the images.
        progress: wraps the batches that are iterated over, for a progress bar.

    Raises:
        UserError: ``max_images`` is not at least 1, the data set is empty, a head has no positive or no negative in
            the images, or what it gives its ``loss_cls`` does not tell its bias.
    """
    if max_images is not None and (isinstance(max_images, bool) or not isinstance(max_images, int) or max_images < 1):
        raise UserError(f"max_images must be an integer of at least 1, or None for all images, got {max_images!r}.")
    total = len(dataset)
    if total == 0:
        raise UserError("the training data is empty, so no prior can be measured.")
    images = total if max_images is None else min(max_images, total)
    rank, world_size = get_dist_info()
    count = torch.zeros(len(heads), 2, dtype=torch.int64)
    step = None if all(dense.assigns_by_priors for dense in heads) else _TrainingStep(model)
    with random_state_of_its_own(rank), torch.no_grad():
        # Transforms may keep a state; worker processes have copies anyway.
        data = dataset if num_workers else copy.deepcopy(dataset)
        sampler = AspectRatioBatchSampler if by_aspect_ratio else BatchSampler
        batches = list(sampler(_Images(data, [i * total // images for i in range(images)]), batch_size, False))
        share = batches[rank::world_size]
        own = len(share)
        # A head may average over the ranks, so all go through as many batches; what is too many is not counted.
        share += batches[:1] * (math.ceil(len(batches) / world_size) - own)
        loader: DataLoader = DataLoader(data, batch_sampler=share, num_workers=num_workers, collate_fn=pseudo_collate)
        for index, batch in enumerate(progress(loader)):
            samples = model.data_preprocessor(batch, training=False)["data_samples"]
            for row, dense in enumerate(heads):
                if step is None or dense.assigns_by_priors:
                    counted = count_samples(dense, samples)
                else:
                    counted = step.count_samples(dense, batch)
                if index < own:
                    count[row] += torch.tensor(counted)
    all_reduce(count)
    return [_prior(dense, row, images, total) for dense, row in zip(heads, count)]


class _Images(Sampler):
    """Some images of a data set, in order."""

    def __init__(self, dataset: Any, indices: list[int]):
        self.dataset, self.indices = dataset, indices

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def _prior(dense: DenseHead, count: Tensor, images: int, total: int) -> Prior:
    num_pos, num_samples = count.tolist()
    num_classes = dense.head.cls_out_channels
    try:
        bias = optimal_bias(num_pos, num_samples, num_classes)
    except ValueError as error:
        raise UserError(
            f"{dense} has no optimal bias over {images} images: {error}.\nCheck annotations, anchors and assigner, or "
            "look at more images (max_images)."
        ) from error
    return Prior(images, total, num_pos, num_samples, num_classes, bias)


@contextmanager
def random_state_of_its_own(seed: int) -> Iterator[None]:
    """Random numbers that are the same in every run, and that leave those of the process where they were."""
    of_python, of_numpy = random.getstate(), numpy.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        numpy.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            numpy.random.set_state(of_numpy)


def init_cfg_with_prior(dense: DenseHead, prior: Prior) -> dict:
    """The head's own ``init_cfg`` with the measured ``bias_prob``, to be written into a config."""
    own = dense.head.init_cfg
    init_cfg = dict(own) if isinstance(own, dict) else {"type": "Normal", "layer": "Conv2d", "std": 0.01}
    override = {"type": "Normal", "name": dense.layer, "std": init_cfg.get("std", 0.01)}
    return {**init_cfg, "override": {**override, "bias_prob": float(f"{prior.probability:.3e}")}}
