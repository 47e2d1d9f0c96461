"""How rare are positives? Measured over training data with a head's own anchors, assigner and sampler."""

from __future__ import annotations

import copy
import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from mmdet.models.utils import unpack_gt_instances
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import optimal_bias

HEADS = ("bbox_head", "rpn_head")
WITHOUT_MEASURING = "Write a fixed bias_prob into the head's init_cfg instead."


@dataclass(frozen=True)
class DenseHead:
    """A dense head of a detector and the layers that hold its classification bias.

    name: of the head in the detector.
    layer: name of the layers in the head.
    """

    name: str
    head: nn.Module
    layer: str
    convs: tuple[nn.Conv2d, ...]

    def __str__(self) -> str:
        return f"{self.name} ({type(self.head).__name__})"


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


def _dense_head(name: str, head: nn.Module, module: str | None) -> DenseHead:
    who = f"{name} ({type(head).__name__})"
    if not hasattr(head, "prior_generator") or not hasattr(head, "cls_out_channels"):
        raise UserError(f"{who} is no dense head with anchors or points, so no prior can be measured for it.")
    if not head.use_sigmoid_cls:
        raise UserError(
            f"{who} classifies with a softmax, and the optimal bias is one of a sigmoid.\n"
            f"Use a loss_cls with use_sigmoid=True, or leave the bias of {name} alone."
        )
    _target_form(head, who)
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


def _channels(head: nn.Module) -> int:
    return head.num_base_priors * head.cls_out_channels


def _convs(module: nn.Module, head: nn.Module) -> tuple[nn.Conv2d, ...]:
    """The convolution, or those of a list, when they have as many channels as the head has logits; else nothing."""
    convs = tuple(module) if isinstance(module, nn.ModuleList) else (module,)
    fits = all(isinstance(conv, nn.Conv2d) and conv.out_channels == _channels(head) for conv in convs)
    return convs if fits else ()


def _target_form(head: nn.Module, who: str) -> str:
    """Whether ``head.get_targets`` takes anchors or points.

    Raises:
        UserError: it takes something else, such as predictions, which there are none of before training.
    """
    parameters = inspect.signature(head.get_targets).parameters.values() if hasattr(head, "get_targets") else ()
    required = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    if required == {"anchor_list", "valid_flag_list", "batch_gt_instances", "batch_img_metas"}:
        return "anchors"
    if required == {"points", "batch_gt_instances"}:
        return "points"
    raise UserError(
        f"{who} does not assign its positives by anchors or points alone, so they cannot be counted before training.\n"
        + WITHOUT_MEASURING
    )


def count_samples(dense: DenseHead, data_samples: list) -> tuple[int, int]:
    """Positives and samples that a head's loss would see for a batch, ignored ones left out.

    Args:
        dense: the head.
        data_samples: as they come out of the detector's data preprocessor, which writes the padded shapes into them.

    Returns:
        The number of positives, and that of positives and negatives together.
    """
    head = dense.head
    instances, ignored, metas = unpack_gt_instances(data_samples)
    height, width = metas[0]["batch_input_shape"]
    # Strides are (x, y); every level of a feature pyramid rounds up.
    sizes = [(math.ceil(height / y), math.ceil(width / x)) for x, y in head.prior_generator.strides]
    device = next(head.parameters()).device
    if _target_form(head, str(dense)) == "points":
        points = head.prior_generator.grid_priors(sizes, device=device)
        # A region proposal head knows one class; its detector sets the labels to 0 as well.
        for instance in instances if head.num_classes == 1 else ():
            instance.labels = torch.zeros_like(instance.labels)
        labels = torch.cat(head.get_targets(points, instances)[0])
        return int(((labels >= 0) & (labels < head.num_classes)).sum()), labels.numel()
    anchors, valid_flags = head.get_anchors(sizes, metas, device=device)
    sampler = head.sampler
    head.sampler = counter = _CountingSampler(sampler)
    try:
        head.get_targets(anchors, valid_flags, instances, metas, batch_gt_instances_ignore=ignored)
    except ValueError as error:
        raise UserError(f"{dense}: {error}") from error
    finally:
        head.sampler = sampler
    return counter.num_pos, counter.num_samples


class _CountingSampler:
    """A head's own sampler, which also counts what it chooses."""

    def __init__(self, sampler: Any):
        self.sampler = sampler
        self.num_pos = 0
        self.num_samples = 0

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        result = self.sampler.sample(*args, **kwargs)
        self.num_pos += result.pos_inds.numel()
        self.num_samples += result.pos_inds.numel() + result.neg_inds.numel()
        return result


def measure_priors(
    model: nn.Module,
    heads: list[DenseHead],
    dataset: Sized,
    *,
    max_images: int | None = None,
    num_workers: int = 0,
    progress: Callable[[Sized], Iterable] = iter,
) -> list[Prior]:
    """Counts the positives of each head over the training data; no network runs.

    Each image goes through the data set's pipeline and the detector's data preprocessor, alone and without the latter's
    batch augmentations. Under distributed training every rank looks at its share and all get the same result. The
    random state of the process, and the data set, are as before afterwards.

    Args:
        model: the detector.
        heads: what to measure for, from :func:`find_dense_heads`.
        dataset: of the training data.
        max_images: look at this many images, evenly spaced over the data set; ``None`` for all.
        num_workers: processes that load the images.
        progress: wraps the images that are iterated over, for a progress bar.

    Raises:
        UserError: ``max_images`` is not at least 1, the data set is empty, or a head has no positive or no negative in
            the images.
    """
    if max_images is not None and (isinstance(max_images, bool) or not isinstance(max_images, int) or max_images < 1):
        raise UserError(f"max_images must be an integer of at least 1, or None for all images, got {max_images!r}.")
    total = len(dataset)
    if total == 0:
        raise UserError("the training data is empty, so no prior can be measured.")
    images = total if max_images is None else min(max_images, total)
    rank, world_size = get_dist_info()
    share = [index * total // images for index in range(rank, images, world_size)]
    count = torch.zeros(len(heads), 2, dtype=torch.int64)
    with _random_state_of_its_own(rank), torch.no_grad():
        # Transforms may keep a state; worker processes have copies anyway.
        data = dataset if num_workers else copy.deepcopy(dataset)
        loader: DataLoader = DataLoader(Subset(data, share), num_workers=num_workers, collate_fn=pseudo_collate)
        for batch in progress(loader):
            samples = model.data_preprocessor(batch, training=False)["data_samples"]
            for index, dense in enumerate(heads):
                count[index] += torch.tensor(count_samples(dense, samples))
    all_reduce(count)
    return [_prior(dense, row, images, total) for dense, row in zip(heads, count)]


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
def _random_state_of_its_own(seed: int) -> Iterator[None]:
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
