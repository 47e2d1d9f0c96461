"""A training that stops, and says where, when a loss is no longer a number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ghm_mmdet.errors import UserError
from ghm_mmdet.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends the training with an error that names the loss and the level of the feature pyramid where it turned NaN.

    Every ``interval`` iterations, and in the last one of an epoch, it looks at each value that the model's loss modules
    (``loss_cls``, ``loss_bbox``, ...) returned in that iteration, and at the losses of the whole step, some of which a
    head may compute without a module, all in one transfer from the device; on the others it does nothing. Without it
    the weights become NaN and the run goes on in silence. tools/train.py adds one with the default interval to a config
    that has none.

    Args:
        interval: iterations from one look to the next, at least 1.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    def __init__(self, interval: int = 50):
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval!r}")
        self.interval = interval
        self._looking = False
        self._values: list[tuple[str, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, module in model.named_modules():
            if name.rpartition(".")[2].startswith("loss"):
                module.register_forward_hook(self._recorder(name))

    def _recorder(self, name: str) -> Callable[[nn.Module, tuple, Tensor | dict], None]:
        def record(module: nn.Module, inputs: tuple, output: Tensor | dict) -> None:
            if self._looking:
                parts = output if isinstance(output, dict) else {"": output}
                self._values += [
                    (f"{name}.{key}".rstrip("."), part.detach().sum())
                    for key, part in parts.items()
                    if isinstance(part, Tensor)
                ]

        return record

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        # The end of an epoch too, before a checkpoint is made of weights that are no longer numbers.
        self._looking = self.every_n_train_iters(runner, self.interval) or self.end_of_epoch(
            runner.train_dataloader, batch_idx
        )
        self._values.clear()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if not self._looking:
            return
        # The modules' own come first, being the more precise.
        self._values += [
            (name, value.detach().sum()) for name, value in (outputs or {}).items() if isinstance(value, Tensor)
        ]
        if not self._values:
            return
        finite = torch.stack([value.float() for _, value in self._values]).isfinite().tolist()
        if all(finite):
            return
        name, value = self._values[finite.index(False)]
        calls = [index for index, (other, _) in enumerate(self._values) if other == name]
        where = f", call {calls.index(finite.index(False)) + 1} of {len(calls)}"
        level = " (one call for each level, the finest first)" if len(calls) > 1 else ""
        raise UserError(
            f"{name} is {value.item()} at iteration {runner.iter + 1}{where if len(calls) > 1 else ''}{level}.\n"
            "Go on from the last checkpoint with a lower learning rate, a longer warm-up, or max_weight in GHMC; "
            "tools/check_dataset.py finds boxes that make a loss infinite."
        )
