"""A look at the gradients while a detector trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import checks
from ghm_mmdet.functional.gradient_histogram import gradient_histogram
from ghm_mmdet.functional.harmonized_loss import as_rows
from ghm_mmdet.gradient_norms.log import FILE_NAME, LossRecord, Record, append_record
from ghm_mmdet.gradient_norms.picture import as_image, draw_record
from ghm_mmdet.gradient_norms.reader import GradientNormReader, find_readable_losses
from ghm_mmdet.registry import HOOKS


@HOOKS.register_module()
class GradientNormHook(Hook):
    r"""Records how many elements have which gradient norm, and what the loss makes of it.

    In the first iteration and then every ``interval`` iterations it looks at each ``loss_cls`` and ``loss_bbox`` of the
    detector, whatever the loss: GHM, cross-entropy, Focal Loss, OHEM, ... The axis of gradient norms g (abs(p - t) for
    classification, that of authentic smooth L1 for regression) is cut into M unit regions, and for each of them it
    takes

    - count: the number of elements, :math:`R_j`;
    - weight: :math:`\sum |\partial L / \partial x| \cdot N / \sum g`, what the loss multiplies a gradient norm there
      by, compared with the plain mean of cross-entropy or authentic smooth L1; for GHM it is the harmonizing weight
      :math:`\beta` as it was applied, moving average and bound included;
    - share: the part of the sum of all elements' :math:`|\partial L / \partial x|` that comes from there.

    The gradients are those of the backward pass, not computed anew. Several calls in an iteration, as for the levels of
    a feature pyramid, and all ranks are added up (of weight it is the mean over them, each element counting with its
    g). An iteration whose gradients are not finite, as while mixed precision looks for its loss scale, is left out.
    On the iterations between nothing is computed and nothing waits for the device.

    All goes to the visualizer's backends, one scalar for each region as ``bbox_head.loss_cls.share/g0.10`` (0.10 being
    its lower edge), a picture at every ``image_interval``-th record, and to ``gradient_norms.jsonl`` in the work_dir,
    which a resumed run continues and ``tools/analysis/watch.py`` draws.

    Args:
        interval: iterations from one record to the next, at least 1.
        image_interval: records from one picture to the next, at least 1.
        losses: names of the losses to look at, such as ``["rpn_head.loss_cls"]``; ``None`` for all that can be read.
        bins: M for losses that have no unit regions of their own, at least 1.
        mu: of authentic smooth L1, for regression losses that have none of their own, above 0.

    Raises:
        ValueError: an argument is out of its range.
        ghm_mmdet.errors.UserError: in training, when a loss of ``losses``, or every loss, cannot be read.
    """

    def __init__(
        self,
        interval: int = 50,
        image_interval: int = 10,
        losses: Sequence[str] | None = None,
        bins: int = 30,
        mu: float = 0.02,
    ):
        for name, value in (("interval", interval), ("image_interval", image_interval)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if isinstance(losses, str) or (losses is not None and not losses):
            raise ValueError(f"losses must be a list of names such as ['bbox_head.loss_cls'], or None, got {losses!r}")
        checks.check_count("bins", bins)
        checks.check_positive("mu", mu)
        self.interval = interval
        self.image_interval = image_interval
        self.names = losses
        self.bins = bins
        self.mu = mu
        self._recording = False
        self._losses: list[GradientNormReader] = []
        self._sums: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._losses, left_out = find_readable_losses(model, self.names, self.bins, self.mu)
        for loss in self._losses:
            loss.module.register_forward_pre_hook(self._separator(loss), with_kwargs=True)
            loss.module.register_forward_hook(self._recorder(loss), with_kwargs=True)
        for reason in left_out:
            runner.logger.info(f"GradientNormHook: left out {reason}.")
        runner.logger.info(
            f"GradientNormHook: {', '.join(map(str, self._losses))} every {self.interval} iterations into "
            f"{runner.work_dir}/{FILE_NAME}; draw it with python tools/analysis/watch.py {runner.work_dir}"
        )

    def _separator(self, loss: GradientNormReader) -> Callable:
        """Gives the loss a view of its predictions, to which no gradient of another loss on them comes."""

        def separate(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            return loss.with_own_prediction(args, kwargs) if self._recording else None

        return separate

    def _recorder(self, loss: GradientNormReader) -> Callable:
        def record(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
            if not self._recording or not isinstance(output, Tensor) or not output.requires_grad:
                return
            pred = loss.prediction(args, kwargs)
            try:
                elements = loss.elements(args, kwargs)
            except UserError as error:
                raise UserError(f"{error}\nName those that can be in losses=[...] of GradientNormHook.") from error
            if not pred.requires_grad:
                return
            # The gradient that reaches the loss: the scale of mixed precision, of accumulated batches, of the head.
            arriving: list[Tensor] = []
            output.register_hook(arriving.append)

            def add(gradient: Tensor) -> None:
                sums = gradient_histogram(elements, as_rows(gradient), loss.norm, loss.bins, per_sample=loss.per_sample)
                scale = arriving[0].double().abs().mean() * getattr(module, "loss_weight", 1.0)
                weighted = torch.where(scale > 0, sums[2] * sums[0].sum() / scale, 0.0)
                self._sums[loss.name] += torch.cat([sums, weighted.unsqueeze(0)])

            pred.register_hook(add)

        return record

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        self._recording = runner.iter == 0 or self.every_n_train_iters(runner, self.interval)
        if self._recording:
            device = next(runner.model.parameters()).device
            zeros = {loss.name: torch.zeros(4, loss.bins, dtype=torch.float64, device=device) for loss in self._losses}
            self._sums = zeros

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if not self._recording:
            return
        self._recording = False
        sums = torch.cat([sums.flatten() for sums in self._sums.values()])
        all_reduce(sums)
        if not is_main_process():
            return
        iteration = runner.iter + 1
        sums = sums.cpu()
        if not sums.isfinite().all():
            runner.logger.info(
                f"GradientNormHook: the gradients of iteration {iteration} are not finite, not recorded."
            )
            return
        parts = sums.split([4 * loss.bins for loss in self._losses])
        records = {
            loss.name: _loss_record(loss, part.view(4, -1))
            for loss, part in zip(self._losses, parts)
            if part[: loss.bins].any()
        }
        if not records:
            runner.logger.warning(
                f"GradientNormHook: nothing to record in iteration {iteration}, the model did not call "
                f"{' or '.join(loss.name for loss in self._losses)} on predictions that are trained."
            )
            return
        record = Record(iteration, records)
        append_record(runner.work_dir, record)
        runner.visualizer.add_scalars(_scalars(record), step=iteration)
        if self.every_n_train_iters(runner, self.interval * self.image_interval):
            # mlflow takes the format of a picture from its name.
            suffix = ".png" if runner.visualizer.get_backend("MLflowVisBackend") else ""
            runner.visualizer.add_image("gradient_norms" + suffix, as_image(draw_record(record)), step=iteration)


def _loss_record(loss: GradientNormReader, sums: Tensor) -> LossRecord:
    count, norm, gradient, weighted = sums
    weight = torch.where(norm > 0, weighted / norm, 0.0)
    share = gradient / gradient.sum() if gradient.any() else gradient
    return LossRecord(
        kind=loss.kind,
        type=type(loss.module).__name__,
        count=[int(value) for value in count],
        weight=[float(f"{value:.6g}") for value in weight.tolist()],
        share=[float(f"{value:.6g}") for value in share.tolist()],
    )


def _scalars(record: Record) -> dict[str, float]:
    return {
        f"{name}.{what}/g{region / len(values):.2f}": value
        for name, loss in record.losses.items()
        for what, values in (("count", loss.count), ("weight", loss.weight), ("share", loss.share))
        for region, value in enumerate(values)
    }
