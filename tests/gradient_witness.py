"""Runs with GradientNormHook in which a second hook keeps what the losses were called with.

A module of its own, so that a rank can import it by name.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from small_detectors import retinanet

ONE_EPOCH = {"train_cfg.max_epochs": 1, "default_hooks.checkpoint.interval": 100}


class Witness(Hook):
    """Keeps what the losses were called with in each iteration, and the gradient that came back."""

    def __init__(self):
        self.iterations: list[dict[str, list]] = []

    def before_train(self, runner):
        for name, module in runner.model.named_modules():
            if name.rpartition(".")[2] in ("loss_cls", "loss_bbox"):
                module.register_forward_hook(self.keeper(name))

    def keeper(self, name):
        def keep(module, inputs, output):
            if not inputs[0].requires_grad:
                return
            call = [inputs[0].detach(), inputs[1], inputs[2] if len(inputs) > 2 else torch.ones(len(inputs[0]))]
            self.iterations[-1].setdefault(name, []).append(call)
            inputs[0].register_hook(call.append)

        return keep

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.iterations.append({})


def train(cfg, *, witness=None, **hook) -> Runner:
    cfg.custom_hooks = [dict(type="ghm_mmdet.GradientNormHook", **hook)]
    cfg.merge_from_dict(ONE_EPOCH)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    if witness:
        runner.register_hook(witness)
    runner.train()
    return runner


def train_rank(rank: int, folder: str, data: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    (Path(folder) / str(rank)).mkdir()
    cfg = retinanet(Path(folder) / str(rank), Path(data), work_dir=f"{folder}/run", launcher="pytorch")
    cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None)
    cfg.model.bbox_head.loss_bbox.momentum = 0.0
    witness = Witness()
    train(cfg, witness=witness, interval=2)
    calls = [iteration["module.bbox_head.loss_bbox"] for iteration in witness.iterations]
    torch.save([[call[:3] for call in of_iteration] for of_iteration in calls], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
